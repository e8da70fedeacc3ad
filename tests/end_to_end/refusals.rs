//! What only PostgreSQL can judge: whose fault a refusal is, and that nothing of a value is told.

use std::path::Path;

use lab::fixture::Fresh;
use lab::process::{Ended, Tidegate, free_address, get};
use lab::sql;
use lab::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::SOON;

/// A word that stands in each value that is refused, and nowhere else.
const CANARY: &str = "Canary4711";

/// A table with the column `v`, and what it takes and refuses.
struct Kind {
    name: &'static str,
    /// What the table needs, `{t}` being its name.
    setup: &'static str,
    column: &'static str,
    /// Behind the columns and after the table.
    more: &'static str,
    good: &'static str,
    bad: &'static str,
    /// SQLSTATE, and whether the column is told.
    verdict: (&'static str, bool),
}

const fn kind(
    name: &'static str,
    column: &'static str,
    good: &'static str,
    bad: &'static str,
    sqlstate: &'static str,
) -> Kind {
    Kind { name, setup: "", column, more: "", good, bad, verdict: (sqlstate, true) }
}

const fn ruled(name: &'static str, more: &'static str, bad: &'static str, sqlstate: &'static str) -> Kind {
    Kind { name, setup: "", column: "text", more, good: "fine", bad, verdict: (sqlstate, false) }
}

/// A trigger function's body, for each row.
macro_rules! trigger {
    ($when:literal, $body:literal) => {
        concat!(
            "; CREATE FUNCTION {t}_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ",
            $body,
            " RETURN NEW; END $$; CREATE TRIGGER t ",
            $when,
            " ON {t} FOR EACH ROW EXECUTE FUNCTION {t}_f()"
        )
    };
}

const KINDS: &[Kind] = &[
    kind("tsvector", "tsvector", "a b", "'Canary4711", "42601"),
    kind("tsquery", "tsquery", "a & b", "Canary4711 & (", "42601"),
    kind("jsonpath", "jsonpath", "$.a", "$.Canary4711[", "42601"),
    kind("regclass", "regclass", "pg_catalog.pg_class", "\\\"Canary4711\\\"", "42P01"),
    kind("regtype", "regtype", "int4", "\\\"Canary4711\\\"", "42704"),
    kind("regrole", "regrole", "pg_monitor", "\\\"Canary4711\\\"", "42704"),
    kind("point", "point", "(1,2)", "Canary4711", "22P02"),
    kind("interval", "interval", "1 day", "1 Canary4711", "22007"),
    kind("money", "money", "1.00", "Canary4711", "22P02"),
    kind("range", "int4range", "[1,2)", "[1,Canary4711)", "22P02"),
    kind("bit", "bit(3)", "101", "Canary4711", "22026"),
    kind("macaddr", "macaddr", "08:00:2b:01:02:03", "Canary4711", "22P02"),
    Kind { setup: "CREATE TYPE {t}_e AS ENUM ('ok')", ..kind("mood", "{t}_e", "ok", "Canary4711", "22P02") },
    Kind {
        setup: "CREATE DOMAIN {t}_d AS text CONSTRAINT short CHECK (length(value) < 6)",
        verdict: ("23514", true),
        ..kind("domain", "{t}_d", "ok", "Canary4711", "23514")
    },
    Kind {
        setup: "CREATE TYPE {t}_c AS (a int, b text)",
        ..kind("composite", "{t}_c", "(1,x)", "(Canary4711,x)", "22P02")
    },
    Kind {
        setup: "CREATE EXTENSION ltree SCHEMA public",
        ..kind("ltree", "public.ltree", "a.b", "Canary4711..b", "")
    },
    Kind {
        setup: "CREATE EXTENSION IF NOT EXISTS ltree SCHEMA public",
        ..kind("lquery", "public.lquery", "a.*", "Canary4711.{", "")
    },
    Kind {
        setup: "CREATE EXTENSION seg SCHEMA public",
        ..kind("seg", "public.seg", "1 .. 2", "Canary4711", "")
    },
    Kind {
        setup: "CREATE EXTENSION cube SCHEMA public",
        ..kind("cube", "public.cube", "(1,2)", "(Canary4711", "")
    },
    Kind {
        setup: "CREATE EXTENSION intarray SCHEMA public",
        ..kind("query_int", "public.query_int", "1&2", "1&Canary4711", "")
    },
    Kind {
        setup: "CREATE EXTENSION hstore SCHEMA public",
        ..kind("hstore", "public.hstore", "a=>1", "Canary4711=>", "")
    },
    ruled("check", "; ALTER TABLE {t} ADD CONSTRAINT small CHECK (length(v) < 9)", "Canary4711", "23514"),
    ruled(
        "unique",
        "; ALTER TABLE {t} ADD UNIQUE (v); INSERT INTO {t} VALUES (9, 'Canary4711')",
        "Canary4711",
        "23505",
    ),
    ruled(
        "exclusion",
        "; ALTER TABLE {t} ADD EXCLUDE USING btree (v WITH =); INSERT INTO {t} VALUES (9, 'Canary4711')",
        "Canary4711",
        "23P01",
    ),
    ruled(
        "expression",
        "; CREATE INDEX ON {t} ((CASE WHEN v LIKE 'C%' THEN v::int END))",
        "Canary4711",
        "22P02",
    ),
    ruled(
        "policy",
        "; ALTER TABLE {t} ENABLE ROW LEVEL SECURITY; ALTER TABLE {t} FORCE ROW LEVEL SECURITY; \
         CREATE POLICY p ON {t} USING (true) WITH CHECK (v = 'fine')",
        "Canary4711",
        "42501",
    ),
    ruled(
        "raise",
        trigger!("BEFORE INSERT", "IF NEW.v <> 'fine' THEN RAISE EXCEPTION 'no %', NEW.v; END IF;"),
        "Canary4711",
        "P0001",
    ),
    ruled(
        "code",
        trigger!(
            "BEFORE INSERT",
            "IF NEW.v <> 'fine' THEN RAISE 'no %', NEW.v USING ERRCODE = 'BR001', \
             COLUMN = NEW.v, CONSTRAINT = NEW.v, TABLE = NEW.v, SCHEMA = NEW.v, HINT = NEW.v, DETAIL = NEW.v; \
             END IF;"
        ),
        "Canary4711",
        "BR001",
    ),
    ruled(
        "after",
        trigger!(
            "AFTER INSERT",
            "IF NEW.v <> 'fine' THEN RAISE 'no %', NEW.v USING ERRCODE = '42501'; END IF;"
        ),
        "Canary4711",
        "42501",
    ),
    ruled(
        "internal",
        trigger!(
            "BEFORE INSERT",
            "IF NEW.v <> 'fine' THEN RAISE 'no %', NEW.v USING ERRCODE = 'XX000'; END IF;"
        ),
        "Canary4711",
        "XX000",
    ),
    ruled(
        "config",
        trigger!(
            "AFTER INSERT",
            "IF NEW.v <> 'fine' THEN RAISE 'no %', NEW.v USING ERRCODE = 'F0000'; END IF;"
        ),
        "Canary4711",
        "F0000",
    ),
    ruled(
        "unsupported",
        trigger!(
            "BEFORE INSERT",
            "IF NEW.v <> 'fine' THEN RAISE 'no %', NEW.v USING ERRCODE = '0A000'; END IF;"
        ),
        "Canary4711",
        "0A000",
    ),
    ruled(
        "outage",
        trigger!(
            "BEFORE INSERT",
            "IF NEW.v <> 'fine' THEN RAISE 'no %', NEW.v USING ERRCODE = '57P01'; END IF;"
        ),
        "Canary4711",
        "57P01",
    ),
    ruled(
        "dynamic",
        trigger!("BEFORE INSERT", "IF NEW.v <> 'fine' THEN EXECUTE 'SELECT ' || NEW.v; END IF;"),
        "Canary4711",
        "42703",
    ),
    ruled(
        "late",
        "; CREATE FUNCTION {t}_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.v <> 'fine' THEN RAISE 'no %', NEW.v USING ERRCODE = 'BR002'; END IF; RETURN NEW; END $$; \
         CREATE CONSTRAINT TRIGGER t AFTER INSERT ON {t} DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION {t}_f()",
        "Canary4711",
        "BR002",
    ),
];

/// A topic and a table for each kind, and the program that moves between them.
struct Many {
    fresh: Fresh,
    config: String,
    http: String,
}

impl Many {
    fn new(name: &str, kinds: &[&Kind], more: &str) -> Self {
        let fresh = Fresh::new(name);
        let topics = Topics::of(&fresh.bootstrap);
        for kind in kinds {
            let table = format!("{}_{}", fresh.topic.replace(['-', '.'], "_"), kind.name);
            topics.create(&format!("{}.{}", fresh.topic, kind.name), 1, &[]).unwrap();
            let Kind { setup, column, more, .. } = kind;
            let ddl = format!("{setup}; CREATE TABLE {{t}} (id bigint PRIMARY KEY, v {column}){more}");
            let ddl = ddl
                .replace("{t}", &format!("public.{table}"))
                .replace(&format!("public.{table}_"), &format!("{table}_"));
            sql::query(&fresh.url, ddl.trim_start_matches(';'))
                .unwrap_or_else(|error| panic!("{ddl}: {error:#}"));
        }
        let http = free_address();
        let mut config = format!(
            "pipeline: {}\nkafka:\n  bootstrap.servers: {}\n  session.timeout.ms: 6000\n  heartbeat.interval.ms: 1500\n\
             postgres:\n  url: {}\nworkers: 2\ntimeouts: {{statement: 5s, takeover: 2s, drain: 10s}}\n\
             http: {{listen: {http}}}\nbad_records: {{halt_above: 1}}\n{more}routes:\n",
            fresh.pipeline, fresh.bootstrap, fresh.url
        );
        for kind in kinds {
            config += &format!(
                "  - topic: {}.{}\n    table: public.{}_{}\n    key: [id]\n    write: upsert\n",
                fresh.topic,
                kind.name,
                fresh.topic.replace(['-', '.'], "_"),
                kind.name
            );
        }
        let many = Self { fresh, config, http };
        for kind in kinds {
            many.send(kind, &[(1, kind.good), (2, kind.bad), (3, kind.good)]);
        }
        many
    }

