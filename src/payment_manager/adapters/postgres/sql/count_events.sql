-- count_events: all events of a log, or of a day that was kept.
SELECT count(*) FROM {table}
