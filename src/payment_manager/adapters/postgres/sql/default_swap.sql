-- default_swap: the copies become days of the log, and an empty default partition takes the old one's place.
ALTER TABLE {table} DETACH PARTITION {table}_default;
DROP TABLE {table}_default;
{attach_days}
CREATE TABLE {table}_default PARTITION OF {table} DEFAULT
