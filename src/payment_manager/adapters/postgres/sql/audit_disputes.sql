-- audit_disputes: the disputes of a share's orders, with the id that the row bears.
SELECT d.dispute_id, {dispute_columns}
FROM disputes AS d
LEFT JOIN evidence AS e ON e.dispute_id = d.dispute_id
WHERE d.order_id > %(after)s AND d.order_id <= %(upto)s
