"""The archive: days of the event logs as Parquet files. `pyarrow` is imported here alone, and this
package only where an archive is set.
"""
