-- audit_size: how many orders a walk goes over.
SELECT count(*) FROM orders
