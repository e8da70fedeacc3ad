//! `log`: log output.

use serde_json::{Value, json};

use crate::config::key::{Choice, Keys, Words, shown, word};
use crate::config::reader::{Report, Section};

const LEVELS: Words<LogLevel> = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// By where standard error leads: people read a terminal, and programs whatever else it may be.
const FORMAT: Choice<LogFormat> = Choice {
    name: "format",
    default: LogFormat::Auto,
    words: &[("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)],
};
const LEVEL: Choice<LogLevel> = Choice { name: "level", default: LogLevel::Info, words: LEVELS };

/// Silent by default: PostgreSQL's messages quote values of records.
const SERVER_MESSAGES: Choice<bool> =
    Choice { name: "server_messages", default: false, words: &[("true", true), ("false", false)] };

pub(super) const KEYS: Keys = ("log", &[FORMAT.name, LEVEL.name, SERVER_MESSAGES.name]);

/// Log output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line is written.
    pub format: LogFormat,
    /// What is written.
    pub level: LogLevel,
    /// Whether PostgreSQL's own messages, which quote values of records, are written too.
    pub server_messages: bool,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people where standard error is a terminal, as JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The least severe level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures that need someone.
    Error,
    /// What may become a failure.
    Warn,
    /// State changes.
    Info,
    /// How decisions were made.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level's word, which is `tracing`'s as well.
    pub fn name(self) -> &'static str {
        word(LEVELS, &self)
    }
}

impl LogSettings {
    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        Self {
            format: FORMAT.read(&mut section, report),
            level: LEVEL.read(&mut section, report),
            server_messages: SERVER_MESSAGES.read(&mut section, report),
        }
    }

    pub(super) fn show(&self) -> Value {
        shown([
            FORMAT.show(self.format),
            LEVEL.show(self.level),
            (SERVER_MESSAGES.name, json!(self.server_messages)),
        ])
    }
}
