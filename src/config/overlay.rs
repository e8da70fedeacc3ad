//! The environment and `--set`, laid over the document.
//!
//! `TIDEGATE__LIMITS__BATCH_ROWS=1000` and `--set limits.batch_rows=1000` name the same key. Of a
//! variable's name, the prefix `TIDEGATE__` goes, two underscores separate levels, and letters become
//! lower-case; below `kafka` every underscore, single or double, is a dot (`TIDEGATE__KAFKA__CLIENT_ID` is
//! `client.id`), but for the few properties that librdkafka writes with underscores (`log_level`). Numbers
//! index `routes`: one more than the last appends. Column names with capitals or dots can't be named in
//! the environment.
//!
//! The value is text; its key decides what it is read as, so a password may hold any character. Where a
//! list or a section is expected, YAML's flow style is understood: `TIDEGATE__ROUTES__0__KEY='[tenant,
//! id]'`.

use std::collections::BTreeMap;

use super::error::{Place, Problem};
use super::misspelt::{Misspelt, PREFIX};
use super::properties::ALLOWED;
use super::tree::{Entry, Node, Origin, Value};

/// One key with its value.
struct Override {
    path: Vec<String>,
    text: String,
    origin: Origin,
    place: Place,
}

/// Lays the environment, then `--set`, over the document.
pub(super) fn apply(
    root: &mut Node,
    env: &BTreeMap<String, String>,
    sets: &[String],
    problems: &mut Vec<Problem>,
) {
    let misspelt = Misspelt::of(env, root, sets);
    let meant = env.iter().filter(|(name, _)| !misspelt.has(name));
    let mut overrides: Vec<Override> = meant.filter_map(from_variable).collect();
    problems.extend(misspelt.problems());
    // `…__10` comes after `…__9`, so that routes append in order.
    overrides.sort_by_key(|item| {
        item.path.iter().map(|part| (part.parse::<u64>().ok(), part.clone())).collect::<Vec<_>>()
    });
    for text in sets {
        match from_set(text) {
            Ok(item) => overrides.push(item),
            Err(problem) => problems.push(problem),
        }
    }
    for item in overrides {
        let value = Node::scalar(item.place.clone(), item.text, item.origin);
        if let Err(message) = put(root, &item.path, value) {
            let key = item.path.join(".");
            problems.push(Problem::new(key, item.place, message, ""));
        }
    }
}

fn from_variable((name, text): (&String, &String)) -> Option<Override> {
    let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let path = match key.split_once("__") {
        Some(("kafka", property)) => vec!["kafka".to_owned(), librdkafka_name(property)],
        _ => key.split("__").map(str::to_owned).collect(),
    };
    let place = Place::Environment(name.clone());
    Some(Override { path, text: text.clone(), origin: Origin::Environment, place })
}

/// The property that part of a variable's name means: with dots, unless librdkafka itself writes
/// underscores.
fn librdkafka_name(part: &str) -> String {
    let dotted = part.replace("__", ".").replace('_', ".");
    let underscored = ALLOWED.iter().find(|name| name.contains('_') && name.replace('_', ".") == dotted);
    underscored.map_or(dotted, |name| (*name).to_owned())
}

/// Whether text looks like a key. What doesn't isn't repeated in errors: it may be a password.
fn is_key(text: &str) -> bool {
    let legal = |char: char| char.is_alphanumeric() || matches!(char, '.' | '_' | '-' | '[' | ']');
    !text.is_empty() && text.chars().all(legal)
}

fn from_set(text: &str) -> Result<Override, Problem> {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| is_key(key.trim())) else {
        let help = "for example: --set kafka.client.id=x";
        return Err(Problem::new("", Place::Set("…".to_owned()), "expected KEY=VALUE", help));
    };
    let key = key.trim();
    let path = match key.split_once('.') {
        Some(("kafka", property)) => vec!["kafka".to_owned(), property.to_owned()],
        _ => key.replace('[', ".").replace(']', "").split('.').map(str::to_owned).collect(),
    };
    Ok(Override { path, text: value.to_owned(), origin: Origin::Set, place: Place::Set(key.to_owned()) })
}

fn put(node: &mut Node, path: &[String], value: Node) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    let index = first.parse::<usize>().ok();
    if let Value::Null = node.value {
        node.value = if index.is_some() { Value::List(Vec::new()) } else { Value::Map(Vec::new()) };
        node.place = value.place.clone();
    }
    let empty = Node { place: value.place.clone(), value: Value::Null };
    match (&mut node.value, index) {
        (Value::List(items), Some(index)) => {
            let count = items.len();
            if index == count {
                items.push(empty);
            }
            let item = items.get_mut(index);
            put(item.ok_or_else(|| beyond(count))?, rest, value)
        }
        (Value::List(_), None) => Err(format!("`{first}` isn't an index: 0, 1, …")),
        (Value::Map(entries), _) => {
            let at = match entries.iter().position(|entry| entry.key == *first) {
                Some(at) => at,
                None => {
                    entries.push(Entry { key: first.clone(), place: value.place.clone(), node: empty });
                    entries.len() - 1
                }
            };
            put(&mut entries[at].node, rest, value)
        }
        (Value::Scalar(_), _) => Err("a key can't be set inside a single value".to_owned()),
        (Value::Null, _) => Ok(()),
    }
}

fn beyond(count: usize) -> String {
    match count {
        0 => "the list is empty, so that its next index is 0".to_owned(),
        1 => "the list has one item, 0, so that the next index is 1".to_owned(),
        _ => format!("the list has items 0 to {}, so that the next index is {count}", count - 1),
    }
}
