-- table_sizes: rows and bytes of each table of ours, a partitioned one with all its partitions.
SELECT parent.relname,
    count(*) FILTER (WHERE parent.relkind = 'p'),
    coalesce(sum(CASE WHEN leaf.reltuples < 0 THEN pg_stat_get_live_tuples(leaf.oid) ELSE leaf.reltuples END), 0)::bigint,
    coalesce(sum(pg_relation_size(leaf.oid)), 0)::bigint,
    coalesce(sum(pg_indexes_size(leaf.oid)), 0)::bigint,
    coalesce(sum(pg_total_relation_size(nullif(leaf.reltoastrelid, 0))), 0)::bigint,
    coalesce(sum(pg_total_relation_size(leaf.oid)), 0)::bigint AS total
FROM pg_class AS parent
CROSS JOIN LATERAL (
    SELECT parent.oid WHERE parent.relkind = 'r'
    UNION ALL
    SELECT relid FROM pg_partition_tree(parent.oid) WHERE parent.relkind = 'p' AND isleaf
) AS leaves (oid)
JOIN pg_class AS leaf ON leaf.oid = leaves.oid
WHERE parent.relnamespace = current_schema()::regnamespace
    AND parent.relkind IN ('r', 'p') AND NOT parent.relispartition
    AND parent.relname <> 'alembic_version'
GROUP BY parent.relname
ORDER BY total DESC, parent.relname
