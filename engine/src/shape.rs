//! The shape of a target table as the catalogue tells it: columns, types, key, and what may refuse a row.
//!
//! Shapes are values: the database side reads them from the catalogue, and the decoder and the batch builder
//! only look at them. A shape grows old when somebody changes the table; its [`Version`] is how that is seen.

use std::fmt;
use std::sync::Arc;

/// A target table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// `pg_class.oid`.
    pub oid: u32,
    /// The schema's name, unquoted.
    pub schema: String,
    /// The table's name, unquoted.
    pub name: String,
    /// Its live columns in `attnum` order, generated ones included.
    pub columns: Vec<Column>,
    /// What of the table decides the write path.
    pub traits: TableTraits,
    /// Which state of the catalogue all of this is.
    pub version: Version,
}

/// A state of the catalogue, as far as it decides how rows of one table are made and written. Two versions
/// are equal only if nothing of the table was changed in between; what changed is not told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Version {
    /// Of the table itself: its name, columns, indexes, triggers, rules and policies, and its columns' types.
    pub own: i64,
    /// Of its partitions and inheritance children; 0 where it has none.
    pub tree: i64,
    /// It had neither triggers nor rules nor policies.
    pub is_plain: bool,
    /// `pg_type.oid` of what its columns are made of, without the types that can't be changed.
    pub types: Arc<[u32]>,
}

/// Properties of a table (of any of its partitions, where it is partitioned) that decide how rows are
/// written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableTraits {
    /// BEFORE ROW INSERT triggers (or INSTEAD OF rules): an insert may be altered or dropped by them.
    pub insert_triggers: bool,
    /// BEFORE ROW UPDATE triggers.
    pub update_triggers: bool,
    /// BEFORE ROW DELETE triggers.
    pub delete_triggers: bool,
    /// Any trigger or rule of the user's, or a foreign key that leads back: the change of one row can change
    /// others.
    pub changes_others: bool,
    /// Row-level security applies to the current role: COPY FROM is refused by PostgreSQL.
    pub row_security: bool,
    /// Something other than NOT NULL and the key's index can refuse a single row: CHECK, foreign key,
    /// exclusion, a second unique index, a domain's constraint, any user trigger. A partitioned table
    /// always counts, since a partition can be given such a thing without a lock on the whole. Records of
    /// one key are then folded only when they are equal, since folding could hide a refusal.
    pub refuses_rows: bool,
    /// The key's equality is bytewise on the binary form of all key columns (uuid, integers, text with a
    /// deterministic collation, …, without a length or precision modifier). Otherwise two different
    /// byte strings may be one key.
    pub bytewise_key: bool,
    /// Rows go into partitions, whose names errors tell.
    pub partitioned: bool,
    /// Whether records of different keys can be in each other's way.
    pub key_order: KeyOrder,
}

/// Whether the order of records of *different* keys can decide what the table takes. Where it can, a batch
/// writes its records one after the other, as they arrived: what is refused may not depend on where a batch
/// is cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum KeyOrder {
    /// A row is taken or refused whatever the other rows are.
    #[default]
    Free,
    /// Another unique index, partial, deferrable or on expressions too, or an exclusion constraint: a row may
    /// need what an earlier record gave up. Rows that are only added come to the same in any order.
    Changes,
    /// A foreign key that leads back to the table, or a constraint trigger: rows that are only added need
    /// their order as well.
    Always,
}

/// A column of a target table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// The name, unquoted, as the catalogue spells it.
    pub name: String,
    /// Its type.
    pub type_: ColumnType,
    /// `attnotnull`, or a domain that is NOT NULL.
    pub not_null: bool,
    /// A DEFAULT or an identity fills the column when a record lacks it.
    pub has_default: bool,
    /// GENERATED ALWAYS (stored, virtual, or identity): the database alone writes it.
    pub generated: bool,
}

impl Column {
    /// Whether a new row can't do without a value from the record.
    pub fn is_required(&self) -> bool {
        self.not_null && !self.has_default && !self.generated
    }
}

/// A type of the catalogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnType {
    /// `pg_type.oid`.
    pub oid: u32,
    /// Quoted and schema-qualified, without a modifier, such as `pg_catalog."numeric"`.
    pub sql_name: String,
    /// `atttypmod`, or -1.
    pub typmod: i32,
    /// How values are read and encoded.
    pub kind: Kind,
}

