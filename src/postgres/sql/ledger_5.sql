-- Decisions of people: about a partition, a topic (partition is null) or the pipeline (topic is null, too).
ALTER TABLE {ledger}.decisions ALTER COLUMN topic DROP NOT NULL;
ALTER TABLE {ledger}.decisions ALTER COLUMN partition DROP NOT NULL;
ALTER TABLE {ledger}.decisions ADD CHECK (topic IS NOT NULL OR partition IS NULL);
COMMENT ON TABLE {ledger}.decisions IS
    'What operators decided, and why: about a partition, a topic, or the whole pipeline where both are null.';

-- halt_offset: the one record that a partition stands still before. decision_id: the decision that took the
-- partition from its owner. judged_from: below it, people let misfits pass, however many they are. paused_at:
-- since when a pause holds it. span: the decision behind which an offset may mean another record than before, 0
-- where there is none. anchor_*: the last record applied, by which a log is known again: one that was cut and has
-- grown past the position has another record there.
ALTER TABLE {ledger}.progress
    ADD COLUMN halt_offset   bigint,
    ADD COLUMN decision_id   bigint,
    ADD COLUMN judged_from   bigint,
    ADD COLUMN paused_at     timestamptz,
    ADD COLUMN span          bigint NOT NULL DEFAULT 0,
    ADD COLUMN anchor_offset bigint,
    ADD COLUMN anchor_at_ms  bigint,
    ADD COLUMN anchor_sum    bigint;
ALTER TABLE {ledger}.spans ADD COLUMN span bigint NOT NULL DEFAULT 0;

-- How many partitions the topic was seen with, and in which cluster; null in rows of an older program.
ALTER TABLE {ledger}.pipelines
    ADD COLUMN partitions integer,
    ADD COLUMN cluster_id text;

CREATE TABLE {ledger}.pauses (
    decision_id bigint PRIMARY KEY REFERENCES {ledger}.decisions (id),
    pipeline    text NOT NULL,
    topic       text,
    partition   integer,
    CHECK (topic IS NOT NULL OR partition IS NULL)
);
CREATE UNIQUE INDEX pauses_scope ON {ledger}.pauses (pipeline, COALESCE(topic, ''), COALESCE(partition, -1));
COMMENT ON TABLE {ledger}.pauses IS
    'What stands still because somebody said so: a partition, a topic, or the whole pipeline where both are null.';

-- Since when a partition is paused; null where it isn't. Volatile on purpose: it sees what is committed when it
-- is called, so that a statement which waited for a row's lock stores what holds behind the wait.
CREATE FUNCTION {ledger}.paused_since(of_pipeline text, of_topic text, of_partition integer) RETURNS timestamptz
LANGUAGE sql VOLATILE STRICT
AS $function$
SELECT pg_catalog.min(decided.made_at)
FROM {ledger}.pauses AS standing
JOIN {ledger}.decisions AS decided ON decided.id OPERATOR(pg_catalog.=) standing.decision_id
WHERE standing.pipeline OPERATOR(pg_catalog.=) $1
  AND (standing.topic IS NULL OR standing.topic OPERATOR(pg_catalog.=) $2)
  AND (standing.partition IS NULL OR standing.partition OPERATOR(pg_catalog.=) $3)
$function$;
COMMENT ON FUNCTION {ledger}.paused_since(text, text, integer) IS
    'Since when a partition is paused, by the pauses that stand; null where none covers it.';

CREATE TABLE {ledger}.skips (
    pipeline      text NOT NULL,
    topic         text NOT NULL,
    partition     integer NOT NULL,
    topic_id      uuid NOT NULL,
    record_offset bigint NOT NULL,
    decision_id   bigint NOT NULL REFERENCES {ledger}.decisions (id),
    PRIMARY KEY (pipeline, topic, partition)
);
COMMENT ON TABLE {ledger}.skips IS
    'Records that a partition''s owner is to put into the quarantine instead of halting; it removes the row with that.';

-- Raised by the transaction that settles the records: what is applied once is counted once. Records that are read
-- again, since somebody set a position back, count again.
CREATE TABLE {ledger}.rule_failures (
    pipeline  text NOT NULL,
    topic     text NOT NULL,
    partition integer NOT NULL,
    rule      text NOT NULL,
    on_fail   text NOT NULL,
    failures  bigint NOT NULL,
    last_at   timestamptz NOT NULL,
    PRIMARY KEY (pipeline, topic, partition, rule)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_scale_factor = 0
);
COMMENT ON TABLE {ledger}.rule_failures IS
    'How many records failed which rule of their route, and what became of them.';

