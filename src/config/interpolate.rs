//! References in values: `${VAR}`, `${VAR:-default}`, `${file:/run/secrets/x}`, and `$$` for a dollar.
//!
//! They are resolved after the document was parsed, so that no value can change its structure or show up
//! in a parser's message, and only once: what a reference yields is taken as it is. A dollar before
//! anything else stands for itself, so that `$timestamp` needs no escape. References work in the strings
//! of YAML, TOML and JSON and in `--set`, not in keys, numbers or environment variables (whose values are
//! final already).

use std::collections::BTreeMap;

use super::error::Problem;
use super::file_text::{self, FileText, Part};
use super::tree::{Node, Origin, Scalar, Value};

/// Resolves every reference below a node.
pub(super) fn resolve(
    node: &mut Node,
    path: &str,
    env: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    let place = node.place.clone();
    match &mut node.value {
        Value::Null => {}
        Value::Scalar(scalar) => {
            if !matches!(scalar.origin, Origin::Text | Origin::Set) || !scalar.text.contains('$') {
                return;
            }
            match expand(&scalar.text, env) {
                Ok(expanded) => apply(scalar, expanded),
                Err(fault) => {
                    scalar.broken = true;
                    problems.push(Problem::new(path, place, fault.message, fault.help));
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                resolve(item, &format!("{path}[{index}]"), env, problems);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                resolve(&mut entry.node, &path, env, problems);
            }
        }
    }
}

fn apply(scalar: &mut Scalar, expanded: Expanded) {
    let written = std::mem::replace(&mut scalar.text, expanded.text.clone());
    if expanded.references {
        scalar.written = Some(written);
    }
    scalar.files = expanded.files();
}

#[derive(Default)]
struct Expanded {
    text: String,
    references: bool,
    parts: Vec<Part>,
}

impl Expanded {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.parts.push(Part::Text(text.to_owned()));
    }

    /// How to read it again, where files are part of it.
    fn files(self) -> Option<FileText> {
        let is_file = |part: &Part| matches!(part, Part::File(_));
        self.parts.iter().any(is_file).then_some(FileText::new(self.parts))
    }
}

struct Fault {
    message: String,
    help: String,
}

fn expand(text: &str, env: &BTreeMap<String, String>) -> Result<Expanded, Fault> {
    let mut expanded = Expanded::default();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push(before);
        if let Some(next) = after.strip_prefix('$') {
            expanded.push("$");
            rest = next;
        } else if let Some(inside) = after.strip_prefix('{') {
            let Some((reference, next)) = inside.split_once('}') else {
                return Err(Fault {
                    message: "a `${` has no closing `}`".to_owned(),
                    help: "write ${VAR}, ${VAR:-default} or ${file:/path}; $$ stands for a dollar".to_owned(),
                });
            };
            match reference.strip_prefix("file:") {
                Some(path) => {
                    expanded.text.push_str(&read(path)?);
                    expanded.parts.push(Part::File(path.to_owned()));
                }
                None => expanded.push(&look_up(reference, env)?),
            }
            expanded.references = true;
            rest = next;
        } else {
            expanded.push("$");
            rest = after;
        }
    }
    expanded.push(rest);
    Ok(expanded)
}

fn look_up(reference: &str, env: &BTreeMap<String, String>) -> Result<String, Fault> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let legal = |char: char| char.is_ascii_alphanumeric() || char == '_';
    if name.is_empty() || !name.chars().all(legal) || name.starts_with(|char: char| char.is_ascii_digit()) {
        return Err(Fault {
            // It isn't shown: it may be part of a password.
            message: "what stands in `${…}` isn't a reference".to_owned(),
            help: "write ${VAR}, ${VAR:-default} or ${file:/path}; $$ stands for a dollar".to_owned(),
        });
    }
    match (env.get(name), default) {
        // As in a shell, `:-` also stands in for an empty variable.
        (Some(value), Some(_)) if !value.is_empty() => Ok(value.clone()),
        (Some(value), None) => Ok(value.clone()),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Fault {
            message: format!("the environment variable {name} isn't set"),
            help: format!("set it, or give a default: ${{{name}:-default}}"),
        }),
    }
}

fn read(path: &str) -> Result<String, Fault> {
    file_text::read(path).map_err(|message| Fault {
        message,
        help: "a ${file:…} reference names a text file that this process may read".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_once_and_dollars_survive() {
        let env = BTreeMap::from([
            ("A".to_owned(), "x".to_owned()),
            ("EMPTY".to_owned(), String::new()),
            ("NESTED".to_owned(), "${A}".to_owned()),
        ]);
        for (text, expected) in [
            ("plain", Ok("plain")),
            ("${A}", Ok("x")),
            ("1${A}2${A}3", Ok("1x2x3")),
            ("${B:-d}", Ok("d")),
            ("${B:-}", Ok("")),
            ("${B:-a:-b}", Ok("a:-b")),
            ("${EMPTY:-d}", Ok("d")),
            ("${EMPTY}", Ok("")),
            ("${NESTED}", Ok("${A}")),
            ("$timestamp", Ok("$timestamp")),
            ("$$", Ok("$")),
            ("$${A}", Ok("${A}")),
            ("a$", Ok("a$")),
            ("${B}", Err("the environment variable B isn't set")),
            ("${A", Err("a `${` has no closing `}`")),
            ("${}", Err("what stands in `${…}` isn't a reference")),
            ("${1A}", Err("what stands in `${…}` isn't a reference")),
            ("${A B}", Err("what stands in `${…}` isn't a reference")),
        ] {
            let found = expand(text, &env).map(|expanded| expanded.text).map_err(|fault| fault.message);
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text:?}");
        }
    }
}
