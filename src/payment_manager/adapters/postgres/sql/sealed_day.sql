-- sealed_day: the packed copy of a day, before anything is in it. {partition} is the copy, {table} the day. Like the day and
-- not like the log: making it must not lock the log for as long as the copying takes.
CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)
