-- events_extent: the first and the last day of a log that may hold an event, and whether any lie outside of every day. Names of
-- days are in the order of the days, and a colon comes after every digit; so the catalogue's index is walked from both ends,
-- a name at a time. One condition a step: with more, PostgreSQL expects so few names that it sorts all of them. What belongs
-- to a day begins with its name, so that the way down takes a step a day.
WITH RECURSIVE rising (name, holds) AS (
    SELECT '{table}_p'::name, false
    UNION ALL
    SELECT step.name, {events_day}
    FROM rising
    CROSS JOIN LATERAL (
        SELECT relname AS name FROM pg_class WHERE relname > rising.name ORDER BY relname LIMIT 1
    ) AS step
    WHERE NOT rising.holds AND step.name < '{table}_p:'
),
falling (name, holds) AS (
    SELECT '{table}_p:'::name, false
    UNION ALL
    SELECT step.name, {events_day}
    FROM falling
    CROSS JOIN LATERAL (
        SELECT left(relname, length('{table}_p') + 8)::name AS name
        FROM pg_class WHERE relname < falling.name ORDER BY relname DESC LIMIT 1
    ) AS step
    WHERE NOT falling.holds AND step.name > '{table}_p'
)
SELECT
    (SELECT name FROM rising WHERE holds),
    (SELECT name FROM falling WHERE holds),
    EXISTS (SELECT FROM {table}_default)
