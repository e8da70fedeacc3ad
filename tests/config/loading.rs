//! What a good configuration means, in each format, with the environment and `--set` over it.

use secrecy::ExposeSecret;
use std::time::Duration;
use tidegate::config::*;

use super::{BASE, good, options, parse_with, properties, yaml};

const FULL: &str = "\
pipeline: orders
kafka:
  bootstrap.servers: a:9092,b:9092
  client.id: 007
  group.instance.id: one
  fetch.min.bytes: 1_000
  socket.keepalive.enable: true
postgres:
  url: postgres://app:hunter2@localhost/app
  ledger: ledger_of_orders
start: 2026-11-01T00:00:00+01:00
routes:
  - topic: [orders, returns]
    table: sales.\"all.{topic}\"
    format: json
    key: [tenant, id]
    write: insert
    columns:
      tenant: $key.tenant
      id: $key.\"order.id\"
      received_at: $timestamp
      trace: $headers.x-trace.id
      user_id: user.id
      created_at: {from: ts, unit: ms}
      raw: $value
    unknown_fields: rest
    on_tombstone: delete
    on_bad_record: halt
  - topic: /log-.*/
    table: log
    write: append
workers: 2
limits: {batch_rows: 10, batch_bytes: 1MiB, linger: 5ms, memory: 2MiB, record_bytes: 64KiB}
bad_records: {halt_above: 1, over: 1h, at_least: 7}
retry:
  transient: {strategy: linear, first: 1s, max: 1m 30s}
  schema: {strategy: fixed, first: 3s, max: 3s, attempts: 4, deadline: 1h, then: halt}
  ambiguous: {strategy: exponential, first: 2s, attempts: 9}
timeouts: {connect: 1s, statement: 2s, lock: 3s, idle_in_transaction: 4s, takeover: 5s, drain: 6s}
http: {listen: '[::]:80', probes: '0.0.0.0:81', hosts: [metrics.example.com, '*.corp.example']}
log: {format: text, level: debug}
";

