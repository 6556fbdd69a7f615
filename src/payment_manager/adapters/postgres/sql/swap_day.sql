-- swap_day: the copy takes the day's place and its names. All of it is catalogue, under the one lock that keeps readers
-- waiting; asked for last, so that nothing else is waited for while it is held.
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
ALTER TABLE {table} DETACH PARTITION {partition};
DROP TABLE {partition};
ALTER TABLE {copy} RENAME TO {partition};
{index_renames}
ALTER TABLE {table} ATTACH PARTITION {partition} {bound};
ALTER TABLE {partition} DROP CONSTRAINT {check};
