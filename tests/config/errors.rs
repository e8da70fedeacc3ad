//! What a user reads when a configuration can't be used: one snapshot a kind of mistake.

use tidegate::config::FileFormat::{self, Json, Toml, Yaml};
use tidegate::config::{LoadOptions, Settings};

use super::{BASE, options, parse_with};

/// The message for a source that must be refused.
fn refusal(source: &str, format: FileFormat, env: &[(&str, &str)], sets: &[&str]) -> String {
    match parse_with(source, format, env, sets) {
        Ok(_) => panic!("accepted, though it should be refused:\n{source}\n{env:?} {sets:?}"),
        Err(error) => error.to_string(),
    }
}

/// All cases of one group in one snapshot, each under its name.
fn snapshot(name: &str, cases: impl IntoIterator<Item = (&'static str, String)>) {
    let mut text = String::new();
    for (title, message) in cases {
        text.push_str(&format!("=== {title}\n{message}\n\n"));
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Cases that append lines to a complete YAML configuration.
fn appended(cases: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let message = |tail: &str| refusal(&format!("{BASE}{tail}\n"), Yaml, &[], &[]);
    cases.iter().map(|(title, tail)| (*title, message(tail))).collect()
}

/// Cases that give the first route other keys.
fn routed(cases: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let head = "pipeline: orders\nkafka: {bootstrap.servers: localhost:9092}\nroutes:\n  - ";
    let message = |route: &str| refusal(&format!("{head}{route}\n"), Yaml, &[], &[]);
    cases.iter().map(|(title, route)| (*title, message(route))).collect()
}

/// Cases that give kafka other properties.
fn connected(cases: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let tail = "routes: [{topic: orders, table: public.orders, key: [id]}]\n";
    let source =
        |kafka: &str| format!("pipeline: orders\nkafka:\n  bootstrap.servers: a:9092\n  {kafka}\n{tail}");
    cases.iter().map(|(title, kafka)| (*title, refusal(&source(kafka), Yaml, &[], &[]))).collect()
}

#[test]
fn keys() {
    let nothing = refusal("", Yaml, &[], &[]);
    let scalar = refusal("just text", Yaml, &[], &[]);
    let mut cases = vec![("an empty file", nothing), ("not a section", scalar)];
    cases.extend(appended(&[
        ("a misspelt section", "tiemouts: {connect: 1s}"),
        ("a misspelt key", "timeouts:\n  statment: 1s"),
        ("dashes for underscores", "bad-records: {over: 1m}"),
        ("capitals", "Workers: 4"),
        ("a key without a neighbour", "sinks: []"),
        ("a section where a value belongs", "workers: {count: 4}"),
        ("a value where a section belongs", "limits: 4"),
        ("a list where a section belongs", "http: [listen]"),
        ("a list where a value belongs", "workers: [4]"),
        ("a key given twice", "workers: 4\nworkers: 5"),
    ]));
    snapshot("keys", cases);
}

#[test]
fn values() {
    snapshot(
        "values",
        appended(&[
            ("a duration without unit", "limits: {linger: 5}"),
            ("a duration with an unknown unit", "timeouts:\n  connect: 5 parsecs"),
            ("a negative duration", "timeouts: {connect: -5s}"),
            ("a duration out of range", "timeouts: {connect: 2h}"),
            ("a zero duration", "retry: {transient: {first: 0s}}"),
            ("a size with an unknown unit", "limits: {memory: 128 bananas}"),
            ("a size out of range", "limits: {record_bytes: 2GiB}"),
            ("a number out of range", "workers: 65"),
            ("a zero", "workers: 0"),
            ("a negative number", "workers: -1"),
            ("a fraction", "workers: 1.5"),
            ("a word for a number", "workers: many"),
            ("a share out of range", "bad_records: {halt_above: 50}"),
            ("a share that isn't a number", "bad_records: {halt_above: half}"),
            ("a misspelt word", "log: {level: inof}"),
            ("an unknown word", "log: {format: logfmt}"),
            ("a start without zone", "start: 2026-11-01T00:00:00"),
            ("a start that isn't one", "start: beginning"),
            ("an address without host", "http: {listen: ':9464'}"),
            ("an address by name", "http: {listen: 'localhost:9464'}"),
            ("a host with a scheme", "http: {hosts: ['https://metrics.example.com']}"),
            ("a host with a port", "http: {hosts: [tidegate, 'metrics.example.com:80']}"),
            ("a host that is a pattern", "http: {hosts: 'metrics*.example.com'}"),
            ("an address of probes without port", "http: {probes: '0.0.0.0'}"),
            ("one address for two listeners", "http: {listen: '0.0.0.0:80', probes: '0.0.0.0:80'}"),
            ("a ledger that people can't type", "postgres: {ledger: Tide-Gate}"),
            ("a ledger that PostgreSQL reserves", "postgres: {ledger: pg_tidegate}"),
            ("a connection string of another kind", "postgres: {url: 'mysql://app:hunter2@localhost/app'}"),
        ]),
    );
}

#[test]
fn contradictions() {
    let session = "  session.timeout.ms: 6000\n";
    let kafka = format!(
        "pipeline: orders\nkafka:\n  bootstrap.servers: a:9092\n{session}\
         routes: [{{topic: orders, table: public.orders, key: [id]}}]\n"
    );
    let both = format!("{kafka}timeouts: {{statement: 6s}}\n");
    let mut cases = appended(&[
        ("batch above memory", "limits: {batch_bytes: 256MiB}"),
        ("memory below the default batch", "limits: {memory: 4MiB}"),
        ("first above max", "retry: {transient: {first: 1m, max: 30s}}"),
    ]);
    let drain = kafka.replace("session.timeout.ms", "max.poll.interval.ms") + "timeouts: {drain: 6s}\n";
    cases.push(("drain not below the poll interval", refusal(&drain, Yaml, &[], &[])));
    let apart = kafka.replace("session.timeout.ms", "max.poll.interval.ms") + "timeouts: {statement: 6s}\n";
    cases.push(("statement not below what the poll interval leaves", refusal(&apart, Yaml, &[], &[])));
    cases.push(("statement not below the session", refusal(&both, Yaml, &[], &[])));
    snapshot("contradictions", cases);
}

#[test]
fn kafka_properties() {
    snapshot(
        "kafka",
        connected(&[
            ("an owned property", "enable.auto.commit: true"),
            ("where reading starts", "auto.offset.reset: earliest"),
            ("a command", "sasl.kerberos.kinit.cmd: kinit"),
            ("code", "plugin.library.paths: /tmp/x.so"),
            ("an imitation of brokers", "test.mock.num.brokers: 3"),
            ("a callback", "rebalance_cb: x"),
            ("a misspelt property", "fetch.min.byte: 1"),
            ("an owned property, misspelt", "enable.auto.comit: true"),
            ("a producer's property", "linger.ms: 5"),
            ("a property of the Java client", "max.poll.records: 500"),
            ("uncommitted records", "isolation.level: read_uncommitted"),
            ("topics out of nothing", "allow.auto.create.topics: true"),
            ("a NUL character", "client.id: \"a\\0b\""),
            ("an eager assignor", "partition.assignment.strategy: range,roundrobin"),
            ("an unknown protocol", "group.protocol: modern"),
            (
                "KIP-848 with what the broker decides",
                "group.protocol: consumer\n  session.timeout.ms: 60000\n  heartbeat.interval.ms: 3000\n  \
                 partition.assignment.strategy: cooperative-sticky",
            ),
            ("an assignor of the broker without KIP-848", "group.remote.assignor: uniform"),
            ("a debug context that shows secrets", "debug: cgrp,all"),
            ("a session that isn't a number", "session.timeout.ms: 45s"),
            (
                "a session above the poll interval",
                "session.timeout.ms: 400000\n  max.poll.interval.ms: 300000",
            ),
            ("a list", "client.id: [a, b]"),
            ("an empty group", "group.id: ''"),
        ]),
    );
}

#[test]
fn routes() {
    let route = "topic: orders, table: public.orders, key: [id]";
    let with = |rest: &str| format!("{{{route}, {rest}}}");
    let many = format!("{{{route}}}\n  - {{{}}}", route.replace("topic: orders", "topic: [returns, orders]"));
    let owned: Vec<(&'static str, String)> = vec![
        ("nothing", "{}".to_owned()),
        ("a misspelt key", with("colums: {}")),
        ("a key of a later version", with("version: updated_at")),
        ("a format of a later version", with("format: avro")),
        ("a write mode of a later version", with("write: newest")),
        ("no key", "{topic: orders, table: orders}".to_owned()),
        ("a key for append", with("write: append")),
        ("a column twice in the key", "{topic: orders, table: orders, key: [id, id]}".to_owned()),
        ("a topic in two routes", many),
        (
            "a topic that another route's pattern matches",
            format!("{{{route}}}\n  - {{topic: '/ord.*/', table: '{{topic}}', key: id}}"),
        ),
        ("a topic twice in a list", "{topic: [a, a], table: t, key: id}".to_owned()),
        ("an empty list of topics", "{topic: [], table: t, key: id}".to_owned()),
        ("not a topic", "{topic: 'orders and returns', table: t, key: id}".to_owned()),
        ("a regex that doesn't compile", "{topic: '/orders-(/', table: t, key: id}".to_owned()),
        ("a regex in a list", "{topic: [a, '/b/'], table: t, key: id}".to_owned()),
        ("a table with three parts", "{topic: a, table: db.public.orders, key: id}".to_owned()),
        ("a table with an open quote", "{topic: a, table: 'public.\"orders', key: id}".to_owned()),
        ("a placeholder without quotes", "\n      topic: a\n      key: id\n      table: {topic}".to_owned()),
        ("an unknown placeholder", "{topic: a, table: '{partition}', key: id}".to_owned()),
        (
            "a table's name that gets too long",
            format!("{{topic: {}, table: 'raw_{{topic}}', key: id}}", "a".repeat(62)),
        ),
        ("an unknown source", with("columns: {at: $timestmap}")),
        ("a header without name", with("columns: {trace: $headers}")),
        ("an empty part of a path", with("columns: {id: user..id}")),
        ("an empty source", with("columns: {id: ''}")),
        ("no source", with("columns: {id: }")),
        ("an unknown unit", with("columns: {at: {from: ts, unit: minutes}}")),
        ("a unit for what isn't a number", with("columns: {at: {from: $timestamp, unit: ms}}")),
        ("a column's section without source", with("columns: {at: {unit: ms}}")),
        ("an unknown parser", with("columns: {doc: {from: doc, parse: xml}}")),
        ("a parser for what isn't a field", with("columns: {doc: {from: $value, parse: json}}")),
        ("a column's misspelt key", with("columns: {at: {form: ts}}")),
        ("delete without the key from the record's key", with("on_tombstone: delete")),
        ("delete for append", "{topic: a, table: t, write: append, on_tombstone: delete}".to_owned()),
        ("an unknown policy", with("on_bad_record: skip")),
        ("unknown fields into the key", with("unknown_fields: id")),
        ("a rule that isn't CEL", with("rules: [{name: a, check: record.amount >}]")),
        ("a rule about nothing", with("rules: [{name: a, check: recrod.amount > 0}]")),
        ("a rule with an unknown function", with("rules: [{name: a, check: 'lower(record.a) == \"x\"'}]")),
        ("a rule with a bad pattern", with("rules: [{name: a, check: \"record.a.matches('(')\"}]")),
        ("a rule without a name", with("rules: [{check: 'true'}]")),
        ("a rule's odd name", with("rules: [{name: a b, check: 'true'}]")),
        ("two rules of one name", with("rules: [{name: a, check: 'true'}, {name: a, check: 'false'}]")),
        ("a rule with an unknown end", with("rules: [{name: a, check: 'true', on_fail: drop}]")),
        ("a rule with a reference", with("rules: [{name: a, check: '${LIMIT:-true}'}]")),
        ("a tag without a column", with("rules: [{name: a, check: 'true', on_fail: tag}]")),
        ("a column without a tag", with("rules: [{name: a, check: 'true'}], tag_column: tags")),
        ("a wait for nothing", with("waits: [{name: a}]")),
        ("a wait without a name", with("waits: [{sql: SELECT true}]")),
        ("a wait's odd name", with("waits: [{name: a b, sql: SELECT true}]")),
        ("a wait for two things", with("waits: [{name: a, sql: SELECT true, topic: {name: b}}]")),
        ("two waits of one name", with("waits: [{name: a, sql: SELECT true}, {name: a, topic: {name: b}}]")),
        ("a wait for an empty query", with("waits: [{name: a, sql: ' '}]")),
        ("a wait for no URL", with("waits: [{name: a, http: {url: 'ftp://ada:hush@b/c'}}]")),
        ("a wait's misspelt URL", with("waits: [{name: a, http: {ulr: 'https://ada:hush@b/c?token=hush'}}]")),
        ("a wait for an odd answer", with("waits: [{name: a, http: {url: 'https://b', status: 20}}]")),
        ("a wait for an odd topic", with("waits: [{name: a, topic: {name: 'a b'}}]")),
        ("a wait for an empty topic", with("waits: [{name: a, topic: {name: b, has_records: false}}]")),
        ("a wait for itself", with("waits: [{name: a, pipeline: {name: orders, caught_up: true}}]")),
        ("a wait's unknown end", with("waits: [{name: a, sql: SELECT true, on_timeout: skip}]")),
        ("a wait that never ends", with("waits: [{name: a, sql: SELECT true, timeout: 0s}]")),
        ("a wait that looks all the time", with("waits: [{name: a, sql: SELECT true, every: 1ms}]")),
        ("tags into the key", with("rules: [{name: a, check: 'true', on_fail: tag}], tag_column: id")),
    ];
    let borrowed: Vec<(&'static str, &str)> =
        owned.iter().map(|(title, text)| (*title, text.as_str())).collect();
    let mut cases = routed(&borrowed);
    let none = "pipeline: orders\nkafka: {bootstrap.servers: localhost:9092}\nroutes: []\n";
    cases.push(("no route", refusal(none, Yaml, &[], &[])));
    let word = none.replace("[]", "orders");
    cases.push(("a word for the routes", refusal(&word, Yaml, &[], &[])));
    snapshot("routes", cases);
}

#[test]
fn references() {
    let folder = "/nonexistent/secret";
    let file = format!("postgres: {{url: '${{file:{folder}}}'}}");
    snapshot(
        "references",
        appended(&[
            ("a variable that isn't set", "postgres: {url: 'postgres://app:${PGPASS}@localhost/app'}"),
            ("a file that isn't there", &file),
            ("an open reference", "postgres: {url: 'postgres://${HOST/app'}"),
            ("not a reference", "postgres: {url: 'postgres://${HOST-NAME}/app'}"),
            ("a wrong value behind a reference shows the reference", "workers: ${N:-several}"),
        ]),
    );
}

#[test]
fn the_environment_and_set() {
    let with_env = |name, value| refusal(BASE, Yaml, &[(name, value)], &[]);
    let with_set = |text| refusal(BASE, Yaml, &[], &[text]);
    snapshot(
        "overrides",
        [
            ("a misspelt variable", with_env("TIDEGATE__LIMITS__BATCHROWS", "1")),
            ("a misspelt section", with_env("TIDEGATE__LIMIT__BATCH_ROWS", "1")),
            ("a wrong value", with_env("TIDEGATE__LIMITS__LINGER", "soon")),
            ("a misspelt property", with_env("TIDEGATE__KAFKA__CLIENT_IDD", "x")),
            ("an index too far", with_env("TIDEGATE__ROUTES__5__TABLE", "t")),
            ("not an index", with_env("TIDEGATE__ROUTES__FIRST__TABLE", "t")),
            ("a broken list", with_env("TIDEGATE__ROUTES__0__KEY", "[a, b")),
            ("set: no value", with_set("hunter2")),
            ("set: no key", with_set("=hunter2")),
            ("set: a value for a key", with_set("postgres://app:hunter2@h/d?sslmode=require")),
            ("set: a misspelt key", with_set("worker=4")),
            ("set: a wrong value", with_set("workers=four")),
            ("set: inside a value", with_set("pipeline.name=x")),
            ("set: a refused property", with_set("kafka.auto.offset.reset=latest")),
            ("set: a variable that isn't set", with_set("postgres.url=${NOWHERE}")),
        ],
    );
}

#[test]
fn all_problems_at_once_in_each_format() {
    let yaml = "\
pipeline: my orders
kafka:
  client.idd: x
routes:
  - topic: orders
    table: public.orders
    key: [id]
    wirte: insert
limits:
  linger: 5
  memory: 1ZB
";
    let toml = r#"
pipeline = "my orders"
[kafka]
"client.idd" = "x"
[[routes]]
topic = "orders"
table = "public.orders"
key = ["id"]
wirte = "insert"
[limits]
linger = 5
memory = "1ZB"
"#;
    let json = r#"{
  "pipeline": "my orders",
  "kafka": {"client.idd": "x"},
  "routes": [
    {"topic": "orders", "table": "public.orders", "key": ["id"],
     "wirte": "insert"}
  ],
  "limits": {"linger": 5, "memory": "1ZB", "linger": 6}
}"#;
    snapshot(
        "formats",
        [
            ("yaml", refusal(yaml, Yaml, &[], &[])),
            ("toml", refusal(toml, Toml, &[], &[])),
            ("json", refusal(json, Json, &[], &[])),
        ],
    );
}

#[test]
fn syntax() {
    let cases = [
        ("yaml: a tab", Yaml, "pipeline: a\nkafka:\n\tclient.id: x\n"),
        ("yaml: an open quote", Yaml, "pipeline: \"a\nkafka: {}\n"),
        ("yaml: wrong indentation", Yaml, "pipeline: a\n  kafka: {}\n"),
        ("yaml: an unknown anchor", Yaml, "pipeline: *a\n"),
        ("yaml: a key that is null", Yaml, "pipeline: a\nroutes:\n  - columns:\n      null: x\n"),
        ("yaml: a key that is a tilde", Yaml, "pipeline: a\n~: b\n"),
        ("yaml: a key that is missing", Yaml, "pipeline: a\n: b\n"),
        ("yaml: a key that is an alias of nothing", Yaml, "pipeline: &n\n*n : b\n"),
        ("yaml: a list as a key", Yaml, "pipeline: a\n[b, c]: d\n"),
        ("yaml: a section as a key", Yaml, "pipeline: a\n? {b: c}\n: d\n"),
        ("yaml: a number as a key", Yaml, "pipeline: a\n1: b\n"),
        ("yaml: a truth as a key", Yaml, "pipeline: a\ntrue: b\n"),
        ("yaml: two documents", Yaml, "pipeline: a\n---\npipeline: b\n"),
        ("yaml: a reference in flow style", Yaml, "pipeline: a\nkafka: {client.id: ${ID}}\n"),
        ("yaml: a reference in a flow list", Yaml, "pipeline: a\nroutes: [{topic: a, key: [${ID}]}]\n"),
        (
            "yaml: a reference with a default in flow style",
            Yaml,
            "kafka: {client.id: ${ID:-x}, client.rack: a}\n",
        ),
        ("toml: no value", Toml, "pipeline =\n"),
        ("toml: a bare word", Toml, "pipeline = orders\n"),
        ("toml: a key twice", Toml, "pipeline = 'a'\npipeline = 'b'\n"),
        ("json: a trailing comma", Json, "{\n  \"pipeline\": \"a\",\n}"),
        ("json: cut off", Json, "{\"pipeline\": "),
        ("json: half a character", Json, "{\"pipeline\": \"\\ud800\"}"),
        ("json: a comment", Json, "{ // name\n}"),
    ];
    let message = |(title, format, source)| (title, refusal(source, format, &[], &[]));
    snapshot("syntax", cases.into_iter().map(message));
}

#[test]
fn files() {
    let load = |options: LoadOptions| match Settings::load(&options) {
        Ok(_) => panic!("loaded a file that isn't there"),
        Err(error) => error.to_string(),
    };
    let named = |name: &str| LoadOptions { path: Some(name.into()), ..options(&[], &[]) };
    snapshot(
        "files",
        [
            ("named with -c", load(named("/nonexistent/t.yaml"))),
            ("an unknown extension", load(named("/nonexistent/t.ini"))),
            ("named by the environment", load(options(&[("TIDEGATE_CONFIG", "/nonexistent/e.yml")], &[]))),
            ("not named", load(options(&[], &[]))),
        ],
    );
}

#[test]
fn what_the_consumer_owns_is_refused_by_name() {
    let tail = "routes: [{topic: orders, table: public.orders, key: [id]}]\n";
    for name in tidegate::kafka::properties::owned() {
        let source = format!("pipeline: orders\nkafka: {{bootstrap.servers: 'a:1', {name}: 'x'}}\n{tail}");
        let message = refusal(&source, Yaml, &[], &[]);
        let expected = format!("kafka.{name}: this property can't be set");
        assert!(message.contains(&expected), "{name} is owned, and told as:\n{message}");
    }
}