#[test]
fn every_key_arrives_where_it_belongs() {
    let settings = good(FULL);
    assert_eq!(settings.pipeline.as_str(), "orders");
    let kafka = properties(&settings);
    assert_eq!(kafka["client.id"], "007", "numbers keep the text that was written");
    assert_eq!(kafka["fetch.min.bytes"], "1_000");
    assert_eq!(kafka["socket.keepalive.enable"], "true");
    assert_eq!(settings.kafka.group_id(), "orders");
    assert_eq!(settings.kafka.group_protocol(), GroupProtocol::Classic);
    assert_eq!(settings.postgres.url.expose_secret(), "postgres://app:hunter2@localhost/app");
    assert_eq!(settings.postgres.ledger, "ledger_of_orders");
    assert_eq!(settings.start, Start::At("2026-10-31T23:00:00Z".parse().unwrap()));
    assert_eq!(settings.workers.get(), 2);
    assert_eq!(settings.limits.batch_rows.get(), 10);
    assert_eq!(settings.limits.batch_bytes.get(), 1 << 20);
    assert_eq!(settings.limits.linger, Duration::from_millis(5));
    assert_eq!(settings.limits.memory.get(), 2 << 20);
    assert_eq!(settings.limits.record_bytes.get(), 64 << 10);
    assert_eq!(settings.bad_records.halt_above, 1.0);
    assert_eq!(settings.bad_records.over, Duration::from_secs(3600));
    assert_eq!(settings.bad_records.at_least.get(), 7);
    let transient = settings.retry.transient;
    assert_eq!(transient.strategy, BackoffStrategy::Linear);
    assert_eq!(transient.first, Duration::from_secs(1));
    assert_eq!(transient.max, Duration::from_secs(90));
    let ambiguous = settings.retry.ambiguous;
    assert_eq!(ambiguous.strategy, BackoffStrategy::Exponential);
    assert_eq!(ambiguous.first, Duration::from_secs(2));
    assert_eq!(ambiguous.attempts, 9);
    let schema = settings.retry.schema;
    assert_eq!((schema.strategy, schema.first), (BackoffStrategy::Fixed, Duration::from_secs(3)));
    assert_eq!((schema.attempts, schema.deadline), (4, Duration::from_secs(3600)));
    let timeouts = settings.timeouts;
    let seconds = [
        timeouts.connect,
        timeouts.statement,
        timeouts.lock,
        timeouts.idle_in_transaction,
        timeouts.takeover,
        timeouts.drain,
    ];
    assert_eq!(seconds.map(|timeout| timeout.as_secs()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(settings.http.listen.unwrap().to_string(), "[::]:80");
    assert_eq!(settings.http.probes, Some("0.0.0.0:81".parse().unwrap()));
    assert_eq!(settings.http.hosts, ["metrics.example.com", "*.corp.example"]);
    assert_eq!(
        settings.log,
        LogSettings { format: LogFormat::Text, level: LogLevel::Debug, server_messages: false }
    );
}

#[test]
fn routes_are_plain_data() {
    let settings = good(FULL);
    let route = &settings.routes[0];
    assert_eq!(route.topic, TopicSelector::Names(vec!["orders".to_owned(), "returns".to_owned()]));
    let table = route.table.resolve("orders").unwrap();
    assert_eq!((table.schema.as_str(), table.name.as_str()), ("sales", "all.orders"));
    assert_eq!(table.to_string(), "sales.\"all.orders\"");
    assert_eq!(route.key, ["tenant", "id"]);
    assert_eq!(route.write, WriteMode::Insert);
    assert_eq!(route.unknown_fields, UnknownFields::Column("rest".to_owned()));
    assert_eq!(route.on_tombstone, OnTombstone::Delete);
    assert_eq!(route.on_bad_record, OnBadRecord::Halt);
    let columns: Vec<_> = route.columns.iter().map(|column| column.column.as_str()).collect();
    assert_eq!(columns, ["tenant", "id", "received_at", "trace", "user_id", "created_at", "raw"]);
    let path = |source: &ColumnSource| match source {
        ColumnSource::Field(path) | ColumnSource::KeyField(path) => path.segments().join("|"),
        other => format!("{other:?}"),
    };
    let sources: Vec<_> = route.columns.iter().map(|column| path(&column.source)).collect();
    assert_eq!(
        sources,
        ["tenant", "order.id", "Timestamp", "Header(\"x-trace.id\")", "user|id", "ts", "Value"]
    );
    assert_eq!(route.columns[5].unit, Some(EpochUnit::Millis));
    assert_eq!(route.columns[4].unit, None);

    let log = &settings.routes[1];
    assert!(log.topic.matches("log-a"));
    assert!(!log.topic.matches("my-log-a"), "the whole name must match");
    assert_eq!(log.table.to_string(), "public.log");
    assert_eq!((log.write, log.key.len()), (WriteMode::Append, 0));
    assert_eq!(log.unknown_fields, UnknownFields::Ignore);
    assert_eq!(log.on_tombstone, OnTombstone::Quarantine);
    assert_eq!(log.on_bad_record, OnBadRecord::Quarantine);
}

#[test]
fn silence_means_the_defaults_of_the_contract() {
    let effective = good(BASE).redacted();
    let expected = serde_json::json!({
        "pipeline": "orders",
        "kafka": {"bootstrap.servers": "localhost:9092", "group.id": "orders"},
        "postgres": {"url": "postgres://", "ledger": "tidegate"},
        "start": "earliest",
        "routes": [{
            "topic": "orders", "table": "public.orders", "format": "json", "key": ["id"], "write": "upsert",
            "columns": {}, "unknown_fields": "ignore", "on_tombstone": "quarantine",
            "on_bad_record": "quarantine", "on_missing_parent": {"wait": "30s", "then": "quarantine"},
            "rules": [],
            "waits": [],
        }],
        "waits": [],
        "workers": 4,
        "limits": {"batch_rows": 50000, "batch_bytes": "8MiB", "linger": "0ms", "memory": "128MiB",
            "record_bytes": "16MiB"},
        "bad_records": {"halt_above": 0.5, "over": "1m", "at_least": 1000},
        "dead_letter": {"topic": null},
        "retry": {
            "transient": {"strategy": "exponential", "first": "50ms", "max": "30s", "attempts": 0,
                "deadline": "0ms", "then": "halt"},
            "conflict": {"strategy": "exponential", "first": "50ms", "max": "30s", "attempts": 12,
                "deadline": "0ms", "then": "halt"},
            "resources": {"strategy": "exponential", "first": "50ms", "max": "30s", "attempts": 0,
                "deadline": "0ms", "then": "halt"},
            "schema": {"strategy": "fixed", "first": "15s", "max": "15s", "attempts": 0,
                "deadline": "0ms", "then": "halt"},
            "ambiguous": {"strategy": "linear", "first": "1s", "max": "30s", "attempts": 5,
                "deadline": "0ms", "then": "halt"}},
        "timeouts": {"connect": "10s", "statement": "30s", "lock": "10s", "idle_in_transaction": "15s",
            "takeover": "5s", "drain": "25s"},
        "http": {"listen": "127.0.0.1:9464", "probes": null, "hosts": []},
        "log": {"format": "auto", "level": "info", "server_messages": false},
    });
    assert_eq!(effective, expected);
}

#[test]
fn the_three_formats_say_the_same() {
    let toml = r#"
        pipeline = "orders"
        workers = 2
        start = 2026-11-01T00:00:00Z
        [kafka]
        "bootstrap.servers" = "localhost:9092"
        client.id = "x"
        [bad_records]
        halt_above = 0.25
        [[routes]]
        topic = "orders"
        table = "public.orders"
        key = ["id"]
        columns = { at = { from = "ts", unit = "s" } }
    "#;
    let json = r#"{
        "pipeline": "orders", "workers": 2, "start": "2026-11-01T00:00:00Z",
        "kafka": {"bootstrap.servers": "localhost:9092", "client.id": "x"},
        "bad_records": {"halt_above": 0.25},
        "routes": [{"topic": "orders", "table": "public.orders", "key": ["id"],
            "columns": {"at": {"from": "ts", "unit": "s"}}}]
    }"#;
    let yaml = "
pipeline: orders
workers: 2
start: 2026-11-01T00:00:00Z
kafka: {bootstrap.servers: localhost:9092, client.id: x}
bad_records: {halt_above: 0.25}
routes: [{topic: orders, table: public.orders, key: id, columns: {at: {from: ts, unit: s}}}]
";
    let read = |source, format| match parse_with(source, format, &[], &[]) {
        Ok(settings) => settings.redacted(),
        Err(error) => panic!("{format:?}: {error}"),
    };
    let expected = read(yaml, FileFormat::Yaml);
    assert_eq!(read(json, FileFormat::Json), expected);
    assert_eq!(read(toml, FileFormat::Toml), expected);
    assert_eq!(expected["bad_records"]["halt_above"], 0.25);
}

#[test]
fn the_environment_beats_the_file_and_set_beats_both() {
    let source = format!("{BASE}workers: 1\nlimits: {{batch_rows: 1, linger: 1ms}}\n");
    let env = [
        ("TIDEGATE__WORKERS", "2"),
        ("TIDEGATE__LIMITS__BATCH_ROWS", "2"),
        ("TIDEGATE__KAFKA__CLIENT_ID", "from-environment"),
        ("TIDEGATE__KAFKA__SASL__PASSWORD", "a: #$$ {\"'"),
        ("TIDEGATE__KAFKA__LOG_LEVEL", "3"),
        ("TIDEGATE__POSTGRES__URL", "postgres://u:${x}@h/d"),
        ("TIDEGATE__ROUTES__0__KEY", "[tenant, id]"),
        ("TIDEGATE__ROUTES__1__TOPIC", "second"),
        ("TIDEGATE__ROUTES__1__TABLE", "{topic}"),
        ("TIDEGATE__ROUTES__1__WRITE", "append"),
        ("TIDEGATE__ROUTES__0__COLUMNS__ID", "{from: ts, unit: s}"),
        ("TIDEGATE_CONFIG", "elsewhere.yaml"),
        ("TIDEGATE_OTHER", "ignored"),
    ];
    let sets = [
        "workers=3",
        "kafka.client.id=from-set",
        "routes[0].columns.tenant=$key.t",
        "routes.1.table=${TABLE:-fallback}",
    ];
    let settings = match parse_with(&source, FileFormat::Yaml, &env, &sets) {
        Ok(settings) => settings,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(settings.workers.get(), 3);
    assert_eq!(settings.limits.batch_rows.get(), 2);
    assert_eq!(settings.limits.linger, Duration::from_millis(1), "a neighbour stays as the file has it");
    let kafka = properties(&settings);
    assert_eq!(kafka["client.id"], "from-set");
    assert_eq!(kafka["log_level"], "3", "a property with an underscore");
    assert_eq!(kafka["sasl.password"], "a: #$$ {\"'", "a variable's value is taken as it is");
    assert_eq!(settings.postgres.url.expose_secret(), "postgres://u:${x}@h/d");
    assert_eq!(settings.routes[0].key, ["tenant", "id"]);
    assert_eq!(settings.routes[0].columns[0].unit, Some(EpochUnit::Seconds));
    assert_eq!(settings.routes[0].columns[1].column, "tenant");
    assert_eq!(settings.routes[1].table.to_string(), "public.fallback");
}

#[test]
fn routes_from_the_environment_append_in_the_order_of_their_numbers() {
    let variables: Vec<(String, String)> = (1..=11)
        .flat_map(|route| {
            [("TOPIC", format!("t{route}")), ("TABLE", format!("t{route}")), ("KEY", "id".to_owned())]
                .map(|(key, value)| (format!("TIDEGATE__ROUTES__{route}__{key}"), value))
        })
        .collect();
    let env: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let settings = match parse_with(BASE, FileFormat::Yaml, &env, &[]) {
        Ok(settings) => settings,
        Err(error) => panic!("{error}"),
    };
    let tables: Vec<String> = settings.routes.iter().map(|route| route.table.to_string()).collect();
    assert_eq!(tables.len(), 12);
    assert_eq!((tables[2].as_str(), tables[10].as_str()), ("public.t2", "public.t10"));
}

#[test]
fn the_file_is_chosen_by_c_then_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, workers: u16| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{BASE}workers: {workers}\n")).unwrap();
        path
    };
    let (first, second) = (write("first.yaml", 1), write("second.YML", 2));
    let mut chosen = options(&[("TIDEGATE_CONFIG", second.to_str().unwrap())], &[]);
    assert_eq!(Settings::load(&chosen).unwrap().workers.get(), 2);
    chosen.path = Some(first);
    assert_eq!(Settings::load(&chosen).unwrap().workers.get(), 1);
}

