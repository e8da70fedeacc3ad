//! No secret is ever printed: not by Debug, not in the effective configuration, not in an error.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate::config::FileFormat::{self, Json, Toml, Yaml};
use tidegate::config::{ConfigError, Settings};

use super::{BASE, parse_with};

const SECRET: &str = "hunter2";

/// Properties whose values are secrets.
const PROPERTIES: &[&str] = &[
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.assertion.private.key.passphrase",
];

/// Connection strings that hold the secret in every way that libpq reads one.
const URLS: &[&str] = &[
    "postgres://app:hunter2@localhost/app",
    "postgresql://app:hunter2@localhost:5432/app?sslmode=require",
    "postgres://app:hunter2@h1:1,h2:2/app",
    "postgres://app:a@b/hunter2@localhost/app",
    "postgres://app:hunter2?x=y@localhost/app",
    "postgres://app:hunter2@/app?host=/run/postgresql",
    "postgres://app@localhost/app?password=hunter2",
    "postgres://app@localhost/app?sslpassword=hunter2&sslmode=require",
    "postgres://localhost/app?user=app&password=a@hunter2",
    "postgres://localhost?password=hunter2@x",
    "postgres://app@localhost/app?options=-c%20x=hunter2",
    "host=localhost user=app password=hunter2 dbname=app",
    "host=localhost password='hunter2 and more' user=app",
    "host=localhost password=a\\ hunter2",
    "password = hunter2 host = localhost",
    "host=localhost sslpassword=hunter2",
];

fn document(url: &str, property: &str) -> serde_json::Value {
    serde_json::json!({
        "pipeline": "orders",
        "kafka": {"bootstrap.servers": "localhost:9092", property: format!("x{SECRET}y")},
        "postgres": {"url": url},
        "routes": [{"topic": "orders", "table": "public.orders", "key": ["id"]}],
    })
}

fn outputs(loaded: &Result<Settings, ConfigError>) -> Vec<String> {
    match loaded {
        Ok(settings) => vec![
            format!("{settings:?}"),
            format!("{settings:#?}"),
            settings.redacted().to_string(),
            settings.postgres.redacted_url(),
            format!("{:?}", settings.kafka),
            format!("{:?}", settings.postgres),
        ],
        Err(error) => vec![error.to_string(), format!("{error:?}"), format!("{error:#?}")],
    }
}

fn assert_hidden(loaded: &Result<Settings, ConfigError>, planted: &str) {
    for output in outputs(loaded) {
        assert!(!output.contains(SECRET), "planted as {planted}, printed as:\n{output}");
    }
}

#[test]
fn good_configurations_hide_their_secrets() {
    for property in PROPERTIES {
        for url in URLS {
            let source = document(url, property).to_string();
            for format in [Json, Yaml] {
                let loaded = parse_with(&source, format, &[], &[]);
                if let Err(error) = &loaded {
                    panic!("{url} {property}: {error}");
                }
                assert_hidden(&loaded, &format!("{url} {property}"));
            }
        }
    }
}

#[test]
fn what_is_safe_of_a_connection_string_stays_readable() {
    for (url, expected) in [
        ("postgres://app:p@db:5432/app?sslmode=require", "postgres://app:***@db:5432/app?sslmode=require"),
        ("postgres://app@db/app", "postgres://app@db/app"),
        ("postgres://", "postgres://"),
        ("postgresql://db/app?password=x&user=app", "postgresql://db/app?password=***&user=app"),
        ("host=db user=app password=x", "host=db user=app password=***"),
        ("host=db password='x'", "***"),
    ] {
        let settings = parse_with(&document(url, "sasl.password").to_string(), Json, &[], &[]).unwrap();
        assert_eq!(settings.postgres.redacted_url(), expected, "{url}");
    }
}

#[test]
fn what_is_safe_of_a_wait_s_address_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let reference = format!("${{file:{}}}", path.display());
    let (plain, from_file) = ("https://loader:8443/up".to_owned(), format!("https://loader/{reference}/up"));
    for (url, expected) in [
        (plain.clone(), plain),
        (format!("https://ada:{SECRET}@loader/up?token={SECRET}"), "https://***@loader/up?***".to_owned()),
        (format!("http://{SECRET}@loader#{SECRET}"), "http://***@loader?***".to_owned()),
        (from_file.clone(), from_file),
    ] {
        let source = format!("{BASE}waits: [{{name: up, http: {{url: \"{url}\"}}}}]\n");
        let settings = parse_with(&source, Yaml, &[], &[]).unwrap();
        let shown = settings.redacted();
        assert_eq!(shown["waits"][0]["http"]["url"], expected, "{url}");
        let debug = format!("{shown} {settings:?}");
        assert!(!debug.contains(SECRET), "{debug}");
    }
}

