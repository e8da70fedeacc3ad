//! `waits` and `routes[].waits`: what must be true before the pipeline, or a route of it, is read.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use crate::config::error::Place;
use crate::config::file_text::FileText;
use crate::config::key::{Choice, Keys, Measured, shown};
use crate::config::names::{PipelineName, is_topic_name};
use crate::config::reader::{Field, Report, Section};
use crate::config::secret::http_url;
use crate::engine::waits::OnTimeout;

pub(super) const WAITS: &str = "waits";

const NAME: &str = "name";
const SQL: &str = "sql";
const HTTP: &str = "http";
const TOPIC: &str = "topic";
const PIPELINE: &str = "pipeline";
const URL: &str = "url";
const HAS_RECORDS: Choice<bool> = only_true("has_records");
const CAUGHT_UP: Choice<bool> = only_true("caught_up");
const WHILE_RUNNING: Choice<bool> =
    Choice { name: "while_running", default: false, words: &[("true", true), ("false", false)] };

/// What a load balancer answers for what works.
const STATUS: Measured<u64> = Measured::integer("status", 200, 100..=599);

/// Soon for a person, and seldom for a server: a look at the database is a connection.
const EVERY: Measured<Duration> = Measured::duration(
    "every",
    Duration::from_secs(10),
    Duration::from_millis(100)..=Duration::from_secs(3600),
);

/// Long enough for a load that is late, and short enough to be noticed on the same day.
const TIMEOUT: Measured<Duration> = Measured::duration(
    "timeout",
    Duration::from_secs(3600),
    Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600),
);

/// Nobody is left waiting in silence, and nothing is read too early.
const ON_TIMEOUT: Choice<OnTimeout> =
    Choice { name: "on_timeout", default: OnTimeout::Halt, words: &OnTimeout::WORDS };

const NAMES: &[&str] =
    &[NAME, SQL, HTTP, TOPIC, PIPELINE, EVERY.name, TIMEOUT.name, ON_TIMEOUT.name, WHILE_RUNNING.name];
const HTTP_NAMES: &[&str] = &[URL, STATUS.name];
const TOPIC_NAMES: &[&str] = &[NAME, HAS_RECORDS.name];
const PIPELINE_NAMES: &[&str] = &[NAME, CAUGHT_UP.name];

/// The keys of an element of the pipeline's list, and of a route's.
pub(super) const KEYS: [Keys; 8] = [
    ("waits[]", NAMES),
    ("waits[].http", HTTP_NAMES),
    ("waits[].topic", TOPIC_NAMES),
    ("waits[].pipeline", PIPELINE_NAMES),
    ("routes[].waits[]", NAMES),
    ("routes[].waits[].http", HTTP_NAMES),
    ("routes[].waits[].topic", TOPIC_NAMES),
    ("routes[].waits[].pipeline", PIPELINE_NAMES),
];

const WAIT_NAMES: &str =
    "1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first: it labels metrics";
const PROBES: &str = "one of: sql: SELECT … (one row with one boolean) · http: {url: https://…} · \
    topic: {name: …, has_records: true} · pipeline: {name: …, caught_up: true}";
const URLS: &str = "for example https://loader.example/healthz";
/// Waits of one list: each is looked at again and again.
const WAITS_MAX: usize = 32;

/// The only word for what can be waited for at present.
const fn only_true(name: &'static str) -> Choice<bool> {
    Choice { name, default: true, words: &[("true", true)] }
}

/// Something to wait for.
#[derive(Clone, Debug)]
pub struct WaitSettings {
    /// Its name, unlike that of any other wait of the pipeline.
    pub name: String,
    /// What is looked at.
    pub probe: Probe,
    /// Between looks.
    pub every: Duration,
    /// How long it is waited for.
    pub timeout: Duration,
    /// What follows then.
    pub on_timeout: OnTimeout,
    /// Whether it is kept while records are read.
    pub while_running: bool,
    /// The key, as a path from the root.
    pub key: String,
    /// Where it is written.
    pub place: Place,
}