#[test]
fn references_are_resolved_in_every_format_after_parsing() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "p\"a: #s\\s\n").unwrap();
    let file = format!("${{file:{}}}", secret.display());
    let env = [("HOST", "h"), ("WORKERS", "7"), ("TRICKY", "x\ninjected: true")];
    let yaml = format!(
        "pipeline: orders\nworkers: ${{WORKERS}}\n\
         postgres: {{url: 'postgres://$$a@${{HOST}}/${{DB:-app}}'}}\n\
         kafka: {{bootstrap.servers: '${{TRICKY}}', sasl.password: '{file}'}}\n\
         routes: [{{topic: t, table: t, key: id}}]\n"
    );
    let toml = format!(
        "pipeline = 'orders'\nworkers = '${{WORKERS}}'\n\
         postgres.url = 'postgres://$$a@${{HOST}}/${{DB:-app}}'\n\
         kafka = {{ bootstrap.servers = '${{TRICKY}}', sasl.password = '{file}' }}\n\
         routes = [{{ topic = 't', table = 't', key = 'id' }}]\n"
    );
    let json = format!(
        "{{\"pipeline\": \"orders\", \"workers\": \"${{WORKERS}}\", \
         \"postgres\": {{\"url\": \"postgres://$$a@${{HOST}}/${{DB:-app}}\"}},\
         \"kafka\": {{\"bootstrap.servers\": \"${{TRICKY}}\", \"sasl.password\": \"{file}\"}},\
         \"routes\": [{{\"topic\": \"t\", \"table\": \"t\", \"key\": \"id\"}}]}}"
    );
    for (source, format) in [(yaml, FileFormat::Yaml), (toml, FileFormat::Toml), (json, FileFormat::Json)] {
        let settings = match parse_with(&source, format, &env, &[]) {
            Ok(settings) => settings,
            Err(error) => panic!("{format:?}: {error}\n{source}"),
        };
        assert_eq!(settings.workers.get(), 7);
        assert_eq!(settings.postgres.url.expose_secret(), "postgres://$a@h/app");
        assert_eq!(properties(&settings)["bootstrap.servers"], "x\ninjected: true");
        assert_eq!(properties(&settings)["sasl.password"], "p\"a: #s\\s");
    }
}

