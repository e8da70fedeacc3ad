//! What an error of the server is called here.
//!
//! The server's own messages quote values of records, and functions of the user's raise whatever they like.
//! So each SQLSTATE has words of ours, with the names of columns, types and constraints where they are known.
//! Who wants the server's words too sets `log.server_messages`: they are logged under [`SERVER_MESSAGES`].

/// The target of log lines that hold the server's own words; silent unless the configuration asks for it.
pub const SERVER_MESSAGES: &str = "tidegate::server_messages";

/// Whose code raised an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raiser {
    /// The server's own, while it checked or read a row that was sent, or for the statement as a whole.
    Server,
    /// The server's, in a statement or an expression that a function of the table runs.
    Function,
    /// A function of the table, in its own words and under a code of its choice.
    User,
    /// Row-level security, which judges rows one by one.
    RowSecurity,
}

/// What an error is about, by names that hold no value.
#[derive(Clone, Copy, Default, Debug)]
pub struct Subject<'a> {
    /// A column of the table.
    pub column: Option<&'a str>,
    /// That column's type.
    pub type_: Option<&'a str>,
    /// The constraint that was violated.
    pub constraint: Option<&'a str>,
    /// A type's own input refused what the column holds.
    pub is_value: bool,
}

/// Logs the server's own words, for those who asked for them.
pub fn tell_server_message(error: &tokio_postgres::Error) {
    if let Some(db) = error.as_db_error() {
        let (sqlstate, said) = (db.code().code(), db.message());
        tracing::warn!(target: SERVER_MESSAGES, sqlstate, "PostgreSQL said: {said}");
    }
}

/// One sentence without a value and without the SQLSTATE, which is told beside it.
pub fn sentence(code: &str, raised_by: Raiser, subject: &Subject<'_>) -> String {
    let text = match raised_by {
        Raiser::User => "a trigger or function of the table raised an error of its own".to_owned(),
        Raiser::RowSecurity => "a policy of row-level security refuses the row".to_owned(),
        Raiser::Function | Raiser::Server => {
            let text = of_constraint(code, subject)
                .or_else(|| Some(format!("{} {}", value_of(subject), of_value(code, subject.is_value)?)))
                .unwrap_or_else(|| of_statement(code).to_owned());
            match raised_by {
                Raiser::Function => format!("in a trigger or function of the table: {text}"),
                Raiser::Server | Raiser::User | Raiser::RowSecurity => text,
            }
        }
    };
    debug_assert!(!text.is_empty(), "each code has words");
    text
}

fn value_of(subject: &Subject<'_>) -> String {
    match (subject.column, subject.type_) {
        (Some(column), Some(type_)) => format!("the value for {column} ({type_})"),
        (Some(column), None) => format!("the value for {column}"),
        (None, _) => "a value".to_owned(),
    }
}

/// Integrity constraints, by class 23.
fn of_constraint(code: &str, subject: &Subject<'_>) -> Option<String> {
    let constraint = subject.constraint.map_or(String::new(), |name| format!(" {name}"));
    Some(match code {
        "23502" => match subject.column {
            Some(column) => format!("{column} must not be null"),
            None => "a value must not be null".to_owned(),
        },
        "23503" => format!("the foreign key{constraint} refers to a row that isn't there"),
        "23001" => format!("a row that the foreign key{constraint} refers to can't go"),
        "23505" => format!("the unique index{constraint} has such a row already"),
        "23514" if subject.constraint.is_some() => format!("the check constraint{constraint} is violated"),
        "23514" => "no partition of the table takes the row".to_owned(),
        "23P01" => format!("the exclusion constraint{constraint} is violated"),
        "23000" => format!("an integrity constraint{constraint} is violated"),
        "44000" => "the row doesn't satisfy the view's check option".to_owned(),
        _ => return None,
    })
}

/// What is wrong with a value, behind its name.
fn of_value(code: &str, is_value: bool) -> Option<&'static str> {
    Some(match code {
        "22001" | "22026" => "is too long for its type",
        "22003" => "is out of the range of its type",
        "22007" => "isn't a date or time in a form that PostgreSQL reads",
        "22008" => "is a date or time out of range",
        "22015" => "is an interval out of range",
        "22P02" => "isn't valid for its type",
        "22P03" => "isn't valid for its type in binary form",
        "22021" | "22P05" => "holds a character that the database can't store",
        "22030" => "is JSON with a key twice",
        "22032" => "isn't valid JSON",
        "22004" | "22002" => "must not be null",
        "2200L" | "2200M" | "2200N" | "2200S" | "2200T" => "isn't valid XML",
        "22023" => "is a parameter that isn't valid",
        "2202E" => "has array dimensions that don't fit",
        "2201B" => "isn't a valid regular expression",
        "54000" | "54001" => "is too large or too deeply nested for PostgreSQL",
        // Types parse in their own ways, and call what they can't read a syntax error, an internal one, or a
        // table that isn't there.
        _ if is_value => "can't be read as its type",
        _ => return None,
    })
}

