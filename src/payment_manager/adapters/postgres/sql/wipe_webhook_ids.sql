-- wipe_webhook_ids: remove known ids that are wrong or stand for nothing.
DELETE FROM webhook_ids AS w
USING unnest(%(spaces)s::text[], %(stream_ids)s::text[], %(webhook_ids)s::text[]) AS wrong (space, order_id, provider_event_id)
WHERE w.order_id = wrong.order_id AND w.provider_event_id = wrong.provider_event_id AND w.space = wrong.space
