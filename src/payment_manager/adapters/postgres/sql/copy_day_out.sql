-- copy_day_out: a day's rows, as they will lie.
COPY (SELECT {columns} FROM {table} ORDER BY {sealed_order}) TO STDOUT (FORMAT binary)