#[test]
fn secrets_from_files_the_environment_and_set_are_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let reference = format!("${{file:{}}}", path.display());
    let source =
        document("postgres://app@localhost/app", "client.rack").to_string().replace("xhunter2y", "a");
    let url = format!("postgres.url=postgres://app:{reference}@localhost/app");
    let password = format!("kafka.sasl.password={SECRET}");
    // From a file, a value is a secret under any name.
    let name = format!("kafka.client.id={reference}");
    let env = [
        ("TIDEGATE__POSTGRES__URL", "postgres://app:hunter2@localhost/app"),
        ("TIDEGATE__KAFKA__SSL_KEY_PASSWORD", SECRET),
    ];
    for (env, sets) in [
        (&env[..], vec![]),
        (&[][..], vec![url.as_str(), password.as_str(), name.as_str()]),
        (&env[..], vec![password.as_str(), "workers=0"]),
    ] {
        let loaded = parse_with(&source, Json, env, &sets);
        assert_eq!(loaded.is_err(), sets.contains(&"workers=0"));
        assert_hidden(&loaded, &format!("{env:?} {sets:?}"));
    }
}

#[test]
fn errors_at_every_key_hide_what_a_reference_yields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    // Wrong everywhere, so that each key complains about it.
    std::fs::write(&path, format!("{SECRET} \"is wrong")).unwrap();
    let file = format!("${{file:{}}}", path.display());
    let keys = [
        "pipeline",
        "start",
        "postgres.ledger",
        "postgres.url",
        "workers",
        "limits.batch_rows",
        "limits.batch_bytes",
        "limits.linger",
        "bad_records.halt_above",
        "retry.transient.strategy",
        "retry.transient.first",
        "timeouts.connect",
        "http.listen",
        "http.probes",
        "http.hosts",
        "log.format",
        "log.level",
        "kafka.group.protocol",
        "kafka.session.timeout.ms",
        "kafka.partition.assignment.strategy",
        "kafka.no.such.property",
        "routes.0.topic",
        "routes.0.table",
        "routes.0.format",
        "routes.0.write",
        "routes.0.columns.x",
        "routes.0.on_tombstone",
        "routes.0.on_bad_record",
        "routes.0.on_missing_parent.wait",
        "routes.0.on_missing_parent.then",
    ];
    let source =
        document("postgres://app@localhost/app", "client.rack").to_string().replace("xhunter2y", "a");
    for key in keys {
        for value in [file.clone(), "${TOKEN}".to_owned(), "${NONE:-}${TOKEN}".to_owned()] {
            let env = [("TOKEN", "hunter2 \"is wrong")];
            let loaded = parse_with(&source, Json, &env, &[&format!("{key}={value}")]);
            assert!(loaded.is_err(), "{key} takes {value}");
            assert_hidden(&loaded, key);
        }
    }
}

