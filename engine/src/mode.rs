//! What the write modes mean, as one table.
//!
//! Everything that depends on a mode asks here what is meant and never which mode it is: folding, the write
//! paths, privileges and the configuration. A further mode is a row of [`WriteMode::meaning`] and, where it
//! does something new with rows that exist, a variant of [`Existing`], which every place that must know of
//! it then matches:
//!
//! - `newest` updates where a column is newer and keeps as `stale` else; its [`Existing`] names the column.
//! - `history` closes the row that exists and inserts the next one; equal records are kept as `unchanged`.

use super::outcome::Outcome;

crate::words! {
    /// How a record changes the table.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum WriteMode {
        /// Inserts the row, or changes the columns that the record has.
        Upsert = "upsert",
        /// Inserts the row; an existing one stays as it is.
        Insert = "insert",
        /// Adds a row, without a key.
        Append = "append",
    }

    /// The mode's word in the configuration and in the ledger.
    fn name;
}

/// What a mode means.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// What a record does to the row of its key where there is one; where there is none, it inserts it.
    pub existing: Existing,
    /// The outcome of a record that left the row of its key as it was.
    pub kept: Outcome,
    /// What the role needs on the table, beside INSERT.
    pub needs: Needs,
}

/// What a record does to the row of its key. It can't be compared, so that whoever asks says what follows
/// for each variant.
#[derive(Clone, Copy, Debug)]
pub enum Existing {
    /// It changes the columns that the record has, where one of them differs.
    Update,
    /// It leaves the row as it is, whatever the record says.
    Keep,
    /// Rows have no key: each record adds one, and no row can be said to exist.
    Unkeyed,
}

/// Privileges on the target table, beside INSERT, which every mode needs, and DELETE, which tombstones need.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// SELECT: keys are looked up.
    pub select: bool,
    /// UPDATE: rows are changed.
    pub update: bool,
}

impl WriteMode {
    /// The mode of a route that names none.
    pub const DEFAULT: Self = Self::Upsert;

    /// What the mode means.
    pub const fn meaning(self) -> Meaning {
        match self {
            Self::Upsert => Meaning {
                existing: Existing::Update,
                kept: Outcome::Unchanged,
                needs: Needs { select: true, update: true },
            },
            Self::Insert => Meaning {
                existing: Existing::Keep,
                kept: Outcome::Ignored,
                needs: Needs { select: true, update: false },
            },
            Self::Append => Meaning {
                existing: Existing::Unkeyed,
                kept: Outcome::Unchanged,
                needs: Needs { select: false, update: false },
            },
        }
    }

    /// The mode that adds the rows that this one adds, and leaves those that exist as they are.
    pub const fn keeping(self) -> Self {
        match self {
            Self::Upsert | Self::Insert => Self::Insert,
            Self::Append => Self::Append,
        }
    }

    /// Whether a row is found by a key.
    pub const fn is_keyed(self) -> bool {
        match self.meaning().existing {
            Existing::Update | Existing::Keep => true,
            Existing::Unkeyed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_with_a_key_look_rows_up() {
        for mode in WriteMode::ALL {
            let meaning = mode.meaning();
            assert_eq!(meaning.needs.select, mode.is_keyed(), "{mode:?}");
            assert!(mode.is_keyed() || !meaning.needs.update, "{mode:?}");
        }
    }
}
