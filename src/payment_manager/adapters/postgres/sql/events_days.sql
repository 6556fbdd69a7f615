-- events_days: the days of a log that are attached and have at least a page.
FROM pg_class AS day
WHERE day.relname > '{table}_p' AND day.relname < '{table}_q' AND day.relname ~ '_p[0-9]{{8}}$'
    AND day.relkind = 'r' AND day.relispartition
    AND day.relnamespace = (SELECT log.relnamespace FROM pg_class AS log WHERE log.oid = '{table}'::regclass)
    AND pg_relation_size(day.oid) IS DISTINCT FROM 0
