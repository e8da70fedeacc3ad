//! Variables that are meant for a key and aren't spelt as one: `TIDEGATE_POSTGRES_URL`, which nobody reads,
//! for `TIDEGATE__POSTGRES__URL`. They are told, since a setting that is silently left out is worse than one
//! that is refused.

use std::collections::BTreeMap;

use super::error::{Place, Problem};
use super::properties::ALLOWED;
use super::reader::Keys;
use super::sections::SECTIONS;
use super::tree::{Node, Value};

/// What variables that set keys begin with.
pub(super) const PREFIX: &str = "TIDEGATE__";

/// What a variable begins with that may be meant for us.
const NAME: &str = "TIDEGATE_";

/// Names of variables, each with the one that is meant.
pub(super) struct Misspelt(BTreeMap<String, String>);

impl Misspelt {
    /// Those of an environment. A variable that the document or a `--set` refers to is the user's own, and
    /// one beside the right one is no setting that goes missing.
    pub(super) fn of(env: &BTreeMap<String, String>, document: &Node, sets: &[String]) -> Self {
        let candidates = env.keys().filter_map(|name| Some((name, right(name)?)));
        let own = |name: &str| refers(document, name) || sets.iter().any(|set| mentions(set, name));
        let meant = candidates.filter(|(name, right)| !env.contains_key(right) && !own(name));
        Self(meant.map(|(name, right)| (name.clone(), right)).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.0.iter().map(|(name, right)| {
            let message = format!("this variable sets no key; did you mean {right}?");
            let help = "two underscores stand behind TIDEGATE and between levels; rename it, or unset it \
                where it is for something else";
            Problem::new("", Place::Environment(name.clone()), message, help)
        })
    }
}

/// The variable for the key that a name is most likely meant for, where it isn't that one.
fn right(name: &str) -> Option<String> {
    let rest = name.strip_prefix(NAME)?.trim_start_matches('_').to_ascii_lowercase();
    let flat = rest.replace("__", "_");
    let levels = levels_of(&flat)?;
    let right = format!("{PREFIX}{}", levels.join("__").to_ascii_uppercase());
    // Below `kafka` both spellings of a dot are read.
    let read = name.starts_with(PREFIX) && rest.starts_with("kafka__");
    (right != name && !read).then_some(right)
}

/// The levels of the key whose name is this with one underscore between all words.
fn levels_of(flat: &str) -> Option<Vec<String>> {
    let owned = |levels: &[&str]| levels.iter().map(|level| (*level).to_owned()).collect();
    if let Some(property) = flat.strip_prefix("kafka_") {
        let known = ALLOWED.iter().any(|name| name.replace('.', "_") == property);
        return known.then(|| owned(&["kafka", property]));
    }
    if let Some((index, key)) = flat.strip_prefix("routes_").and_then(|rest| rest.split_once('_')) {
        let route = SECTIONS.iter().any(|(path, keys)| *path == "routes[]" && keys.contains(&key));
        let number = index.bytes().all(|byte| byte.is_ascii_digit()) && !index.is_empty();
        return (route && number).then(|| owned(&["routes", index, key]));
    }
    let sections = || SECTIONS.iter().map(|(path, _)| *path);
    let find = |(path, keys): &Keys| {
        let within = match *path {
            "" => flat,
            path => flat.strip_prefix(&path.replace('.', "_"))?.strip_prefix('_')?,
        };
        // A variable that is named like a whole section is more likely somebody else's.
        let key = keys.iter().find(|key| **key == within)?;
        let whole = path.is_empty() && (*key == "kafka" || sections().any(|section| section == *key));
        (!whole).then(|| path.split('.').filter(|part| !part.is_empty()).chain([*key]).collect::<Vec<_>>())
    };
    SECTIONS.iter().find_map(find).map(|levels| owned(&levels))
}

/// Whether any text of a document refers to a variable.
fn refers(node: &Node, name: &str) -> bool {
    match &node.value {
        Value::Null => false,
        Value::Scalar(scalar) => mentions(&scalar.text, name),
        Value::List(items) => items.iter().any(|item| refers(item, name)),
        Value::Map(entries) => entries.iter().any(|entry| refers(&entry.node, name)),
    }
}

fn mentions(text: &str, name: &str) -> bool {
    let ends = |rest: &str| rest.starts_with(['}', ':']);
    text.split("${").skip(1).any(|inside| inside.strip_prefix(name).is_some_and(ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_lacks_an_underscore_is_known_by_its_words() {
        for (name, expected) in [
            ("TIDEGATE_POSTGRES_URL", Some("TIDEGATE__POSTGRES__URL")),
            ("TIDEGATE__POSTGRES_URL", Some("TIDEGATE__POSTGRES__URL")),
            ("TIDEGATE_POSTGRES__URL", Some("TIDEGATE__POSTGRES__URL")),
            ("TIDEGATE_PIPELINE", Some("TIDEGATE__PIPELINE")),
            ("TIDEGATE_BAD_RECORDS_AT_LEAST", Some("TIDEGATE__BAD_RECORDS__AT_LEAST")),
            ("TIDEGATE_RETRY_TRANSIENT_FIRST", Some("TIDEGATE__RETRY__TRANSIENT__FIRST")),
            ("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", Some("TIDEGATE__KAFKA__BOOTSTRAP_SERVERS")),
            ("TIDEGATE__KAFKA_LOG_LEVEL", Some("TIDEGATE__KAFKA__LOG_LEVEL")),
            ("TIDEGATE_ROUTES_0_TABLE", Some("TIDEGATE__ROUTES__0__TABLE")),
            ("TIDEGATE__POSTGRES__URL", None),
            ("TIDEGATE__BAD_RECORDS__AT_LEAST", None),
            ("TIDEGATE__KAFKA__CLIENT_ID", None),
            ("TIDEGATE__KAFKA__CLIENT__ID", None),
            ("TIDEGATE__ROUTES__0__TABLE", None),
            ("TIDEGATE_CONFIG", None),
            ("TIDEGATE_CORE_DUMPS", None),
            // What Kubernetes sets for services of these names.
            ("TIDEGATE_PORT", None),
            ("TIDEGATE_SERVICE_HOST", None),
            ("TIDEGATE_KAFKA_PORT", None),
            ("TIDEGATE_POSTGRES_SERVICE_PORT", None),
            ("TIDEGATE_POSTGRES", None),
            ("TIDEGATE_KAFKA", None),
            ("POSTGRES_URL", None),
        ] {
            assert_eq!(right(name).as_deref(), expected, "{name}");
        }
    }
}
