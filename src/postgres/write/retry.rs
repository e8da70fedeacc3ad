//! Which versions of rows records of the quarantine meet, and which they write.
//!
//! A row that a retry wrote counts as absent for a later record of the same origin, until anyone else changes
//! it. So the transaction and the keys of the rows that it wrote are noted in that transaction. Where rows go
//! in together they have the transaction's own number. Otherwise they are read behind the writing: the ways
//! that rows take know nothing of it, savepoints have numbers of their own, and what a trigger does to the
//! row is its doing.

use std::collections::BTreeMap;
use std::error::Error as StdError;

use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::Writer;
use super::direct;
use super::prepared::Prepared;
use super::stop::Stop;
use super::target::Target;
use super::values::Values;
use crate::engine::batch::{Batch, Entry, TableBatch};
use crate::engine::hash::fingerprint;
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::policy::Failure;
use crate::engine::resolution::{Retries, RowVersion};
use crate::engine::row::{self, Encoding};
use crate::postgres::classify::Phase;
use crate::postgres::flush;
use crate::postgres::ledger::quarantine::settle::Written;

/// Transactions are counted in 32 bits by rows.
const XIDS: i64 = 1 << 32;

impl Writer {
    /// Whether a row can stand under the key of an entry by what this writer wrote lately.
    pub fn may_have_written(&self, rows: &TableBatch, entry: &Entry) -> bool {
        self.choice.may_exist(rows, entry)
    }

    /// The versions of the rows that stand under the keys of these entries of a batch, in its order.
    ///
    /// # Errors
    /// What went wrong; another try may not meet it.
    pub async fn versions(
        &mut self,
        rows: &TableBatch,
        entries: &[usize],
    ) -> Result<Vec<Option<RowVersion>>, Failure> {
        let mut found = vec![None; rows.entries.len()];
        if rows.route.key.is_empty() || entries.is_empty() {
            return Ok(found);
        }
        let mut session = self.connection().await?.begin();
        let (client, prepared) = session.parts();
        let looked = async {
            let shapes = [rows.route.table.clone()];
            prepared.prepare(client, &shapes, std::slice::from_ref(rows)).await?;
            let target = prepared.targets.get(rows)?;
            look(client, target, rows, entries, Lock::None).await
        };
        match looked.await {
            Ok(versions) => {
                for (entry, version) in versions {
                    found[entry] = Some(version);
                }
                self.keep(Some(session.seen_to_end()));
                Ok(found)
            }
            Err(Stop::Server(server)) => Err(session.session.failure(&server.error, Phase::Rows).await),
            Err(Stop::Own(failure)) => Err(*failure),
            Err(Stop::Applied | Stop::Fenced(_) | Stop::Reshaped(_) | Stop::Refused(_)) => Ok(found),
        }
    }
}

/// Whether rows are locked on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    None,
    Rows,
}

