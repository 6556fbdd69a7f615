-- events_spans: between which times the events of each of some orders or disputes lie. The rows know.
SELECT first_event_at, last_event_at
FROM {owners}
WHERE {id} = ANY(%(streams)s)
