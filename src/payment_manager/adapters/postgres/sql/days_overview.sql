-- days_overview: what there is of each day of a log, and what maintenance wrote down about it. A table of a day's name that is
-- no part of the log was detached, by maintenance or by hand.
WITH tables AS (
    SELECT class.oid, class.reltuples,
        pg_inherits.inhrelid IS NOT NULL AS is_attached,
        class.relname = %(table)s::text || '_default' AS is_default,
        CASE WHEN class.relname <> %(table)s::text || '_default' THEN to_date(right(class.relname, 8), 'YYYYMMDD') END AS day
    FROM pg_class AS class
    LEFT JOIN pg_inherits ON pg_inherits.inhrelid = class.oid AND pg_inherits.inhparent = %(table)s::regclass
    WHERE class.relnamespace = current_schema()::regnamespace AND class.relkind = 'r'
        AND class.relname ~ ('^' || %(table)s::text || '_(p[0-9]{8}|default)$')
), done AS (
    SELECT * FROM event_days WHERE log = %(table)s::text
)
SELECT coalesce(tables.day, done.day) AS day,
    CASE
        WHEN tables.is_default THEN 'default'
        WHEN tables.oid IS NULL AND done.archived_at IS NOT NULL THEN 'archived'
        WHEN tables.oid IS NULL THEN 'missing'
        WHEN NOT tables.is_attached THEN 'detached'
        WHEN tables.day > %(today)s THEN 'ahead'
        WHEN tables.day = %(today)s THEN 'today'
        WHEN done.sealed_at IS NOT NULL THEN 'sealed'
        ELSE 'open'
    END,
    coalesce(
        CASE
            WHEN tables.oid IS NULL THEN coalesce(done.archived_rows, done.sealed_rows)
            WHEN tables.reltuples < 0 THEN pg_stat_get_live_tuples(tables.oid)
            ELSE tables.reltuples
        END, 0
    )::bigint,
    coalesce(pg_table_size(tables.oid), 0),
    coalesce(pg_indexes_size(tables.oid), 0),
    coalesce(pg_total_relation_size(tables.oid), 0),
    done.sealed_at,
    done.archive_file
FROM tables FULL JOIN done ON done.day = tables.day
ORDER BY day DESC NULLS FIRST
