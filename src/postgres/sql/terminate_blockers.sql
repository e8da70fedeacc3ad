WITH RECURSIVE waited_for AS (
    SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS pid
    UNION
    SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids(waited_for.pid)) FROM waited_for
)
SELECT activity.pid
FROM waited_for
JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = waited_for.pid
WHERE activity.usename = session_user
  AND activity.datname = pg_catalog.current_database()
  AND activity.application_name = $2
  AND activity.wait_event_type IS DISTINCT FROM 'Lock'
  AND activity.pid <> $1
  AND pg_catalog.pg_terminate_backend(activity.pid)
