-- day_to_seal: what a day's copy must be like to take its place; no row where the day is no part of the log.
SELECT pg_get_expr(child.relpartbound, child.oid),
    pg_get_partition_constraintdef(child.oid),
    pg_total_relation_size(child.oid),
    ARRAY(
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = child.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        ORDER BY attnum
    )
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = %(table)s::regclass AND pg_inherits.inhrelid = %(partition)s::regclass
