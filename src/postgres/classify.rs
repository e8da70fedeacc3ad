//! From an error of PostgreSQL or of the connection to the engine's word for it.
//!
//! What was being done decides first, then the SQLSTATE ("PostgreSQL Error Codes" in its documentation), the
//! constraint, the routine that raised it and the shape of its context. Messages are localised by the server
//! and quote values: they decide nothing and are not passed on, nor is DETAIL. What an error is called is in
//! [`super::words`].

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use super::context::{CopyPlace, is_wait_for_row, lines_of_functions, starts_in_function};
use super::words::{self, Raiser, Subject};
use crate::engine::policy::{Failure, FailureClass};
use crate::engine::shape::{Column, Table};

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

/// Where rows were going when an error was raised.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The table that they are for.
    pub table: &'a Table,
    /// They were on their way into its stage, whose columns are called `c` and the place of the table's.
    pub staged: bool,
}

impl<'a> Place<'a> {
    /// Whether the table that an error names is this one, or can be a partition of it.
    fn is_of(&self, db: &DbError) -> bool {
        let is_named = |table: &Table| {
            db.schema() == Some(table.schema.as_str()) && db.table() == Some(table.name.as_str())
        };
        self.table.traits.partitioned || is_named(self.table)
    }

    /// The table's column that an error calls by this name. What isn't a column of the table isn't told: it
    /// can be another table's, or a word that a function chose.
    fn column(&self, name: &str) -> Option<&'a Column> {
        if !self.staged {
            return self.table.column(name).map(|(_, column)| column);
        }
        self.table.columns.get(name.strip_prefix('c')?.parse::<usize>().ok()?)
    }
}

/// What kind of trouble an error is, with everything that may be shown of it.
pub fn classify(error: &Error, phase: Phase) -> Failure {
    classify_at(error, phase, None)
}

/// The same for an error that was met on the way to a table.
pub fn classify_at(error: &Error, phase: Phase, place: Option<Place<'_>>) -> Failure {
    let Some(db) = error.as_db_error() else {
        return Failure {
            class: class_of_client_error(error),
            sqlstate: None,
            column: None,
            constraint: None,
            table: place.map(|place| place.table.to_string()),
            message: describe(error),
            suspect: None,
        };
    };
    let origin = Origin::of(db);
    let code = db.code().code();
    // What user code names in a RAISE can be anything, a value too.
    let named = |name: Option<&str>| name.filter(|_| origin.raised_by != Raiser::User).map(str::to_owned);
    let column = origin.copy.as_ref().and_then(|copy| copy.column.clone()).or(named(db.column()));
    let (column, type_) = match place {
        Some(place) => column
            .and_then(|name| place.column(&name))
            .map_or((None, None), |column| (Some(column.name.clone()), Some(column.type_.told()))),
        None => (column, None),
    };
    let constraint = named(db.constraint());
    let is_value = origin.is_of_value();
    let type_ = type_.as_deref();
    let subject = Subject { column: column.as_deref(), type_, constraint: constraint.as_deref(), is_value };
    let message = match phase {
        // No record takes part in a log-in, and what the server says of it is what helps.
        Phase::Connect => db.message().to_owned(),
        Phase::Ledger | Phase::Rows | Phase::Quarantine | Phase::Commit => {
            words::sentence(code, origin.told(), &subject)
        }
    };
    let class = match class_of(code, constraint.is_some(), &origin, phase) {
        // Another table's row is in the way of this one, or refers to it.
        FailureClass::MissingParent if place.is_some_and(|place| !place.is_of(db)) => FailureClass::Record,
        class => class,
    };
    Failure {
        class,
        sqlstate: Some(code.to_owned()),
        column,
        constraint,
        table: table_of(db, &origin, place),
        message,
        suspect: None,
    }
}

