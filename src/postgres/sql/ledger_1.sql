CREATE TABLE {ledger}.version (
    number     integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT current_user
);

COMMENT ON TABLE {ledger}.version IS 'Versions of this schema that have been applied.';

CREATE TABLE {ledger}.pipelines (
    pipeline      text NOT NULL,
    topic         text NOT NULL,
    target        text NOT NULL,
    key_columns   text[] NOT NULL,
    write_mode    text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, topic)
);

COMMENT ON TABLE {ledger}.pipelines IS
    'What each pipeline does with each topic: a change of table, key or write mode under one name is refused.';

CREATE TABLE {ledger}.progress (
    pipeline       text NOT NULL,
    topic          text NOT NULL,
    partition      integer NOT NULL,
    topic_id       uuid NOT NULL,
    epoch          bigint NOT NULL DEFAULT 0,
    owner          text,
    start_offset   bigint NOT NULL,
    next_offset    bigint NOT NULL,
    log_end_offset bigint,
    inserted       bigint NOT NULL DEFAULT 0,
    updated        bigint NOT NULL DEFAULT 0,
    unchanged      bigint NOT NULL DEFAULT 0,
    superseded     bigint NOT NULL DEFAULT 0,
    ignored        bigint NOT NULL DEFAULT 0,
    stale          bigint NOT NULL DEFAULT 0,
    deleted        bigint NOT NULL DEFAULT 0,
    quarantined    bigint NOT NULL DEFAULT 0,
    filtered       bigint NOT NULL DEFAULT 0,
    gaps           bigint NOT NULL DEFAULT 0,
    newest_at      timestamptz,
    committed_at   timestamptz,
    halt           text,
    PRIMARY KEY (pipeline, topic, partition)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_analyze_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE {ledger}.progress IS
    'Where each partition stands: next_offset - start_offset = the sum of all outcomes + gaps.';

CREATE TABLE {ledger}.decisions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline    text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    action      text NOT NULL,
    made_by     text NOT NULL DEFAULT session_user,
    made_at     timestamptz NOT NULL DEFAULT now(),
    reason      text NOT NULL,
    from_offset bigint,
    to_offset   bigint
);

COMMENT ON TABLE {ledger}.decisions IS 'What operators decided about partitions, and why.';

CREATE TABLE {ledger}.spans (
    decision_id    bigint PRIMARY KEY REFERENCES {ledger}.decisions (id),
    pipeline       text NOT NULL,
    topic          text NOT NULL,
    partition      integer NOT NULL,
    topic_id       uuid NOT NULL,
    epoch          bigint NOT NULL,
    owner          text,
    start_offset   bigint NOT NULL,
    next_offset    bigint NOT NULL,
    log_end_offset bigint,
    inserted       bigint NOT NULL,
    updated        bigint NOT NULL,
    unchanged      bigint NOT NULL,
    superseded     bigint NOT NULL,
    ignored        bigint NOT NULL,
    stale          bigint NOT NULL,
    deleted        bigint NOT NULL,
    quarantined    bigint NOT NULL,
    filtered       bigint NOT NULL,
    gaps           bigint NOT NULL,
    newest_at      timestamptz,
    committed_at   timestamptz,
    halt           text
);

CREATE INDEX spans_partition ON {ledger}.spans (pipeline, topic, partition);

COMMENT ON TABLE {ledger}.spans IS 'Progress between two decisions, closed with the counts it had.';

CREATE TABLE {ledger}.quarantine (
    pipeline      text NOT NULL,
    topic         text NOT NULL,
    topic_id      uuid NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    record_key    bytea,
    record_value  bytea,
    header_names  bytea[] NOT NULL DEFAULT '{}',
    header_values bytea[] NOT NULL DEFAULT '{}',
    record_at     timestamptz,
    target        text NOT NULL,
    truncated     boolean NOT NULL DEFAULT false,
    record_sha256 bytea,
    code          text NOT NULL,
    sqlstate      text,
    column_name   text,
    reason        text NOT NULL,
    attempts      integer NOT NULL DEFAULT 0,
    first_at      timestamptz NOT NULL DEFAULT now(),
    resolved_at   timestamptz,
    resolution    text,
    PRIMARY KEY (pipeline, topic, topic_id, partition, record_offset)
);

CREATE INDEX quarantine_open ON {ledger}.quarantine (pipeline, topic) WHERE resolved_at IS NULL;

COMMENT ON TABLE {ledger}.quarantine IS
    'Records that could not be written, with their bytes and the reason. Truncated ones keep their head and hash.';

CREATE VIEW {ledger}.lag AS
SELECT pipeline, topic, partition, owner, next_offset, log_end_offset,
       GREATEST(log_end_offset - next_offset, 0) AS lag_records,
       CASE
           WHEN log_end_offset IS NULL THEN NULL
           WHEN log_end_offset <= next_offset THEN 0
           ELSE GREATEST(EXTRACT(epoch FROM now() - newest_at), 0)
       END AS behind_seconds,
       committed_at, halt
FROM {ledger}.progress;

COMMENT ON VIEW {ledger}.lag IS
    'Records between the log''s end as last seen and progress; behind_seconds is the age of the newest record '
    'applied, 0 when caught up.';

CREATE VIEW {ledger}.outcomes AS
SELECT pipeline, topic,
       CAST(sum(next_offset - start_offset) AS bigint) AS offsets,
       CAST(sum(inserted) AS bigint) AS inserted,
       CAST(sum(updated) AS bigint) AS updated,
       CAST(sum(unchanged) AS bigint) AS unchanged,
       CAST(sum(superseded) AS bigint) AS superseded,
       CAST(sum(ignored) AS bigint) AS ignored,
       CAST(sum(stale) AS bigint) AS stale,
       CAST(sum(deleted) AS bigint) AS deleted,
       CAST(sum(quarantined) AS bigint) AS quarantined,
       CAST(sum(filtered) AS bigint) AS filtered,
       CAST(sum(gaps) AS bigint) AS gaps
FROM (
    SELECT pipeline, topic, start_offset, next_offset, inserted, updated, unchanged, superseded,
           ignored, stale, deleted, quarantined, filtered, gaps
    FROM {ledger}.progress
    UNION ALL
    SELECT pipeline, topic, start_offset, next_offset, inserted, updated, unchanged, superseded,
           ignored, stale, deleted, quarantined, filtered, gaps
    FROM {ledger}.spans
) AS counted
GROUP BY pipeline, topic;

COMMENT ON VIEW {ledger}.outcomes IS 'Outcomes of each topic''s records, closed spans included.';

CREATE VIEW {ledger}.duplicates AS
SELECT pipeline, topic,
       updated + unchanged + superseded + ignored + stale AS duplicates,
       offsets - gaps AS records,
       round(CAST(updated + unchanged + superseded + ignored + stale AS numeric) / NULLIF(offsets - gaps, 0), 6)
           AS share,
       updated, unchanged, superseded, ignored, stale
FROM {ledger}.outcomes;

COMMENT ON VIEW {ledger}.duplicates IS 'Records whose key had been applied before, by outcome.';

CREATE VIEW {ledger}.open_quarantine AS
SELECT pipeline, topic, partition, record_offset, record_at, target, code, sqlstate, column_name, reason,
       encode(substr(record_key, 1, 200), 'escape') AS key_head,
       encode(substr(record_value, 1, 1000), 'escape') AS value_head,
       truncated, attempts, first_at
FROM {ledger}.quarantine
WHERE resolved_at IS NULL;

COMMENT ON VIEW {ledger}.open_quarantine IS 'Quarantined records that nobody has settled yet; bytes as escaped text.';