/// What a wait looks at.
#[derive(Clone)]
pub enum Probe {
    /// A query that gives one row with one boolean.
    Sql(String),
    /// What a server answers.
    Http(HttpProbe),
    /// Whether this topic has records.
    Topic(String),
    /// Whether this pipeline of the same ledger has caught up.
    Pipeline(String),
}

/// A question to a server.
#[derive(Clone)]
pub struct HttpProbe {
    url: SecretString,
    /// How to read the address again, where `${file:…}` is part of it.
    files: Option<FileText>,
    /// The address as people may see it.
    shown: String,
    /// The answer that is waited for.
    pub status: u16,
}

impl HttpProbe {
    /// The address as the files in it say it now.
    ///
    /// # Errors
    /// A sentence without secrets, where a file can't be read.
    pub fn current_url(&self) -> Result<SecretString, String> {
        self.files.as_ref().map_or_else(|| Ok(self.url.clone()), FileText::read)
    }

    /// The address without its secrets.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

impl Probe {
    /// The key that it stands below.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Sql(_) => SQL,
            Self::Http(_) => HTTP,
            Self::Topic(_) => TOPIC,
            Self::Pipeline(_) => PIPELINE,
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Sql(sql) => json!(sql),
            Self::Http(http) => shown([(URL, json!(http.shown)), STATUS.show(http.status.into())]),
            Self::Topic(name) => shown([(NAME, json!(name)), HAS_RECORDS.show(true)]),
            Self::Pipeline(name) => shown([(NAME, json!(name)), CAUGHT_UP.show(true)]),
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.word(), self.show())
    }
}

/// Reads a list of waits.
pub(super) fn read(list: Option<Field>, report: &mut Report) -> Vec<WaitSettings> {
    let Some(list) = list else { return Vec::new() };
    let (path, place) = (list.path.clone(), list.node.place.clone());
    let items = list.items("a list of waits", report).unwrap_or_default();
    if items.len() > WAITS_MAX {
        let help = "one query can ask for several things with AND";
        report.add_at(&path, &place, format!("there are more than {WAITS_MAX} waits"), help);
    }
    items.into_iter().filter_map(|item| read_one(item, report)).collect()
}

fn read_one(field: Field, report: &mut Report) -> Option<WaitSettings> {
    let (key, place) = (field.path.clone(), field.node.place.clone());
    let mut section = Section::open(Some(field), &key, NAMES, report);
    let name = section.require(NAME, WAIT_NAMES, report).and_then(|field| read_name(&field, report));
    let probe = read_probe(&mut section, &key, &place, report);
    let every = EVERY.read(&mut section, report);
    let timeout = TIMEOUT.read(&mut section, report);
    let on_timeout = ON_TIMEOUT.read(&mut section, report);
    let while_running = WHILE_RUNNING.read(&mut section, report);
    Some(WaitSettings { name: name?, probe: probe?, every, timeout, on_timeout, while_running, key, place })
}

fn read_name(field: &Field, report: &mut Report) -> Option<String> {
    let scalar = field.scalar("a wait's name", report)?;
    if PipelineName::parse(&scalar.text).is_some() {
        return Some(scalar.text.clone());
    }
    report.add(field, format!("{} isn't a wait's name", scalar.shown()), WAIT_NAMES);
    None
}

