//! Which keys of a batch exist already, looked up by arrays made straight from the keys' bytes.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error};

use super::target::Target;
use crate::engine::batch::TableBatch;
use crate::engine::row;

/// Looks the keys of these entries up; returns the places in `entries` of those that exist, in rising order.
/// Only for keys whose equality is bytewise, in binary encoding.
pub(super) async fn probe(
    client: &Client,
    target: &Target,
    rows: &TableBatch,
    entries: &[usize],
) -> Result<Vec<usize>, Error> {
    let mut arrays: Vec<KeyArray> = target
        .key_arrays
        .iter()
        .map(|type_| KeyArray { element: type_.element, elements: Vec::new(), count: entries.len() as i32 })
        .collect();
    for &entry in entries {
        let key = rows.key(&rows.entries[entry]);
        for (array, field) in arrays.iter_mut().zip(row::fields(key)) {
            row::push_field(&mut array.elements, field);
        }
    }
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> = arrays
        .iter()
        .zip(&target.key_arrays)
        .map(|(array, type_)| (array as &(dyn ToSql + Sync), type_.array.clone()))
        .collect();
    let row = client.query_typed_one(&target.key_sql.probe, &parameters).await?;
    let places: Vec<i32> = row.try_get::<_, Option<Vec<i32>>>(0)?.unwrap_or_default();
    let mut places: Vec<usize> = places.into_iter().map(|place| place as usize - 1).collect();
    places.sort_unstable();
    Ok(places)
}

/// An array of key values whose elements are encoded already.
#[derive(Debug)]
struct KeyArray {
    element: u32,
    elements: Vec<u8>,
    count: i32,
}

impl ToSql for KeyArray {
    /// The binary form of a one-dimensional array without nulls (`array_recv`): dimensions, flags, element
    /// type, length, lower bound, then each element with its length, as in a row.
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        for number in [1, 0, self.element as i32, self.count, 1] {
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