/// The table that is written, else the one that the server names: that can be a partition of the other, or
/// one that a trigger writes.
fn table_of(db: &DbError, origin: &Origin, place: Option<Place<'_>>) -> Option<String> {
    let told = || {
        let schema = db.schema().filter(|schema| !schema.starts_with("pg_temp"))?;
        (origin.raised_by != Raiser::User).then_some(format!("{schema}.{}", db.table()?))
    };
    let meant = place.map(|place| place.table.to_string());
    meant.or_else(told)
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
    let place = CopyPlace::of(error.as_db_error()?.where_()?)?;
    Some((place.line, place.column))
}

/// What the fields of an error tell of where it comes from.
struct Origin {
    raised_by: Raiser,
    copy: Option<CopyPlace>,
    /// The server's own words of the row that it waits for are all that the context holds.
    waits_for_row: bool,
    is_error: bool,
    stale_plan: bool,
}

impl Origin {
    fn of(db: &DbError) -> Self {
        let context = db.where_().unwrap_or_default();
        let copy = CopyPlace::of(context);
        // COPY names one line; whatever else there is, is the context of a function.
        let functions = lines_of_functions(context).next().is_some();
        let routine = db.routine().unwrap_or_default();
        let raised_by = if is_raise(routine) {
            Raiser::User
        } else if db.code().code() == "42501" && routine == "ExecWithCheckOptions" {
            Raiser::RowSecurity
        } else if functions && copy.as_ref().is_none_or(|_| starts_in_function(context)) {
            Raiser::Function
        } else {
            Raiser::Server
        };
        Self {
            raised_by,
            copy,
            waits_for_row: functions && lines_of_functions(context).all(is_wait_for_row),
            is_error: db.parsed_severity() == Some(Severity::Error),
            stale_plan: routine == "RevalidateCachedQuery",
        }
    }

    /// Who is told to have raised it: nobody's function, where the server waited for a row by itself.
    fn told(&self) -> Raiser {
        if self.waits_for_row { Raiser::Server } else { self.raised_by }
    }

    /// Whether the error is about a row, as far as it tells.
    fn is_of_row(&self) -> bool {
        self.raised_by != Raiser::Server || self.copy.is_some()
    }

    /// Whether a type's own input refused what a column of a row holds.
    fn is_of_value(&self) -> bool {
        self.raised_by == Raiser::Server && self.copy.as_ref().is_some_and(|place| place.column.is_some())
    }
}

