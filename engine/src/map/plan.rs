//! What a route asks of each record, prepared once: the fields to read and the columns in order.

use crate::encode::base_type;
use crate::encode::quick::{self, Quick};
use crate::read::Readers;
use crate::route::{EpochUnit, Route, Source, UnknownFields};
use crate::row::{Encoding, shown};
use crate::shape::{ColumnType, Kind};

/// The prepared form of a route.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The columns that a record can fill, in rising order of their places.
    pub(crate) columns: Vec<PlanColumn>,
    /// Tables with a type that only PostgreSQL reads are best written as text from the start.
    pub(crate) encoding: Encoding,
}

/// A column and where its value comes from.
#[derive(Debug)]
pub(crate) struct PlanColumn {
    pub(crate) place: usize,
    pub(crate) origin: Origin,
    pub(crate) unit: Option<EpochUnit>,
    /// The JSON inside of a string takes the string's place.
    pub(crate) parses: bool,
    pub(crate) is_key: bool,
    /// How plain literals are encoded quickly.
    pub(crate) quick: Option<Quick>,
    /// The source in words, for messages.
    pub(crate) label: String,
}

/// Where a column's value is found when a record is decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A slot of the value's reader.
    Field(usize),
    /// A slot of the key's reader.
    KeyField(usize),
    Key,
    Value,
    Header(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    /// The object of the fields that no column takes.
    Collected,
    /// The array of the names of rules that the record fails.
    Tags,
}

impl Plan {
    /// Prepares a route, and asks its readers for what the columns need.
    pub(crate) fn new(route: &Route, readers: &mut Readers) -> Self {
        let columns = Vec::with_capacity(route.mappings.len() + 1);
        let mut plan = Self { columns, encoding: Encoding::Binary };
        if route.unknown_fields != UnknownFields::Ignore {
            readers.of_value();
        }
        let collector = match route.unknown_fields {
            UnknownFields::Collect(place) => Some(place),
            UnknownFields::Ignore | UnknownFields::Reject => None,
        };
        let is_made = |place: usize| Some(place) == collector || Some(place) == route.tag_column;
        for mapping in route.mappings.iter().filter(|mapping| !is_made(mapping.column)) {
            let (origin, label) = origin(&mapping.source, readers);
            plan.add(route, mapping.column, origin, mapping.unit, label);
            if let (Source::Parsed(_), Some(column)) = (&mapping.source, plan.columns.last_mut()) {
                (column.parses, column.quick) = (true, None);
            }
        }
        if let Some(place) = collector {
            plan.add(route, place, Origin::Collected, None, "the object of unknown fields".to_owned());
        }
        if let Some(place) = route.tag_column {
            plan.add(route, place, Origin::Tags, None, "the names of failed rules".to_owned());
        }
        plan.columns.sort_by_key(|column| column.place);
        plan
    }

    fn add(&mut self, route: &Route, place: usize, origin: Origin, unit: Option<EpochUnit>, label: String) {
        if server_reads(&route.table.columns[place].type_) {
            self.encoding = Encoding::Text;
        }
        let is_key = route.key.contains(&place);
        let quick = quick::of(&route.table.columns[place].type_, is_key);
        self.columns.push(PlanColumn { place, origin, unit, parses: false, is_key, quick, label });
    }
}

/// Where a source is found, and what it is called in messages.
pub(crate) fn origin(source: &Source, readers: &mut Readers) -> (Origin, String) {
    match source {
        Source::Field(path) => {
            let slot = readers.of_value().ask(path);
            (Origin::Field(slot), format!("field {}", shown(&path.join("."))))
        }
        Source::KeyField(path) => {
            let slot = readers.of_key().ask(path);
            (Origin::KeyField(slot), format!("field {} of the record key", shown(&path.join("."))))
        }
        Source::Parsed(source) => origin(source, readers),
        Source::Key => (Origin::Key, "the record key".to_owned()),
        Source::Value => (Origin::Value, "the record value".to_owned()),
        Source::Header(name) => (Origin::Header(name.clone()), format!("header {}", shown(name))),
        Source::Topic => (Origin::Topic, "the topic".to_owned()),
        Source::Partition => (Origin::Partition, "the partition".to_owned()),
        Source::Offset => (Origin::Offset, "the offset".to_owned()),
        Source::Timestamp => (Origin::Timestamp, "the record timestamp".to_owned()),
    }
}

/// Whether values of the type are always left to PostgreSQL's text input.
fn server_reads(type_: &ColumnType) -> bool {
    match &base_type(type_).kind {
        Kind::Range(_) | Kind::Other => true,
        Kind::Array(element) => server_reads(element),
        Kind::Bool
        | Kind::Int2
        | Kind::Int4
        | Kind::Int8
        | Kind::Float4
        | Kind::Float8
        | Kind::Numeric
        | Kind::Text
        | Kind::Varchar
        | Kind::Bpchar
        | Kind::Uuid
        | Kind::Bytea
        | Kind::Json
        | Kind::Jsonb
        | Kind::Date
        | Kind::Time
        | Kind::TimeTz
        | Kind::Timestamp
        | Kind::TimestampTz
        | Kind::Interval
        | Kind::Inet
        | Kind::Cidr
        | Kind::Enum(_)
        | Kind::Domain(_) => false,
    }
}
