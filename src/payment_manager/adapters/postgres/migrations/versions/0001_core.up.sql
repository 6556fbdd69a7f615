-- The core: state rows, the two event logs (the authority), known webhook ids, parked webhooks, provider intents, evidence.
--
-- Ids chosen outside are compared byte by byte (COLLATE "C"): cheaper, and the same order on every machine.
-- Money is integer minor units with its ISO 4217 code. Times are timestamptz; created_at and updated_at of an order are
-- the provider's, those of an event are the time of recording.

CREATE TABLE orders (
    order_id        text COLLATE "C" PRIMARY KEY,
    user_id         uuid NOT NULL,
    status          text COLLATE "C" NOT NULL CHECK (status IN ('created', 'updated', 'failed', 'success')),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    amount_minor    bigint CHECK (amount_minor > 0),
    currency        text COLLATE "C",
    hold_reason     text COLLATE "C" CHECK (hold_reason IN ('manual_review', 'risk')),
    hold_changed_at timestamptz,
    -- Which webhook each field came from: without it a late one could not be told from a newer one.
    provenance      json NOT NULL,
    -- The place of the row in its log: where it ends, and between which times its events lie.
    sequence        integer NOT NULL CHECK (sequence > 0),
    first_event_at  timestamptz NOT NULL,
    last_event_at   timestamptz NOT NULL CHECK (last_event_at >= first_event_at),
    CHECK ((amount_minor IS NULL) = (currency IS NULL)),
    CHECK (hold_reason IS NULL OR hold_changed_at IS NOT NULL)
) WITH (fillfactor = 80);  -- room for a row's next version on its own page

CREATE INDEX orders_created ON orders (created_at, order_id);
CREATE INDEX orders_updated ON orders (updated_at, order_id);
CREATE INDEX orders_status ON orders (status, created_at, order_id);
CREATE INDEX orders_user ON orders (user_id, created_at, order_id);
CREATE INDEX orders_on_hold ON orders (created_at, order_id) WHERE hold_reason IS NOT NULL;

