-- partman_settings: what pg_partman may do to our logs. Its background worker must not make their days: it works in the
-- server's time zone, and a day of ours begins at midnight UTC. Nor may it retire them: the service proves first.
UPDATE {partman}.part_config
SET premake = %(days_ahead)s, infinite_time_partitions = true, automatic_maintenance = 'off', retention = NULL
WHERE parent_table = format('%%I.%%I', current_schema(), %(table)s::text)
    AND (premake, infinite_time_partitions, automatic_maintenance, retention)
        IS DISTINCT FROM (%(days_ahead)s, true, 'off', NULL)
RETURNING retention IS NULL
