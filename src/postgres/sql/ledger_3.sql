-- What a table is made of, as the versions of its rows in the catalogue. Declared immutable on purpose: a
-- kept plan evaluates it once, when it is made, and PostgreSQL makes a plan anew before it runs it behind a
-- change of any table in it. Only for statements that write to this very table, behind its lock.
CREATE OR REPLACE FUNCTION {ledger}.shape(relation oid) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $function$
SELECT {shape} FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) $1
$function$;

COMMENT ON FUNCTION {ledger}.shape(oid) IS
    'Which state of the catalogue a table is in, for the plans of tidegate run: they hold it until the table changes.';

