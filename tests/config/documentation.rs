//! The files of `config/` against the code: `tidegate.yaml` shows every key with its default, examples
//! load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate::config::{LoadOptions, SECTIONS, Settings};

use super::{good, options};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn reference() -> String {
    std::fs::read_to_string(folder().join("tidegate.yaml")).unwrap()
}

/// Every key of a document as `section.key`, list elements as `[]`, columns as `{}`; Kafka's properties
/// left out.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let below = match path {
                    "" => key.clone(),
                    "routes[].columns" => format!("{path}{{}}"),
                    _ => format!("{path}.{key}"),
                };
                found.insert(below.clone());
                if below != "kafka" {
                    keys(inner, &below, found);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                keys(item, &format!("{path}[]"), found);
            }
        }
        _ => {}
    }
}

/// Every key that the code knows.
fn known() -> BTreeSet<String> {
    let path = |section: &str, key: &str| match section {
        "" => key.to_owned(),
        section => format!("{section}.{key}"),
    };
    SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(|key| path(section, key))).collect()
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let document: Value = serde_saphyr::from_str(&reference()).unwrap();
    let mut found = BTreeSet::new();
    keys(&document, "", &mut found);
    found.remove("routes[].columns{}");
    assert_eq!(found, known());
}

#[test]
fn the_effective_configuration_shows_every_key_and_no_other() {
    let mut shown = BTreeSet::new();
    keys(&good(&reference()).redacted(), "", &mut shown);
    shown.remove("routes[].columns{}");
    assert_eq!(shown, known());
}

#[test]
fn the_reference_explains_every_key() {
    let reference = reference();
    let lines: Vec<&str> = reference.lines().map(str::trim).collect();
    for key in SECTIONS.iter().flat_map(|(_, keys)| keys.iter()) {
        let shown = |line: &str| line.trim_start_matches("- ").starts_with(&format!("{key}:"));
        for (index, _) in lines.iter().enumerate().filter(|(_, line)| shown(line)) {
            // The keys of a section are explained themselves, so the section's own line needs no comment.
            let section = lines[index].ends_with(':');
            let explained = section || lines[index - 1].starts_with('#');
            assert!(explained, "config/tidegate.yaml:{}: `{key}` has no comment above it", index + 1);
        }
    }
}

#[test]
fn the_reference_states_the_defaults() {
    let stated = good(&reference());
    let silent = good(
        "pipeline: orders\nkafka: {bootstrap.servers: localhost:9092}\n\
         postgres: {url: postgres://app@localhost/app}\n\
         routes: [{topic: events, table: public.events, key: [event_id], columns: {received_at: $timestamp, \
         user_id: user.id, created_at: {from: ts, unit: ms}, details: {from: details, parse: json}}, \
         tag_column: quality, rules: [{name: positive-amount, check: record.amount > 0}, {name: known-currency, \
         check: \"record.currency in ['EUR', 'USD']\", on_fail: tag}], \
         waits: [{name: users-loaded, sql: SELECT EXISTS (SELECT FROM public.users)}, \
         {name: loader-is-up, http: {url: 'https://loader.example/healthz'}}, \
         {name: users-written, topic: {name: users}}, {name: users-applied, pipeline: {name: users}}]}]\n\
         waits: [{name: maintenance-is-over, sql: SELECT NOT EXISTS (SELECT FROM public.maintenance)}, \
         {name: schema-registry, http: {url: 'https://registry.example/subjects'}}, \
         {name: reference-data, topic: {name: currencies}}, {name: customers, pipeline: {name: customers}}]\n",
    );
    assert_eq!(stated.redacted(), silent.redacted());
}

#[test]
fn every_example_loads() {
    let secrets = tempfile::tempdir().unwrap();
    let mut loaded = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        // Secrets of the examples live where this machine has none.
        let source = source.replace("/run/secrets", secrets.path().to_str().unwrap());
        for name in ["kafka-password", "postgres-password"] {
            std::fs::write(secrets.path().join(name), "hunter2\n").unwrap();
        }
        let copy = secrets.path().join(path.file_name().unwrap());
        std::fs::write(&copy, source).unwrap();
        let chosen = LoadOptions { path: Some(copy), ..options(&[], &[]) };
        match Settings::load(&chosen) {
            Ok(settings) => assert!(!format!("{settings:?}").contains("hunter2"), "{}", path.display()),
            Err(error) => panic!("{error}"),
        }
        loaded.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    loaded.sort();
    let expected = [
        "append-log.yaml",
        "compose.yaml",
        "minimal.yaml",
        "multi-topic-regex.toml",
        "tidegate.yaml",
        "tls-sasl.yaml",
    ];
    assert_eq!(loaded, expected);
}
