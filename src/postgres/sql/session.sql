SET statement_timeout = {statement_ms};
SET lock_timeout = {lock_ms};
SET idle_in_transaction_session_timeout = {idle_ms};
SET idle_session_timeout = 0;
SET default_transaction_isolation = 'read committed';
SET standard_conforming_strings = on;
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
SET TimeZone = 'UTC';
SET timezone_abbreviations = 'Default';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
SET array_nulls = on;
SET xmloption = content;
SET lc_monetary = 'C';
SET extra_float_digits = 1;
SET bytea_output = 'hex';
SET jit = off;
SET tcp_keepalives_idle = 15;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SELECT pg_catalog.set_config('client_connection_check_interval', '5s', false)
WHERE pg_catalog.version() !~* '(visual|windows|mingw|cygwin)';
SELECT pg_catalog.pg_backend_pid(),
       pg_catalog.current_setting('server_version_num'),
       current_user,
       pg_catalog.current_database(),
       pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('transaction_read_only');
