//! Which part of a record something is made of.

/// A part of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A path of field names into the value, outermost first; never empty.
    Field(Vec<String>),
    /// The whole key; bytes into `bytea`, else as text, else (json types) as JSON.
    Key,
    /// A path of field names into the key, which is JSON then; never empty.
    KeyField(Vec<String>),
    /// The whole value; bytes into `bytea`, JSON into json types, else text.
    Value,
    /// A path to what may be a string with JSON inside, which then takes its place.
    Parsed(Box<Source>),
    /// The last header of this name.
    Header(String),
    /// The topic's name.
    Topic,
    /// The partition's number.
    Partition,
    /// The record's offset.
    Offset,
    /// The record's timestamp, with milliseconds.
    Timestamp,
}

impl Source {
    /// The part of the record, whatever is done with it.
    pub fn part(&self) -> &Self {
        match self {
            Self::Parsed(source) => source.part(),
            source => source,
        }
    }
}
