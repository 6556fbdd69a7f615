-- default_day: a day for rows out of the default partition, beside the log for now. Like the default partition and not like the
-- log, so that the log isn't locked while rows are copied; with a check that spares attaching the reading of all of them.
CREATE TABLE {partition} (
    LIKE {table}_default INCLUDING ALL,
    CONSTRAINT {partition}_is_the_day CHECK (created_at >= '{begins}' AND created_at < '{ends}')
)
