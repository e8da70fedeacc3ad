//! Which keys of a batch exist already, looked up by arrays made straight from the keys' bytes.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::target::Target;
use super::values::Values;
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
    let mut arrays: Vec<Values> =
        target.key_arrays.iter().map(|type_| Values::new(type_.element, entries.len())).collect();
    for &entry in entries {
        let key = rows.key(&rows.entries[entry]);
        for (array, field) in arrays.iter_mut().zip(row::fields(key)) {
            array.push(field);
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
