//! Shapes of tables as a real catalogue tells them.

use lab::fixture::Fresh;
use lab::sql;
use tidegate::engine::route::WriteMode;
use tidegate::engine::shape::{KeyOrder, Kind, Table};
use tidegate::postgres::catalogue::{CatalogueError, TableUse, load_table, missing_privileges};

use super::{TIMEOUTS, connector_to, session};

/// Runs DDL, then loads a table of schema `public`.
async fn load(fresh: &Fresh, ddl: &str, name: &str, key: &[&str]) -> Result<Table, CatalogueError> {
    sql::query(&fresh.url, ddl).unwrap_or_else(|error| panic!("{ddl}: {error:#}"));
    let session = session(fresh).await;
    let key: Vec<String> = key.iter().map(|&column| column.to_owned()).collect();
    let loaded = load_table(&session, "public", name, &key).await;
    session.close().await;
    loaded
}

/// A kind in short, such as `array(int4(-1))`.
fn told(kind: &Kind, typmod: i32) -> String {
    let inner = |word: &str, type_: &tidegate::engine::shape::ColumnType| {
        format!("{word}({})", told(&type_.kind, type_.typmod))
    };
    match kind {
        Kind::Array(element) => inner("array", element),
        Kind::Range(subtype) => inner("range", subtype),
        Kind::Domain(base) => inner("domain", base),
        Kind::Enum(labels) => format!("enum({})", labels.join("<")),
        other => format!("{}:{typmod}", format!("{other:?}").to_lowercase()),
    }
}

#[tokio::test]
async fn every_type_is_resolved_to_what_it_is_made_of() {
    let fresh = Fresh::new("types");
    let cases = [
        ("boolean", "bool:-1"),
        ("smallint", "int2:-1"),
        ("integer", "int4:-1"),
        ("bigint", "int8:-1"),
        ("real", "float4:-1"),
        ("double precision", "float8:-1"),
        ("numeric", "numeric:-1"),
        ("numeric(10,2)", "numeric:655366"),
        ("text", "text:-1"),
        ("varchar", "varchar:-1"),
        ("varchar(10)", "varchar:14"),
        ("char(3)", "bpchar:7"),
        ("\"char\"", "other:-1"),
        ("name", "other:-1"),
        ("uuid", "uuid:-1"),
        ("bytea", "bytea:-1"),
        ("json", "json:-1"),
        ("jsonb", "jsonb:-1"),
        ("date", "date:-1"),
        ("time(3)", "time:3"),
        ("timetz", "timetz:-1"),
        ("timestamp", "timestamp:-1"),
        ("timestamptz(0)", "timestamptz:0"),
        ("interval", "interval:-1"),
        ("inet", "inet:-1"),
        ("cidr", "cidr:-1"),
        ("macaddr", "other:-1"),
        ("money", "other:-1"),
        ("point", "other:-1"),
        ("xml", "other:-1"),
        ("bit varying(5)", "other:5"),
        ("tsvector", "other:-1"),
        ("oid", "other:-1"),
        ("int2vector", "other:-1"),
        ("int4[]", "array(int4:-1)"),
        ("numeric(5,1)[]", "array(numeric:327685)"),
        ("text[][]", "array(text:-1)"),
        ("int4range", "range(int4:-1)"),
        ("tstzrange", "range(timestamptz:-1)"),
        ("nummultirange", "other:-1"),
        ("mood", "enum(sad<ok<happy)"),
        ("mood[]", "array(enum(sad<ok<happy))"),
        ("price", "domain(numeric:655366)"),
        ("good_price", "domain(domain(numeric:655366))"),
        ("price[]", "array(domain(numeric:655366))"),
        ("moods", "domain(array(enum(sad<ok<happy)))"),
        ("price_range", "range(numeric:-1)"),
        ("citext", "other:-1"),
        ("citext[]", "array(other:-1)"),
        ("pair", "other:-1"),
    ];
    let ddl = "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'happy'); \
               ALTER TYPE mood ADD VALUE 'ok' AFTER 'sad'; CREATE DOMAIN price AS numeric(10,2); \
               CREATE DOMAIN good_price AS price CHECK (VALUE > 0); CREATE DOMAIN moods AS mood[]; \
               CREATE TYPE price_range AS RANGE (subtype = numeric); CREATE TYPE pair AS (a int, b int); ";
    let fields: Vec<String> =
        cases.iter().enumerate().map(|(n, (type_, _))| format!("c{n} {type_}")).collect();
    for statement in ddl.split_inclusive("; ") {
        sql::query(&fresh.url, statement).unwrap();
    }
    let table =
        load(&fresh, &format!("CREATE TABLE every ({})", fields.join(", ")), "every", &[]).await.unwrap();
    assert_eq!(table.columns.len(), cases.len());
    for ((type_, expected), column) in cases.iter().zip(&table.columns) {
        assert_eq!(told(&column.type_.kind, column.type_.typmod), *expected, "{type_}");
        // The qualified name means the same type whatever the path is.
        let same = format!(
            "SET search_path = ''; SELECT '{}'::regtype::oid = {}",
            column.type_.sql_name.replace('\'', "''"),
            column.type_.oid
        );
        assert_eq!(sql::value(&fresh.url, &same).unwrap(), "t", "{type_}: {}", column.type_.sql_name);
    }
    assert!(table.traits.refuses_rows, "a domain has a CHECK");
}

