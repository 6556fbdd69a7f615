-- open_intents: how many questions have no known answer, since when, and how many for too long.
SELECT count(*), min(requested_at), count(*) FILTER (WHERE requested_at < %(overdue_before)s)
FROM provider_intents
WHERE status = 'pending'
