-- seed_runs: the number of the last run that made up a history; each run's ids begin with its number.
SELECT coalesce(max(substring(order_id FROM '^seed([0-9]{1,6})-')::integer), 0)
FROM webhook_ids
WHERE order_id >= 'seed' AND order_id < 'see~'
