//! What a route asks of each record, prepared once: the tree of mapped paths and the columns in order.

use crate::encode::base_type;
use crate::encode::quick::{self, Quick};
use crate::read::json::Node;
use crate::route::{EpochUnit, Route, Source, UnknownFields};
use crate::row::{Encoding, shown};
use crate::shape::{ColumnType, Kind};

/// The prepared form of a route.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The columns that a record can fill, in rising order of their places.
    pub(crate) columns: Vec<PlanColumn>,
    /// Paths into the value.
    pub(crate) value: Node,
    /// Paths into the key.
    pub(crate) key: Node,
    /// How many slots the two trees fill.
    pub(crate) slots: usize,
    /// Whether the value is read as a JSON object.
    pub(crate) reads_value: bool,
    /// Whether the key is read as a JSON object.
    pub(crate) reads_key: bool,
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
    /// A slot of the value's paths.
    Field(usize),
    /// A slot of the key's paths.
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
}

impl Plan {
    pub(crate) fn new(route: &Route) -> Self {
        let mut plan = Self {
            columns: Vec::with_capacity(route.mappings.len() + 1),
            value: Node::default(),
            key: Node::default(),
            slots: 0,
            reads_value: route.unknown_fields != UnknownFields::Ignore,
            reads_key: false,
            encoding: Encoding::Binary,
        };
        let collector = match route.unknown_fields {
            UnknownFields::Collect(place) => Some(place),
            UnknownFields::Ignore | UnknownFields::Reject => None,
        };
        for mapping in route.mappings.iter().filter(|mapping| Some(mapping.column) != collector) {
            let (origin, label) = plan.origin(&mapping.source);
            plan.add(route, mapping.column, origin, mapping.unit, label);
            if let (Source::Parsed(_), Some(column)) = (&mapping.source, plan.columns.last_mut()) {
                (column.parses, column.quick) = (true, None);
            }
        }
        if let Some(place) = collector {
            plan.add(route, place, Origin::Collected, None, "the object of unknown fields".to_owned());
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

    fn origin(&mut self, source: &Source) -> (Origin, String) {
        match source {
            Source::Field(path) => {
                self.reads_value = true;
                let slot = self.slots;
                let slot = self.value.insert(path, slot);
                self.slots = self.slots.max(slot + 1);
                (Origin::Field(slot), format!("field {}", shown(&path.join("."))))
            }
            Source::KeyField(path) => {
                self.reads_key = true;
                let slot = self.slots;
                let slot = self.key.insert(path, slot);
                self.slots = self.slots.max(slot + 1);
                (Origin::KeyField(slot), format!("field {} of the record key", shown(&path.join("."))))
            }
            Source::Parsed(source) => self.origin(source),
            Source::Key => (Origin::Key, "the record key".to_owned()),
            Source::Value => (Origin::Value, "the record value".to_owned()),
            Source::Header(name) => (Origin::Header(name.clone()), format!("header {}", shown(name))),
            Source::Topic => (Origin::Topic, "the topic".to_owned()),
            Source::Partition => (Origin::Partition, "the partition".to_owned()),
            Source::Offset => (Origin::Offset, "the offset".to_owned()),
            Source::Timestamp => (Origin::Timestamp, "the record timestamp".to_owned()),
        }
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
