-- list_disputes: a page of disputes, newest recorded first.
SELECT {dispute_columns}
FROM disputes AS d
LEFT JOIN evidence AS e ON e.dispute_id = d.dispute_id
WHERE {conditions}
ORDER BY d.first_event_at DESC, d.dispute_id DESC
LIMIT %(limit)s
