//! Keys that differ in bytes and are one to the index: `1.0` and `1.00`, `A` and `a` in citext.
//!
//! Folding takes them for two, so that the order between their records is lost in a batch. Without a stage
//! they are looked for among arrays of the keys.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::super::stop::Stop;
use super::super::target::Target;
use super::super::values::Values;
use super::prepared::{Field, make_values};
use crate::engine::batch::TableBatch;
use crate::engine::policy::FailureClass;
use crate::engine::row::{self, Encoding};

/// Refuses entries of which two have equal keys. They are then tried in smaller batches.
pub(super) async fn refuse(
    client: &Client,
    target: &mut Target,
    rows: &TableBatch,
    entries: &[usize],
) -> Result<(), Stop> {
    let certain = target.table.traits.bytewise_key && rows.encoding == Encoding::Binary;
    if rows.route.key.is_empty() || entries.len() < 2 || certain {
        return Ok(());
    }
    make_values(client, target).await?;
    let failed = |error| Stop::rows(error, &target.table, None);
    let statement = client.prepare(&question(target, &rows.route.key)).await.map_err(failed)?;
    let (literals, arrays) = keys(target, rows, entries);
    let literals: Vec<Field<'_>> =
        literals.iter().map(|literal| Field { bytes: Some(literal), text: true }).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = match rows.encoding {
        Encoding::Text => literals.iter().map(|literal| literal as &(dyn ToSql + Sync)).collect(),
        Encoding::Binary => arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect(),
    };
    let row = client.query_one(&statement, &parameters).await.map_err(failed)?;
    let collides: bool = row.try_get(0).map_err(failed)?;
    if !collides {
        return Ok(());
    }
    let table = &target.table;
    let message = format!("two keys of the batch differ in bytes and are equal to {table}'s index");
    Err(Stop::own(FailureClass::Collision, Some(table), message))
}

/// Keys as array literals in text, or as arrays in binary.
fn keys(target: &Target, rows: &TableBatch, entries: &[usize]) -> (Vec<Vec<u8>>, Vec<Values>) {
    let mut literals = vec![b"{".to_vec(); target.key_arrays.len()];
    let mut arrays: Vec<Values> =
        target.key_arrays.iter().map(|type_| Values::new(type_.element, entries.len())).collect();
    for &entry in entries {
        let fields = row::fields(rows.key(&rows.entries[entry]));
        for ((literal, array), field) in literals.iter_mut().zip(&mut arrays).zip(fields) {
            match rows.encoding {
                Encoding::Binary => array.push(field),
                Encoding::Text => push_quoted(literal, field.unwrap_or_default()),
            }
        }
    }
    literals.iter_mut().for_each(|literal| literal.push(b'}'));
    (literals, arrays)
}

fn push_quoted(literal: &mut Vec<u8>, text: &[u8]) {
    if literal.len() > 1 {
        literal.push(b',');
    }
    literal.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            literal.push(b'\\');
        }
        literal.push(byte);
    }
    literal.push(b'"');
}

fn question(target: &Target, key: &[usize]) -> String {
    let columns = &target.table.columns;
    let values = target.ordered.values.as_deref().unwrap_or_default();
    let (mut arrays, mut names, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for (number, &place) in (1..).zip(key) {
        arrays.push(format!("pg_catalog.unnest(${number}::{}[])", columns[place].type_.sql_name));
        names.push(format!("c{place}"));
        stored.push(format!("{} AS c{place}", values[place].replace('$', &format!("u.c{place}"))));
    }
    let twins = target.names.same_key("a", "b", false);
    format!(
        "WITH s AS MATERIALIZED (SELECT u.place, {} FROM ROWS FROM ({}) WITH ORDINALITY AS u({}, place)) \
         SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 FROM s AS a JOIN s AS b \
         ON {twins} AND a.place OPERATOR(pg_catalog.<) b.place",
        stored.join(", "),
        arrays.join(", "),
        names.join(", ")
    )
}
