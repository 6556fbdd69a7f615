-- make_partition: a day of a log. Made aside and then attached: attaching lets writers and readers of the log go on. It takes
-- over what pg_partman takes over, so that nobody can tell who made a day.
CREATE TABLE {partition} (
    LIKE {table} INCLUDING COMMENTS INCLUDING COMPRESSION INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED
    INCLUDING STATISTICS INCLUDING STORAGE
);
ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ('{begins}') TO ('{ends}');
