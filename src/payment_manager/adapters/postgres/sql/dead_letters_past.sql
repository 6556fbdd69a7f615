-- dead_letters_past: what was done about these letters of a topic, in the order of time.
SELECT a.topic_id, a.topic_partition, a.letter_offset, a.action, a.actor, a.reason, a.acted_at,
    a.replayed_partition, a.replayed_offset, a.is_copy
FROM unnest(%(topic_ids)s::text[], %(partitions)s::int[], %(offsets)s::bigint[]) AS asked (topic_id, topic_partition, letter_offset)
JOIN dead_letter_actions AS a USING (topic_id, topic_partition, letter_offset)
ORDER BY a.acted_at
