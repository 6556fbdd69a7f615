-- day_detached: a day is no part of its log any more; its table is kept.
INSERT INTO event_days (log, day, detached_at)
VALUES (%(log)s, %(day)s, %(now)s)
ON CONFLICT (log, day) DO UPDATE SET detached_at = excluded.detached_at
