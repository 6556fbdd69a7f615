-- event_layout: the way back. Sealed days stay as they are.
DROP INDEX disputes_status_reason;
