-- sampled_events: events from all over a log: of some pages of each day, so many by chance.
SELECT {columns}
FROM (
    SELECT * FROM {table} TABLESAMPLE SYSTEM ({percent}) ORDER BY random() LIMIT %(size)s
) AS e
{owner}
