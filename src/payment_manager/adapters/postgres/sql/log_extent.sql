-- log_extent: a log's days, its bytes, and when one of its days was sealed last.
SELECT count(*) FILTER (WHERE pg_get_expr(child.relpartbound, child.oid) <> 'DEFAULT'),
    coalesce(sum(pg_total_relation_size(child.oid)), 0)::bigint,
    (SELECT max(sealed_at) FROM event_days WHERE log = %(table)s)
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = %(table)s::regclass
