-- day_state: whether a day can be made: is it there, is its name another table's, are there rows of it in the default partition.
SELECT
    EXISTS (
        SELECT FROM pg_inherits
        WHERE inhrelid = to_regclass(%(partition)s) AND inhparent = %(table)s::regclass
    ),
    to_regclass(%(partition)s) IS NOT NULL,
    EXISTS (SELECT FROM {table}_default WHERE created_at >= %(begins)s AND created_at < %(ends)s)
