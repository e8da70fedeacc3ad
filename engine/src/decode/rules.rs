//! The rules of a route, asked of one record.

use std::sync::Arc;

use crate::expression::{Expression, Part};
use crate::map::field::Found;
use crate::map::plan::{Origin, origin};
use crate::read::{Blocked, Presence, Readers, Scalar};
use crate::route::Route;
use crate::row::{Reject, RejectCode};
use crate::rule::OnFail;

/// The rules of a route, with what each asks for.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Asked>,
    /// Rules that the record at hand fails, by their places.
    failed: Vec<u16>,
    /// Their names as a JSON array, of those that only tag.
    tags: String,
}

#[derive(Debug)]
struct Asked {
    name: Arc<str>,
    check: Arc<Expression>,
    on_fail: OnFail,
    origins: Vec<Origin>,
}

/// What the rules say of a record that isn't refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// It becomes a row.
    Taken,
    /// It is dropped.
    Dropped,
}

impl Rules {
    /// Prepares the rules of a route, and asks its readers for what they need.
    pub(super) fn new(route: &Route, readers: &mut Readers) -> Self {
        let asked = route.rules.iter().map(|rule| {
            let inputs = rule.check.inputs().iter();
            let origins = inputs.map(|input| origin(&input.source, readers).0).collect();
            let (name, check) = (Arc::clone(&rule.name), Arc::clone(&rule.check));
            Asked { name, check, on_fail: rule.on_fail, origins }
        });
        Self { rules: asked.collect(), failed: Vec::new(), tags: String::new() }
    }

    /// Forgets the record before.
    pub(super) fn restart(&mut self) {
        self.failed.clear();
    }

    /// The rules that the record at hand fails, by their places in the route.
    pub(super) fn failed(&self) -> &[u16] {
        &self.failed
    }

    /// The names of the rules that the record at hand fails and that only tag, as a JSON array.
    pub(super) fn tags(&self) -> &str {
        &self.tags
    }

    /// Asks the rules, in their order, up to the first failure that isn't only a tag.
    ///
    /// # Errors
    /// The record is refused by a rule.
    pub(super) fn judge(&mut self, found: &Found<'_>) -> Result<Judgement, Reject> {
        if self.rules.is_empty() {
            return Ok(Judgement::Taken);
        }
        self.tags.clear();
        self.tags.push('[');
        for (place, rule) in self.rules.iter().enumerate() {
            let why = match rule.check.holds(|input| part(found, &rule.origins[input])) {
                Ok(true) => continue,
                Ok(false) => None,
                Err(why) => Some(why),
            };
            self.failed.push(place as u16);
            match rule.on_fail {
                OnFail::Tag => {
                    let comma = if self.tags.len() > 1 { "," } else { "" };
                    // A rule's name has no characters that JSON escapes.
                    self.tags.extend([comma, "\"", &*rule.name, "\""]);
                }
                OnFail::Filter => return Ok(Judgement::Dropped),
                OnFail::Quarantine => return Err(rule.refusal(RejectCode::Rule, why)),
                OnFail::Halt => return Err(rule.refusal(RejectCode::RuleHalt, why)),
            }
        }
        self.tags.push(']');
        Ok(Judgement::Taken)
    }
}

impl Asked {
    fn refusal(&self, code: RejectCode, why: Option<String>) -> Reject {
        let Self { name, check, .. } = self;
        let reason = match why {
            None => format!("Rule {name} doesn't hold: {}.", check.text()),
            Some(why) => format!("Rule {name} can't be told to hold: {why}: {}.", check.text()),
        };
        Reject::whole(code, None, reason)
    }
}

/// What an expression is given for a part of the record.
fn part<'r>(found: &Found<'r>, origin: &Origin) -> Part<'r> {
    match found.part(origin) {
        Err(Blocked) => Part::Blocked,
        Ok(Presence::Absent) => Part::Absent,
        Ok(Presence::Null) => Part::Null,
        Ok(Presence::Value(scalar)) => match scalar {
            Scalar::Json { literal, .. } => Part::Json(literal),
            Scalar::Text(text) => Part::Text(text),
            Scalar::Bytes(bytes) => Part::Bytes(bytes),
            Scalar::Integer(number) => Part::Integer(number),
            Scalar::Millis(millis) => Part::Millis(millis),
        },
    }
}
