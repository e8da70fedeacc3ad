//! `kafka`: librdkafka's own properties, passed through unless Tidegate owns them.
//!
//! A property is refused by name with its reason, or with the nearest known name when librdkafka doesn't
//! know it. Ranges of values are left to librdkafka, which checks them when the client is created.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::config::error::Place;
use crate::config::file_text::FileText;
use crate::config::names::PipelineName;
use crate::config::properties::{ALLOWED, FOREIGN, REFUSED, REFUSED_PREFIXES};
use crate::config::reader::{Field, Report, Section};
use crate::config::secret::{MASK, is_secret_property, shown_key};
use crate::config::tree::{self, Places};
use crate::nearest::nearest;

pub(super) const KAFKA: &str = "kafka";

/// librdkafka's default of `session.timeout.ms`.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// librdkafka's default of `max.poll.interval.ms`.
pub(super) const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);

/// What is passed to librdkafka, by property.
///
/// Always holds `bootstrap.servers` and `group.id`. `Debug` masks secrets.
#[derive(Clone)]
pub struct KafkaSettings {
    properties: BTreeMap<String, Property>,
    /// How to read those again of which `${file:…}` is part.
    files: BTreeMap<String, FileText>,
}

#[derive(Clone)]
enum Property {
    Plain(String),
    Secret(SecretString),
}

/// Which protocol a consumer group speaks with its coordinator (`group.protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Rebalances are computed by a member; the default.
    Classic,
    /// KIP-848: rebalances are computed by the broker; an experiment.
    Consumer,
}

impl KafkaSettings {
    /// A property's value in the clear, also a secret one's.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(Property::expose)
    }

    /// All properties in the clear, sorted by name: for the client's construction, never for printing.
    pub fn expose(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.expose()))
    }

    /// All properties in the clear, as the files of which `${file:…}` makes them part say them now.
    ///
    /// # Errors
    /// A sentence without secrets, where a file can't be read.
    pub fn current(&self) -> Result<Vec<(String, String)>, String> {
        let now = |(name, value): (&str, &str)| {
            let text = match self.files.get(name) {
                Some(files) => files.read()?.expose_secret().to_owned(),
                None => value.to_owned(),
            };
            Ok((name.to_owned(), text))
        };
        self.expose().map(now).collect()
    }

    /// Whether a file is part of any property.
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// All properties, secrets as `***`.
    pub fn redacted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| {
            let value = match value {
                Property::Plain(text) => text.as_str(),
                Property::Secret(_) => MASK,
            };
            (name.as_str(), value)
        })
    }

    /// `bootstrap.servers`
    pub fn bootstrap_servers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// `group.id`; the pipeline's name unless it is set.
    pub fn group_id(&self) -> &str {
        self.get("group.id").unwrap_or_default()
    }

    /// `group.protocol`
    pub fn group_protocol(&self) -> GroupProtocol {
        match self.get("group.protocol") {
            Some("consumer") => GroupProtocol::Consumer,
            _ => GroupProtocol::Classic,
        }
    }

    /// `session.timeout.ms`, or librdkafka's default; `None` where the broker decides it (KIP-848).
    pub fn session_timeout(&self) -> Option<Duration> {
        match self.group_protocol() {
            GroupProtocol::Classic => {
                Some(self.milliseconds("session.timeout.ms").unwrap_or(SESSION_TIMEOUT))
            }
            GroupProtocol::Consumer => None,
        }
    }

    /// `max.poll.interval.ms`, or librdkafka's default.
    pub fn max_poll_interval(&self) -> Duration {
        self.milliseconds("max.poll.interval.ms").unwrap_or(MAX_POLL_INTERVAL)
    }

    pub(super) fn milliseconds(&self, name: &str) -> Option<Duration> {
        self.get(name)?.trim().parse().ok().map(Duration::from_millis)
    }

    pub(super) fn set_milliseconds(&mut self, name: &str, wait: Duration) {
        self.properties.insert(name.to_owned(), Property::Plain(wait.as_millis().to_string()));
    }

    pub(super) fn read(
        root: &mut Section,
        root_place: &Place,
        pipeline: Option<&PipelineName>,
        places: &Places,
        report: &mut Report,
    ) -> Self {
        let field = root.take(KAFKA);
        let (mut properties, mut files) = (BTreeMap::new(), BTreeMap::new());
        let mut brokers = false;
        let place = field.as_ref().map_or(root_place.clone(), |field| field.node.place.clone());
        for (name, place, field) in Section::open_free(field, KAFKA, report).rest() {
            if shown_key(&field.path) != field.path {
                let below = field.path[shown_key(&field.path).len()..].starts_with(['.', '[']);
                let (message, help) = match below {
                    true => ("expected a single value, found a section with keys (they aren't shown)", ""),
                    false => (
                        "the key goes on with what no property's name has, which isn't shown",
                        "a colon and a blank stand between a key and its value",
                    ),
                };
                report.add_at(&field.path, &place, message, help);
                continue;
            }
            if let Err((message, help)) = admit(&name) {
                report.add_at(&field.path, &place, message, help);
                continue;
            }
            if let tree::Value::Null = field.node.value {
                continue;
            }
            brokers |= name == "bootstrap.servers";
            if let Some((property, text)) = value(&name, &field, report) {
                files.extend(text.map(|text| (name.clone(), text)));
                properties.insert(name, property);
            }
        }
        if let (None, Some(name)) = (properties.get("group.id"), pipeline) {
            properties.insert("group.id".to_owned(), Property::Plain(name.as_str().to_owned()));
        }
        if !brokers {
            let help = "where the brokers are, for example bootstrap.servers: localhost:9092";
            report.add_at("kafka.bootstrap.servers", &place.within(), "the key is missing", help);
        }
        let settings = Self { properties, files };
        relations(&settings, places, report);
        settings
    }

    pub(super) fn show(&self) -> Value {
        Value::Object(Map::from_iter(self.redacted().map(|(name, value)| (name.to_owned(), json!(value)))))
    }
}

