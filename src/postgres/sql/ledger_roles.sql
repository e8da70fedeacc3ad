
-- Least-privilege roles: grant them to the logins that need them.
--   tidegate_owner   owns the ledger and runs `tidegate init`
--   tidegate_writer  is what `tidegate run` needs of the ledger
--   tidegate_reader  is for status, dashboards and people
-- Roles belong to the whole cluster: another database's script may create them at the same moment, which each
-- EXCEPTION below takes for what it is, done.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['tidegate_owner', 'tidegate_writer', 'tidegate_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    BEGIN
        GRANT tidegate_owner TO CURRENT_USER;
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
END
$$;

ALTER SCHEMA {ledger} OWNER TO tidegate_owner;
ALTER TABLE {ledger}.version OWNER TO tidegate_owner;
ALTER TABLE {ledger}.pipelines OWNER TO tidegate_owner;
ALTER TABLE {ledger}.progress OWNER TO tidegate_owner;
ALTER TABLE {ledger}.decisions OWNER TO tidegate_owner;
ALTER TABLE {ledger}.spans OWNER TO tidegate_owner;
ALTER TABLE {ledger}.quarantine OWNER TO tidegate_owner;
ALTER TABLE {ledger}.processes OWNER TO tidegate_owner;
ALTER TABLE {ledger}.pauses OWNER TO tidegate_owner;
ALTER TABLE {ledger}.skips OWNER TO tidegate_owner;
ALTER TABLE {ledger}.retried OWNER TO tidegate_owner;
ALTER TABLE {ledger}.rule_failures OWNER TO tidegate_owner;
ALTER FUNCTION {ledger}.shape(oid) OWNER TO tidegate_owner;
ALTER FUNCTION {ledger}.paused_since(text, text, integer) OWNER TO tidegate_owner;
ALTER FUNCTION {ledger}.skipped_at(text, text, integer, uuid, bigint) OWNER TO tidegate_owner;
ALTER FUNCTION {ledger}.cluster_of(text, text) OWNER TO tidegate_owner;
ALTER VIEW {ledger}.lag OWNER TO tidegate_owner;
ALTER VIEW {ledger}.outcomes OWNER TO tidegate_owner;
ALTER VIEW {ledger}.duplicates OWNER TO tidegate_owner;
ALTER VIEW {ledger}.open_quarantine OWNER TO tidegate_owner;

GRANT USAGE ON SCHEMA {ledger} TO tidegate_writer, tidegate_reader;
GRANT SELECT, INSERT ON {ledger}.decisions, {ledger}.spans, {ledger}.retried TO tidegate_writer;
GRANT SELECT, INSERT, UPDATE ON {ledger}.pipelines, {ledger}.quarantine, {ledger}.rule_failures TO tidegate_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON {ledger}.progress, {ledger}.processes TO tidegate_writer;
GRANT SELECT, INSERT, DELETE ON {ledger}.pauses TO tidegate_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON {ledger}.skips TO tidegate_writer;
GRANT SELECT ON {ledger}.version, {ledger}.lag, {ledger}.outcomes, {ledger}.duplicates, {ledger}.open_quarantine
    TO tidegate_writer;
GRANT SELECT ON {ledger}.version, {ledger}.pipelines, {ledger}.progress, {ledger}.spans, {ledger}.decisions,
    {ledger}.processes, {ledger}.pauses, {ledger}.skips, {ledger}.rule_failures,
    {ledger}.lag, {ledger}.outcomes, {ledger}.duplicates TO tidegate_reader;
GRANT EXECUTE ON FUNCTION {ledger}.shape(oid) TO tidegate_writer;
GRANT EXECUTE ON FUNCTION {ledger}.paused_since(text, text, integer) TO tidegate_writer;
GRANT EXECUTE ON FUNCTION {ledger}.skipped_at(text, text, integer, uuid, bigint) TO tidegate_writer;
GRANT EXECUTE ON FUNCTION {ledger}.cluster_of(text, text) TO tidegate_writer;
-- Quarantined records may hold personal data: their bytes are not for readers.
GRANT SELECT (pipeline, topic, topic_id, partition, record_offset, record_at, target, truncated, code, sqlstate,
    column_name, reason, attempts, first_at, resolved_at, resolution, span, backfill,
    relayed_at, relay_error) ON {ledger}.quarantine TO tidegate_reader;
GRANT SELECT (pipeline, topic, partition, record_offset, record_at, target, code, sqlstate, column_name, reason,
    truncated, attempts, first_at) ON {ledger}.open_quarantine TO tidegate_reader;

-- Per target table (and its schema), to the login that runs the pipeline:
--   GRANT USAGE ON SCHEMA public TO the_login;
--   GRANT SELECT, INSERT, UPDATE ON public.events TO the_login;   -- and DELETE, for `on_tombstone: delete`
-- and on the database, for the staging of large batches; without it, or where an event trigger forbids
-- CREATE TEMPORARY TABLE, rows are written one by one, which is slower:
--   GRANT TEMPORARY ON DATABASE the_database TO the_login;
