-- Who runs: a row for each process, which it writes every ten seconds and deletes when it drains. Nothing is
-- decided by it.
CREATE TABLE {ledger}.processes (
    pipeline           text NOT NULL,
    instance           text NOT NULL,
    host               text NOT NULL,
    pid                integer NOT NULL,
    version            text NOT NULL,
    state              text NOT NULL,
    started_at         timestamptz NOT NULL,
    beaten_at          timestamptz NOT NULL,
    lanes              integer NOT NULL,
    partitions         integer NOT NULL,
    applied            bigint NOT NULL,
    records_per_second double precision NOT NULL,
    kafka_away         text,
    last_error         text,
    last_error_at      timestamptz,
    next_try_at        timestamptz,
    PRIMARY KEY (pipeline, instance)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_scale_factor = 0
);

COMMENT ON TABLE {ledger}.processes IS
    'Who runs: a process whose beaten_at is older than 30 seconds is gone. Times are of the database''s clock.';

-- Who may write progress may tell that it runs, and who may read it may see that: whatever roles were granted.
DO $$
DECLARE
    progress CONSTANT oid := (SELECT typrelid FROM pg_type WHERE oid = pg_typeof(CAST(NULL AS {ledger}.progress)));
    processes CONSTANT text := CAST(pg_typeof(CAST(NULL AS {ledger}.processes)) AS text);
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
            || ' ON ' || processes || ' TO ' || kept.grantee;
    END LOOP;
    SELECT pg_get_userbyid(relowner) AS owner INTO kept FROM pg_class WHERE oid = progress;
    IF kept.owner <> current_user THEN
        BEGIN
            EXECUTE 'ALTER TABLE ' || processes || ' OWNER TO ' || quote_ident(kept.owner);
        EXCEPTION
            -- Who isn't a member of that role keeps the table.
            WHEN insufficient_privilege THEN NULL;
        END;
    END IF;
END
$$;
