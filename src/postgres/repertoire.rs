//! The characters that a database can hold.
//!
//! Sessions speak UTF-8, and the server turns text into the database's own encoding; what has no place there
//! is refused. That is right for values, which are then bad records. What tells of an error, though, must
//! always be storable, or the error couldn't be told and the partition would stand still: it goes through
//! [`Repertoire::storable`].

use std::borrow::Cow;
use std::fmt::Write as _;

/// The characters of a database's encoding, as far as they are known here. NUL is in none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repertoire {
    /// All, in `UTF8`; in `SQL_ASCII`, which stores bytes as they come.
    All,
    /// Those up to U+00FF, in `LATIN1`.
    Latin1,
    /// At least those of ASCII, as in every encoding that a database can have.
    Ascii,
}

impl Repertoire {
    /// That of a database whose `server_encoding` this is.
    pub fn of(server_encoding: &str) -> Self {
        match server_encoding {
            "UTF8" | "SQL_ASCII" => Self::All,
            "LATIN1" => Self::Latin1,
            _ => Self::Ascii,
        }
    }

    fn holds(self, character: char) -> bool {
        let last = match self {
            Self::All => char::MAX,
            Self::Latin1 => '\u{ff}',
            Self::Ascii => '\u{7f}',
        };
        ('\u{1}'..=last).contains(&character)
    }

    /// Whether the database can hold a text as it is.
    pub fn holds_all(self, text: &str) -> bool {
        text.chars().all(|character| self.holds(character))
    }

    /// The text with every character that the database can't hold spelt as in SQL's `E''` strings: `\u043f`,
    /// `\U0001f600`.
    pub fn storable(self, text: &str) -> Cow<'_, str> {
        if self.holds_all(text) {
            return Cow::Borrowed(text);
        }
        let mut spelt = String::with_capacity(text.len() * 2);
        for character in text.chars() {
            let code = u32::from(character);
            let _ = match character {
                character if self.holds(character) => write!(spelt, "{character}"),
                '\u{0}'..='\u{ffff}' => write!(spelt, "\\u{code:04x}"),
                _ => write!(spelt, "\\U{code:08x}"),
            };
        }
        Cow::Owned(spelt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_encoding_lacks_is_spelt_in_ascii() {
        let text = "größe п 😀\0";
        let cases = [
            ("UTF8", "größe п 😀\\u0000"),
            ("SQL_ASCII", "größe п 😀\\u0000"),
            ("LATIN1", "größe \\u043f \\U0001f600\\u0000"),
            ("KOI8R", "gr\\u00f6\\u00dfe \\u043f \\U0001f600\\u0000"),
            ("an unknown one", "gr\\u00f6\\u00dfe \\u043f \\U0001f600\\u0000"),
        ];
        for (encoding, expected) in cases {
            assert_eq!(Repertoire::of(encoding).storable(text), expected, "{encoding}");
        }
        assert!(matches!(Repertoire::Ascii.storable("plain\n"), Cow::Borrowed(_)));
    }
}
