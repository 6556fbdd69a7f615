-- dead_letters_handled: how many letters of a topic were replayed or dropped, and how many messages were given back, within
-- these ranges of offsets.
SELECT coalesce(sum(done.letters), 0)::bigint, coalesce(sum(done.replayed), 0)::bigint
FROM unnest(%(partitions)s::int[], %(firsts)s::bigint[], %(ends)s::bigint[]) AS range (topic_partition, first, after_last)
CROSS JOIN LATERAL (
    SELECT count(DISTINCT a.letter_offset) AS letters,
        count(*) FILTER (WHERE a.action = 'replayed' AND NOT a.is_copy) AS replayed
    FROM dead_letter_actions AS a
    WHERE a.topic_id = %(topic_id)s AND a.topic_partition = range.topic_partition
        AND a.letter_offset >= range.first AND a.letter_offset < range.after_last
) AS done
