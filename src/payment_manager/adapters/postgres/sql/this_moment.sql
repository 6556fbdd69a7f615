-- this_moment: what a transaction sees, when, and how many rows there are.
SELECT pg_current_snapshot()::text, statement_timestamp(), (SELECT count(*) FROM orders), (SELECT count(*) FROM disputes)
