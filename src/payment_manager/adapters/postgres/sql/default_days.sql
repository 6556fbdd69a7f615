-- default_days: of which days a log's default partition holds rows, and how many.
SELECT created_at::date, count(*) FROM {table}_default GROUP BY 1 ORDER BY 1
