-- save_dead_letter_actions: the audit rows of what was just done.
INSERT INTO dead_letter_actions (
    topic_id, topic_partition, letter_offset, action, space, actor, reason, acted_at, error_class, error_message, attempts,
    source_topic, source_partition, source_offset, correlation_id, replayed_partition, replayed_offset, is_copy
)
SELECT topic_id, topic_partition, letter_offset, action, space, actor, reason, acted_at, error_class, error_message, attempts,
    source_topic, source_partition, source_offset, correlation_id, replayed_partition, replayed_offset, is_copy
FROM json_to_recordset(%(rows)s::json) AS r (
    topic_id text, topic_partition integer, letter_offset bigint, action text, space text, actor text, reason text,
    acted_at timestamptz, error_class text, error_message text, attempts integer, source_topic text, source_partition integer,
    source_offset bigint, correlation_id text, replayed_partition integer, replayed_offset bigint, is_copy boolean
)
