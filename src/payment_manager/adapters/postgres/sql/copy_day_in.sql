-- copy_day_in: into a table of the same transaction. Frozen: every snapshot sees the rows, also one that is older than the
-- copy, and no vacuum has anything left to do.
COPY {table} ({columns}) FROM STDIN (FORMAT binary, FREEZE)
