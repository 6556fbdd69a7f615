-- disputes_by_id: some disputes by their own ids; requests in flight at the same moment share it.
SELECT {dispute_columns}
FROM disputes AS d
LEFT JOIN evidence AS e ON e.dispute_id = d.dispute_id
WHERE d.dispute_id = ANY(%(dispute_ids)b::uuid[])
