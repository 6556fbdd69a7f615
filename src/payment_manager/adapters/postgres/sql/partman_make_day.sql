-- partman_make_day: the day that begins at this moment; false where a table of its name is there.
SELECT {partman}.create_partition_time(
    format('%%I.%%I', current_schema(), %(table)s::text), ARRAY[%(begins)s::timestamptz]
)
