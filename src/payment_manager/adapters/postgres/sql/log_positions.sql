-- log_positions: how far the logs were numbered.
SELECT CASE WHEN o.is_called THEN o.last_value ELSE 0 END, CASE WHEN d.is_called THEN d.last_value ELSE 0 END
FROM order_events_position AS o, dispute_events_position AS d
