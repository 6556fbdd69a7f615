-- default_attach_day: one of the days.
ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ('{begins}') TO ('{ends}');
ALTER TABLE {partition} DROP CONSTRAINT {partition}_is_the_day;
