-- default_rows_in: into a table of the same transaction. Frozen: a snapshot from before the move sees them too, once, since the
-- rows that they are copies of leave with their table.
COPY {partition} FROM STDIN (FORMAT binary, FREEZE)
