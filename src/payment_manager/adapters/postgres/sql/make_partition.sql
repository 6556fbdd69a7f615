-- make_partition: a day of a log. Made aside and then attached: attaching lets writers and readers of the log go on.
CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next_day} 00:00:00+00');
