//! Which rows retries wrote: what a row's version is held against.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::{ToSql, Type};

use super::super::{Ledger, LedgerError, Parameter};
use crate::engine::position::Offset;
use crate::engine::resolution::{Origin, RowVersion};
use crate::postgres::session::Session;

/// A row that a record meets.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// The row.
    pub row: RowVersion,
    /// The record.
    pub offset: Offset,
}

impl Ledger {
    /// Of these rows of a table, which an earlier entry of the origin wrote, and no later one did.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn own_rows(
        &self,
        session: &Session,
        pipeline: &str,
        origin: &Origin,
        table: u32,
        met: &[Met],
    ) -> Result<Vec<bool>, LedgerError> {
        let writers: BTreeSet<i64> = met.iter().map(|one| one.row.transaction).collect();
        let writers: Vec<i64> = writers.into_iter().collect();
        let topic = &*origin.partition.topic;
        let backfill = &*origin.backfill;
        let system = session.lineage().map(|lineage| lineage.system());
        let of = |writers| -> [Parameter<'_>; 9] {
            [
                (&pipeline, Type::TEXT),
                (&topic, Type::TEXT),
                (&origin.topic_id.0, Type::UUID),
                (&origin.partition.partition, Type::INT4),
                (&origin.span, Type::INT8),
                (&backfill, Type::TEXT),
                (&system, Type::TEXT),
                (&table, Type::OID),
                (writers as &(dyn ToSql + Sync), Type::INT8_ARRAY),
            ]
        };
        let doing = "looking for what was retried before";
        let last = self.read(session, doing, &LAST.replace("{of}", OF), &of(&writers)).await?;
        let last: BTreeMap<i64, Option<i64>> = last.iter().map(|row| (row.get(0), row.get(1))).collect();
        // Behind all that a transaction wrote, it doesn't matter which of its records wrote the row.
        let is_behind = |one: &Met| match last.get(&one.row.transaction) {
            Some(Some(last)) => Some(*last < one.offset.value()),
            Some(None) => Some(false),
            None => None,
        };
        let unclear: BTreeSet<i64> =
            met.iter().filter(|one| is_behind(one) == Some(false)).map(|one| one.row.transaction).collect();
        let unclear: Vec<i64> = unclear.into_iter().collect();
        let wanted: BTreeSet<(i64, u64)> = met.iter().map(|one| (one.row.transaction, one.row.key)).collect();
        let mut wrote: BTreeMap<(i64, u64), i64> = BTreeMap::new();
        if !unclear.is_empty() {
            for row in self.read(session, doing, &EACH.replace("{of}", OF), &of(&unclear)).await? {
                let (writer, offsets, keys): (i64, Vec<i64>, Vec<i64>) = (row.get(0), row.get(1), row.get(2));
                for (offset, key) in offsets.into_iter().zip(keys) {
                    let place = (writer, key as u64);
                    if wanted.contains(&place) {
                        let last = wrote.entry(place).or_insert(offset);
                        *last = offset.max(*last);
                    }
                }
            }
        }
        let is_own = |one: &Met| {
            let last = wrote.get(&(one.row.transaction, one.row.key));
            is_behind(one) == Some(true) || last.is_some_and(|last| *last < one.offset.value())
        };
        Ok(met.iter().map(is_own).collect())
    }
}

/// What an origin's records wrote into a table, by these transactions.
const OF: &str = "\
pipeline = $1 AND topic = $2 AND topic_id = $3 AND partition = $4 AND span = $5 AND backfill = $6 \
AND system IS NOT DISTINCT FROM $7 AND row_table = $8 AND writer = ANY ($9)";

/// The last record of each; null where rows may have changed with others.
const LAST: &str = "\
SELECT writer, CASE WHEN pg_catalog.bool_and(last_offset IS NOT NULL) THEN pg_catalog.max(last_offset) END \
FROM {ledger}.retried WHERE {of} GROUP BY writer";

const EACH: &str = "SELECT writer, offsets, keys FROM {ledger}.retried WHERE {of}";
