-- archived_days: days whose rows are in the archive.
SELECT log, day FROM event_days WHERE archived_at IS NOT NULL
