-- retired_days: the days that left the logs: in which file each is, or whether its table is kept.
SELECT retired.log, retired.day, retired.archive_file, retired.archived_rows, retired.archive_digest,
       retired.archived_at IS NULL AND day.oid IS NOT NULL
FROM event_days AS retired
LEFT JOIN pg_class AS day
    ON day.oid = to_regclass(retired.log || '_p' || to_char(retired.day, 'YYYYMMDD')) AND NOT day.relispartition
WHERE retired.detached_at IS NOT NULL
ORDER BY retired.log, retired.day