#[test]
fn errors_beside_a_secret_hide_it() {
    let cases: &[(FileFormat, &str)] = &[
        (Yaml, "postgres: postgres://app:hunter2@localhost/app\n"),
        (Yaml, "postgres: [postgres://app:hunter2@localhost/app]\n"),
        (Yaml, "postgres: {url: mysql://app:hunter2@localhost/app}\n"),
        (Yaml, "postgres: {ulr: postgres://app:hunter2@localhost/app}\n"),
        (Yaml, "postgres:\n  url: \"postgres://app:hunter2@localhost/app\n"),
        (Yaml, "postgres:\n\turl: postgres://app:hunter2@localhost/app\n"),
        (Yaml, "postgres: {url: postgres://app:hunter2@localhost/app\n"),
        (Yaml, "postgres: {url: postgres://app:hunter2@${HOST}/app}\n"),
        (Yaml, "postgres: {url: 'postgres://app:hunter2@${HOST'}\n"),
        (Yaml, "kafka: {sasl.password: [hunter2]}\n"),
        (Yaml, "kafka: {sasl.password: {inner: hunter2}}\n"),
        (Yaml, "kafka: {sasl.pasword: hunter2}\n"),
        (Yaml, "kafka: {sasl.pass: {hunter2: 1}}\n"),
        (Yaml, "kafka: {sasl.pass: hunter2}\n"),
        (Yaml, "kafka: {client.id: x, sasl.password:hunter2}\n"),
        (Yaml, "kafka: {client.id: x, sasl.password hunter2}\n"),
        (Yaml, "postgres: {ledger: x, url:postgres://app:hunter2@h/d}\n"),
        (Yaml, "kafka: {{ hunter2 }}\n"),
        (Yaml, "kafka:\n  ssl.key.pem: |\n    BEGIN\n    hunter2\n   END\n"),
        (Yaml, "kafka:\n  sasl.password: 'a\n    hunter2\n  client.id: x\n"),
        (Yaml, "kafka:\n  sasl.password: hunter2: x\n"),
        (Yaml, "kafka:\n  sasl.password: @hunter2\n"),
        (Yaml, "kafka:\n  sasl.password: *hunter2\n"),
        (Yaml, "kafka:\n  sasl.password: !hunter2\n  x\n"),
        (Yaml, "kafka:\n  sasl.password: \"hunter2\\q\"\n"),
        (Toml, "[postgres]\nurl = postgres://app:hunter2@localhost/app\n"),
        (Toml, "[postgres]\nurl = \"postgres://app:hunter2@localhost/app\n"),
        (Toml, "[kafka]\n\"sasl.password\" = \"hunter2\\q\"\n"),
        (Json, "{\"kafka\": {\"sasl.password\": hunter2}}"),
        (Json, "{\"kafka\": {\"sasl.password\": \"hunter2\\q\"}}"),
        (Json, "{\"kafka\": {\"sasl.password\": \"hunter2"),
    ];
    for (format, source) in cases {
        let loaded = parse_with(source, *format, &[], &[]);
        assert!(loaded.is_err(), "{source}");
        assert_hidden(&loaded, source);
    }
}