CREATE TABLE disputes (
    dispute_id      uuid PRIMARY KEY,
    -- One dispute an order; no dispute without its order.
    order_id        text COLLATE "C" NOT NULL UNIQUE REFERENCES orders,
    -- Two hands, one status: the provider's decision where there is one, else the operator's progress.
    decision        text COLLATE "C" CHECK (decision IN ('won', 'lost', 'closed', 'canceled')),
    progress        text COLLATE "C" NOT NULL CHECK (progress IN ('open', 'under_review', 'submitted')),
    status          text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce(decision, progress)) STORED,
    reason          text NOT NULL,
    amount_minor    bigint NOT NULL CHECK (amount_minor > 0),
    currency        text COLLATE "C" NOT NULL,
    opened_at       timestamptz,
    evidence_due_at timestamptz,
    closed_at       timestamptz,
    provenance      json NOT NULL,
    sequence        integer NOT NULL CHECK (sequence > 0),
    first_event_at  timestamptz NOT NULL,
    last_event_at   timestamptz NOT NULL CHECK (last_event_at >= first_event_at),
    CHECK ((decision IS NULL) = (closed_at IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX disputes_recorded ON disputes (first_event_at, dispute_id);
CREATE INDEX disputes_status ON disputes (status, first_event_at, dispute_id);
CREATE INDEX disputes_reason ON disputes (reason, first_event_at, dispute_id);
CREATE INDEX disputes_due ON disputes (evidence_due_at) WHERE decision IS NULL;

CREATE TABLE evidence (
    dispute_id uuid PRIMARY KEY REFERENCES disputes,
    fields     json NOT NULL,
    files      json NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Questions to the provider: requested here before the call, settled after it. While one is pending, reconcile asks again.
CREATE TABLE provider_intents (
    space           text COLLATE "C" NOT NULL CHECK (space IN ('order', 'dispute')),
    order_id        text COLLATE "C" NOT NULL REFERENCES orders,
    key             text COLLATE "C" NOT NULL,
    amount_minor    bigint CHECK (amount_minor > 0),
    currency        text COLLATE "C",
    file_ids        json,
    fields          json,
    status          text COLLATE "C" NOT NULL CHECK (status IN ('pending', 'success', 'failed')),
    requested_at    timestamptz NOT NULL,
    settled_at      timestamptz,
    reference       text,
    error           text,
    correlation_id  text NOT NULL,
    asked           integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, space, key),
    CHECK (CASE space WHEN 'order' THEN amount_minor IS NOT NULL AND currency IS NOT NULL AND file_ids IS NULL
                      ELSE amount_minor IS NULL AND file_ids IS NOT NULL AND fields IS NOT NULL END),
    CHECK ((status = 'success') = (settled_at IS NOT NULL)),
    CHECK (status <> 'success' OR reference IS NOT NULL)
);

-- One capture in flight or done an order, one submission in flight or accepted a dispute: the rule against charging twice.
CREATE UNIQUE INDEX provider_intents_one ON provider_intents (order_id, space) WHERE status IN ('pending', 'success');
CREATE INDEX provider_intents_due ON provider_intents (next_attempt_at) WHERE status = 'pending';

-- The event logs. Partitioned by day of recording, so a unique key could only hold within a day: that a webhook is taken
-- once is the business of webhook_ids, that a sequence has no gap and no double that of the order's lock.
-- data is json, not jsonb: it keeps the payload as received, byte for byte. transaction_id and position let a later
-- reader follow the log without skipping what a slower transaction wrote.
CREATE SEQUENCE order_events_position;
CREATE TABLE order_events (
    event_id          uuid NOT NULL,
    order_id          text COLLATE "C" NOT NULL,
    sequence          integer NOT NULL CHECK (sequence > 0),
    kind              text COLLATE "C" NOT NULL,
    provider_event_id text COLLATE "C",
    data              json NOT NULL,
    created_at        timestamptz NOT NULL,
    correlation_id    text NOT NULL,
    transaction_id    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    position          bigint NOT NULL DEFAULT nextval('order_events_position'),
    PRIMARY KEY (created_at, event_id)
) PARTITION BY RANGE (created_at);
CREATE INDEX order_events_stream ON order_events (order_id, created_at, event_id);
CREATE INDEX order_events_kind ON order_events (kind, created_at, event_id);
-- Must stay empty; a row in it means that days were not made ahead. Better than a refused webhook.
CREATE TABLE order_events_default PARTITION OF order_events DEFAULT;

CREATE SEQUENCE dispute_events_position;
CREATE TABLE dispute_events (
    event_id          uuid NOT NULL,
    dispute_id        uuid NOT NULL,
    sequence          integer NOT NULL CHECK (sequence > 0),
    kind              text COLLATE "C" NOT NULL,
    provider_event_id text COLLATE "C",
    data              json NOT NULL,
    created_at        timestamptz NOT NULL,
    correlation_id    text NOT NULL,
    transaction_id    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    position          bigint NOT NULL DEFAULT nextval('dispute_events_position'),
    PRIMARY KEY (created_at, event_id)
) PARTITION BY RANGE (created_at);
CREATE INDEX dispute_events_stream ON dispute_events (dispute_id, created_at, event_id);
CREATE INDEX dispute_events_kind ON dispute_events (kind, created_at, event_id);
CREATE TABLE dispute_events_default PARTITION OF dispute_events DEFAULT;

-- Which webhooks were taken: the reason why a redelivery has no second effect. Written in the effect's own transaction.
CREATE TABLE webhook_ids (
    order_id          text COLLATE "C" NOT NULL,
    provider_event_id text COLLATE "C" NOT NULL,
    space             text COLLATE "C" NOT NULL CHECK (space IN ('order', 'dispute')),
    content_hash      bytea NOT NULL CHECK (octet_length(content_hash) = 16),
    rejected_over     text COLLATE "C",
    taken_at          timestamptz NOT NULL,
    PRIMARY KEY (order_id, provider_event_id, space)
);

-- Chargebacks whose order is unknown yet, in the order of parking; gone when the order appears.
CREATE TABLE parked_webhooks (
    position          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id          text COLLATE "C" NOT NULL,
    provider_event_id text COLLATE "C" NOT NULL,
    payload           json NOT NULL,
    content_hash      bytea NOT NULL,
    parked_at         timestamptz NOT NULL,
    correlation_id    text NOT NULL,
    UNIQUE (order_id, provider_event_id)
);
