//! SQL identifiers and literals: the only place that quotes.
//!
//! Names come from the configuration or the catalogue and go into SQL text only through here; values
//! travel as parameters, except where PostgreSQL's grammar takes none (`SET`, DDL).

/// Longest identifier in bytes: PostgreSQL's `NAMEDATALEN` - 1. Longer ones are cut by the server without
/// an error, so that two names could become one.
pub const IDENTIFIER_BYTES_MAX: usize = 63;

/// A name that can't be an SQL identifier.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentifierError {
    /// The name is empty.
    #[error("an SQL name can't be empty")]
    Empty,
    /// The name holds the character NUL.
    #[error("the SQL name {0:?} holds a NUL character, which PostgreSQL doesn't take")]
    Nul(String),
    /// The name is longer than [`IDENTIFIER_BYTES_MAX`] bytes.
    #[error("the SQL name {0:?} is longer than 63 bytes, which PostgreSQL would cut: choose a shorter one")]
    TooLong(String),
}

/// The name as a quoted identifier.
///
/// # Errors
/// When the name is empty, holds NUL or is longer than [`IDENTIFIER_BYTES_MAX`] bytes.
pub fn quote(name: &str) -> Result<String, IdentifierError> {
    if name.is_empty() {
        return Err(IdentifierError::Empty);
    }
    if name.contains('\0') {
        return Err(IdentifierError::Nul(name.to_owned()));
    }
    if name.len() > IDENTIFIER_BYTES_MAX {
        return Err(IdentifierError::TooLong(name.to_owned()));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// A schema-qualified name, both parts quoted.
///
/// # Errors
/// As [`quote`], for either part.
pub fn qualified(schema: &str, name: &str) -> Result<String, IdentifierError> {
    Ok(format!("{}.{}", quote(schema)?, quote(name)?))
}

/// A string literal that means the same whatever `standard_conforming_strings` is. Only for statements
/// that take no parameters.
///
/// # Errors
/// When the text holds NUL.
pub fn literal(text: &str) -> Result<String, IdentifierError> {
    if text.contains('\0') {
        return Err(IdentifierError::Nul(text.to_owned()));
    }
    let doubled = text.replace('\'', "''");
    Ok(if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_or_refused() {
        let long = "é".repeat(32);
        let fits = "x".repeat(63);
        let cases: [(&str, Result<String, IdentifierError>); 7] = [
            ("events", Ok("\"events\"".into())),
            ("Select", Ok("\"Select\"".into())),
            ("a\"; DROP TABLE b; --", Ok("\"a\"\"; DROP TABLE b; --\"".into())),
            (&fits, Ok(format!("\"{fits}\""))),
            ("", Err(IdentifierError::Empty)),
            ("a\0b", Err(IdentifierError::Nul("a\0b".into()))),
            (&long, Err(IdentifierError::TooLong(long.clone()))),
        ];
        for (name, expected) in cases {
            assert_eq!(quote(name), expected, "{name:?}");
        }
    }

    #[test]
    fn qualified_names_quote_both_parts() {
        assert_eq!(qualified("my.schema", "t").as_deref(), Ok("\"my.schema\".\"t\""));
        assert!(qualified("", "t").is_err() && qualified("s", "").is_err());
    }

    #[test]
    fn literals_mean_the_same_under_either_string_setting() {
        assert_eq!(literal("it's").as_deref(), Ok("'it''s'"));
        assert_eq!(literal("a\\'b").as_deref(), Ok("E'a\\\\''b'"));
        assert!(literal("\0").is_err());
    }
}