impl ColumnType {
    /// As people write it: without the catalogue's schema, with its length or precision.
    pub fn told(&self) -> String {
        let unquoted = self.sql_name.replace('"', "");
        let plain = unquoted.strip_prefix("pg_catalog.").unwrap_or(&unquoted);
        let modifier = self.typmod - 4;
        match &self.kind {
            Kind::Int2 => "smallint".to_owned(),
            Kind::Int4 => "integer".to_owned(),
            Kind::Int8 => "bigint".to_owned(),
            Kind::Float4 => "real".to_owned(),
            Kind::Float8 => "double precision".to_owned(),
            Kind::Bool => "boolean".to_owned(),
            Kind::Varchar if modifier > 0 => format!("varchar({modifier})"),
            Kind::Bpchar if modifier > 0 => format!("char({modifier})"),
            Kind::Numeric if modifier >= 0 => format!("numeric({},{})", modifier >> 16, modifier & 0x7ff),
            Kind::Array(element) => format!("{}[]", element.told()),
            _ => plain.to_owned(),
        }
    }
}

/// How values of a type are read from a record and encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`, exact, never through a float
    Numeric,
    /// `text`
    Text,
    /// `character varying(n)`
    Varchar,
    /// `character(n)`
    Bpchar,
    /// `uuid`
    Uuid,
    /// `bytea`
    Bytea,
    /// `json`: bytes untouched
    Json,
    /// `jsonb`: bytes untouched on the way to the database
    Jsonb,
    /// `date`
    Date,
    /// `time`
    Time,
    /// `time with time zone`
    TimeTz,
    /// `timestamp`
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// `interval`
    Interval,
    /// `inet`
    Inet,
    /// `cidr`
    Cidr,
    /// An enum, with its labels as the catalogue had them when the shape was read.
    Enum(Arc<[String]>),
    /// An array of the element type.
    Array(Box<ColumnType>),
    /// A range over the subtype.
    Range(Box<ColumnType>),
    /// A domain over the base type.
    Domain(Box<ColumnType>),
    /// Any other type: written by its own text input.
    Other,
}

impl Table {
    /// The column called `name`, with its place in [`Table::columns`].
    pub fn column(&self, name: &str) -> Option<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name == name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A set of columns of one table, by their place in [`Table::columns`]. Cheap to clone and to compare.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ColumnSet(Arc<[u64]>);

impl ColumnSet {
    /// The set of the given places in a table of `width` columns.
    pub fn new(width: usize, places: impl IntoIterator<Item = usize>) -> Self {
        let mut words = vec![0u64; width.div_ceil(64)];
        for place in places {
            words[place / 64] |= 1 << (place % 64);
        }
        Self(words.into())
    }

    /// Whether the column at `place` is in the set.
    pub fn contains(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// The places in rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    index * 64 + bit
                })
            })
        })
    }

    /// How many columns the set holds.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set holds no column.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether every column of `other` is in this set.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).all(|(mine, theirs)| theirs & !mine == 0)
    }

    /// The columns that are in either set.
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(other.0.iter()).map(|(mine, theirs)| mine | theirs).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_sets_behave_as_sets_beyond_one_word() {
        let set = ColumnSet::new(130, [0, 63, 64, 129]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(set.len(), 4);
        assert!(set.contains(129) && !set.contains(128) && !set.contains(1000));
        let other = ColumnSet::new(130, [1, 63]);
        assert!(!set.covers(&other));
        let union = set.union(&other);
        assert!(union.covers(&other) && union.covers(&set));
        assert_eq!(union.len(), 5);
    }

    #[test]
    fn types_read_as_people_write_them() {
        let type_ =
            |sql_name: &str, typmod, kind| ColumnType { oid: 0, sql_name: sql_name.to_owned(), typmod, kind };
        let int = type_("\"pg_catalog\".\"int4\"", -1, Kind::Int4);
        let cases = [
            (int.clone(), "integer"),
            (type_("\"pg_catalog\".\"numeric\"", ((10 << 16) | 2) + 4, Kind::Numeric), "numeric(10,2)"),
            (type_("\"pg_catalog\".\"numeric\"", -1, Kind::Numeric), "numeric"),
            (type_("\"pg_catalog\".\"varchar\"", 24, Kind::Varchar), "varchar(20)"),
            (type_("\"pg_catalog\".\"_int4\"", -1, Kind::Array(Box::new(int))), "integer[]"),
            (type_("\"shop\".\"mood\"", -1, Kind::Other), "shop.mood"),
        ];
        for (type_, expected) in cases {
            assert_eq!(type_.told(), expected);
        }
    }
}
