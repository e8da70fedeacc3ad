//! Names inside the configuration: pipelines, topics, tables, paths into a record.
//!
//! Paths and table names share one notation: parts separated by dots; a part that itself holds a dot, a
//! space or a quotation mark is put in double quotes, a quotation mark inside is doubled. Case is kept as
//! written: names are compared with the catalogue exactly, and nothing is folded as SQL folds unquoted
//! identifiers.

use std::fmt;

/// PostgreSQL cuts identifiers, and `application_name`, at this many bytes (NAMEDATALEN - 1).
pub(super) const MAX_NAME_BYTES: usize = 63;

/// Schema of a table that is written without one: PostgreSQL's own default.
const DEFAULT_SCHEMA: &str = "public";

/// Kafka's limit on a topic's name, in bytes.
const MAX_TOPIC_BYTES: usize = 249;

/// The placeholder for the topic's name in a route's table.
pub(super) const TOPIC_PLACEHOLDER: &str = "{topic}";

/// A pipeline's name: 1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first.
///
/// It is the ledger's key, the default consumer group and the `application_name`, which PostgreSQL cuts at
/// 63 bytes and strips of everything but printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineName(String);

impl PipelineName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let first = text.bytes().next()?;
        let fits = text.len() <= MAX_NAME_BYTES && first.is_ascii_alphanumeric() && text.bytes().all(legal);
        fits.then(|| PipelineName(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether Kafka allows this as a topic's name.
pub(super) fn is_topic_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty()
        && text.len() <= MAX_TOPIC_BYTES
        && text != "."
        && text != ".."
        && text.bytes().all(legal)
}

/// A regular expression that a topic's whole name must match.
#[derive(Clone)]
pub struct TopicPattern {
    written: String,
    regex: regex::Regex,
}

impl TopicPattern {
    /// Compiles what stands between the slashes; the whole name must match, as if it stood between `^` and
    /// `$`.
    pub(super) fn parse(text: &str) -> Result<Self, regex::Error> {
        // The expression is compiled alone first: `a)|(b` would otherwise escape from the anchors.
        regex::Regex::new(text)?;
        let regex = regex::Regex::new(&format!("^(?:{text})$"))?;
        Ok(TopicPattern { written: text.to_owned(), regex })
    }

    /// Whether the topic's whole name matches. Kafka's internal topics, whose names begin with two
    /// underscores, never do.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__") && self.regex.is_match(topic)
    }
}

impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for TopicPattern {}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.written)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.written)
    }
}

/// A table's schema and name, as in the catalogue (not quoted).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Part(&self.schema), Part(&self.name))
    }
}

/// A route's table, in which `{topic}` stands for the topic's name.
///
/// The topic becomes part of one identifier: a dot in its name never separates schema and table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTemplate {
    schema: String,
    name: String,
}

/// The table of a topic would have a name that PostgreSQL cuts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} is {bytes} bytes long; PostgreSQL cuts names at 63 bytes")]
pub struct NameTooLong {
    /// The name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: usize,
}

impl TableTemplate {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = split(text)?;
        let name = parts.pop().ok_or("a table's name is empty")?;
        let schema = parts.pop().unwrap_or_else(|| DEFAULT_SCHEMA.to_owned());
        if !parts.is_empty() {
            return Err(
                "a table has at most two parts, schema and name; a part that holds dots is quoted".to_owned()
            );
        }
        for part in [&schema, &name] {
            let rest = part.replace(TOPIC_PLACEHOLDER, "");
            if rest.contains(['{', '}']) {
                return Err("the only placeholder is {topic}".to_owned());
            }
            if rest.len() > MAX_NAME_BYTES {
                return Err(format!("the name `{part}` is longer than PostgreSQL's 63 bytes"));
            }
        }
        Ok(TableTemplate { schema, name })
    }

    /// The table of one topic.
    ///
    /// # Errors
    /// When a name would be longer than PostgreSQL's 63 bytes.
    pub fn resolve(&self, topic: &str) -> Result<TableName, NameTooLong> {
        let fill = |part: &str| {
            let name = part.replace(TOPIC_PLACEHOLDER, topic);
            match name.len() {
                bytes if bytes > MAX_NAME_BYTES => Err(NameTooLong { name, bytes }),
                _ => Ok(name),
            }
        };
        Ok(TableName { schema: fill(&self.schema)?, name: fill(&self.name)? })
    }
}

impl fmt::Display for TableTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Part(&self.schema), Part(&self.name))
    }
}

/// A path to a field of a record: `user.id`, `"a.b".c`. Never empty, no part is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        split(text).map(FieldPath)
    }

    /// A path of these names, outermost first; at least one.
    pub fn of(segments: Vec<String>) -> Self {
        debug_assert!(!segments.is_empty(), "a path leads somewhere");
        Self(segments)
    }

    /// The names from the outermost object inwards.
    pub fn segments(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            write!(f, "{dot}{}", Part(segment))?;
        }
        Ok(())
    }
}

