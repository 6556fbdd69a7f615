-- day_sealed: kept in the very transaction that sealed the day.
INSERT INTO event_days (log, day, sealed_at, sealed_rows)
VALUES (%(table)s, %(day)s, %(now)s, %(rows)s)
ON CONFLICT (log, day) DO UPDATE SET sealed_at = excluded.sealed_at, sealed_rows = excluded.sealed_rows