-- What a claim asks behind its locks, volatile for the same reason: the record that is to be skipped, and the cluster
-- that the topic was seen in.
CREATE FUNCTION {ledger}.skipped_at(
    of_pipeline text, of_topic text, of_partition integer, of_topic_id uuid, from_offset bigint
) RETURNS bigint
LANGUAGE sql VOLATILE STRICT
AS $function$
SELECT skipped.record_offset
FROM {ledger}.skips AS skipped
WHERE skipped.pipeline OPERATOR(pg_catalog.=) $1 AND skipped.topic OPERATOR(pg_catalog.=) $2
  AND skipped.partition OPERATOR(pg_catalog.=) $3 AND skipped.topic_id OPERATOR(pg_catalog.=) $4
  AND skipped.record_offset OPERATOR(pg_catalog.>=) $5
$function$;
CREATE FUNCTION {ledger}.cluster_of(of_pipeline text, of_topic text) RETURNS text
LANGUAGE sql VOLATILE STRICT
AS $function$
SELECT route.cluster_id FROM {ledger}.pipelines AS route
WHERE route.pipeline OPERATOR(pg_catalog.=) $1 AND route.topic OPERATOR(pg_catalog.=) $2
$function$;

-- An offset of another span or of a backfill is another record. relayed_at: when the dead-letter topic had it;
-- relay_error: why that topic refuses it.
ALTER TABLE {ledger}.quarantine
    ADD COLUMN span       bigint NOT NULL DEFAULT 0,
    ADD COLUMN backfill   text NOT NULL DEFAULT '',
    ADD COLUMN relayed_at timestamptz,
    ADD COLUMN relay_error text;
ALTER TABLE {ledger}.quarantine DROP CONSTRAINT quarantine_pkey;
ALTER TABLE {ledger}.quarantine
    ADD PRIMARY KEY (pipeline, topic, topic_id, partition, record_offset, span, backfill);
-- Retries read what is open, page by page.
DROP INDEX {ledger}.quarantine_open;
CREATE INDEX quarantine_open ON {ledger}.quarantine
    (pipeline, topic, topic_id, partition, span, backfill, record_offset) WHERE resolved_at IS NULL;
CREATE INDEX quarantine_unrelayed ON {ledger}.quarantine (pipeline, first_at)
    WHERE relayed_at IS NULL AND relay_error IS NULL AND resolved_at IS NULL;

-- The rows that retries wrote: the transaction (of this database cluster, counted without wrapping round), the
-- records, and the hashes of their keys. A row that still has that transaction is the record's; whoever else
-- changes it puts another one there. last_offset: the last of the records, null where a row of the table can
-- change with others.
CREATE TABLE {ledger}.retried (
    pipeline    text NOT NULL,
    topic       text NOT NULL,
    topic_id    uuid NOT NULL,
    partition   integer NOT NULL,
    span        bigint NOT NULL,
    backfill    text NOT NULL,
    system      text,
    row_table   oid NOT NULL,
    writer      bigint NOT NULL,
    last_offset bigint,
    offsets     bigint[] NOT NULL,
    keys        bigint[] NOT NULL
);
-- Hashes can't be made shorter.
ALTER TABLE {ledger}.retried ALTER COLUMN keys SET STORAGE EXTERNAL;
CREATE INDEX retried_writer ON {ledger}.retried (writer);
COMMENT ON TABLE {ledger}.retried IS
    'Which rows retries of quarantined records wrote: for later records of the same keys.';

-- tries: how often in a row what went wrong last was tried again, the next try included. behind: offsets between the
-- stored positions of the partitions that the process holds and their logs' ends; null where one isn't known. waits:
-- what must be true before topics are read, and where that stands.
ALTER TABLE {ledger}.processes
    ADD COLUMN tries  integer,
    ADD COLUMN behind bigint,
    ADD COLUMN waits  jsonb;

-- Who may write progress may decide, and who may read it may see what was decided: whatever roles were granted.
DO $$
DECLARE
    progress CONSTANT oid := (SELECT typrelid FROM pg_type WHERE oid = pg_typeof(CAST(NULL AS {ledger}.progress)));
    pauses CONSTANT text := CAST(pg_typeof(CAST(NULL AS {ledger}.pauses)) AS text);
    skips CONSTANT text := CAST(pg_typeof(CAST(NULL AS {ledger}.skips)) AS text);
    retried CONSTANT text := CAST(pg_typeof(CAST(NULL AS {ledger}.retried)) AS text);
    failures CONSTANT text := CAST(pg_typeof(CAST(NULL AS {ledger}.rule_failures)) AS text);
    functions CONSTANT text := (
        SELECT string_agg(CAST(CAST(proc.oid AS regprocedure) AS text), ', ')
        FROM pg_proc AS proc JOIN pg_class AS class ON class.relnamespace = proc.pronamespace
        WHERE class.oid = progress AND proc.proname IN ('paused_since', 'skipped_at', 'cluster_of', 'shape'));
    made record;
    quarantine CONSTANT text := CAST(pg_typeof(CAST(NULL AS {ledger}.quarantine)) AS text);
    kept record;
