-- indexes_of_log: the indexes that each day of a log must have, with the names that they have on this day.
SELECT coalesce(its.relname, left(%(partition)s::text || '_' || ours.relname, 63)),
    pg_get_indexdef(ours.oid),
    pg_index.indisunique,
    CASE pg_constraint.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' END
FROM pg_index
JOIN pg_class AS ours ON ours.oid = pg_index.indexrelid
LEFT JOIN pg_constraint ON pg_constraint.conindid = ours.oid AND pg_constraint.conrelid = pg_index.indrelid
    AND pg_constraint.contype IN ('p', 'u')
LEFT JOIN (
    SELECT pg_inherits.inhparent, pg_class.relname
    FROM pg_index
    JOIN pg_inherits ON pg_inherits.inhrelid = pg_index.indexrelid
    JOIN pg_class ON pg_class.oid = pg_index.indexrelid
    WHERE pg_index.indrelid = %(partition)s::regclass
) AS its ON its.inhparent = ours.oid
WHERE pg_index.indrelid = %(table)s::regclass
ORDER BY ours.relname
