//! What a key of the configuration is: its name, what it may hold, and what holds where it is silent.
//!
//! A section states each of its keys once, as a constant, with the reason for its default. How the key is
//! read and how it is shown follow from that. The values are those of the contract; `config/tidegate.yaml`
//! explains them, and a test holds the two together.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

pub use super::reader::Keys;
use super::reader::{Field, Report, Section};
use super::values::{parse_duration, parse_integer, parse_size, show_duration, show_size};
use crate::nearest::nearest;

/// A key with its value as the effective configuration shows it.
pub(super) type Shown = (&'static str, Value);

/// A section as the effective configuration shows it.
pub(super) fn shown(keys: impl IntoIterator<Item = Shown>) -> Value {
    Value::Object(keys.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A key whose value has a least and a greatest: a duration, a size, a number.
pub(super) struct Measured<T> {
    pub(super) name: &'static str,
    default: T,
    range: RangeInclusive<T>,
    notation: Notation<T>,
}

/// How the values of a kind of key are written.
struct Notation<T> {
    /// What is expected, for errors.
    expected: &'static str,
    /// What would be right, for errors.
    help: fn(&RangeInclusive<T>) -> String,
    parse: fn(&str) -> Option<T>,
    /// A value in the words of errors.
    text: fn(T) -> String,
    /// A value in the effective configuration.
    json: fn(T) -> Value,
}

impl Measured<Duration> {
    /// A duration.
    pub(super) const fn duration(
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Self {
        let notation = Notation {
            expected: "a duration",
            help: |_| {
                "a duration is a number with a unit (us, ms, s, m, h), such as 250ms, 30s or 1m 30s"
                    .to_owned()
            },
            parse: parse_duration,
            text: show_duration,
            json: |value| json!(show_duration(value)),
        };
        Self { name, default, range, notation }
    }
}

impl Measured<u64> {
    /// A size in bytes.
    pub(super) const fn size(name: &'static str, default: u64, range: RangeInclusive<u64>) -> Self {
        let notation = Notation {
            expected: "a size",
            help: |_| {
                "a size is a number with a unit (KiB, MiB, GiB; KB, MB, GB), such as 8MiB; without one it \
                 counts bytes"
                    .to_owned()
            },
            parse: parse_size,
            text: show_size,
            json: |value| json!(show_size(value)),
        };
        Self { name, default, range, notation }
    }

    /// A whole number.
    pub(super) const fn integer(name: &'static str, default: u64, range: RangeInclusive<u64>) -> Self {
        let notation = Notation {
            expected: "a whole number",
            help: |range| format!("a whole number from {} to {}", range.start(), range.end()),
            parse: parse_integer,
            text: |value: u64| value.to_string(),
            json: |value| json!(value),
        };
        Self { name, default, range, notation }
    }
}

impl Measured<f64> {
    /// A number.
    pub(super) const fn number(name: &'static str, default: f64, range: RangeInclusive<f64>) -> Self {
        let notation = Notation {
            expected: "a number",
            help: |range| format!("a number from {} to {}", range.start(), range.end()),
            parse: |text| text.trim().parse().ok(),
            text: |value: f64| value.to_string(),
            json: |value| json!(value),
        };
        Self { name, default, range, notation }
    }
}

impl<T: PartialOrd + Copy> Measured<T> {
    /// Takes the key's value out of its section; the default where it is silent or wrong.
    pub(super) fn read(&self, section: &mut Section, report: &mut Report) -> T {
        let found = section.take(self.name).and_then(|field| self.value(&field, report));
        found.unwrap_or(self.default)
    }

    fn value(&self, field: &Field, report: &mut Report) -> Option<T> {
        let Notation { expected, help, parse, text, .. } = &self.notation;
        let scalar = field.scalar(expected, report)?;
        match parse(&scalar.text) {
            Some(value) if self.range.contains(&value) => return Some(value),
            Some(_) => {
                let (least, greatest) = (text(*self.range.start()), text(*self.range.end()));
                let help = format!("allowed: {least} to {greatest}");
                report.add(field, format!("{} is out of range", scalar.shown()), help);
            }
            None => {
                let message = format!("expected {expected}, found {}", scalar.shown());
                report.add(field, message, help(&self.range));
            }
        }
        None
    }

    /// The key with a value.
    pub(super) fn show(&self, value: T) -> Shown {
        (self.name, (self.notation.json)(value))
    }
}

/// A number of a key whose range begins at one or above and fits into the type; `least` stands in for a
/// number that doesn't.
pub(super) fn non_zero<T: TryFrom<NonZeroU64>>(value: u64, least: T) -> T {
    NonZeroU64::new(value).and_then(|value| T::try_from(value).ok()).unwrap_or(least)
}

/// The values of a closed set, each with its word in the configuration.
pub(super) type Words<T> = &'static [(&'static str, T)];

/// A value's word.
pub(super) fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    let found = words.iter().find(|(_, known)| known == value);
    debug_assert!(found.is_some(), "each value has its word");
    found.map_or("", |(word, _)| word)
}

/// A key that holds one of a few words.
pub(super) struct Choice<T: 'static> {
    pub(super) name: &'static str,
    pub(super) default: T,
    pub(super) words: Words<T>,
}

impl<T: PartialEq + Copy> Choice<T> {
    /// Takes the key's value out of its section; the default where it is silent or wrong.
    pub(super) fn read(&self, section: &mut Section, report: &mut Report) -> T {
        self.read_or(self.default, section, report)
    }

    /// The same with a default that another key decides.
    pub(super) fn read_or(&self, default: T, section: &mut Section, report: &mut Report) -> T {
        let field = section.take(self.name);
        field.and_then(|field| choose(&field, self.words, report)).unwrap_or(default)
    }

    /// The key with a value.
    pub(super) fn show(&self, value: T) -> Shown {
        (self.name, json!(word(self.words, &value)))
    }
}

/// One of a few words, or a problem that lists them.
pub(super) fn choose<T: Copy>(field: &Field, words: &[(&str, T)], report: &mut Report) -> Option<T> {
    let list = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    let scalar = field.scalar(&format!("one of {}", list()), report)?;
    let found = words.iter().find(|(word, _)| *word == scalar.text).map(|(_, value)| *value);
    if found.is_none() {
        let guess = match nearest(&scalar.text, words.iter().map(|(word, _)| *word)) {
            Some(word) if scalar.written.is_none() => format!("; did you mean `{word}`?"),
            _ => String::new(),
        };
        let message = format!("{} isn't known here{guess}", scalar.shown());
        report.add(field, message, format!("allowed: {}", list()));
    }
    found
}
