-- default_rows_out: the rows of a day that are not among its copies yet.
COPY (
    SELECT * FROM {table}_default AS late
    WHERE created_at >= '{begins}' AND created_at < '{ends}'
        AND NOT EXISTS (
            SELECT FROM {partition} AS copied
            WHERE copied.created_at = late.created_at AND copied.event_id = late.event_id
        )
) TO STDOUT (FORMAT binary)