BEGIN
    FOR kept IN
        SELECT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee,
               bool_or(acl.privilege_type = 'UPDATE') AS writes
        FROM pg_class AS class CROSS JOIN LATERAL aclexplode(class.relacl) AS acl
        WHERE class.oid = progress AND acl.privilege_type IN ('SELECT', 'UPDATE')
        GROUP BY acl.grantee
    LOOP
        EXECUTE 'GRANT SELECT' || CASE WHEN kept.writes THEN ', INSERT, UPDATE, DELETE' ELSE '' END
            || ' ON ' || pauses || ', ' || skips || ' TO ' || kept.grantee;
        EXECUTE 'GRANT SELECT' || CASE WHEN kept.writes THEN ', INSERT, UPDATE' ELSE '' END
            || ' ON ' || failures || ' TO ' || kept.grantee;
        -- A decision can be about a topic that has other partitions than before, and in another cluster.
        IF kept.writes THEN
            EXECUTE 'GRANT DELETE ON ' || CAST(pg_typeof(CAST(NULL AS {ledger}.progress)) AS text)
                || ' TO ' || kept.grantee;
            EXECUTE 'GRANT UPDATE ON ' || CAST(pg_typeof(CAST(NULL AS {ledger}.pipelines)) AS text)
                || ' TO ' || kept.grantee;
            EXECUTE 'GRANT SELECT ON ' || CAST(pg_typeof(CAST(NULL AS {ledger}.decisions)) AS text)
                || ' TO ' || kept.grantee;
            EXECUTE 'GRANT SELECT, INSERT ON ' || retried || ' TO ' || kept.grantee;
            EXECUTE 'GRANT EXECUTE ON FUNCTION ' || functions || ' TO ' || kept.grantee;
        END IF;
    END LOOP;
    -- Who may read single columns may read those that tell an entry from another.
    FOR kept IN
        SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee
        FROM pg_attribute AS field CROSS JOIN LATERAL aclexplode(field.attacl) AS acl
        WHERE field.attrelid = (SELECT typrelid FROM pg_type WHERE oid = pg_typeof(CAST(NULL AS {ledger}.quarantine)))
          AND field.attname = 'record_offset' AND acl.privilege_type = 'SELECT'
    LOOP
        EXECUTE 'GRANT SELECT (span, backfill, relayed_at, relay_error) ON ' || quarantine || ' TO ' || kept.grantee;
    END LOOP;
    SELECT pg_get_userbyid(relowner) AS owner INTO kept FROM pg_class WHERE oid = progress;
    IF kept.owner <> current_user THEN
        BEGIN
            EXECUTE 'ALTER TABLE ' || pauses || ' OWNER TO ' || quote_ident(kept.owner);
            EXECUTE 'ALTER TABLE ' || skips || ' OWNER TO ' || quote_ident(kept.owner);
            EXECUTE 'ALTER TABLE ' || retried || ' OWNER TO ' || quote_ident(kept.owner);
            EXECUTE 'ALTER TABLE ' || failures || ' OWNER TO ' || quote_ident(kept.owner);
            FOR made IN
                SELECT CAST(CAST(proc.oid AS regprocedure) AS text) AS name
                FROM pg_proc AS proc JOIN pg_class AS class ON class.relnamespace = proc.pronamespace
                WHERE class.oid = progress AND proc.proname IN ('paused_since', 'skipped_at', 'cluster_of')
            LOOP
                EXECUTE 'ALTER FUNCTION ' || made.name || ' OWNER TO ' || quote_ident(kept.owner);
            END LOOP;
        EXCEPTION
            -- Who isn't a member of that role keeps the tables.
            WHEN insufficient_privilege THEN NULL;
        END;
    END IF;
END
$$;

-- Where nothing was applied yet, as behind a decision, how far behind a partition is can't be told by the newest
-- record applied.
CREATE OR REPLACE VIEW {ledger}.lag AS
SELECT pipeline, topic, partition, owner, next_offset, log_end_offset,
       GREATEST(log_end_offset - next_offset, 0) AS lag_records,
       CASE
           WHEN log_end_offset IS NULL THEN NULL
           WHEN log_end_offset <= next_offset THEN 0
           WHEN newest_at IS NULL OR newest_at > now() + interval '1 minute' THEN NULL
           ELSE GREATEST(EXTRACT(epoch FROM now() - newest_at), 0)
       END AS behind_seconds,
       committed_at, halt
FROM {ledger}.progress;

COMMENT ON VIEW {ledger}.lag IS
    'Records between the log''s end as last seen and progress; behind_seconds is the age of the newest record '
    'applied, 0 when caught up, NULL where none was applied yet or that record''s time lies in the future. The age of '
    'the oldest record not yet applied, at most as much, is in `tidegate status` and in the metric '
    'tidegate_consumer_lag_seconds.';
