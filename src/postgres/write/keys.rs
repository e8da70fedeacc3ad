//! Which keys of a batch exist already, looked up by arrays made straight from the keys' bytes.

use std::collections::BTreeSet;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error};

use super::target::Target;
use crate::engine::batch::TableBatch;
use crate::engine::row;

/// The keys found, each as its fields with their lengths, as [`TableBatch::key`] gives them.
pub(super) type Found = BTreeSet<Vec<u8>>;

/// Looks the keys of these entries up. Only for keys whose equality is bytewise, in binary encoding.
pub(super) async fn probe(
    client: &Client,
    target: &Target,
    rows: &TableBatch,
    entries: &[usize],
) -> Result<Found, Error> {
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
    let found = client.query_typed(&target.key_sql.probe, &parameters).await?;
    let mut keys = Found::new();
    for one in found {
        let mut key = Vec::new();
        for column in 0..one.len() {
            row::push_field(&mut key, Some(one.try_get::<_, Raw<'_>>(column)?.0));
        }
        keys.insert(key);
    }
    Ok(keys)
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

/// A value as the server sent it.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