/// Locks the rows that entries take for their own, and tells whether they are as they were seen.
///
/// # Errors
/// The server's refusal.
pub(super) async fn own_rows_stand(
    client: &Client,
    prepared: &Prepared,
    retries: &Retries,
    tables: &[TableBatch],
) -> Result<bool, Stop> {
    for rows in tables {
        let own = |entry: &usize| retries.entries[rows.entries[*entry].move_index.get()].own;
        let entries: Vec<usize> = (0..rows.entries.len()).filter(|entry| own(entry).is_some()).collect();
        if entries.is_empty() {
            continue;
        }
        let target = prepared.targets.get(rows)?;
        let versions = look(client, target, rows, &entries, Lock::Rows).await?;
        let stands = versions.len() == entries.len()
            && versions.iter().all(|(entry, version)| own(entry) == Some(*version));
        if !stands {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What entries have written, to be noted: each group of rows by the transaction that wrote them, in the
/// order of their offsets.
///
/// # Errors
/// The server's refusal.
pub(super) async fn written(
    client: &Client,
    prepared: &Prepared,
    batch: &Batch,
    retries: &Retries,
    tallies: &[Tally],
) -> Result<Vec<Written>, Stop> {
    let mut groups: BTreeMap<Option<i64>, Vec<(i64, u64)>> = BTreeMap::new();
    let mut shape = None;
    for rows in batch.tables().iter().filter(|rows| !rows.route.key.is_empty()) {
        shape = Some(&rows.route.table);
        let account = |entry: &usize| rows.entries[*entry].move_index.get();
        let wrote = |entry: &usize| {
            let tally = &tallies[account(entry)];
            let is_own = retries.entries[account(entry)].own.is_some();
            tally.get(Outcome::Inserted) + tally.get(Outcome::Updated) > 0
                || (is_own && tally.get(Outcome::Unchanged) > 0)
        };
        let offset = |entry: &usize| retries.entries[account(entry)].offset.value();
        let entries: Vec<usize> = (0..rows.entries.len()).filter(wrote).collect();
        if direct::goes_at_once(batch, rows) {
            let own = entries.iter().map(|entry| (offset(entry), rows.entries[*entry].fingerprint));
            groups.entry(None).or_default().extend(own);
        } else if !entries.is_empty() {
            let target = prepared.targets.get(rows)?;
            for (entry, version) in look(client, target, rows, &entries, Lock::None).await? {
                let group = groups.entry(Some(version.transaction)).or_default();
                group.push((offset(&entry), version.key));
            }
        }
    }
    let Some(table) = shape else { return Ok(Vec::new()) };
    let note = |(writer, mut rows): (Option<i64>, Vec<(i64, u64)>)| {
        rows.sort_unstable();
        let (offsets, keys) = rows.into_iter().map(|(offset, key)| (offset, key as i64)).unzip();
        Written { table: table.oid, writer, is_all: !table.traits.changes_others, offsets, keys }
    };
    Ok(groups.into_iter().filter(|(_, rows)| !rows.is_empty()).map(note).collect())
}

/// The versions of the rows that stand under the keys of these entries, with the entries.
async fn look(
    client: &Client,
    target: &Target,
    rows: &TableBatch,
    entries: &[usize],
    lock: Lock,
) -> Result<Vec<(usize, RowVersion)>, Stop> {
    let sql = match rows.encoding {
        Encoding::Binary => &target.key_sql.versions,
        Encoding::Text => &target.key_sql.versions_of_text,
    };
    let sql = if lock == Lock::Rows { &sql.lock } else { &sql.look };
    let types: Vec<(Type, u32)> = match rows.encoding {
        Encoding::Binary => target.key_arrays.iter().map(|key| (key.array.clone(), key.element)).collect(),
        Encoding::Text => target.key_arrays.iter().map(|_| (Type::TEXT_ARRAY, Type::TEXT.oid())).collect(),
    };
    let mut arrays: Vec<Values> =
        types.iter().map(|(_, element)| Values::new(*element, entries.len())).collect();
    for &entry in entries {
        for (array, field) in arrays.iter_mut().zip(row::fields(rows.key(&rows.entries[entry]))) {
            array.push(field);
        }
    }
    let arrays = arrays.iter().zip(types);
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
        arrays.map(|(array, (array_type, _))| (array as &(dyn ToSql + Sync), array_type)).collect();
    let refused = |error: Error| Stop::rows(error, &target.table, None);
    // In one flush. A row that is seen was written by a transaction that is about as old as this one.
    let (now, found) = flush::two(client.query_typed_one(NOW, &[]), client.query_typed(sql, &parameters))
        .await
        .map_err(refused)?;
    let now: i64 = now.try_get(0).map_err(refused)?;
    let mut bytes = Vec::new();
    let mut read = |row: &Row| {
        let (place, table): (i32, u32) = (row.try_get(0)?, row.try_get(1)?);
        let (Place(place_in_table), Writing(writer)) = (row.try_get(2)?, row.try_get(3)?);
        bytes.clear();
        for column in 4..row.len() {
            let Field(field) = row.try_get(column)?;
            row::push_field(&mut bytes, Some(field));
        }
        let (key, transaction) = (fingerprint(&bytes), unwrapped(writer, now));
        Ok((entries[place as usize - 1], RowVersion { table, place: place_in_table, transaction, key }))
    };
    found.iter().map(&mut read).collect::<Result<_, Error>>().map_err(refused)
}

const NOW: &str = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())\
     ::pg_catalog.text::pg_catalog.int8";

/// The transaction's number without wrapping round: the one that is nearest to `now`.
fn unwrapped(writer: u32, now: i64) -> i64 {
    let distance = (i64::from(writer) - now).rem_euclid(XIDS);
    now + if distance >= XIDS / 2 { distance - XIDS } else { distance }
}

/// A `tid` as one number.
struct Place(i64);

impl FromSql<'_> for Place {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let bytes: [u8; 6] = raw.try_into()?;
        Ok(Self(bytes.into_iter().fold(0, |number, byte| number << 8 | i64::from(byte))))
    }

    fn accepts(type_: &Type) -> bool {
        *type_ == Type::TID
    }
}

/// An `xid`.
struct Writing(u32);

impl FromSql<'_> for Writing {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(u32::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(type_: &Type) -> bool {
        *type_ == Type::XID
    }
}

/// A value as the server sends it, whatever its type.
struct Field<'r>(&'r [u8]);

impl<'r> FromSql<'r> for Field<'r> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_counted_beyond_32_bits() {
        for (writer, now, expected) in [
            (700, 1000, 700),
            (1003, 1000, 1003),
            (u32::MAX, XIDS + 5, XIDS - 1),
            (7, XIDS + 5, XIDS + 7),
            (3, 2 * XIDS - 1, 2 * XIDS + 3),
        ] {
            assert_eq!(unwrapped(writer, now), expected, "{writer} {now}");
        }
    }

    #[test]
    fn a_place_is_its_block_and_its_number_there() {
        let place = Place::from_sql(&Type::TID, &[0, 0, 1, 2, 0, 9]).unwrap();
        assert_eq!(place.0, (0x102 << 16) + 9);
    }
}
