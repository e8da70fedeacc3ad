//! `start`: where a topic that the ledger has never seen begins.

use serde_json::json;

use crate::config::key::{Shown, Words, word};
use crate::config::reader::{Report, Section};

pub(super) const START: &str = "start";

const WORDS: Words<Start> = &[("earliest", Start::Earliest), ("latest", Start::Latest)];

/// Where a topic that the ledger has never seen begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that the broker still has.
    Earliest,
    /// At the end, as it is when the topic is registered.
    Latest,
    /// At the first record whose timestamp isn't before this one.
    At(jiff::Timestamp),
}

impl Start {
    /// Without the key, all records are read that there are.
    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let Some(field) = root.take(START) else { return Self::Earliest };
        let Some(scalar) = field.scalar("a start", report) else { return Self::Earliest };
        let named = WORDS.iter().find(|(word, _)| *word == scalar.text).map(|(_, start)| *start);
        let start = named.or_else(|| scalar.text.parse().ok().map(Self::At));
        if start.is_none() {
            let help = "allowed: earliest, latest, or a time with its zone (RFC 3339), such as \
                2026-11-01T00:00:00Z";
            report.add(&field, format!("{} isn't a start", scalar.shown()), help);
        }
        start.unwrap_or(Self::Earliest)
    }

    pub(super) fn show(self) -> Shown {
        match self {
            Self::At(time) => (START, json!(time.to_string())),
            Self::Earliest | Self::Latest => (START, json!(word(WORDS, &self))),
        }
    }
}
