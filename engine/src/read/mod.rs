//! Reading: from the bytes of a record to the values of its fields, one reader for each format.
//!
//! A reader knows no table and no types. It checks that a key or a value is what the format says, and notes
//! the values of the fields that it was asked for, neither converted nor copied. A further format is a
//! variant of [`Reader`] and of [`Fields`]; what it has to say of a value is a [`Scalar`].

mod envelope;
pub(crate) mod foreign;
pub(crate) mod json;
mod scalar;
mod unmatched;

pub(crate) use self::envelope::{Deed, deed};
pub(crate) use self::scalar::{Blocked, Presence, Scalar};
pub(crate) use self::unmatched::Unmatched;
use crate::route::Format;
use crate::row::Reject;

/// The readers of a route's records: of the parts that any column needs.
#[derive(Debug)]
pub(crate) struct Readers {
    format: Format,
    pub(crate) value: Option<Reader>,
    pub(crate) key: Option<Reader>,
}

impl Readers {
    /// No part is read yet.
    pub(crate) fn new(format: Format) -> Self {
        Self { format, value: None, key: None }
    }

    /// The reader of the value, which is needed.
    pub(crate) fn of_value(&mut self) -> &mut Reader {
        self.value.get_or_insert_with(|| Reader::new(self.format, "value"))
    }

    /// The reader of the key, which is needed.
    pub(crate) fn of_key(&mut self) -> &mut Reader {
        self.key.get_or_insert_with(|| Reader::new(self.format, "key"))
    }
}

/// Reads one part of the records of a route, the key or the value.
#[derive(Debug)]
pub(crate) enum Reader {
    Json(json::Reader),
}

impl Reader {
    /// A reader of `format` that is asked for no field yet; `part` is its part's name in messages.
    fn new(format: Format, part: &'static str) -> Self {
        match format {
            Format::Json => Self::Json(json::Reader::new(part)),
        }
    }

    /// Asks for the field at `path`, names outermost first; gives its slot.
    pub(crate) fn ask(&mut self, path: &[String]) -> usize {
        match self {
            Self::Json(reader) => reader.ask(path),
        }
    }

    /// Reads one record's part; what no path names is noted in `unmatched`, which stands at its beginning.
    ///
    /// # Errors
    /// The bytes aren't what the format says.
    #[inline]
    pub(crate) fn read<'r>(
        &'r mut self,
        bytes: &'r [u8],
        unmatched: &mut Unmatched,
    ) -> Result<Fields<'r>, Reject> {
        match self {
            Self::Json(reader) => reader.read(bytes, unmatched).map(Fields::Json),
        }
    }
}

/// The fields of one part of a record.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) enum Fields<'r> {
    /// There is no such part: all of its fields are absent.
    #[default]
    Nothing,
    Json(json::Fields<'r>),
}

impl<'r> Fields<'r> {
    /// The value of the field that was asked for as `slot`.
    pub(crate) fn get(&self, slot: usize) -> Result<Presence<Scalar<'r>>, Blocked> {
        match self {
            Self::Nothing => Ok(Presence::Absent),
            Self::Json(fields) => fields.get(slot),
        }
    }

    /// The bytes of a JSON literal that is [plain](json::Literal::plain), which nearly all are.
    #[inline]
    pub(crate) fn plain_literal(&self, slot: usize) -> Option<&'r [u8]> {
        match self {
            Self::Nothing => None,
            Self::Json(fields) => fields.plain_literal(slot),
        }
    }
}
