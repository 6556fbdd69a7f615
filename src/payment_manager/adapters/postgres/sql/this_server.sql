-- this_server: which server this is, a restored copy of its files included.
(SELECT system_identifier::text FROM pg_control_system())
