-- kept_days: days that were detached and not archived, and whose tables are there, as no part of any log.
SELECT kept.log, kept.day
FROM event_days AS kept
JOIN pg_class AS day ON day.oid = to_regclass(kept.log || '_p' || to_char(kept.day, 'YYYYMMDD'))
WHERE kept.detached_at IS NOT NULL AND kept.archived_at IS NULL AND NOT day.relispartition
ORDER BY kept.log, kept.day
