-- n is the order's number and says all about it; h is scattered, so that what is taken from it goes with nothing else.
CREATE TEMPORARY TABLE lives AS
SELECT
    n, h,
    'ord-' || lpad(to_hex(h), 8, '0') AS order_id,
    ('00000000-0000-4000-8000-' || lpad(to_hex(h %% 50000), 12, '0'))::uuid AS user_id,
    CASE WHEN h %% 11 = 0 THEN 'failed' ELSE 'success' END AS status,
    %(start)s::timestamptz + make_interval(days => %(days)s) * n / %(orders)s AS t1,
    make_interval(mins => 2 + (h %% 50)::integer) AS after_one,
    make_interval(mins => 60 + (h %% 1300)::integer) AS after_two,
    (ARRAY['USD', 'EUR', 'GBP', 'BRL'])[1 + h / 7 %% 4] AS currency,
    100 + h %% 190000 AS amount_minor
FROM (SELECT n, n::bigint * 2654435761 %% 4294967296 AS h FROM generate_series(0, %(orders)s - 1) AS n) AS numbered;

-- Two in five are disputed. Some reasons come often, some seldom.
CREATE TEMPORARY TABLE cases AS
SELECT
    l.*, c.dispute_id, l.t1 + interval '36 hours' AS d1, l.t1 + interval '45 hours' AS d2,
    (ARRAY['won', 'lost', 'lost', NULL, NULL, NULL, NULL, 'closed'])[1 + h / 13 %% 8] AS decision,
    (ARRAY['fraud', 'fraud', 'fraud', 'product_not_received', 'product_not_received', 'duplicate', 'credit_not_processed',
           'product_unacceptable', 'subscription_canceled', 'unrecognized'])[1 + h / 17 %% 10] AS reason
FROM lives AS l
JOIN seeded_disputes AS c USING (n);

INSERT INTO orders (order_id, user_id, status, created_at, updated_at, amount_minor, currency, provenance, sequence,
                    first_event_at, last_event_at)
SELECT
    order_id, user_id, status, t1, t1 + after_two, amount_minor, currency,
    format('[[2,"%%s",0,"evt-%%s-3"],[0,"%%s",0,"evt-%%s-1"]]', to_char(t1 + after_two, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n,
           to_char(t1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n)::json,
    3, t1, t1 + after_two
FROM lives
ORDER BY n;

INSERT INTO disputes (dispute_id, order_id, decision, progress, reason, amount_minor, currency, opened_at, evidence_due_at,
                      closed_at, provenance, sequence, first_event_at, last_event_at)
SELECT
    dispute_id, order_id, decision, CASE WHEN h / 13 %% 8 IN (3, 4) THEN 'under_review' ELSE 'open' END, reason, amount_minor,
    currency, d1, d1 + interval '21 days', CASE WHEN decision IS NOT NULL THEN d2 END,
    format('[[0,"%%s",0,"cb-%%s-1"],[0,"%%s",0,"cb-%%s-1"],[0,"%%s",0,"cb-%%s-1"]]',
           to_char(d1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n, to_char(d1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n,
           to_char(d1, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), n)::json,
    2, d1, d2
FROM cases
ORDER BY n;

-- The log, in the order of recording: so it lies on disk.
INSERT INTO order_events (event_id, order_id, sequence, kind, provider_event_id, data, created_at, correlation_id)
SELECT
    uuidv7(at - clock_timestamp()), order_id, k, 'webhook_received', format('evt-%%s-%%s', n, k),
    format(
        '{"outcome":"applied","payload":{"provider_event_id":"evt-%%s-%%s","order_id":"%%s","user_id":"%%s","status":"%%s",'
        '"created_at":"%%s","updated_at":"%%s","meta":{"amount":"%%s.%%s","currency":"%%s","method":"card","campaign":"%%s"}}}',
        n, k, order_id, user_id, CASE k WHEN 1 THEN 'created' WHEN 2 THEN 'updated' ELSE status END,
        to_char(t1, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        amount_minor / 100, lpad((amount_minor %% 100)::text, 2, '0'), currency, 'campaign' || h / 19 %% 500
    )::json,
    at, md5(n::text)
FROM (
    SELECT l.*, k, t1 + CASE k WHEN 1 THEN interval '0' WHEN 2 THEN after_one ELSE after_two END AS at
    FROM lives AS l
    CROSS JOIN generate_series(1, 3) AS k
    ORDER BY at
) AS happened;

INSERT INTO dispute_events (event_id, dispute_id, sequence, kind, provider_event_id, data, created_at, correlation_id)
SELECT
    uuidv7(at - clock_timestamp()), dispute_id, k,
    CASE WHEN k = 1 THEN 'webhook_opened' WHEN decision IS NULL THEN 'webhook_updated' ELSE 'provider_decision' END,
    format('cb-%%s-%%s', n, k),
    format(
        '{"outcome":"applied","payload":{"provider_event_id":"cb-%%s-%%s","order_id":"%%s","user_id":"%%s","status":"%%s",'
        '"reason":"%%s","amount":%%s.%%s,"currency":"%%s","occurred_at":"%%s","meta":{"campaign":"%%s"}}}',
        n, k, order_id, user_id, CASE WHEN k = 1 THEN 'opened' WHEN decision IS NULL THEN 'updated' ELSE 'closed' END, reason,
        amount_minor / 100, lpad((amount_minor %% 100)::text, 2, '0'), currency, to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        'campaign' || h / 19 %% 500
    )::json,
    at, md5(n::text)
FROM (
    SELECT c.*, k, CASE k WHEN 1 THEN d1 ELSE d2 END AS at FROM cases AS c CROSS JOIN generate_series(1, 2) AS k ORDER BY at
) AS happened;
