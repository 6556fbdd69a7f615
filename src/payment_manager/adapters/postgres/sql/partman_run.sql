-- partman_run: pg_partman's own round for one log, by the server's clock.
SELECT {partman}.run_maintenance(format('%%I.%%I', current_schema(), %(table)s::text), p_analyze => false, p_jobmon => false)
