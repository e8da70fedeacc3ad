//! The statements that write one row, each in one go: they look the row up, do what is to be done, and tell
//! what they did.
//!
//! Each takes the values of its columns as parameters, in their order, and answers with four flags: whether
//! the key's row was there, whether it was equal already, whether it was locked to be changed, and whether
//! it was written.

use super::super::sql::{self, TableNames};
use super::known::Kind;
use crate::engine::shape::{ColumnSet, ColumnType, Kind as TypeKind, TableTraits};

/// Makes the statement for rows of these columns. `values` has an expression for each column of the table,
/// with `$` where the parameter's number goes.
pub(super) fn statement(
    names: &TableNames,
    traits: TableTraits,
    set: &ColumnSet,
    kind: Kind,
    values: &[String],
) -> String {
    let places: Vec<usize> = set.iter().collect();
    let row = row(&places, values);
    let target = &names.target;
    let same_key = names.same_key("t", "s", true);
    let look = |told: &str, lock: &str| {
        format!("AS MATERIALIZED (SELECT {told} FROM {target} AS t, s WHERE {same_key}{lock})")
    };
    match kind {
        Kind::Append => {
            let insert = insert(names, &places);
            let source = if places.is_empty() {
                "DEFAULT VALUES".to_owned()
            } else {
                format!("SELECT {} FROM s", sql::list(&places, |place| format!("s.c{place}")))
            };
            format!(
                "{row}, made AS ({insert} {source} RETURNING 1) \
                 SELECT false, false, false, EXISTS (SELECT FROM made)"
            )
        }
        Kind::Look => format!("{row}, found {} {}", look("1 AS there", ""), told("false", "false", "false")),
        Kind::Delete => {
            let (locked, gate) = if traits.delete_triggers {
                let locked = look("1 AS there", " FOR UPDATE OF t");
                (format!("locked {locked}, "), " AND EXISTS (SELECT FROM locked)")
            } else {
                (String::new(), "")
            };
            let held = if traits.delete_triggers { "EXISTS (SELECT FROM locked)" } else { "false" };
            format!(
                "{row}, found {}, {locked}done AS (DELETE FROM {target} AS t USING s \
                 WHERE {same_key}{gate} RETURNING 1) {}",
                look("1 AS there", ""),
                told("false", held, "EXISTS (SELECT FROM done)")
            )
        }
        Kind::Add => format!(
            "{row}, found {}, made AS ({}) {}",
            look("1 AS there", ""),
            insert_absent(names, &places),
            told("false", "false", "EXISTS (SELECT FROM made)")
        ),
        Kind::Merge | Kind::Patch => change(names, traits, set, kind, &row),
    }
}

/// Updates the row where it differs; inserts it where it isn't there, unless it is a patch.
fn change(names: &TableNames, traits: TableTraits, set: &ColumnSet, kind: Kind, row: &str) -> String {
    let target = &names.target;
    let places: Vec<usize> = set.iter().collect();
    let (same_key, same) = (names.same_key("t", "s", true), names.same_row(set));
    let assignments = names.assignments(set);
    let mut parts =
        vec![format!("found AS MATERIALIZED (SELECT {same} AS same FROM {target} AS t, s WHERE {same_key})")];
    let (mut held, mut written) = ("false", Vec::new());
    if !assignments.is_empty() {
        let mut gate = "";
        if traits.update_triggers {
            parts.push(format!(
                "locked AS MATERIALIZED (SELECT 1 AS there FROM {target} AS t, s \
                 WHERE {same_key} AND NOT {same} FOR NO KEY UPDATE OF t)"
            ));
            gate = " AND EXISTS (SELECT FROM locked)";
            held = "EXISTS (SELECT FROM locked)";
        }
        parts.push(format!(
            "done AS (UPDATE {target} AS t SET {assignments} FROM s \
             WHERE {same_key} AND NOT {same}{gate} RETURNING 1)"
        ));
        written.push("EXISTS (SELECT FROM done)");
    }
    if kind == Kind::Merge {
        parts.push(format!("made AS ({})", insert_absent(names, &places)));
        written.push("EXISTS (SELECT FROM made)");
    }
    let written = if written.is_empty() { "false".to_owned() } else { written.join(" OR ") };
    let same = "COALESCE((SELECT same FROM found), false)";
    format!("{row}, {} {}", parts.join(", "), told(same, held, &written))
}

fn insert(names: &TableNames, places: &[usize]) -> String {
    let columns = sql::list(places, |place| names.columns[place].clone());
    let columns = if columns.is_empty() { columns } else { format!(" ({columns})") };
    format!("INSERT INTO {}{columns}", names.target)
}

fn insert_absent(names: &TableNames, places: &[usize]) -> String {
    let values = sql::list(places, |place| format!("s.c{place}"));
    let insert = insert(names, places);
    format!("{insert} SELECT {values} FROM s WHERE NOT EXISTS (SELECT FROM found) RETURNING 1")
}

fn told(same: &str, held: &str, written: &str) -> String {
    format!("SELECT EXISTS (SELECT FROM found), {same}, {held}, {written}")
}

/// The row `s` of the parameters; all of it is made, whichever of its columns are looked at, so that what
/// doesn't fit is refused even where nothing is written.
fn row(places: &[usize], values: &[String]) -> String {
    let columns: Vec<String> = (1..)
        .zip(places)
        .map(|(number, &place)| format!("{} AS c{place}", values[place].replace('$', &format!("${number}"))))
        .collect();
    format!("WITH s AS MATERIALIZED (SELECT {})", columns.join(", "))
}

/// How a type's modifier is applied, as the catalogue tells it.
pub(super) struct Modifier {
    /// The type with its modifier.
    pub(super) named: String,
    /// `atttypmod`
    pub(super) number: i32,
    /// The function that applies it to a value (to an element, of arrays), quoted and qualified.
    pub(super) function: String,
    /// Whether the function is told that this is no explicit cast, which cuts what storing refuses.
    pub(super) knows_casts: bool,
}

impl Modifier {
    fn apply(&self, value: &str) -> String {
        let stored = if self.knows_casts { ", false" } else { "" };
        format!("{}({value}, {}{stored})", self.function, self.number)
    }
}

/// A parameter as its column stores it, or the refusal of what doesn't fit.
pub(super) fn value(type_: &ColumnType, modifier: Option<&Modifier>) -> String {
    let plain = format!("$::{}", type_.sql_name);
    let Some(modifier) = modifier else { return plain };
    let TypeKind::Array(element) = &type_.kind else { return modifier.apply(&plain) };
    let cast = format!("CAST({plain} AS {})", modifier.named);
    match &element.kind {
        _ if !modifier.knows_casts => cast,
        // The cast is right where it cut nothing but blanks, which `bpchar` doesn't compare.
        TypeKind::Varchar | TypeKind::Bpchar => {
            let blank =
                |value: &str| format!("CAST({value} AS pg_catalog.bpchar[]) COLLATE pg_catalog.\"C\"");
            let (cut, whole) = (blank(&cast), blank(&plain));
            let refusal = format!(
                "ARRAY(SELECT {} FROM pg_catalog.unnest({plain}) AS u(element))",
                modifier.apply("u.element")
            );
            format!("CASE WHEN {cut} OPERATOR(pg_catalog.<>) {whole} THEN {refusal} ELSE {cast} END")
        }
        _ => plain,
    }
}