#[test]
fn a_section_in_the_place_of_a_secret_is_refused_without_its_keys() {
    let cases: &[(FileFormat, &str, &str)] = &[
        (Yaml, "kafka: {sasl.password: {hunter2: 1}}\n", "kafka.sasl.password: expected a single value"),
        (Yaml, "kafka: {sasl: {password: {hunter2: 1}}}\n", "kafka.sasl.password: expected a single value"),
        (Yaml, "kafka: {sasl.password: {a: {hunter2: 1}}}\n", "kafka.sasl.password: expected a single"),
        (Yaml, "kafka: {sasl.password: {hunter2: '${NONE}'}}\n", "kafka.sasl.password: "),
        (Yaml, "kafka: {sasl.password: {hunter2: [1]}}\n", "kafka.sasl.password: expected a single value"),
        (Yaml, "kafka: {sasl.password: {}}\n", "kafka.sasl.password: expected a single value"),
        (Yaml, "kafka: {sasl.password: [{hunter2: 1}]}\n", "kafka.sasl.password: expected a single value"),
        (Yaml, "kafka: {sasl.password: ['${NONE}', {hunter2: '${NONE}'}]}\n", "kafka.sasl.password"),
        (Yaml, "kafka: {sasl.password: {{hunter2}}}\n", "can't be a key"),
        (Yaml, "kafka: {sasl.password: {{ hunter2 }}}\n", "can't be a key"),
        (Yaml, "kafka:\n  sasl.password: {{ hunter2 }}\n", "can't be a key"),
        (Yaml, "kafka: {sasl.pasword: {hunter2: 1}}\n", "kafka.sasl.pasword: expected a single value"),
        (Yaml, "kafka: {sasl.oauthbearer.token: {hunter2: 1}}\n", "kafka.sasl.oauthbearer.token: "),
        (Yaml, "kafka: {ssl.key.pem: {hunter2: 1}}\n", "kafka.ssl.key.pem: expected a single value"),
        (Yaml, "kafka: {sasl.password: 'a${hunter2 !}'}\n", "kafka.sasl.password: what stands in"),
        (Yaml, "postgres: {url: {hunter2: 1}}\n", "postgres.url: expected a connection string"),
        (Yaml, "postgres: {url: {hunter2: '${NONE}'}}\n", "postgres.url: "),
        (Yaml, "postgres: {url: [{hunter2: '${NONE}'}]}\n", "postgres.url: "),
        (Yaml, "postgres: {url: {{hunter2}}}\n", "can't be a key"),
        (Yaml, "postgres: {url: {hunter2: 1, hunter2: 2}}\n", "postgres.url: "),
        (Toml, "[kafka.sasl.password]\nhunter2 = 1\n", "kafka.sasl.password: expected a single value"),
        (Toml, "[kafka]\nsasl.password.hunter2 = 1\n", "kafka.sasl.password: expected a single value"),
        (Toml, "[kafka]\n\"sasl.password\" = {hunter2 = 1}\n", "kafka.sasl.password: expected a single"),
        (Toml, "[postgres.url]\nhunter2 = \"${NONE}\"\n", "postgres.url: "),
        (Json, r#"{"kafka": {"sasl.password": {"hunter2": 1}}}"#, "kafka.sasl.password: expected a single"),
        (Json, r#"{"postgres": {"url": {"hunter2": 1}}}"#, "postgres.url: expected a connection string"),
    ];
    for (format, source, told) in cases {
        let loaded = parse_with(source, *format, &[], &[]);
        assert_hidden(&loaded, source);
        let error = loaded.err().unwrap_or_else(|| panic!("{source} loads")).to_string();
        assert!(error.contains(told), "{source}\n{error}");
    }
    for set in ["kafka.sasl.password.hunter2=x", "postgres.url.hunter2=x"] {
        let loaded = parse_with(&document("postgres://", "client.rack").to_string(), Json, &[], &[set]);
        assert!(loaded.is_err(), "{set}");
        let shown: Vec<_> = outputs(&loaded);
        assert!(shown.iter().all(|text| !text.replace("xhunter2y", "").contains(SECRET)), "{shown:?}");
    }
}

#[test]
fn properties_below_a_word_for_secrets_are_known_all_the_same() {
    let source = "pipeline: orders\nkafka:\n  bootstrap.servers: localhost:9092\n  sasl:\n    oauthbearer:\n      \
         token.endpoint.url: https://localhost/token\n      client: {credentials.client.id: me}\n\
         routes:\n  - {topic: orders, table: public.orders, key: [id]}\n";
    let settings = parse_with(source, Yaml, &[], &[]).unwrap();
    assert_eq!(settings.kafka.get("sasl.oauthbearer.token.endpoint.url"), Some("https://localhost/token"));
    assert_eq!(settings.kafka.get("sasl.oauthbearer.client.credentials.client.id"), Some("me"));
}

/// Configurations with a secret, whole and wrong in places that have nothing to do with it.
const DAMAGED: [(FileFormat, &str); 4] = [
    (
        Yaml,
        "pipeline: orders\nkafka:\n  bootstrap.servers: localhost:9092\n  sasl.username: app\n  \
         sasl.password: hunter2\n  client.id: x\npostgres:\n  url: postgres://app:hunter2@localhost/app\n  \
         ledger: tidegate\nworkers: 4\nroutes:\n  - topic: orders\n    table: public.orders\n    key: [id]\n",
    ),
    (
        Yaml,
        "pipeline: orders\nkafka: {bootstrap.servers: a, sasl.password: hunter2, client.id: x}\n\
         postgres: {url: 'host=a password=hunter2', ledger: t}\n\
         routes: [{topic: orders, table: orders, key: [id]}]\nworkers: 4\n",
    ),
    (
        Toml,
        "pipeline = \"orders\"\nworkers = 4\n[kafka]\n\"bootstrap.servers\" = \"a\"\n\
         sasl.password = \"hunter2\"\n[postgres]\nurl = \"postgres://app:hunter2@localhost/app\"\n\
         ledger = \"t\"\n[[routes]]\ntopic = \"orders\"\ntable = \"orders\"\nkey = [\"id\"]\n",
    ),
    (
        Json,
        "{\"pipeline\": \"orders\",\n\"kafka\": {\"bootstrap.servers\": \"a\", \"sasl.password\": \"hunter2\", \
         \"client.id\": \"x\"},\n\"postgres\": {\"url\": \"postgres://app:hunter2@localhost/app\"}, \
         \"workers\": 4,\n\"routes\": [{\"topic\": \"orders\", \"table\": \"orders\", \"key\": [\"id\"]}]}\n",
    ),
];

proptest! {
    // Always the same ones: with enough mistakes at once a secret looks like anything that isn't one.
    #![proptest_config(ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn no_mistake_brings_a_secret_to_light(
        which in 0..DAMAGED.len(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), "[ \\n\\t:,{}\\[\\]'\"#|>=a-f-]{0,3}", 0..3_usize),
            1..3,
        ),
    ) {
        let (format, source) = DAMAGED[which];
        let mut source = source.to_owned();
        for (index, new, taken) in changes {
            let from = index.index(source.len());
            source.replace_range(from..(from + taken).min(source.len()), &new);
        }
        // What still loads means what it says: a secret in the place of a host's name is a host's name.
        let loaded = parse_with(&source, format, &[], &[]);
        for output in loaded.is_err().then(|| outputs(&loaded)).into_iter().flatten() {
            prop_assert!(!output.contains(SECRET), "{source}\n---\n{output}");
        }
    }
}