    fn table(&self, kind: &Kind) -> String {
        format!("public.{}_{}", self.fresh.topic.replace(['-', '.'], "_"), kind.name)
    }

    fn send(&self, kind: &Kind, records: &[(i64, &str)]) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.fresh.bootstrap);
        let producer: BaseProducer = config.create().unwrap();
        let topic = format!("{}.{}", self.fresh.topic, kind.name);
        for (id, value) in records {
            // Values of their own, so that a second unique index is not met by chance.
            let value = if kind.more.contains("UNIQUE") || kind.more.contains("EXCLUDE") {
                if *value == kind.bad { (*value).to_owned() } else { format!("{value}{id}") }
            } else {
                (*value).to_owned()
            };
            let json = format!("{{\"id\":{id},\"v\":\"{value}\"}}");
            producer
                .send(BaseRecord::<(), _>::to(&topic).partition(0).payload(&json))
                .map_err(|it| it.0)
                .unwrap();
        }
        producer.flush(SOON).unwrap();
    }

    fn program(&self) -> Tidegate {
        Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &self.config).unwrap()
    }

    fn run(&self) -> Ended {
        self.program().args(["--until-caught-up"]).call("run", SOON).unwrap()
    }

    fn texts(&self, query: &str) -> Vec<String> {
        let rows = sql::query(&self.fresh.url, query).unwrap();
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        rows.into_iter().map(|row| row.into_iter().map(text).collect::<Vec<_>>().join(" ")).collect()
    }
}

