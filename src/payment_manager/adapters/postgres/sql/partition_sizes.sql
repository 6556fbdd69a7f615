-- partition_sizes: rows and bytes of each partition of ours, the default one of a table first, then the newest.
SELECT leaf.relname,
    0,
    (CASE WHEN leaf.reltuples < 0 THEN pg_stat_get_live_tuples(leaf.oid) ELSE leaf.reltuples END)::bigint,
    pg_relation_size(leaf.oid),
    pg_indexes_size(leaf.oid),
    coalesce(pg_total_relation_size(nullif(leaf.reltoastrelid, 0)), 0),
    pg_total_relation_size(leaf.oid)
FROM pg_class AS leaf
JOIN pg_inherits ON pg_inherits.inhrelid = leaf.oid
JOIN pg_class AS parent ON parent.oid = pg_inherits.inhparent
WHERE parent.relnamespace = current_schema()::regnamespace AND parent.relkind = 'p' AND leaf.relkind = 'r'
ORDER BY parent.relname, pg_get_expr(leaf.relpartbound, leaf.oid) <> 'DEFAULT', leaf.relname DESC
