//! From an error of PostgreSQL or of the connection to the engine's word for it.
//!
//! The SQLSTATE decides first ("PostgreSQL Error Codes" in its documentation), then the constraint, then
//! what was being done. Messages are localised by the server and therefore decide nothing. DETAIL and the
//! values in CONTEXT are never passed on, since they quote rows.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use crate::engine::policy::{Failure, FailureClass};

/// What was being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Connecting and setting a session up.
    Connect,
    /// Reading the catalogue, or a statement on the ledger.
    Ledger,
    /// Writing rows into a target: data of the records can be the cause.
    Rows,
    /// Writing into the quarantine.
    Quarantine,
    /// COMMIT; deferred constraints and triggers run here.
    Commit,
}

/// What kind of trouble an error is, with everything that may be shown of it.
pub fn classify(error: &Error, phase: Phase) -> Failure {
    let Some(db) = error.as_db_error() else {
        return Failure {
            class: class_of_client_error(error),
            sqlstate: None,
            column: None,
            constraint: None,
            table: None,
            message: describe(error),
            suspect: None,
        };
    };
    let place = copy_place(db);
    Failure {
        class: class_of(db.code().code(), db.constraint(), db.routine(), phase),
        sqlstate: Some(db.code().code().to_owned()),
        column: db.column().map(str::to_owned).or(place.and_then(|(_, column)| column)),
        constraint: db.constraint().map(str::to_owned),
        table: db.table().map(|table| match db.schema() {
            Some(schema) => format!("{schema}.{table}"),
            None => table.to_owned(),
        }),
        message: db.message().to_owned(),
        suspect: None,
    }
}

/// The error in words, without DETAIL: the server's primary message, or the client's chain of causes.
pub fn describe(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// Whether an error on COMMIT says for certain that nothing was committed. Everything else, a FATAL from a
/// server that is shutting down included, leaves the outcome open.
pub fn commit_was_refused(error: &Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        let unknown = matches!(db.code().code(), "08007" | "40003");
        db.parsed_severity() == Some(Severity::Error) && !unknown
    })
}

/// Line and column that an error within COPY points at; lines count from 1, in the order sent.
pub fn copy_line(error: &Error) -> Option<(u64, Option<String>)> {
    copy_place(error.as_db_error()?)
}

fn copy_place(db: &DbError) -> Option<(u64, Option<String>)> {
    db.where_()?.lines().find_map(read_copy_context)
}

/// Reads `COPY table, line 3, column c: "value"` in any of the server's languages that keep this order.
/// The table's name may itself hold commas, so that the first part that ends in a number counts.
fn read_copy_context(context: &str) -> Option<(u64, Option<String>)> {
    let mut rest = context.strip_prefix("COPY ")?;
    loop {
        let (_, after) = rest.split_once(", ")?;
        rest = after;
        let (word, number) = after.split_once(' ')?;
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let (line, behind) = number.split_at(digits);
        if word.contains([',', ':', '"']) || !(behind.is_empty() || behind.starts_with([',', ':'])) {
            continue;
        }
        let Ok(line) = line.parse() else { continue };
        let column = behind
            .strip_prefix(", ")
            .and_then(|text| text.split_once(' '))
            .map(|(_, column)| column.split_once(": ").map_or(column, |(name, _)| name).to_owned());
        return Some((line, column));
    }
}

fn class_of_client_error(error: &Error) -> FailureClass {
    // The crate keeps the kind of its errors to itself; their fixed words are all there is.
    let words = error.to_string();
    let ours = [
        "error serializing parameter",
        "error deserializing column",
        "invalid column",
        "expected ",
        "query returned an unexpected",
        "error encoding message",
    ];
    let login = ["authentication error", "invalid configuration", "invalid connection string"];
    if ours.iter().any(|start| words.starts_with(start)) {
        FailureClass::Defect
    } else if login.iter().any(|start| words.starts_with(start)) {
        FailureClass::Resources
    } else {
        FailureClass::Unavailable
    }
}