fn read_probe(section: &mut Section, key: &str, place: &Place, report: &mut Report) -> Option<Probe> {
    let kinds = [SQL, HTTP, TOPIC, PIPELINE];
    let mut given = kinds.map(|kind| (kind, section.take(kind))).into_iter();
    let mut given = given.by_ref().filter_map(|(kind, field)| Some((kind, field?)));
    let Some((kind, field)) = given.next() else {
        report.add_at(key, &place.clone().within(), "it doesn't say what is waited for", PROBES);
        return None;
    };
    if let Some((other, field)) = given.next() {
        report.add(&field, format!("a wait is for one thing, and `{kind}` stands beside `{other}`"), PROBES);
        return None;
    }
    match kind {
        SQL => read_sql(&field, report).map(Probe::Sql),
        HTTP => read_http(field, report).map(Probe::Http),
        TOPIC => {
            let help = "the name of a topic of kafka.bootstrap.servers";
            let keys = (TOPIC_NAMES, &HAS_RECORDS);
            read_named(field, keys, ("a topic", help), is_topic_name, report).map(Probe::Topic)
        }
        _ => {
            let is_name = |text: &str| PipelineName::parse(text).is_some();
            let help = "the name of another pipeline of the same ledger";
            let keys = (PIPELINE_NAMES, &CAUGHT_UP);
            read_named(field, keys, ("a pipeline", help), is_name, report).map(Probe::Pipeline)
        }
    }
}

fn read_sql(field: &Field, report: &mut Report) -> Option<String> {
    let scalar = field.scalar("a query", report)?;
    if !scalar.text.trim().is_empty() {
        return Some(scalar.text.clone());
    }
    let help = "for example: sql: SELECT EXISTS (SELECT FROM loads WHERE day = current_date)";
    report.add(field, "the query is empty", help);
    None
}

fn read_http(field: Field, report: &mut Report) -> Option<HttpProbe> {
    let path = field.path.clone();
    let mut section = Section::open(Some(field), &path, HTTP_NAMES, report);
    let url = section.require(URL, URLS, report);
    let status = STATUS.read(&mut section, report);
    let field = url?;
    let scalar = field.scalar("a URL", report)?;
    let parsed = scalar.text.parse::<hyper::Uri>().ok();
    let is_http = |uri: &hyper::Uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    };
    if !parsed.is_some_and(|uri| is_http(&uri)) {
        report.add(&field, "not a URL that begins with http:// or https:// (it isn't shown)", URLS);
        return None;
    }
    let shown = http_url(scalar.written.as_ref().unwrap_or(&scalar.text));
    let (url, files) = (SecretString::from(scalar.text.clone()), scalar.files.clone());
    Some(HttpProbe { url, files, shown, status: u16::try_from(status).unwrap_or(200) })
}

fn read_named(
    field: Field,
    (names, word): (&'static [&'static str], &Choice<bool>),
    (what, help): (&str, &str),
    is_name: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Option<String> {
    let path = field.path.clone();
    let mut section = Section::open(Some(field), &path, names, report);
    word.read(&mut section, report);
    let field = section.require(NAME, help, report)?;
    let scalar = field.scalar(what, report)?;
    if is_name(&scalar.text) {
        return Some(scalar.text.clone());
    }
    report.add(&field, format!("{} isn't {what}'s name", scalar.shown()), help);
    None
}

/// Refuses two waits of one name, and a pipeline that waits for itself.
pub(super) fn check(own: Option<&PipelineName>, all: &[&WaitSettings], report: &mut Report) {
    for (index, wait) in all.iter().enumerate() {
        if let Some(other) = all.iter().take(index).find(|other| other.name == wait.name) {
            let help = format!("give each its own name; the other is {}", other.key);
            report.add_at(&wait.key, &wait.place, format!("there are two waits `{}`", wait.name), help);
        }
        if let Probe::Pipeline(name) = &wait.probe
            && own.is_some_and(|own| own.as_str() == name)
        {
            let help = "what isn't read never catches up: name another pipeline";
            report.add_at(&wait.key, &wait.place, "the pipeline would wait for itself", help);
        }
    }
}

pub(super) fn show(waits: &[WaitSettings]) -> Value {
    let one = |wait: &WaitSettings| {
        shown([
            (NAME, json!(wait.name)),
            (wait.probe.word(), wait.probe.show()),
            EVERY.show(wait.every),
            TIMEOUT.show(wait.timeout),
            ON_TIMEOUT.show(wait.on_timeout),
            WHILE_RUNNING.show(wait.while_running),
        ])
    };
    waits.iter().map(one).collect()
}
