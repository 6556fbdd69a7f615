-- indexes_of_log: the indexes that each day of a log must have, with the names that they have on this day; and last the one
-- that only a sealed day has. Its rows lie sorted, so the ranges of its pages tell where a kind's rows are, at the price of a
-- page or two, where the b-tree is read for each row. On a day that is written to, it would cost each row 5 % and tell nothing.
-- Eight pages a range: fewer find no less, more read what belongs to the neighbours (decision 19).
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
UNION ALL
SELECT %(partition)s::text || '_ranges', ' USING brin (kind, created_at) WITH (pages_per_range = 8)', false, NULL
ORDER BY 1