fn class_of(code: &str, constraint: Option<&str>, routine: Option<&str>, phase: Phase) -> FailureClass {
    use FailureClass::{
        Ambiguous, Collision, Conflict, Defect, Integrity, Record, Resources, Schema, Unavailable,
    };
    let class = match code {
        "40001" | "40P01" | "55P03" | "55P04" | "55006" | "57014" => Conflict,
        "40003" if phase == Phase::Commit => Unavailable,
        "40003" => Conflict,
        // A plan that DDL made stale; by the routine, since the message is localised.
        "0A000" if routine == Some("RevalidateCachedQuery") => Conflict,
        "25006" | "25P03" | "25P04" | "26000" | "42P05" => Unavailable,
        "53300" | "57P01" | "57P02" | "57P03" | "57P05" | "58000" | "58030" => Unavailable,
        "28000" | "28P01" | "53000" | "53100" | "53200" | "53400" | "58P01" | "58P02" => Resources,
        // A missing partition. Whether the row or the table is at fault can't be known here: the halt keeps
        // everything, whereas taking it for the row's fault would quarantine a whole month of good records.
        "23514" if constraint.is_none() => Schema,
        "21000" | "23505" => Collision,
        "22P04" => Defect,
        "54023" | "54011" | "39P01" => Schema,
        "25000" | "25001" | "25P01" | "25P02" | "34000" | "3B001" | "42601" | "42P18" => Defect,
        "0A000" | "0LP01" | "0P000" | "3D000" | "3F000" | "55000" | "57P04" | "F0000" | "F0001" => Schema,
        "44000" => Record,
        "XX001" | "XX002" => Integrity,
        _ => match code.get(..2) {
            Some("08") => Unavailable,
            Some("22" | "23" | "54" | "P0") => Record,
            Some("42") => Schema,
            _ => Ambiguous,
        },
    };
    match (class, phase) {
        (Record | Collision, Phase::Rows | Phase::Commit) => class,
        // No record's data can be the cause where none is written, and the quarantine takes anything.
        (Record | Collision, Phase::Connect | Phase::Ledger | Phase::Quarantine) => Defect,
        _ => class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass::{
        Ambiguous, Collision, Conflict, Defect, Integrity, Record, Resources, Schema, Unavailable,
    };

    #[test]
    fn each_code_has_its_class_while_rows_are_written() {
        let rows: &[(FailureClass, &[&str])] = &[
            (Conflict, &["40001", "40P01", "55P03", "57014", "55006", "40003", "55P04"]),
            (Unavailable, &["08000", "08001", "08003", "08004", "08006", "08007", "08P01"]),
            (Unavailable, &["57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "53300"]),
            (Unavailable, &["25006", "26000", "42P05", "58000", "58030"]),
            (Resources, &["53000", "53100", "53200", "53400", "58P01", "58P02", "28P01", "28000"]),
            (Record, &["22000", "22001", "22003", "22004", "22007", "22008", "22009", "2200G", "22012"]),
            (Record, &["22021", "22023", "22P01", "22P02", "22P03", "22P05", "22030", "22032", "2203G"]),
            (Record, &["23000", "23001", "23502", "23503", "23P01", "44000", "54000", "54001"]),
            (Record, &["P0000", "P0001", "P0002", "P0003", "P0004"]),
            (Collision, &["21000", "23505"]),
            (Defect, &["25P02", "22P04", "42601", "42P18", "34000", "25001", "25000", "25P01", "3B001"]),
            (Schema, &["42P01", "42703", "42704", "42804", "42883", "42P10", "428C9", "3D000", "3F000"]),
            (Schema, &["42501", "0A000", "57P04", "54023", "54011", "F0000", "F0001", "23514", "55000"]),
            (Integrity, &["XX001", "XX002"]),
            (Ambiguous, &["XX000", "38000", "MY001", "99999", "", "é", "00000"]),
        ];
        for (expected, codes) in rows {
            for code in *codes {
                assert_eq!(class_of(code, None, None, Phase::Rows), *expected, "{code:?}");
            }
        }
    }

    #[test]
    fn constraint_routine_and_phase_decide_where_the_code_does_not() {
        let check = Some("price_positive");
        let stale = Some("RevalidateCachedQuery");
        let cases = [
            ("23514", check, None, Phase::Rows, Record),
            ("23514", check, None, Phase::Commit, Record),
            ("23514", check, None, Phase::Ledger, Defect),
            ("23514", None, None, Phase::Commit, Schema),
            ("0A000", None, stale, Phase::Rows, Conflict),
            ("0A000", None, Some("other"), Phase::Rows, Schema),
            ("40003", None, None, Phase::Commit, Unavailable),
            ("23505", check, None, Phase::Commit, Collision),
            ("23505", check, None, Phase::Ledger, Defect),
            ("22021", None, None, Phase::Quarantine, Defect),
            ("22P02", None, None, Phase::Connect, Defect),
            ("40P01", None, None, Phase::Quarantine, Conflict),
            ("42P01", None, None, Phase::Ledger, Schema),
            ("28P01", None, None, Phase::Connect, Resources),
        ];
        for (code, constraint, routine, phase, expected) in cases {
            let found = class_of(code, constraint, routine, phase);
            assert_eq!(found, expected, "{code} {constraint:?} {phase:?}");
        }
    }

    #[test]
    fn copy_contexts_give_line_and_column() {
        let cases = [
            ("COPY t, line 3, column c: \"a, line 9\"", Some((3, Some("c")))),
            ("COPY t, line 12", Some((12, None))),
            ("COPY t, line 12: \"1,2\"", Some((12, None))),
            ("COPY a, b, line 4, column x y", Some((4, Some("x y")))),
            ("COPY t, Zeile 3, Spalte größe: »x«", Some((3, Some("größe")))),
            ("COPY t, line 2, column c: null input", Some((2, Some("c")))),
            ("SQL statement \"COPY t, line 3\"", None),
            ("COPY t", None),
            ("", None),
        ];
        for (context, expected) in cases {
            let found = read_copy_context(context);
            let found = found.as_ref().map(|(line, column)| (*line, column.as_deref()));
            assert_eq!(found, expected, "{context}");
        }
    }
}