#[tokio::test]
async fn defaults_identities_generated_columns_and_domains_tell_what_a_record_must_bring() {
    let fresh = Fresh::new("required");
    let ddl = "CREATE DOMAIN filled AS int NOT NULL DEFAULT 5; CREATE DOMAIN needed AS int NOT NULL; \
        CREATE TABLE t (plain int, required int NOT NULL, defaulted int NOT NULL DEFAULT 1, \
            serial_id bigserial, by_default int GENERATED BY DEFAULT AS IDENTITY, \
            always int GENERATED ALWAYS AS IDENTITY, computed int GENERATED ALWAYS AS (plain + 1) STORED, \
            dropped int, from_domain filled, needed_domain needed, \"Odd \"\"Name\" text); \
        ALTER TABLE t DROP COLUMN dropped";
    let table = load(&fresh, ddl, "t", &[]).await.unwrap();
    let seen: Vec<_> = table
        .columns
        .iter()
        .map(|column| {
            (
                column.name.as_str(),
                column.not_null,
                column.has_default,
                column.generated,
                column.is_required(),
            )
        })
        .collect();
    let expected = [
        ("plain", false, false, false, false),
        ("required", true, false, false, true),
        ("defaulted", true, true, false, false),
        ("serial_id", true, true, false, false),
        ("by_default", true, true, false, false),
        ("always", true, true, true, false),
        ("computed", false, false, true, false),
        ("from_domain", true, true, false, false),
        ("needed_domain", true, false, false, true),
        ("Odd \"Name", false, false, false, false),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn what_can_refuse_or_alter_a_row_is_found() {
    let fresh = Fresh::new("traits");
    let trigger = "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; \
        END'; CREATE TRIGGER g";
    // Name, DDL after CREATE TABLE x (id bigint PRIMARY KEY, n int NOT NULL, d int): the words of its traits.
    let cases = [
        ("plain", String::new(), ""),
        (
            "before_insert",
            format!("{trigger} BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()"),
            "insert refuses",
        ),
        (
            "before_update",
            format!("{trigger} BEFORE UPDATE ON x FOR EACH ROW EXECUTE FUNCTION f()"),
            "update refuses",
        ),
        (
            "before_delete",
            format!("{trigger} BEFORE DELETE ON x FOR EACH ROW EXECUTE FUNCTION f()"),
            "delete refuses",
        ),
        (
            "before_all",
            format!("{trigger} BEFORE INSERT OR UPDATE OR DELETE ON x FOR EACH ROW EXECUTE FUNCTION f()"),
            "insert update delete refuses",
        ),
        (
            "statement",
            format!("{trigger} BEFORE INSERT ON x FOR EACH STATEMENT EXECUTE FUNCTION f()"),
            "refuses",
        ),
        ("after", format!("{trigger} AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()"), "refuses"),
        (
            "disabled",
            format!(
                "{trigger} BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE x DISABLE \
                 TRIGGER g"
            ),
            "",
        ),
        (
            "replica_only",
            format!(
                "{trigger} BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f(); \
                 ALTER TABLE x ENABLE REPLICA TRIGGER g"
            ),
            "",
        ),
        ("rule", "CREATE RULE r AS ON INSERT TO x DO INSTEAD NOTHING".into(), "insert"),
        ("check", "ALTER TABLE x ADD CHECK (n > 0)".into(), "refuses"),
        ("foreign_key", "ALTER TABLE x ADD FOREIGN KEY (d) REFERENCES x".into(), "refuses always"),
        (
            "foreign_key_elsewhere",
            "CREATE TABLE y (n bigint PRIMARY KEY); ALTER TABLE x ADD FOREIGN KEY (d) REFERENCES y".into(),
            "refuses",
        ),
        (
            "foreign_keys_in_a_circle",
            "CREATE TABLE y (n bigint PRIMARY KEY REFERENCES x); ALTER TABLE x ADD FOREIGN KEY (d) REFERENCES y"
                .into(),
            "refuses always",
        ),
        ("referenced", "CREATE TABLE y (n bigint REFERENCES x)".into(), "refuses"),
        ("second_unique", "CREATE UNIQUE INDEX ON x (n)".into(), "refuses changes"),
        ("partial_unique", "CREATE UNIQUE INDEX ON x (d) WHERE n > 0".into(), "refuses changes"),
        ("unique_expression", "CREATE UNIQUE INDEX ON x ((n % 10))".into(), "refuses changes"),
        ("deferrable_unique", "ALTER TABLE x ADD UNIQUE (n) DEFERRABLE".into(), "refuses changes"),
        ("same_unique", "CREATE UNIQUE INDEX ON x (id)".into(), ""),
        ("exclusion", "ALTER TABLE x ADD EXCLUDE USING btree (n WITH =)".into(), "refuses changes"),
        ("other_index", "CREATE INDEX ON x (n)".into(), ""),
        ("expression", "CREATE INDEX ON x ((10 / n))".into(), "refuses"),
        ("generated", "ALTER TABLE x ADD g int GENERATED ALWAYS AS (10 / n) STORED".into(), "refuses"),
        (
            "forced_rls",
            "ALTER TABLE x ENABLE ROW LEVEL SECURITY; ALTER TABLE x FORCE ROW LEVEL SECURITY".into(),
            "rls refuses",
        ),
        ("owned_rls", "ALTER TABLE x ENABLE ROW LEVEL SECURITY".into(), ""),
    ];
    for (name, ddl, expected) in cases {
        let ddl = format!(
            "DROP TABLE IF EXISTS y, x CASCADE; CREATE TABLE x (id bigint PRIMARY KEY, n int NOT NULL, d int); {ddl}"
        );
        let traits =
            load(&fresh, &ddl, "x", &["id"]).await.unwrap_or_else(|error| panic!("{name}: {error}")).traits;
        assert!(traits.bytewise_key, "{name}");
        let words = [
            ("insert", traits.insert_triggers),
            ("update", traits.update_triggers),
            ("delete", traits.delete_triggers),
            ("rls", traits.row_security),
            ("refuses", traits.refuses_rows),
            ("changes", traits.key_order == KeyOrder::Changes),
            ("always", traits.key_order == KeyOrder::Always),
        ];
        let found: Vec<&str> = words.iter().filter(|(_, set)| *set).map(|(word, _)| *word).collect();
        assert_eq!(found.join(" "), expected, "{name}");
    }
}

#[tokio::test]
async fn a_column_that_an_insert_trigger_may_fill_is_not_required() {
    let fresh = Fresh::new("filled");
    let ddl = "CREATE TABLE x (id int PRIMARY KEY, at timestamptz NOT NULL, n int); \
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.at := now(); RETURN NEW; END'; \
        CREATE TRIGGER g BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()";
    let table = load(&fresh, ddl, "x", &["id"]).await.unwrap();
    let required: Vec<bool> = table.columns.iter().map(|column| column.is_required()).collect();
    assert_eq!(required, [true, false, false]);
    assert!(!table.columns[2].has_default, "NULL is what a lacking nullable column gets");
}

#[tokio::test]
async fn partitions_are_looked_at_with_their_table() {
    let fresh = Fresh::new("partitioned");
    let base = "DROP TABLE IF EXISTS x CASCADE; \
        CREATE TABLE x (id bigint, day date, n int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
        CREATE TABLE x1 PARTITION OF x FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); ";
    let rest = "CREATE TABLE x2 PARTITION OF x DEFAULT; ";
    let function =
        "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; ";
    let cases = [
        (String::new(), false, true),
        (rest.to_owned(), false, true),
        (format!("{rest} CREATE UNIQUE INDEX ON x1 (n)"), false, true),
        (format!("{rest} ALTER TABLE x1 ADD CHECK (n > 0)"), false, true),
        (
            format!(
                "{rest} {function} CREATE TRIGGER g BEFORE INSERT ON x1 FOR EACH ROW EXECUTE FUNCTION f()"
            ),
            true,
            true,
        ),
    ];
    for (ddl, insert_triggers, refuses_rows) in cases {
        let table = load(&fresh, &format!("{base}{ddl}"), "x", &["day", "id"]).await.unwrap();
        let traits = table.traits;
        assert_eq!((traits.insert_triggers, traits.refuses_rows), (insert_triggers, refuses_rows), "{ddl}");
        assert!(traits.bytewise_key, "{ddl}");
    }
    let leaf = load(&fresh, "SELECT 1", "x1", &["id", "day"]).await.unwrap();
    assert!(leaf.traits.refuses_rows, "a partition refuses what belongs elsewhere");
    let partial_key = load(&fresh, "SELECT 1", "x", &["id"]).await.unwrap_err();
    assert!(matches!(partial_key, CatalogueError::BadKey { .. }), "{partial_key}");
    let remedy = partial_key.to_string();
    assert!(
        remedy.contains("put day into") && remedy.contains("INDEX ON \"public\".\"x\" (\"id\", \"day\")"),
        "{remedy}"
    );
    let invalid = format!(
        "{base} ALTER TABLE x DROP CONSTRAINT x_pkey; CREATE UNIQUE INDEX half ON ONLY x (id, day); \
         ALTER TABLE x ALTER id SET NOT NULL, ALTER day SET NOT NULL"
    );
    let error = load(&fresh, &invalid, "x", &["id", "day"]).await.unwrap_err().to_string();
    assert!(error.contains("half isn't valid"), "{error}");
}

#[tokio::test]
async fn the_key_is_bytewise_only_by_type_collation_and_index() {
    let fresh = Fresh::new("bytewise");
    let setup =
        "CREATE COLLATION blurred (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    sql::query(&fresh.url, setup).unwrap();
    sql::query(&fresh.url, "CREATE EXTENSION citext").unwrap();
    let cases = [
        ("k uuid PRIMARY KEY", true),
        ("k text PRIMARY KEY", true),
        ("k text COLLATE \"C\" PRIMARY KEY", true),
        ("k text COLLATE blurred PRIMARY KEY", false),
        ("k text NOT NULL); CREATE UNIQUE INDEX ON x (k COLLATE blurred", false),
        ("k text NOT NULL); CREATE UNIQUE INDEX ON x (k text_pattern_ops", false),
        ("k varchar(9) PRIMARY KEY", false),
        ("k numeric PRIMARY KEY", false),
        ("k citext PRIMARY KEY", false),
        ("k float8 PRIMARY KEY", false),
    ];
    for (columns, expected) in cases {
        let ddl = format!("DROP TABLE IF EXISTS x; CREATE TABLE x ({columns})");
        let table =
            load(&fresh, &ddl, "x", &["k"]).await.unwrap_or_else(|error| panic!("{columns}: {error}"));
        assert_eq!(table.traits.bytewise_key, expected, "{columns}");
    }
}

#[tokio::test]
async fn keys_without_a_fitting_index_are_refused_with_the_remedy() {
    let fresh = Fresh::new("keys");
    let cases = [
        ("id int NOT NULL", "CREATE UNIQUE INDEX ON \"public\".\"x\" (\"id\")"),
        ("id int UNIQUE", "ALTER TABLE \"public\".\"x\" ALTER COLUMN \"id\" SET NOT NULL"),
        ("id int NOT NULL UNIQUE DEFERRABLE", "DEFERRABLE"),
        ("id int NOT NULL, n int, UNIQUE (id, n)", "no unique index covers exactly"),
        ("id int NOT NULL); CREATE UNIQUE INDEX ON x (id) WHERE id > 0; SELECT (1", "is partial"),
        ("id int NOT NULL); CREATE UNIQUE INDEX ON x (abs(id)); SELECT (1", "no unique index covers exactly"),
        ("id int NOT NULL); CREATE INDEX ON x (id); SELECT (1", "isn't unique"),
        ("id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "generated by the database"),
        ("idd int PRIMARY KEY", "has no column id: did you mean idd?"),
    ];
    for (columns, expected) in cases {
        let ddl = format!("DROP TABLE IF EXISTS x; CREATE TABLE x ({columns})");
        let error = load(&fresh, &ddl, "x", &["id"]).await.expect_err(columns).to_string();
        assert!(error.contains(expected), "{columns}: {error}");
    }
    let good = [
        "id int PRIMARY KEY",
        "id int NOT NULL UNIQUE NULLS NOT DISTINCT",
        "id int NOT NULL, n int); CREATE UNIQUE INDEX ON x (id) INCLUDE (n); SELECT (1",
    ];
    for columns in good {
        let ddl = format!("DROP TABLE IF EXISTS x; CREATE TABLE x ({columns})");
        load(&fresh, &ddl, "x", &["id"]).await.unwrap_or_else(|error| panic!("{columns}: {error}"));
    }
}

#[tokio::test]
async fn relations_that_cannot_be_targets_are_refused_by_name() {
    let fresh = Fresh::new("kinds");
    let setup = "CREATE TABLE base (id int PRIMARY KEY); CREATE VIEW v AS SELECT * FROM base; \
        CREATE MATERIALIZED VIEW m AS SELECT * FROM base; CREATE SEQUENCE s; \
        CREATE UNLOGGED TABLE u (id int PRIMARY KEY); CREATE TABLE parent (id int PRIMARY KEY); \
        CREATE TABLE child () INHERITS (parent); CREATE SCHEMA other; CREATE TABLE other.far (id int)";
    sql::query(&fresh.url, setup).unwrap();
    let foreign = "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; \
        CREATE FOREIGN TABLE public.ft (id int) SERVER files OPTIONS (filename '/dev/null'); \
        CREATE TABLE public.mixed (id int) PARTITION BY LIST (id); \
        CREATE FOREIGN TABLE public.part PARTITION OF public.mixed DEFAULT SERVER files OPTIONS (filename \
        '/dev/null')";
    sql::query(&fresh.superuser_url, foreign).unwrap();
    let cases = [
        ("v", "a view"),
        ("m", "a materialized view"),
        ("s", "a sequence"),
        ("base_pkey", "an index"),
        ("ft", "a foreign table"),
        ("mixed", "partitions part are foreign tables"),
        ("u", "SET LOGGED"),
        ("parent", "child tables by inheritance"),
        ("bse", "did you mean public.base?"),
        ("far", "did you mean other.far?"),
        ("nothing_like_it", "doesn't exist in the database"),
    ];
    for (name, expected) in cases {
        let error = load(&fresh, "SELECT 1", name, &[]).await.expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[tokio::test]
async fn missing_privileges_are_told_with_their_grants() {
    let fresh = Fresh::new("privileges");
    let role: String = format!("weak_{}", fresh.database).chars().take(60).collect();
    let setup = format!(
        "CREATE ROLE \"{role}\" LOGIN; CREATE SCHEMA shut; \
         CREATE TABLE shut.x (id int PRIMARY KEY, n int); ALTER TABLE shut.x ENABLE ROW LEVEL SECURITY"
    );
    sql::query(&fresh.superuser_url, &setup).unwrap();
    let url = fresh.superuser_url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    let session = connector_to(&url, "p", TIMEOUTS).connect().await.unwrap();
    let key = ["id".to_owned()];
    let table = load_table(&session, "shut", "x", &key).await.unwrap();
    assert!(table.traits.row_security, "its policies apply to a stranger");
    for (mode, deletes, expected) in [
        (WriteMode::Append, false, "USAGE INSERT"),
        (WriteMode::Insert, false, "USAGE SELECT INSERT"),
        (WriteMode::Upsert, false, "USAGE SELECT INSERT UPDATE"),
        (WriteMode::Upsert, true, "USAGE SELECT INSERT UPDATE DELETE"),
    ] {
        let wanted = TableUse { table: &table, filled: &[0, 1], key: &[0], mode, deletes };
        let missing = missing_privileges(&session, &wanted).await.unwrap();
        let names: Vec<&str> = missing.iter().map(|one| &*one.privilege).collect();
        assert_eq!(names.join(" "), expected);
        if deletes {
            let grants: Vec<String> = missing.into_iter().map(|one| one.grant).collect();
            sql::query(&fresh.superuser_url, &grants.join("; ")).unwrap();
        }
    }
    let wanted =
        TableUse { table: &table, filled: &[0, 1], key: &[0], mode: WriteMode::Upsert, deletes: true };
    assert_eq!(missing_privileges(&session, &wanted).await.unwrap(), []);
    session.close().await;
    sql::query(&fresh.superuser_url, &format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).unwrap();
}
