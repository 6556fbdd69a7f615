-- sealed_days: the days of a log that need no more sealing. A day that has doubled since, by rows that came late or were moved
-- into it, or that was empty then and is not now, is not among them.
SELECT day
FROM event_days
CROSS JOIN LATERAL (SELECT to_regclass(log || '_p' || to_char(day, 'YYYYMMDD')) AS its) AS tables
WHERE log = %(table)s AND sealed_at IS NOT NULL
    AND NOT coalesce(
        CASE sealed_rows WHEN 0 THEN pg_relation_size(its) > 0 ELSE pg_stat_get_live_tuples(its) > 2 * sealed_rows END,
        false
    )
