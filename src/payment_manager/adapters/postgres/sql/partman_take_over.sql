-- partman_take_over: a log becomes pg_partman's to make days for, with the days and the default partition that it has. No
-- template table: a day is like its log. It wants to make days at once: given the last one that is needed, no other.
SELECT {partman}.create_parent(
    p_parent_table => format('%%I.%%I', current_schema(), %(table)s::text), p_control => 'created_at', p_interval => '1 day',
    p_premake => %(days_ahead)s,
    p_start_partition => greatest(%(last_day)s::date, current_date + %(days_ahead)s)::text, p_default_table => false,
    p_automatic_maintenance => 'off', p_template_table => 'false', p_jobmon => false
)
WHERE NOT EXISTS (
    SELECT FROM {partman}.part_config WHERE parent_table = format('%%I.%%I', current_schema(), %(table)s::text)
)
