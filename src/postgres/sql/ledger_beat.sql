-- One statement for each beat. Rows of processes that died go after a day; one that another beat holds is left to
-- it.
WITH dead AS (
    DELETE FROM {ledger}.processes AS process
    USING (
        SELECT pipeline, instance FROM {ledger}.processes
        WHERE pipeline = $1 AND instance <> $2 AND beaten_at < pg_catalog.now() - interval '1 day'
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE process.pipeline = old.pipeline AND process.instance = old.instance
)
INSERT INTO {ledger}.processes
    (pipeline, instance, host, pid, version, state, started_at, beaten_at, lanes, partitions, applied,
     records_per_second, kafka_away, last_error, last_error_at, next_try_at, tries, behind, waits)
SELECT $1, $2, $3, $4, $5, $6, beat.at - $7 * millisecond, beat.at, $8, $9, $10,
       $11, $12, $13, beat.at - $14 * millisecond, beat.at + $15 * millisecond, $16, $17,
       CAST($18 AS jsonb)
FROM (VALUES (pg_catalog.now(), interval '1 millisecond')) AS beat(at, millisecond)
ON CONFLICT (pipeline, instance) DO UPDATE SET
    version = excluded.version,
    state = excluded.state,
    beaten_at = excluded.beaten_at,
    lanes = excluded.lanes,
    partitions = excluded.partitions,
    applied = excluded.applied,
    records_per_second = excluded.records_per_second,
    kafka_away = excluded.kafka_away,
    last_error = excluded.last_error,
    last_error_at = excluded.last_error_at,
    next_try_at = excluded.next_try_at,
    tries = excluded.tries,
    behind = excluded.behind,
    waits = excluded.waits
