-- log_pages: how many pages the rows of a table take, all its partitions together.
SELECT coalesce(sum(pg_relation_size(part.relid)), pg_relation_size(%(table)s::regclass))::bigint
       / current_setting('block_size')::bigint
FROM pg_partition_tree(%(table)s::regclass) AS part
WHERE part.isleaf
