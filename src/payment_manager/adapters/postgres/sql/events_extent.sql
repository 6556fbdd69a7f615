-- events_extent: the first and the last day of a log that may hold an event, and whether any lie outside of every day. The
-- names of the days are in the order of the days, so the catalogue's index is walked from both ends. A day that another
-- process drops meanwhile has no size.
SELECT
    (SELECT day.relname {events_days} ORDER BY day.relname LIMIT 1),
    (SELECT day.relname {events_days} ORDER BY day.relname DESC LIMIT 1),
    EXISTS (SELECT FROM {table}_default)