#[test]
fn yaml_anchors_and_merges_work() {
    let source = "
pipeline: orders
kafka: {bootstrap.servers: localhost:9092}
routes:
  - &base {topic: a, table: '{topic}', key: [id]}
  - {<<: *base, topic: b}
";
    let settings = good(source);
    assert_eq!(settings.routes[1].topic, TopicSelector::Names(vec!["b".to_owned()]));
    assert_eq!(settings.routes[1].key, ["id"]);
    assert!(yaml("").is_err());
}

#[test]
fn a_wait_that_is_not_written_makes_room_for_one_that_is() {
    /// Lines of `kafka`, lines of the root, and what the waits become: statement, drain, session, poll, first
    /// and longest retry, in milliseconds.
    const CASES: [(&str, &str, [u64; 6]); 13] = [
        ("", "", [30_000, 25_000, 45_000, 300_000, 50, 30_000]),
        ("session.timeout.ms: 6000", "", [4_000, 25_000, 6_000, 300_000, 50, 30_000]),
        ("session.timeout.ms: 45001", "", [30_000, 25_000, 45_001, 300_000, 50, 30_000]),
        ("session.timeout.ms: 400000", "", [30_000, 25_000, 400_000, 400_000, 50, 30_000]),
        ("max.poll.interval.ms: 20000", "", [13_333, 13_333, 20_000, 20_000, 50, 30_000]),
        ("max.poll.interval.ms: 40000", "", [26_666, 25_000, 40_000, 40_000, 50, 30_000]),
        ("", "timeouts: {statement: 45s}", [45_000, 25_000, 67_500, 300_000, 50, 30_000]),
        ("", "timeouts: {statement: 10m}", [600_000, 25_000, 900_000, 900_000, 50, 30_000]),
        ("", "timeouts: {drain: 5m}", [30_000, 300_000, 45_000, 450_000, 50, 30_000]),
        ("", "timeouts: {drain: 10m, statement: 1s}", [1_000, 600_000, 45_000, 900_000, 50, 30_000]),
        (
            "session.timeout.ms: 6000",
            "timeouts: {statement: 5s}",
            [5_000, 25_000, 6_000, 300_000, 50, 30_000],
        ),
        ("", "retry: {transient: {first: 1m}}", [30_000, 25_000, 45_000, 300_000, 60_000, 60_000]),
        ("", "retry: {transient: {max: 10ms}}", [30_000, 25_000, 45_000, 300_000, 10, 10]),
    ];
    for (kafka, root, expected) in CASES {
        let line = if kafka.is_empty() { String::new() } else { format!("  {kafka}\n") };
        let source = format!(
            "pipeline: p\nkafka:\n  bootstrap.servers: a:9092\n{line}\
             routes: [{{topic: t, table: t, key: [id]}}]\n{root}\n"
        );
        let settings = good(&source);
        let found = [
            settings.timeouts.statement,
            settings.timeouts.drain,
            settings.kafka.session_timeout().unwrap(),
            settings.kafka.max_poll_interval(),
            settings.retry.transient.first,
            settings.retry.transient.max,
        ];
        assert_eq!(found.map(|wait| wait.as_millis() as u64), expected, "{kafka} {root}");
    }
    // Where the broker decides the session, a statement is bound by nothing of ours.
    let settings = good(
        &format!("{BASE}timeouts: {{statement: 10m}}\n")
            .replace("kafka: {", "kafka: {group.protocol: consumer, "),
    );
    assert!(!properties(&settings).contains_key("session.timeout.ms"));
}
