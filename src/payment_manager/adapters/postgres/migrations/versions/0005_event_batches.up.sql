-- event_batches: how a projection follows the logs: which transactions wrote events, where these are, and how far a projection
-- has come.

-- What a transaction added to the logs: events of one run of time. A reader finds them by the logs' primary keys, whichever
-- day they lie on and whatever has become of it since; and knows by their number whether it found them all. Kept until every
-- projection has passed it.
CREATE TABLE event_batches (
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL CHECK (last_at >= first_at),
    order_events   integer NOT NULL CHECK (order_events >= 0),
    dispute_events integer NOT NULL CHECK (dispute_events >= 0),
    PRIMARY KEY (transaction_id, first_at)
);

-- A checkpoint is a snapshot: the transactions that it sees are projected, the others are not, whichever began or ended first.
CREATE TABLE projections (
    name             text COLLATE "C" PRIMARY KEY,
    -- Which copy of the projection this is the checkpoint of, and of which server's transactions.
    build            text COLLATE "C" NOT NULL,
    server           text COLLATE "C" NOT NULL,
    -- NULL while it is being set up: then no batch is forgotten.
    seen             pg_snapshot,
    recorded_at      timestamptz,
    order_position   bigint NOT NULL DEFAULT 0,
    dispute_position bigint NOT NULL DEFAULT 0,
    -- Events that had left the logs before they could be read.
    missed_events    bigint NOT NULL DEFAULT 0,
    moved_at         timestamptz NOT NULL
);

-- Documents that the search server will never take, so that those behind them could go on.
CREATE TABLE projection_rejects (
    build        text COLLATE "C" NOT NULL,
    document     text COLLATE "C" NOT NULL,
    document_id  text COLLATE "C" NOT NULL,
    error        text NOT NULL,
    set_aside_at timestamptz NOT NULL,
    PRIMARY KEY (build, document, document_id)
);
