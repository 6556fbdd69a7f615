-- load_batch: all that is stored about a batch, in one statement: what it costs the driver to send a statement and to wait
-- for it is more than what these few rows cost. Each row is its kind and its columns as JSON.
SELECT 'order', to_json(loaded)::text FROM (
    {load_orders}
) AS loaded
UNION ALL
SELECT 'dispute', to_json(loaded)::text FROM (
    {load_disputes}
) AS loaded
UNION ALL
SELECT 'parked', to_json(loaded)::text FROM (
    {load_parked}
) AS loaded
UNION ALL
SELECT 'known', to_json(loaded)::text FROM (
    {load_webhook_ids}
) AS loaded
