-- orders: 60 days of them, evenly; n is the order's number, and says all about it.
CREATE TEMPORARY TABLE lives AS
SELECT
    n,
    'ord-' || lpad(to_hex(n::bigint * 2654435761 %% 4294967296), 8, '0') AS order_id,
    ('00000000-0000-4000-8000-' || lpad(to_hex(n::bigint * 2654435761 %% 50000), 12, '0'))::uuid AS user_id,
    CASE WHEN n %% 4 > 0 THEN 'created' WHEN n %% 40 = 0 THEN 'failed' ELSE 'success' END AS status,
    %(start)s::timestamptz + interval '60 days' * n / %(orders)s AS t1,
    make_interval(mins => 2 + n %% 50) AS after_one,
    make_interval(mins => 60 + n %% 1300) AS after_two,
    (ARRAY['USD', 'EUR', 'GBP', 'BRL'])[1 + n %% 4] AS currency,
    100 + n %% 90000 AS amount_minor
FROM generate_series(0, %(orders)s - 1) AS n;

-- One in ten is disputed.
CREATE TEMPORARY TABLE cases AS
SELECT l.*, c.dispute_id, l.t1 + interval '36 hours' AS d1, l.t1 + interval '45 hours' AS d2
FROM lives AS l
JOIN seeded_disputes AS c USING (n);

INSERT INTO orders (order_id, user_id, status, created_at, updated_at, amount_minor, currency, hold_reason,
                    hold_changed_at, provenance, sequence, first_event_at, last_event_at)
SELECT
    order_id, user_id, status, t1, t1 + CASE WHEN n %% 4 = 0 THEN after_two ELSE interval '0' END, amount_minor, currency,
    NULL, CASE WHEN n %% 4 = 1 THEN t1 + after_two END,
    format('[[%%s,"%%s",0,"evt-%%s-1"],[0,"%%s",0,"evt-%%s-1"]]', CASE WHEN n %% 4 = 0 THEN 2 ELSE 0 END,
           to_char(t1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n, to_char(t1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n)::json,
    3, t1, t1 + after_two
FROM lives
ORDER BY n;

INSERT INTO provider_intents (space, order_id, key, amount_minor, currency, status, requested_at, settled_at, reference,
                              error, correlation_id, asked, next_attempt_at)
SELECT 'order', order_id, 'key-' || n, amount_minor, currency, CASE WHEN n %% 4 = 2 THEN 'success' ELSE 'failed' END,
       t1 + after_one, CASE WHEN n %% 4 = 2 THEN t1 + after_two END, 'txn-' || n, NULL, 'seed', 1, t1 + after_one
FROM lives
WHERE n %% 4 >= 2;

INSERT INTO disputes (dispute_id, order_id, decision, progress, reason, amount_minor, currency, opened_at, evidence_due_at,
                      closed_at, provenance, sequence, first_event_at, last_event_at)
SELECT
    dispute_id, order_id, CASE n %% 30 WHEN 13 THEN 'lost' END, CASE n %% 30 WHEN 23 THEN 'under_review' ELSE 'open' END,
    (ARRAY['fraud', 'product_not_received', 'duplicate', 'credit_not_processed'])[1 + n %% 4], amount_minor, currency, d1,
    d1 + interval '21 days', CASE n %% 30 WHEN 13 THEN d2 END,
    format('[[0,"%%s",0,"cb-%%s-1"],[0,"%%s",0,"cb-%%s-1"],[0,"%%s",0,"cb-%%s-1"]]',
           to_char(d1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n, to_char(d1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n,
           to_char(d1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n)::json,
    2, d1, d2
FROM cases
ORDER BY n;

INSERT INTO evidence (dispute_id, fields, files, updated_at)
SELECT dispute_id, '{"customer_name":"Ann Example"}',
       '[{"file_id":"file-1","name":"receipt.pdf","content_type":"application/pdf","size":48213}]', d2
FROM cases
WHERE n %% 30 = 23;

-- The log, in the order of recording: so it lies on disk.
INSERT INTO order_events (event_id, order_id, sequence, kind, provider_event_id, data, created_at, correlation_id)
SELECT
    uuidv7(at - clock_timestamp()), order_id, k,
    CASE WHEN by_webhook THEN 'webhook_received' ELSE (ARRAY[
        ['hold_set', 'hold_cleared'], ['capture_requested', 'capture_completed'], ['capture_requested', 'capture_failed']
    ])[n %% 4][k - 1] END,
    CASE WHEN by_webhook THEN format('evt-%%s-%%s', n, k) END,
    CASE WHEN by_webhook THEN format(
        '{"outcome":"applied","payload":{"provider_event_id":"evt-%%s-%%s","order_id":"%%s","user_id":"%%s","status":"%%s",'
        '"created_at":"%%s","updated_at":"%%s","meta":{"amount":"%%s.%%s","currency":"%%s","method":"card","country":"DE"}}}',
        n, k, order_id, user_id, CASE k WHEN 1 THEN 'created' WHEN 2 THEN 'updated' ELSE status END,
        to_char(t1, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        amount_minor / 100, lpad((amount_minor %% 100)::text, 2, '0'), currency
    ) ELSE format('{"idempotency_key":"key-%%s","reason":"risk","actor":"operator"}', n) END::json,
    at, md5(n::text)
FROM (
    SELECT l.*, k, n %% 4 = 0 OR k = 1 AS by_webhook,
           t1 + CASE k WHEN 1 THEN interval '0' WHEN 2 THEN after_one ELSE after_two END AS at
    FROM lives AS l
    CROSS JOIN generate_series(1, 3) AS k
    ORDER BY at
) AS happened;

INSERT INTO dispute_events (event_id, dispute_id, sequence, kind, provider_event_id, data, created_at, correlation_id)
SELECT
    uuidv7(at - clock_timestamp()), dispute_id, k,
    CASE WHEN k = 1 THEN 'webhook_opened' ELSE CASE n %% 30
        WHEN 3 THEN 'webhook_updated' WHEN 13 THEN 'provider_decision' ELSE 'evidence_added' END END,
    CASE WHEN k = 1 OR n %% 30 <> 23 THEN format('cb-%%s-%%s', n, k) END,
    format('{"outcome":"applied","payload":{"provider_event_id":"cb-%%s-%%s","order_id":"%%s"}}', n, k, order_id)::json,
    at, md5(n::text)
FROM (
    SELECT c.*, k, CASE k WHEN 1 THEN d1 ELSE d2 END AS at FROM cases AS c CROSS JOIN generate_series(1, 2) AS k ORDER BY at
) AS happened;
