-- search_walk: of a stretch of a log those events that may have the words that are sought; at the end how many were walked over,
-- and the last of them. What a text says in escapes, or in the two letters that become ASCII in lower case, is known only when
-- it is read, so such texts come along.
WITH walked AS MATERIALIZED (
    {page}
),
texts AS MATERIALIZED (
    SELECT walked.*,
        lower(concat_ws(' ', order_id, dispute_id, event_id, provider_event_id, correlation_id, data) COLLATE "C") AS said
    FROM walked
)
(
    SELECT walked, event_id, order_id, dispute_id, sequence, kind, provider_event_id, data, created_at, correlation_id,
        position
    FROM texts
    WHERE ({conditions}) OR strpos(data, '\') > 0
        OR octet_length(data) <> length(data) AND (strpos(data, chr(8490)) > 0 OR strpos(data, chr(304)) > 0)
    ORDER BY created_at DESC, event_id COLLATE "C" DESC
)
UNION ALL
(
    SELECT (SELECT count(*) FROM walked) AS walked, event_id, order_id, dispute_id, sequence, kind, provider_event_id, '', created_at,
        correlation_id, position
    FROM walked
    ORDER BY created_at, event_id COLLATE "C"
    LIMIT 1
)
