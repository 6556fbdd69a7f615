-- day_archived: a day's table is gone; the archive's file holds its rows.
INSERT INTO event_days (log, day, detached_at, archived_at, archive_file, archived_rows, archive_digest)
VALUES (%(log)s, %(day)s, %(now)s, %(now)s, %(file)s, %(rows)s, %(digest)s)
ON CONFLICT (log, day) DO UPDATE
SET detached_at = coalesce(event_days.detached_at, excluded.detached_at),
    archived_at = excluded.archived_at, archive_file = excluded.archive_file,
    archived_rows = excluded.archived_rows, archive_digest = excluded.archive_digest