/// The routines with which the procedural languages that come with PostgreSQL raise errors for user code.
fn is_raise(routine: &str) -> bool {
    matches!(routine, "exec_stmt_raise" | "exec_stmt_assert" | "do_util_elog" | "pltcl_elog" | "pltcl_error")
        || routine.starts_with("PLy_")
        || routine.starts_with("plperl_")
        || routine == "throw_tcl_error"
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

fn class_of(code: &str, constraint: bool, origin: &Origin, phase: Phase) -> FailureClass {
    use FailureClass::{
        Ambiguous, Collision, Conflict, Defect, Doubtful, MissingParent, Record, Schema, Unavailable,
    };
    let writes = matches!(phase, Phase::Rows | Phase::Commit);
    let class = match class_of_code(code, constraint, origin.stale_plan, phase) {
        // The server answers: there is no outage. A function reaches out and fails, or a protocol is broken.
        Unavailable if code.starts_with("08") && origin.is_error && phase != Phase::Connect => Ambiguous,
        class => class,
    };
    let class = match class {
        // The server checks the row's own foreign key. What it finds in a statement of a function is about
        // whatever row that writes.
        Record if writes && constraint && code == "23503" && origin.raised_by == Raiser::Server => {
            MissingParent
        }
        // User code chooses its code. Those of conflicts ask for another try, those of data name the row.
        Schema if writes && origin.raised_by == Raiser::User && code == "23514" => Record,
        Conflict | Record | MissingParent | Collision => class,
        _ if writes && origin.raised_by == Raiser::User => Doubtful,
        Schema | Ambiguous | Defect if writes && !is_of_table(code) => {
            if origin.is_of_value() && !is_of_protocol(code) {
                Record
            } else if origin.is_of_row() {
                Doubtful
            } else {
                class
            }
        }
        class => class,
    };
    match (class, phase) {
        (_, Phase::Rows | Phase::Commit) => class,
        // No record's data can be the cause where none is written, and the quarantine takes anything.
        (Record | Collision, Phase::Connect | Phase::Ledger | Phase::Quarantine) => Defect,
        _ => class,
    }
}

/// Codes that name the table or our side of it, whatever row they are met at: a missing partition, a COPY
/// whose format we got wrong, a row of more columns than there can be.
fn is_of_table(code: &str) -> bool {
    matches!(code, "23514" | "22P04" | "54023" | "54011")
}

/// Codes with which a type refuses our binary form: that form or the column's type is wrong, not a value.
fn is_of_protocol(code: &str) -> bool {
    code.starts_with("08") || code == "22P03"
}

fn class_of_code(code: &str, constraint: bool, stale_plan: bool, phase: Phase) -> FailureClass {
    use FailureClass::{
        Ambiguous, Collision, Conflict, Defect, Integrity, Record, Resources, Schema, Unavailable,
    };
    match code {
        "40001" | "40P01" | "55P03" | "55P04" | "55006" => Conflict,
        // A limit on time, of statements or of whole transactions (`transaction_timeout` of PostgreSQL 17): a
        // smaller batch may keep it.
        "57014" | "25P04" => Conflict,
        // A statement that another session's owner prepared or dropped: a pooler stands between.
        "26000" | "42P05" => Conflict,
        "40003" if phase == Phase::Commit => Unavailable,
        "40003" => Conflict,
        // A plan that DDL made stale; by the routine, since the message is localised.
        "0A000" if stale_plan => Conflict,
        "25006" | "25P03" => Unavailable,
        "53300" | "57P01" | "57P02" | "57P03" | "57P05" | "58000" | "58030" => Unavailable,
        "28000" | "28P01" | "53000" | "53100" | "53200" | "53400" | "58P01" | "58P02" => Resources,
        // A missing partition. Whether the row or the table is at fault can't be known here: the halt keeps
        // everything, whereas taking it for the row's fault would quarantine a whole month of good records.
        "23514" if !constraint => Schema,
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass::{
        Ambiguous, Collision, Conflict, Defect, Doubtful, Integrity, MissingParent, Record, Resources,
        Schema, Unavailable,
    };

    /// An error of the server itself, outside of any row.
    const PLAIN: Origin = Origin {
        raised_by: Raiser::Server,
        copy: None,
        waits_for_row: false,
        is_error: true,
        stale_plan: false,
    };

    fn origin(raised_by: Raiser, context: &str) -> Origin {
        Origin { raised_by, copy: CopyPlace::of(context), ..PLAIN }
    }

    #[test]
    fn each_code_has_its_class_while_rows_are_written() {
        let rows: &[(FailureClass, &[&str])] = &[
            (Conflict, &["40001", "40P01", "55P03", "57014", "55006", "40003", "55P04", "26000", "42P05"]),
            (Conflict, &["25P04"]),
            (Unavailable, &["08000", "08001", "08003", "08004", "08006", "08007", "08P01"]),
            (Unavailable, &["57P01", "57P02", "57P03", "57P05", "25P03", "53300"]),
            (Unavailable, &["25006", "58000", "58030"]),
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
                let lost = Origin { is_error: false, ..PLAIN };
                assert_eq!(class_of(code, false, &lost, Phase::Rows), *expected, "{code:?}");
            }
        }
    }

    #[test]
    fn constraint_routine_and_phase_decide_where_the_code_does_not() {
        let stale = Origin { stale_plan: true, ..PLAIN };
        let cases = [
            ("23514", true, &PLAIN, Phase::Rows, Record),
            ("23514", true, &PLAIN, Phase::Commit, Record),
            ("23514", true, &PLAIN, Phase::Ledger, Defect),
            ("23514", false, &PLAIN, Phase::Commit, Schema),
            ("23503", true, &PLAIN, Phase::Rows, MissingParent),
            ("23503", true, &PLAIN, Phase::Commit, MissingParent),
            ("23503", true, &PLAIN, Phase::Ledger, Defect),
            ("23001", true, &PLAIN, Phase::Rows, Record),
            ("0A000", false, &stale, Phase::Rows, Conflict),
            ("0A000", false, &PLAIN, Phase::Rows, Schema),
            ("40003", false, &PLAIN, Phase::Commit, Unavailable),
            ("23505", true, &PLAIN, Phase::Commit, Collision),
            ("23505", true, &PLAIN, Phase::Ledger, Defect),
            ("22021", false, &PLAIN, Phase::Quarantine, Defect),
            ("22P02", false, &PLAIN, Phase::Connect, Defect),
            ("40P01", false, &PLAIN, Phase::Quarantine, Conflict),
            ("42P01", false, &PLAIN, Phase::Ledger, Schema),
            ("28P01", false, &PLAIN, Phase::Connect, Resources),
            ("08P01", false, &PLAIN, Phase::Rows, Ambiguous),
            ("08P01", false, &PLAIN, Phase::Connect, Unavailable),
        ];
        for (code, constraint, origin, phase, expected) in cases {
            let found = class_of(code, constraint, origin, phase);
            assert_eq!(found, expected, "{code} {constraint:?} {phase:?}");
        }
    }

    #[test]
    fn where_an_error_comes_from_decides_whether_a_row_can_be_its_cause() {
        use Raiser::{Function, RowSecurity, Server, User};
        let (value, line) = ("COPY t, line 3, column c: \"x\"", "COPY t, line 3");
        let cases: &[(Raiser, &str, FailureClass, &[&str])] = &[
            (Server, "", Schema, &["42501", "42P01", "42703", "0A000", "55000"]),
            (Server, "", Defect, &["42601", "25P02"]),
            (Server, value, Record, &["42601", "XX000", "42P01", "42704", "0A000", "38000", "22P02"]),
            (Server, value, Doubtful, &["08P01", "08000"]),
            (Server, line, Doubtful, &["42601", "XX000", "42P01", "42883"]),
            (Server, line, Schema, &["23514"]),
            (Server, line, Defect, &["22P04"]),
            (RowSecurity, "", Doubtful, &["42501"]),
            (Function, "", Doubtful, &["42P01", "42703", "XX000", "0A000", "F0000", "MY001", "38000"]),
            (Function, "", Record, &["22012", "23503", "P0002"]),
            (Function, "", Resources, &["53100", "53200"]),
            (Function, "", Conflict, &["40P01", "55P03", "57014"]),
            (User, "", Doubtful, &["BR001", "42501", "42P01", "XX000", "XX001", "0A000", "F0000", "53100"]),
            (User, "", Doubtful, &["57P01", "08006", "25P02", "58000"]),
            (User, line, Doubtful, &["BR001", "42501"]),
            (User, "", Record, &["P0001", "22023", "23514", "44000"]),
            (User, "", Conflict, &["40001", "40P01", "55P03"]),
        ];
        for (raised_by, context, expected, codes) in cases {
            for code in *codes {
                let found = class_of(code, false, &origin(*raised_by, context), Phase::Rows);
                assert_eq!(found, *expected, "{code} by {raised_by:?} at {context:?}");
                let elsewhere = class_of(code, false, &origin(*raised_by, context), Phase::Ledger);
                assert!(!matches!(elsewhere, Record | Doubtful | Collision), "{code}: {elsewhere:?}");
            }
        }
    }

    #[test]
    fn a_wait_for_a_row_is_told_of_the_server() {
        let origin = Origin { raised_by: Raiser::Function, waits_for_row: true, ..PLAIN };
        assert_eq!(origin.told(), Raiser::Server);
        assert_eq!(Origin { waits_for_row: false, ..origin }.told(), Raiser::Function);
    }
}