/// Kinds that the server has what it takes for.
fn available() -> Vec<&'static Kind> {
    let fresh = Fresh::new("available");
    let found = sql::query(&fresh.url, "SELECT name FROM pg_available_extensions").unwrap();
    let found: Vec<String> = found.into_iter().flatten().flatten().collect();
    let wanted = |kind: &Kind| {
        let words: Vec<&str> = kind.setup.split(' ').collect();
        let at = words.iter().position(|word| *word == "SCHEMA")?;
        Some(words[at - 1].to_owned())
    };
    let (have, lack): (Vec<_>, Vec<_>) =
        KINDS.iter().partition(|kind| wanted(kind).is_none_or(|name| found.contains(&name)));
    for kind in lack {
        eprintln!("SKIPPED: {} needs an extension that this server doesn't have", kind.name);
    }
    have
}

#[test]
fn one_record_that_only_postgresql_refuses_is_quarantined_and_nothing_of_it_is_told() {
    let kinds = available();
    let many = Many::new("refusals", &kinds, "log: {format: text, level: trace}\n");
    let worker = many.program().start("run").unwrap();
    let all = kinds.len();
    let count = "SELECT count(*) FROM tidegate.progress WHERE next_offset = 3";
    let done = |_: &lab::process::Running| {
        sql::number(&many.fresh.url, count).is_ok_and(|passed| passed == all as i64)
    };
    let caught_up = worker.await_condition("all topics passed", SOON, done);
    let stored = many.texts("SELECT topic, next_offset, halt FROM tidegate.progress WHERE next_offset < 3");
    assert!(caught_up.is_ok(), "{stored:?}\n{}", worker.errors());
    for kind in &kinds {
        let rows = many.texts(&format!("SELECT id FROM {} WHERE id < 9 ORDER BY id", many.table(kind)));
        assert_eq!(rows, ["1", "3"], "{}", kind.name);
        let told = many.texts(&format!(
            "SELECT record_offset, code, sqlstate, column_name FROM tidegate.quarantine \
             WHERE topic = '{}.{}'",
            many.fresh.topic, kind.name
        ));
        let column = if kind.verdict.1 { "v" } else { "-" };
        // Versions of an extension differ in their code.
        let told: Vec<String> = match kind.verdict.0 {
            "" => told.iter().map(|line| [&line[..10], &line[15..]].concat()).collect(),
            _ => told,
        };
        assert_eq!(told, [format!("1 refused {} {column}", kind.verdict.0)], "{}", kind.name);
    }
    let mut shown = many.texts("SELECT reason, column_name, sqlstate, code, target FROM tidegate.quarantine");
    for path in ["/status", "/metrics", "/readyz?verbose"] {
        shown.push(get(&many.http, path).unwrap().1);
    }
    shown.push(worker.errors());
    for text in &shown {
        for never in [CANARY, "canary4711", "tidegate_stage_1", "pg_temp"] {
            let line = text.lines().find(|line| line.contains(never));
            assert_eq!(line, None, "{never} is told");
        }
    }
    assert!(worker.errors().contains("a transaction failed"), "failures are told in our own words");
}

