//! TOML text → [`Node`], with the place of every key and value.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::lines::Lines;
use super::tree::{Entry, Node, Origin, Scalar, Value};

/// Reads a whole document.
pub(super) fn parse(source: &str) -> Result<Node, Problem> {
    let lines = Lines::new(source);
    match DeTable::parse(source) {
        Ok(table) => {
            let place = lines.place(table.span().start);
            Ok(Node { place, value: convert_table(table.into_inner(), &lines, source) })
        }
        Err(error) => {
            let place = lines.place(error.span().map_or(0, |span| span.start));
            let message = format!("not valid TOML: {}", error.message().replace('\n', "; "));
            Err(Problem::new("", place, message, ""))
        }
    }
}

fn convert_table(table: DeTable<'_>, lines: &Lines<'_>, source: &str) -> Value {
    let mut entries: Vec<(usize, Entry)> = table
        .into_iter()
        .map(|(key, value)| {
            let start = key.span().start;
            let place = lines.place(start);
            let entry =
                Entry { place, key: key.into_inner().into_owned(), node: convert(value, lines, source) };
            (start, entry)
        })
        .collect();
    entries.sort_by_key(|(start, _)| *start);
    Value::Map(entries.into_iter().map(|(_, entry)| entry).collect())
}

fn convert(value: Spanned<DeValue<'_>>, lines: &Lines<'_>, source: &str) -> Node {
    let span = value.span();
    let place = lines.place(span.start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Scalar(Scalar::new(text.into_owned(), Origin::Text)),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            let text = source.get(span).unwrap_or_default().trim();
            Value::Scalar(Scalar::new(text, Origin::Literal))
        }
        DeValue::Array(items) => {
            Value::List(items.into_iter().map(|item| convert(item, lines, source)).collect())
        }
        DeValue::Table(table) => convert_table(table, lines, source),
    };
    Node { place, value }
}