/// Prints one part of a dotted name, quoted where it has to be.
struct Part<'a>(&'a str);

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let special = |char: char| char == '.' || char == '"' || char.is_whitespace() || char.is_control();
        if self.0.is_empty() || self.0.starts_with('$') || self.0.contains(special) {
            write!(f, "\"{}\"", self.0.replace('"', "\"\""))
        } else {
            f.write_str(self.0)
        }
    }
}

/// Splits a dotted name into its parts, at least one, none empty.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted)?,
            None => plain_part(rest)?,
        };
        if part.is_empty() {
            return Err("a part of the name is empty".to_owned());
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err("after a closing quotation mark comes a dot or the end".to_owned()),
        }
    }
}

fn plain_part(text: &str) -> Result<(String, &str), String> {
    let end = text.find('.').unwrap_or(text.len());
    let (part, after) = text.split_at(end);
    let special = |char: char| char == '"' || char.is_whitespace() || char.is_control();
    match part.find(special) {
        Some(_) => Err("a part with a space or a quotation mark is put in double quotes".to_owned()),
        None => Ok((part.to_owned(), after)),
    }
}

fn quoted_part(text: &str) -> Result<(String, &str), String> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err("a quotation mark isn't closed".to_owned());
        };
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                part.push('"');
                rest = next;
            }
            None if part.contains('\0') => return Err("a name can't hold a NUL character".to_owned()),
            None => return Ok((part, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_names_split_at_dots_outside_quotes() {
        for (text, expected) in [
            ("a", Some(&["a"][..])),
            ("user.id", Some(&["user", "id"])),
            ("\"a.b\".c", Some(&["a.b", "c"])),
            ("a.\"b \"\"c\"\"\"", Some(&["a", "b \"c\""])),
            ("Ä.ß-1", Some(&["Ä", "ß-1"])),
            ("\"$id\"", Some(&["$id"])),
            ("", None),
            (".", None),
            ("a.", None),
            (".a", None),
            ("a..b", None),
            ("\"\"", None),
            ("\"a", None),
            ("\"a\"b", None),
            ("a\"b\"", None),
            ("a b", None),
            ("\"a\0\"", None),
        ] {
            let found = split(text).ok();
            let expected =
                expected.map(|parts| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{text:?}");
            if found.is_some() {
                let path = FieldPath::parse(text).unwrap();
                assert_eq!(FieldPath::parse(&path.to_string()).unwrap(), path, "{text:?} printed");
            }
        }
    }

    #[test]
    fn a_topic_fills_one_identifier() {
        for (template, topic, expected) in [
            ("events", "t", Ok("public.events")),
            ("raw.{topic}", "shop.orders", Ok("raw.\"shop.orders\"")),
            ("{topic}.log", "shop", Ok("shop.log")),
            ("\"a.b\".\"x {topic}\"", "t", Ok("\"a.b\".\"x t\"")),
            ("{topic}_{topic}", "t", Ok("public.t_t")),
            ("s.{topic}", &"t".repeat(63), Ok(&format!("s.{}", "t".repeat(63)))),
            ("s.{topic}", &"t".repeat(64), Err(64)),
        ] {
            let found = TableTemplate::parse(template).unwrap().resolve(topic);
            let found = found.map(|table| table.to_string()).map_err(|error| error.bytes);
            assert_eq!(found, expected.map(str::to_owned), "{template} {topic}");
        }
        for wrong in ["", "a.b.c", "{Topic}", "{topic", "a}", "a.{partition}"] {
            assert!(TableTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, topic, expected) in [
            ("a|b", "a", true),
            ("a|b", "ab", false),
            ("orders-.*", "orders-eu", true),
            ("orders-.*", "my-orders-eu", false),
            ("orders", "orders-eu", false),
            ("(?i)orders", "ORDERS", true),
            (".*", "__consumer_offsets", false),
            (".*", "_schemas", true),
        ] {
            assert_eq!(TopicPattern::parse(pattern).unwrap().matches(topic), expected, "{pattern} {topic}");
        }
        assert!(TopicPattern::parse("a)|(b").is_err(), "the anchors can't be escaped from");
    }

    #[test]
    fn pipelines_and_topics_keep_to_their_alphabets() {
        for (name, legal) in [
            ("orders", true),
            ("Orders_2.eu-west", true),
            ("2", true),
            ("", false),
            ("-orders", false),
            (".orders", false),
            ("my orders", false),
            ("größe", false),
        ] {
            assert_eq!(PipelineName::parse(name).is_some(), legal, "{name:?}");
        }
        assert!(PipelineName::parse(&"a".repeat(63)).is_some());
        assert!(PipelineName::parse(&"a".repeat(64)).is_none());
        for (name, legal) in
            [("a", true), (".a", true), (".", false), ("..", false), ("", false), ("a/b", false)]
        {
            assert_eq!(is_topic_name(name), legal, "{name:?}");
        }
        assert!(is_topic_name(&"a".repeat(249)) && !is_topic_name(&"a".repeat(250)));
    }
}
