-- default_rows: events outside of every day made; there must be none. Counted up to a thousand, since it is asked often.
SELECT (SELECT count(*) FROM (SELECT FROM order_events_default LIMIT 1000) AS o)
     + (SELECT count(*) FROM (SELECT FROM dispute_events_default LIMIT 1000) AS d)
