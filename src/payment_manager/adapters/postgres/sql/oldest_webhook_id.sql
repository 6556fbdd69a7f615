-- oldest_webhook_id: when the oldest id was taken, of those that are to be forgotten.
SELECT min(taken_at) FROM webhook_ids WHERE taken_at < %(before)s
