SELECT c.system_identifier,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN
           pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)
       END
FROM pg_catalog.pg_control_system() AS c