/// What a statement met that is no value's fault, as far as the code tells.
fn of_statement(code: &str) -> &'static str {
    match code {
        "0A000" => "PostgreSQL doesn't support what the statement asks of this table",
        "21000" => "two rows of one statement are one key to PostgreSQL",
        "22012" => "a division by zero",
        "25006" => "the server takes no writes: it is a standby or read-only",
        "25P03" | "57P05" => "the server ended the session for its idleness",
        "25P04" => {
            "the transaction took longer than transaction_timeout allows, a setting of role, database or server"
        }
        "26000" | "42P05" => "a prepared statement isn't what the session knows: a pooler may stand between",
        "28000" | "28P01" => "the login was refused",
        "3D000" => "the database isn't there",
        "3F000" => "a schema that is named isn't there",
        "40001" => "the transaction conflicts with another one",
        "40P01" => "a deadlock with another session",
        "42501" => "a privilege is missing",
        "42601" => "a text can't be parsed",
        "42703" => "a column that is named isn't there",
        "42704" => "a type or other object that is named isn't there",
        "42883" => "a function or operator that is named isn't there",
        "42P01" => "a table or view that is named isn't there",
        "42P10" => "no unique index fits the key",
        "428C9" => "a generated column can't be written",
        "42804" => "a type differs from its column's",
        "53100" => "the server's disk is full",
        "53200" => "the server is out of memory",
        "53300" => "the server takes no more connections",
        "54011" | "54023" => "more columns than PostgreSQL takes",
        "55000" => "the table or an object that it needs isn't in the state for this",
        "55006" => "the table is in use",
        "55P03" => "a lock wasn't free in time",
        "57014" => "the statement was cancelled or took longer than it may",
        "57P01" | "57P02" => "the server or an administrator ended the session",
        "57P03" => "the server is starting or stopping",
        "58030" => "the server can't read or write a file",
        "P0001" => "an exception was raised",
        "P0002" => "a query that must find a row found none",
        "P0003" => "a query that must find one row found several",
        "P0004" => "an assertion failed",
        "XX000" => "an internal error of the server or of an extension",
        "XX001" | "XX002" => "the server reports damaged data",
        _ => of_class(code.get(..2).unwrap_or_default()),
    }
}

fn of_class(class: &str) -> &'static str {
    match class {
        "08" => "a connection or its protocol broke",
        "0L" | "0P" => "a role or a grant isn't valid",
        "22" => "a value isn't what an expression of the table takes",
        "23" | "27" | "44" => "the table's rules refuse the row",
        "25" | "2D" | "3B" => "the transaction isn't in the state for this",
        "28" => "the login was refused",
        "34" | "24" => "a cursor isn't there or isn't in the state for this",
        "38" | "39" => "an external routine failed",
        "40" => "the transaction was rolled back by the server",
        "42" => "the statement names something that isn't there or doesn't fit",
        "53" => "the server is short of a resource",
        "54" => "a limit of PostgreSQL is exceeded",
        "55" => "an object isn't in the state for this",
        "57" => "an operator intervened",
        "58" => "the server's operating system refused something",
        "F0" => "the server's configuration file isn't valid",
        "HV" => "a foreign table's server or driver failed",
        "P0" => "a PL/pgSQL function failed",
        "XX" => "an internal error of the server",
        _ => "an error that only its code tells of",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_what_is_known_and_nothing_else() {
        let m = Subject { column: Some("m"), type_: Some("mood"), ..Subject::default() };
        let read = Subject { is_value: true, ..m };
        let none = Subject::default();
        let named = |constraint| Subject { constraint: Some(constraint), ..none };
        let cases = [
            ("22P02", Raiser::Server, m, "the value for m (mood) isn't valid for its type"),
            ("22P02", Raiser::Server, none, "a value isn't valid for its type"),
            ("42601", Raiser::Server, read, "the value for m (mood) can't be read as its type"),
            ("XX000", Raiser::Server, read, "the value for m (mood) can't be read as its type"),
            ("42601", Raiser::Server, none, "a text can't be parsed"),
            ("23502", Raiser::Server, m, "m must not be null"),
            ("23505", Raiser::Server, named("t_k"), "the unique index t_k has such a row already"),
            ("23514", Raiser::Server, named("t_c"), "the check constraint t_c is violated"),
            ("23514", Raiser::Server, none, "no partition of the table takes the row"),
            ("22012", Raiser::Function, none, "in a trigger or function of the table: a division by zero"),
            ("BR001", Raiser::User, none, "a trigger or function of the table raised an error of its own"),
            ("42501", Raiser::RowSecurity, none, "a policy of row-level security refuses the row"),
            ("42501", Raiser::Server, none, "a privilege is missing"),
            ("99999", Raiser::Server, none, "an error that only its code tells of"),
            ("é", Raiser::Server, none, "an error that only its code tells of"),
        ];
        for (code, raised_by, subject, expected) in cases {
            assert_eq!(sentence(code, raised_by, &subject), expected, "{code}");
        }
    }
}
