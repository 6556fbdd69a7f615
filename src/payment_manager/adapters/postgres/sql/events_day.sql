-- events_day: whether this name is a day of the log that is attached and has a page. One that another process drops meanwhile
-- has no size, and is taken to have events.
EXISTS (
    SELECT FROM pg_class AS day
    WHERE day.relname = step.name AND step.name ~ '_p[0-9]{{8}}$' AND day.relkind = 'r' AND day.relispartition
        AND day.relnamespace = (SELECT log.relnamespace FROM pg_class AS log WHERE log.oid = '{table}'::regclass)
        AND pg_relation_size(day.oid) IS DISTINCT FROM 0
)
