//! Configuration: loading, errors as a user reads them, secrets, and the files of `config/`.

mod documentation;
mod errors;
mod loading;
mod robustness;
mod secrets;

use std::collections::BTreeMap;
use std::path::Path;

use tidegate::config::{ConfigError, FileFormat, LoadOptions, Settings};

/// A pipeline that is complete; tests append to it.
const BASE: &str = "\
pipeline: orders
kafka: {bootstrap.servers: localhost:9092}
routes:
  - {topic: orders, table: public.orders, key: [id]}
";

fn options(env: &[(&str, &str)], sets: &[&str]) -> LoadOptions {
    LoadOptions {
        path: None,
        sets: sets.iter().map(|text| (*text).to_owned()).collect(),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

fn parse_with(
    source: &str,
    format: FileFormat,
    env: &[(&str, &str)],
    sets: &[&str],
) -> Result<Settings, ConfigError> {
    let name = match format {
        FileFormat::Yaml => "tidegate.yaml",
        FileFormat::Toml => "tidegate.toml",
        FileFormat::Json => "tidegate.json",
    };
    Settings::parse(source, format, Path::new(name), &options(env, sets))
}

fn yaml(source: &str) -> Result<Settings, ConfigError> {
    parse_with(source, FileFormat::Yaml, &[], &[])
}

fn good(source: &str) -> Settings {
    yaml(source).unwrap_or_else(|error| panic!("{error}\n\nin:\n{source}"))
}

/// The properties as a map, for comparisons.
fn properties(settings: &Settings) -> BTreeMap<&str, &str> {
    settings.kafka.expose().collect()
}
