-- audit_log_part: what is read of a log, or of a day of it.
SELECT {id}, sequence, kind::text, provider_event_id, data, created_at, correlation_id FROM {table}
