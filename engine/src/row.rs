//! Rows in the form that they travel to PostgreSQL in.
//!
//! A row's fields stand one behind the other in a shared arena, each as a big-endian `i32` length (-1 is
//! NULL) and its bytes, in rising order of the columns: exactly the tuple body of binary COPY. In
//! [`Encoding::Binary`] the bytes are the type's binary send format, in [`Encoding::Text`] its text input.

use super::shape::ColumnSet;

/// How field bytes are encoded; one encoding for all rows of a table in a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// The types' binary formats: checked before they are sent, cheap for the server.
    Binary,
    /// The types' text input, for values and types that only PostgreSQL itself can read.
    Text,
}

/// What decoding a record gave. Field bytes are appended to the arena that the caller passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A row: the columns that the record has; their fields are in the arena.
    Row {
        /// The columns present, explicit nulls included.
        columns: ColumnSet,
        /// A required column (NOT NULL, without default) is absent: the row can change an existing
        /// row but not make a new one.
        lacks_required: bool,
        /// Only PostgreSQL can tell whether some text is valid; never set in [`Encoding::Binary`].
        unproven: bool,
    },
    /// A tombstone that deletes: the key columns' fields are in the arena.
    Delete {
        /// The key columns.
        columns: ColumnSet,
    },
    /// A value can't be encoded in binary with certainty: decode the batch again in [`Encoding::Text`].
    NeedsText,
    /// A rule dropped the record.
    Filtered,
    /// The record doesn't fit.
    Rejected(Reject),
}

/// Why a record can't be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    /// The kind of misfit: a stable word, stored in the quarantine and usable in filters.
    pub code: RejectCode,
    /// The column concerned, where there is one.
    pub column: Option<String>,
    /// The database's SQLSTATE, or the one that it would give, where that is known.
    pub sqlstate: Option<String>,
    /// A sentence for people; names fields and limits, never quotes values.
    pub reason: String,
}

impl Reject {
    /// A reject that concerns no single column.
    pub(crate) fn whole(code: RejectCode, sqlstate: Option<&str>, reason: String) -> Self {
        Self { code, column: None, sqlstate: sqlstate.map(str::to_owned), reason }
    }
}

crate::words! {
    /// The kinds of misfit.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum RejectCode {
        /// The value isn't JSON.
        BadJson = "bad_json",
        /// Text that isn't UTF-8.
        BadUtf8 = "bad_utf8",
        /// A NUL character, which PostgreSQL's text can't hold.
        NulCharacter = "nul_character",
        /// JSON of a kind that the column doesn't take (an object into an integer, …).
        WrongType = "wrong_type",
        /// Text or a number that isn't a value of the column's type.
        BadValue = "bad_value",
        /// A number or time beyond the type's range.
        OutOfRange = "out_of_range",
        /// A key column is absent or null.
        MissingKey = "missing_key",
        /// A required column is absent or null.
        MissingValue = "missing_value",
        /// Nested deeper than PostgreSQL and we take.
        TooDeep = "too_deep",
        /// Longer than `limits.record_bytes`, or a field longer than PostgreSQL takes.
        TooLarge = "too_large",
        /// A field that no column takes, where `unknown_fields` is `reject`.
        UnknownField = "unknown_field",
        /// A null value, where `on_tombstone` is `quarantine`.
        Tombstone = "tombstone",
        /// PostgreSQL refused the row when it was written alone.
        Refused = "refused",
        /// It fails a rule of the route.
        Rule = "rule",
        /// It fails a rule of the route, at which its partition stops.
        RuleHalt = "rule_halt",
        /// A foreign key leads to a row that didn't come while it was waited for.
        MissingParent = "missing_parent",
        /// Its key has no row, and a later record may have deleted it: only who retries it can tell.
        MayBeDeleted = "may_be_deleted",
    }

    /// The code's word in the quarantine.
    fn name;
}

/// A name from a record or a configuration, fit to be shown and stored: short, control characters escaped.
pub(crate) fn shown(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars().take(64) {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

/// Appends one field to an arena; `None` is NULL.
pub fn push_field(arena: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => arena.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(bytes) => {
            arena.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
            arena.extend_from_slice(bytes);
        }
    }
}

/// The fields of a row, in rising order of its columns; `None` is NULL.
pub fn fields(row: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = row;
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length < 0 {
            rest = tail;
            return Some(None);
        }
        let (field, tail) = tail.split_at(length as usize);
        rest = tail;
        Some(Some(field))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order() {
        let mut arena = Vec::new();
        push_field(&mut arena, Some(b"ab"));
        push_field(&mut arena, None);
        push_field(&mut arena, Some(b""));
        assert_eq!(fields(&arena).collect::<Vec<_>>(), [Some(&b"ab"[..]), None, Some(&b""[..])]);
    }

    #[test]
    fn codes_are_distinct_words() {
        let mut names: Vec<_> = RejectCode::ALL.into_iter().map(RejectCode::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RejectCode::ALL.len());
    }
}
