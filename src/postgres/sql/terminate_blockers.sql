-- Both queries are fences: a function with an effect in a WHERE is called for rows that other conditions
-- refuse.
WITH RECURSIVE waited_for AS (
    SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS pid
    UNION
    SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids(waited_for.pid)) FROM waited_for
), frozen AS MATERIALIZED (
    SELECT activity.pid
    FROM waited_for
    JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = waited_for.pid
    WHERE activity.usename = session_user
      AND activity.datname = pg_catalog.current_database()
      AND (activity.application_name = $2 OR pg_catalog.starts_with(activity.application_name, $3))
      AND activity.wait_event_type IS DISTINCT FROM 'Lock'
      AND activity.pid <> $1
)
SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM frozen
