-- this_server: which database of which server this is, a restored copy of the server's files included.
(
    SELECT control.system_identifier || '/' || own.oid
    FROM pg_control_system() AS control, pg_database AS own
    WHERE own.datname = current_database()
)
