//! `routes[].rules[]`: what is asked of each record before it becomes a row.

use std::sync::Arc;

use serde_json::{Value, json};

use super::column_name;
use crate::config::key::{Choice, Keys, shown};
use crate::config::reader::{Field, Report, Section};
use crate::engine::expression::Expression;
use crate::engine::rule::{OnFail, Rule};

const NAME: &str = "name";
const CHECK: &str = "check";
const ON_FAIL: Choice<OnFail> =
    Choice { name: "on_fail", default: OnFail::Quarantine, words: &OnFail::WORDS };

pub(super) const KEYS: Keys = ("routes[].rules[]", &[NAME, CHECK, ON_FAIL.name]);

const NAMES: &str =
    "1 to 63 letters, digits, `_`, `-` and `.`: it labels metrics and stands in the tag column";
const CHECKS: &str = "a CEL expression that is true of a good record, such as record.amount > 0; it sees record, key, \
    headers, topic, partition, offset and timestamp";
/// Rules of a route: each takes its time from each record.
const RULES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 63;

/// The rules of a route, and the column for names of those that only tag.
#[derive(Clone, Debug, Default)]
pub struct RuleSettings {
    /// In the order in which they are asked.
    pub rules: Vec<Rule>,
    /// Given exactly where one of them tags.
    pub tag_column: Option<String>,
}

/// Reads both keys of a route.
pub(super) fn read(rules: Option<Field>, tag_column: Option<Field>, report: &mut Report) -> RuleSettings {
    let listed = rules.as_ref().map(|field| (field.path.clone(), field.node.place.clone()));
    let mut read: Vec<Rule> = Vec::new();
    for item in rules.and_then(|field| field.items("a list of rules", report)).unwrap_or_default() {
        let place = item.node.place.clone();
        let path = item.path.clone();
        let Some(rule) = read_rule(item, report) else { continue };
        if read.iter().any(|other| other.name == rule.name) {
            report.add_at(
                &path,
                &place,
                format!("there are two rules `{}`", rule.name),
                "give each its own name",
            );
        }
        read.push(rule);
    }
    if let Some((path, place)) = &listed
        && read.len() > RULES_MAX
    {
        report.add_at(
            path,
            place,
            format!("there are more than {RULES_MAX} rules"),
            "one rule may ask with && and ||",
        );
    }
    let tags = read.iter().any(|rule| rule.on_fail == OnFail::Tag);
    match (&tag_column, listed) {
        (Some(field), _) if !tags => {
            report.add(field, "no rule tags", "take it out, or give a rule on_fail: tag");
        }
        (None, Some((path, place))) if tags => {
            let help =
                "tag_column: a text[] column of the table, for the names of the rules that a record fails";
            report.add_at(&path, &place, "a rule tags, and there is no tag_column", help);
        }
        _ => {}
    }
    RuleSettings { rules: read, tag_column: tag_column.and_then(|field| column_name(&field, report)) }
}

fn read_rule(field: Field, report: &mut Report) -> Option<Rule> {
    let path = field.path.clone();
    let mut section = Section::open(Some(field), &path, KEYS.1, report);
    let name = section.require(NAME, NAMES, report).and_then(|field| read_name(&field, report));
    let check = section.require(CHECK, CHECKS, report).and_then(|field| read_check(&field, report));
    let on_fail = ON_FAIL.read(&mut section, report);
    Some(Rule { name: name?, check: check?, on_fail })
}

fn read_name(field: &Field, report: &mut Report) -> Option<Arc<str>> {
    let scalar = field.scalar("a rule's name", report)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&scalar.text.len()) && scalar.text.bytes().all(is_plain) {
        return Some(scalar.text.as_str().into());
    }
    report.add(field, format!("{} isn't a rule's name", scalar.shown()), NAMES);
    None
}

fn read_check(field: &Field, report: &mut Report) -> Option<Arc<Expression>> {
    let scalar = field.scalar("a CEL expression", report)?;
    if scalar.written.is_some() {
        let help =
            "write it out: it stands in the quarantine beside what it refuses, where no secret may stand";
        report.add(field, "an expression has no ${…} in it", help);
        return None;
    }
    match Expression::compile(&scalar.text) {
        Ok(expression) => Some(Arc::new(expression)),
        Err(error) => {
            report.add(field, format!("not a CEL expression: {error}"), CHECKS);
            None
        }
    }
}

pub(super) fn show(settings: &RuleSettings) -> Value {
    let one = |rule: &Rule| {
        shown([(NAME, json!(&*rule.name)), (CHECK, json!(rule.check.text())), ON_FAIL.show(rule.on_fail)])
    };
    settings.rules.iter().map(one).collect()
}