impl Property {
    fn expose(&self) -> &str {
        match self {
            Property::Plain(text) => text,
            Property::Secret(secret) => secret.expose_secret(),
        }
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted()).finish()
    }
}

/// Whether a property may be set at all; if not, why and what to do.
fn admit(name: &str) -> Result<(), (String, String)> {
    if ALLOWED.contains(&name) {
        return Ok(());
    }
    let find = |list: &[(&'static str, &'static str)]| {
        list.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason)
    };
    let prefix =
        REFUSED_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, reason)| *reason);
    if let Some(reason) = find(REFUSED).or(prefix) {
        return Err(("this property can't be set".to_owned(), reason.to_owned()));
    }
    if let Some(instead) = find(FOREIGN) {
        return Err(("librdkafka has no such property".to_owned(), instead.to_owned()));
    }
    let known = ALLOWED.iter().copied().chain(REFUSED.iter().map(|(name, _)| *name));
    let message = match nearest(name, known) {
        Some(guess) => format!("librdkafka has no such consumer property; did you mean `{guess}`?"),
        None => "librdkafka has no such consumer property".to_owned(),
    };
    let help =
        "properties are librdkafka's own: its CONFIGURATION.md lists those with C or * in the column C/P";
    Err((message, help.to_owned()))
}

fn value(name: &str, field: &Field, report: &mut Report) -> Option<(Property, Option<FileText>)> {
    if let tree::Value::List(_) = field.node.value {
        let help = "several stand in one text, with commas between them: a:9092,b:9092";
        report.add(field, "expected a single value, found a list", help);
        return None;
    }
    let scalar = field.scalar("a single value", report)?;
    if scalar.text.is_empty() && matches!(name, "bootstrap.servers" | "group.id") {
        report.add(field, "the value is empty", "");
        return None;
    }
    let is_secret = is_secret_property(name) || scalar.files.is_some();
    let property = match is_secret {
        true => Property::Secret(SecretString::from(scalar.text.clone())),
        false => Property::Plain(scalar.text.clone()),
    };
    Some((property, scalar.files.clone()))
}

/// Values and pairs of properties that contradict what Tidegate relies on.
fn relations(kafka: &KafkaSettings, places: &Places, report: &mut Report) {
    let mut refuse = |name: &str, message: &str, help: &str| {
        let key = format!("kafka.{name}");
        let place = places.get(&key).cloned().unwrap_or(Place::Absent);
        report.add_at(&key, &place, message, help);
    };
    if let Some(debug) = kafka.get("debug")
        && debug.split(',').any(|part| matches!(part.trim(), "conf" | "all"))
    {
        let help = "conf and all print the client's configuration, secrets included; name other contexts: \
            cgrp,fetch";
        refuse("debug", "the log would show secrets", help);
    }
    let mechanism = kafka.get("sasl.mechanisms").or(kafka.get("sasl.mechanism"));
    if mechanism.is_some_and(|name| name.eq_ignore_ascii_case("oauthbearer"))
        && kafka.get("enable.sasl.oauthbearer.unsecure.jwt") != Some("true")
        && kafka.get("sasl.oauthbearer.method").is_none_or(|method| method == "default")
    {
        let name = if kafka.get("sasl.mechanisms").is_some() { "sasl.mechanisms" } else { "sasl.mechanism" };
        let help = "without a source of tokens the client waits for ever and says nothing; set \
            sasl.oauthbearer.method: oidc, or use SCRAM-SHA-512 or certificates";
        refuse(name, "OAUTHBEARER has no source of tokens", help);
    }
    match kafka.get("group.protocol").unwrap_or("classic") {
        "classic" => classic(kafka, &mut refuse),
        "consumer" => {
            for name in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
                if kafka.get(name).is_some() {
                    let help =
                        "with group.protocol: consumer (KIP-848) the broker decides it; take one of them out";
                    refuse(name, "it contradicts group.protocol: consumer", help);
                }
            }
        }
        _ => refuse("group.protocol", "unknown protocol", "allowed: classic, consumer"),
    }
}

fn classic(kafka: &KafkaSettings, refuse: &mut impl FnMut(&str, &str, &str)) {
    if let Some(strategy) = kafka.get("partition.assignment.strategy")
        && strategy != "cooperative-sticky"
    {
        let help =
            "only cooperative-sticky is allowed: range and roundrobin stop every worker at every rebalance";
        refuse("partition.assignment.strategy", "eager assignors aren't supported", help);
    }
    if kafka.get("group.remote.assignor").is_some() {
        let help = "set group.protocol: consumer, or take it out";
        refuse("group.remote.assignor", "it needs group.protocol: consumer", help);
    }
    for name in ["session.timeout.ms", "max.poll.interval.ms"] {
        if kafka.get(name).is_some() && kafka.milliseconds(name).is_none() {
            refuse(name, "expected a whole number of milliseconds", "for example 45000");
        }
    }
    if let (Some(session), Some(poll)) =
        (kafka.milliseconds("session.timeout.ms"), kafka.milliseconds("max.poll.interval.ms"))
        && session > poll
    {
        let help = "librdkafka needs max.poll.interval.ms to be at least as long; without it, it is";
        refuse("session.timeout.ms", "it is longer than max.poll.interval.ms", help);
    }
}
