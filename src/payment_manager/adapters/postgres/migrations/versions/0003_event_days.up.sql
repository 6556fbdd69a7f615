-- event_days: what maintenance did to a day of a log, written in the very transaction that did it. A day without a row is as
-- it was made.
CREATE TABLE event_days (
    log            text COLLATE "C" NOT NULL CHECK (log IN ('order_events', 'dispute_events')),
    day            date NOT NULL,
    -- Clustered and packed: how many rows there were then. Late ones may have come since.
    sealed_at      timestamptz,
    sealed_rows    bigint,
    -- No part of the log any more.
    detached_at    timestamptz,
    -- Its table is gone: the archive's file holds these rows, and was compared with them before.
    archived_at    timestamptz,
    archive_file   text,
    archived_rows  bigint,
    archive_digest bytea,
    PRIMARY KEY (log, day),
    CHECK ((sealed_at IS NULL) = (sealed_rows IS NULL)),
    CHECK ((archived_at IS NULL) = (archive_file IS NULL)),
    CHECK ((archived_at IS NULL) = (archived_rows IS NULL)),
    CHECK ((archived_at IS NULL) = (archive_digest IS NULL)),
    CHECK (archived_at IS NULL OR detached_at IS NOT NULL)
);

-- Old ids are forgotten oldest first. They are written in that order, so a summary of page ranges finds them, at next to no
-- cost for the write path.
CREATE INDEX webhook_ids_taken ON webhook_ids USING brin (taken_at) WITH (autosummarize = on);
