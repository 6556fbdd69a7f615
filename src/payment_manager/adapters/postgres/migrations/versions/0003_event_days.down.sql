-- event_days: the way back. Days stay as they are; what is in an archive stays there.
DROP INDEX webhook_ids_taken;
DROP TABLE event_days;
