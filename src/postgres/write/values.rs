//! Arrays made straight from encoded fields, as statements take many rows at once.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::engine::row;

/// An array of values that are encoded already.
#[derive(Debug)]
pub(super) struct Values {
    /// `pg_type.oid` of the elements.
    element: u32,
    count: i32,
    has_null: bool,
    elements: Vec<u8>,
}

impl Values {
    /// An empty array for `count` values of the type with this `pg_type.oid`.
    pub(super) fn new(element: u32, count: usize) -> Self {
        Self { element, count: count as i32, has_null: false, elements: Vec::new() }
    }

    /// Adds a field as it stands in a row; `None` is NULL.
    pub(super) fn push(&mut self, field: Option<&[u8]>) {
        self.has_null |= field.is_none();
        row::push_field(&mut self.elements, field);
    }
}

impl ToSql for Values {
    /// The binary form of a one-dimensional array (`array_recv`): dimensions, whether there are nulls, the
    /// elements' type, length, lower bound, then each element with its length, as in a row.
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        for number in [1, i32::from(self.has_null), self.element as i32, self.count, 1] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
