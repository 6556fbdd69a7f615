-- events_span: between which times the events of some orders or disputes lie. The rows know.
SELECT min(first_event_at), max(last_event_at)
FROM {owners}
WHERE {id} = ANY(%(streams)s)
