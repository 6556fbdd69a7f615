-- Without the log's indexes, which are made at the end: event n of order n %% orders, in time order.
INSERT INTO order_events (event_id, order_id, sequence, kind, provider_event_id, data, created_at, correlation_id)
SELECT
    uuidv7(at - clock_timestamp()), order_id, 1 + n / %(orders)s, 'webhook_received', 'evt-' || n,
    format(
        '{"outcome":"applied","payload":{"provider_event_id":"evt-%%s","order_id":"%%s","user_id":"%%s","status":"updated",'
        '"created_at":"%%s","updated_at":"%%s","meta":{"amount":"%%s.00","currency":"USD","method":"card","country":"DE"}}}',
        n, order_id, '00000000-0000-4000-8000-' || lpad(to_hex(n %% %(orders)s %% 50000), 12, '0'), at, at, 1 + n %% 900
    )::json,
    at, md5(n::text)
FROM (
    SELECT n, 'ord-' || lpad(to_hex(n %% %(orders)s * 2654435761 %% 4294967296), 8, '0') AS order_id,
           %(start)s::timestamptz + interval '60 days' * n / %(events)s AS at
    FROM generate_series(0::bigint, %(events)s - 1) AS n
) AS happened;

INSERT INTO webhook_ids (order_id, provider_event_id, space, content_hash, taken_at)
SELECT
    'ord-' || lpad(to_hex(n %% %(orders)s * 2654435761 %% 4294967296), 8, '0'), 'evt-' || n, 'order', decode(md5(n::text), 'hex'),
    %(start)s::timestamptz + interval '60 days' * n / %(events)s
FROM generate_series(0::bigint, %(events)s - 1) AS n;

INSERT INTO orders (order_id, user_id, status, created_at, updated_at, amount_minor, currency, provenance, sequence,
                    first_event_at, last_event_at)
SELECT
    'ord-' || lpad(to_hex(n * 2654435761 %% 4294967296), 8, '0'),
    ('00000000-0000-4000-8000-' || lpad(to_hex(n %% 50000), 12, '0'))::uuid, 'updated', first, last, 100 * (1 + n %% 900), 'USD',
    format('[[0,"%%s",1,"evt-%%s"],[0,"%%s",1,"evt-%%s"]]', last, n, last, n)::json, %(events)s / %(orders)s, first, last
FROM (
    SELECT n, %(start)s::timestamptz + interval '60 days' * n / %(events)s AS first,
           %(start)s::timestamptz + interval '60 days' * (%(events)s - %(orders)s + n) / %(events)s AS last
    FROM generate_series(0::bigint, %(orders)s - 1) AS n
) AS happened;
