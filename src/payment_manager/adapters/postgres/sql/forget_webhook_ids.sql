-- forget_webhook_ids: forget the ids taken within a slice of time; how many in each range of the index over time (128 pages).
-- What is parked is still to be applied, so its id must stay known; what a writer holds is left for the next round.
WITH old AS (
    SELECT w.ctid
    FROM webhook_ids AS w
    WHERE w.taken_at >= %(since)s AND w.taken_at < %(until)s
      AND NOT EXISTS (
          SELECT FROM parked_webhooks AS p
          WHERE w.space = 'dispute' AND p.order_id = w.order_id AND p.provider_event_id = w.provider_event_id
      )
    FOR UPDATE OF w SKIP LOCKED
), gone AS (
    DELETE FROM webhook_ids WHERE ctid = ANY(ARRAY(SELECT ctid FROM old)) RETURNING ctid
)
SELECT floor((ctid::text::point)[0])::bigint / 128, count(*)
FROM gone
GROUP BY 1
