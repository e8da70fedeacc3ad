-- A time of the future says nothing about how far behind a partition is.
CREATE OR REPLACE VIEW {ledger}.lag AS
SELECT pipeline, topic, partition, owner, next_offset, log_end_offset,
       GREATEST(log_end_offset - next_offset, 0) AS lag_records,
       CASE
           WHEN log_end_offset IS NULL THEN NULL
           WHEN log_end_offset <= next_offset THEN 0
           WHEN newest_at > now() + interval '1 minute' THEN NULL
           ELSE GREATEST(EXTRACT(epoch FROM now() - newest_at), 0)
       END AS behind_seconds,
       committed_at, halt
FROM {ledger}.progress;

COMMENT ON VIEW {ledger}.lag IS
    'Records between the log''s end as last seen and progress; behind_seconds is the age of the newest record '
    'applied, 0 when caught up, NULL where that record''s time lies in the future. The age of the oldest record '
    'not yet applied, at most as much, is in `tidegate status` and in the metric tidegate_consumer_lag_seconds.';

-- Readers see what is open, and not the bytes of the records.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidegate_reader') THEN
        GRANT SELECT (pipeline, topic, partition, record_offset, record_at, target, code, sqlstate, column_name,
            reason, truncated, attempts, first_at) ON {ledger}.open_quarantine TO tidegate_reader;
    END IF;
END
$$;
