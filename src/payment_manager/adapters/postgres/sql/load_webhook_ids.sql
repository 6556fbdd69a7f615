-- load_webhook_ids: which of a batch's webhooks were taken before.
SELECT w.space, w.order_id, w.provider_event_id, w.content_hash, w.rejected_over
FROM unnest(%(spaces)b::text[], %(stream_ids)b::text[], %(webhook_ids)b::text[]) AS asked (space, order_id, provider_event_id)
JOIN webhook_ids AS w
    ON w.order_id = asked.order_id AND w.provider_event_id = asked.provider_event_id AND w.space = asked.space