#[test]
fn the_servers_words_are_logged_where_they_are_asked_for_and_stay_out_of_reasons() {
    let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| matches!(kind.name, "mood" | "raise")).collect();
    let more = "log: {format: text, level: warn, server_messages: true}\n";
    let many = Many::new("wanted words", &kinds, more);
    let ended = many.run();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("PostgreSQL said: no Canary4711"), "{}", ended.errors);
    assert!(ended.errors.contains("invalid input value for enum"), "{}", ended.errors);
    let reasons = many.texts("SELECT reason FROM tidegate.quarantine ORDER BY 1");
    assert_eq!(reasons.len(), 2);
    assert!(reasons.iter().all(|reason| !reason.contains(CANARY)), "{reasons:?}");
}

#[test]
fn what_fails_for_every_row_is_the_tables_and_goes_on_when_that_is_put_right() {
    let kinds = [
        ruled("raises", trigger!("BEFORE INSERT", "RAISE 'no' USING ERRCODE = 'BR001';"), "x", ""),
        ruled("audit", trigger!("AFTER INSERT", "INSERT INTO gone VALUES (NEW.id);"), "x", ""),
        ruled(
            "secure",
            "; ALTER TABLE {t} ENABLE ROW LEVEL SECURITY; ALTER TABLE {t} FORCE ROW LEVEL SECURITY; \
             CREATE POLICY p ON {t} USING (true) WITH CHECK (id > 100)",
            "x",
            "",
        ),
    ];
    let kinds: Vec<&Kind> = kinds.iter().collect();
    let many = Many::new("tables", &kinds, "");
    let ended = many.run();
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    for kind in &kinds {
        let halt = format!("halted: {}.{}", many.fresh.topic, kind.name);
        let line = ended.errors.lines().find(|line| line.contains(&halt)).unwrap_or_default();
        assert!(
            line.contains("TG-303") && line.contains("none of 3 records"),
            "{}: {}",
            kind.name,
            ended.errors
        );
    }
    assert_eq!(many.texts("SELECT count(*) FROM tidegate.quarantine"), ["0"]);
    sql::query(&many.fresh.url, "CREATE TABLE gone (id bigint)").unwrap();
    let raises = many.table(kinds[0]);
    sql::query(
        &many.fresh.url,
        &format!(
            "DROP TRIGGER t ON {raises}; ALTER TABLE {} DISABLE ROW LEVEL SECURITY",
            many.table(kinds[2])
        ),
    )
    .unwrap();
    let ended = many.run();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    for kind in &kinds {
        assert_eq!(many.texts(&format!("SELECT count(*) FROM {}", many.table(kind))), ["3"], "{}", kind.name);
    }
    assert_eq!(many.texts("SELECT count(*) FROM tidegate.quarantine"), ["0"]);
}
