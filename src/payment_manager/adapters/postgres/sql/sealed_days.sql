-- sealed_days: the days of a log that need no more sealing. One that was empty then and has grown since is not among them.
SELECT day
FROM event_days
WHERE log = %(table)s AND sealed_at IS NOT NULL
    AND (sealed_rows > 0 OR coalesce(pg_relation_size(to_regclass(log || '_p' || to_char(day, 'YYYYMMDD'))), 0) = 0)
