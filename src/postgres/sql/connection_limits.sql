SELECT pg_catalog.quote_ident(r.rolname), NOT r.rolsuper AND r.rolconnlimit >= 0, r.rolconnlimit,
       pg_catalog.quote_ident(d.datname), NOT r.rolsuper AND d.datconnlimit >= 0, d.datconnlimit,
       pg_catalog.current_setting('max_connections')::int
       - pg_catalog.current_setting('superuser_reserved_connections')::int
       - coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0)
FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
WHERE r.rolname = session_user AND d.datname = pg_catalog.current_database()
