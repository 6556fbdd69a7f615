-- dead_letter_actions: who did what about a dead letter, and why. Letters stay in their topic; one without a row here is open.
CREATE TABLE dead_letter_actions (
    -- The topic's id and not its name: a topic that was made again has other letters at the same offsets.
    topic_id           text COLLATE "C" NOT NULL,
    topic_partition    integer NOT NULL CHECK (topic_partition >= 0),
    letter_offset      bigint NOT NULL CHECK (letter_offset >= 0),
    action             text COLLATE "C" NOT NULL CHECK (action IN ('replayed', 'dropped')),
    space              text COLLATE "C" NOT NULL CHECK (space IN ('order', 'dispute')),
    actor              text NOT NULL,
    reason             text NOT NULL,
    acted_at           timestamptz NOT NULL,
    error_class        text NOT NULL,
    error_message      text NOT NULL,
    attempts           integer NOT NULL,
    source_topic       text COLLATE "C" NOT NULL,
    source_partition   integer NOT NULL,
    source_offset      bigint NOT NULL,
    correlation_id     text COLLATE "C",
    -- Where a replayed message went.
    replayed_partition integer,
    replayed_offset    bigint,
    -- A crash can leave a letter twice: only one of the two was replayed, and both are done with.
    is_copy            boolean NOT NULL,
    -- Each letter is replayed once and dropped once: who comes second is told who was first.
    PRIMARY KEY (topic_id, topic_partition, letter_offset, action),
    CHECK ((action = 'replayed') = (replayed_partition IS NOT NULL AND replayed_offset IS NOT NULL))
);
