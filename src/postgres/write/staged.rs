//! The path that takes every row: COPY into a stage, then compare, and move to the table what is new or
//! differs.
//!
//! `ON CONFLICT` can't tell the outcomes apart, fires BEFORE INSERT triggers for rows that exist and fails
//! on patches before it sees the conflict. So each row's key is looked up first. Existing rows are compared
//! (record image) and only those that differ are updated; the others are inserted, under a savepoint, since
//! a foreign writer can be faster. Whatever a statement didn't do for a reason that lies with other
//! writers goes round again, a bounded number of times.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::stop::Stop;
use super::target::{Destination, SetStatements, Target};
use super::timings::Stage;
use super::work::{self, OfOrds, Work};
use super::{copy, one_by_one, savepoint};
use crate::engine::batch::{Entry, MoveIndex, Op, TableBatch};
use crate::engine::mode::Existing;
use crate::engine::outcome::Outcome;
use crate::engine::policy::FailureClass;
use crate::engine::row::Encoding;
use crate::postgres::flush;

/// Rounds before other writers' changes are taken for a conflict that another transaction may not meet.
const ROUNDS_MAX: usize = 5;

/// Rows of one column set in the stage.
struct Group {
    set: Arc<SetStatements>,
    ords: Range<i32>,
}

/// What a round found out about a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// Its key doesn't exist.
    Absent,
    /// The stored row is equal in the columns present.
    Same,
    /// The stored row differs.
    Different,
}

/// What a round has to do, in ords.
#[derive(Default)]
struct Plan {
    delete: Vec<i32>,
    update: Vec<i32>,
    insert: Vec<i32>,
}

/// The rows of one call.
struct Merge<'a> {
    rows: &'a TableBatch,
    /// Entry of each ord, counted from `base`.
    order: Vec<usize>,
    base: i32,
    groups: Vec<Group>,
}

/// Writes the given entries of a keyed route; returns how many of their keys existed at first.
pub(super) async fn write(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    entries: Vec<usize>,
) -> Result<usize, Stop> {
    if entries.is_empty() {
        return Ok(0);
    }
    if !target.has_stage() {
        return one_by_one::write_without_stage(work, target, rows, &entries).await;
    }
    let merge = Merge::stage(work, target, rows, entries).await?;
    let mut pending: Vec<i32> = (merge.base..work.next_ord).collect();
    let mut conflict: Option<Stop> = None;
    let mut existed = None;
    for _ in 0..ROUNDS_MAX {
        let presence = merge.compare(work, target, &pending).await?;
        let existed = *existed.get_or_insert_with(|| count_existing(&presence));
        if let Some(refusal) = conflict.take()
            && presence.iter().all(|presence| *presence == Presence::Absent)
        {
            // None of the keys is there: it is another unique index that refuses, not another writer's row.
            return Err(refusal);
        }
        let mut plan = merge.plan(work, &pending, &presence);
        if !work.refused.is_empty() {
            return Ok(existed);
        }
        pending.clear();
        merge.delete(work, target, &mut plan, &mut pending).await?;
        merge.update(work, target, &plan.update, &mut pending).await?;
        conflict = merge.insert(work, target, &plan.insert, &mut pending).await?;
        work.lap(Stage::Merge);
        if pending.is_empty() {
            return Ok(existed);
        }
        pending.sort_unstable();
    }
    let message = format!(
        "{} rows of {} were changed by other writers, or hidden by row-level security, in {ROUNDS_MAX} tries",
        pending.len(),
        target.table
    );
    Err(Stop::own(FailureClass::Conflict, Some(&target.table), message))
}

/// Looks only for entries that must be refused, since the transaction is going to be rolled back anyway.
pub(super) async fn look_for_refusals(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    mut entries: Vec<usize>,
) -> Result<(), Stop> {
    entries.retain(|&index| !rows.entries[index].needs_existing.is_empty());
    if entries.is_empty() || !target.has_stage() {
        return Ok(());
    }
    let merge = Merge::stage(work, target, rows, entries).await?;
    let pending: Vec<i32> = (merge.base..work.next_ord).collect();
    let presence = merge.compare(work, target, &pending).await?;
    merge.plan(work, &pending, &presence);
    Ok(())
}

/// Whether the rows of these entries are there and equal, so that writing them would change nothing.
pub(super) async fn are_equal(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    entries: Vec<usize>,
) -> Result<bool, Stop> {
    if !target.has_stage() {
        return Ok(false);
    }
    let merge = Merge::stage(work, target, rows, entries).await?;
    let pending: Vec<i32> = (merge.base..work.next_ord).collect();
    let presence = merge.compare(work, target, &pending).await?;
    Ok(presence.iter().all(|presence| *presence == Presence::Same))
}

/// Whether keys that differ in bytes can be equal.
pub(super) fn may_have_twins(rows: &TableBatch) -> bool {
    !rows.route.table.traits.bytewise_key || rows.encoding == Encoding::Text
}

/// Refuses rows of which two have one key; their keys are all that is looked at.
pub(super) async fn look_for_twins(
    work: &mut Work<'_>,
    target: &mut Target,
    keys: &TableBatch,
) -> Result<(), Stop> {
    let all: Vec<usize> = (0..keys.entries.len()).collect();
    if !target.has_stage() {
        return one_by_one::refuse_twins(work.client, target, keys, &all).await;
    }
    Merge::stage(work, target, keys, all).await.map(drop)
}

impl<'a> Merge<'a> {
    /// Copies the entries into the stage, grouped by column set.
    async fn stage(
        work: &mut Work<'_>,
        target: &mut Target,
        rows: &'a TableBatch,
        entries: Vec<usize>,
    ) -> Result<Self, Stop> {
        let base = work.next_ord;
        let mut order = Vec::with_capacity(entries.len());
        let mut groups = Vec::new();
        for (columns, entries) in work::by_columns(rows, entries.into_iter()) {
            let set = target.set(&columns);
            let first = work.next_ord;
            copy::send(work, target, &set, rows, &entries, Destination::Stage).await?;
            groups.push(Group { set, ords: first..work.next_ord });
            order.extend(entries);
        }
        let merge = Self { rows, order, base, groups };
        if may_have_twins(rows) {
            merge.refuse_twins(work, target).await?;
        }
        Ok(merge)
    }

    /// Keys that differ in bytes can still be one key: `1.0` and `1.00`, `A` and `a` in citext. Each would
    /// be right alone, and the order between them is lost here.
    async fn refuse_twins(&self, work: &Work<'_>, target: &Target) -> Result<(), Stop> {
        let row = work
            .client
            .query_typed_one(&target.key_sql.collides, &[(&self.base, Type::INT4)])
            .await
            .map_err(|error| Stop::rows(error, &target.table, None))?;
        let collides: bool = row.try_get(0).map_err(|error| Stop::rows(error, &target.table, None))?;
        if !collides {
            return Ok(());
        }
        let table = &target.table;
        let message = format!("two keys of the batch differ in bytes and are equal to {table}'s index");
        Err(Stop::own(FailureClass::Collision, Some(table), message))
    }

    fn entry(&self, ord: i32) -> &Entry {
        &self.rows.entries[self.order[(ord - self.base) as usize]]
    }

    /// The parts of sorted ords that belong to each group.
    fn by_group<'b>(&'b self, ords: &'b [i32]) -> impl Iterator<Item = (&'b SetStatements, &'b [i32])> {
        self.groups.iter().filter_map(move |group| {
            let first = ords.partition_point(|ord| *ord < group.ords.start);
            let last = ords.partition_point(|ord| *ord < group.ords.end);
            (first < last).then(|| (&*group.set, &ords[first..last]))
        })
    }

    /// Looks each pending row's key up.
    async fn compare(
        &self,
        work: &mut Work<'_>,
        target: &Target,
        pending: &[i32],
    ) -> Result<Vec<Presence>, Stop> {
        let refused = |error| Stop::rows(error, &target.table, None);
        let mut presence = vec![Presence::Same; pending.len()];
        let client = work.client;
        // In one flush.
        let looks = self.by_group(pending).map(|(set, ords)| async move {
            client.query_typed_one(&set.sql.compare, &OfOrds::new(ords).parameters()).await
        });
        for row in flush::all(looks).await.map_err(refused)? {
            for (column, found) in [(0, Presence::Absent), (1, Presence::Different)] {
                let ords: Option<Vec<i32>> = row.try_get(column).map_err(refused)?;
                for ord in ords.unwrap_or_default() {
                    presence[place_of(pending, ord)] = found;
                }
            }
        }
        work.lap(Stage::Probe);
        Ok(presence)
    }

    /// Counts what needs no statement, collects refusals, and plans the rest.
    fn plan(&self, work: &mut Work<'_>, pending: &[i32], presence: &[Presence]) -> Plan {
        let mut plan = Plan::default();
        let meaning = self.rows.route.mode.meaning();
        for (&ord, &presence) in pending.iter().zip(presence) {
            let entry = self.entry(ord);
            if presence == Presence::Absent && !entry.needs_existing.is_empty() {
                work.refused.extend(&entry.needs_existing);
                continue;
            }
            match (entry.op, presence) {
                (Op::Merge | Op::Replace, Presence::Absent) => plan.insert.push(ord),
                (Op::Delete, Presence::Absent) => work.count(entry, Outcome::Deleted),
                (Op::Delete | Op::Replace, Presence::Same | Presence::Different) => plan.delete.push(ord),
                (Op::Merge, Presence::Same) => work.count(entry, meaning.kept),
                (Op::Merge, Presence::Different) => match meaning.existing {
                    Existing::Keep => work.count(entry, meaning.kept),
                    Existing::Update | Existing::Unkeyed => plan.update.push(ord),
                },
            }
        }
        plan
    }

    /// Deletes rows that go, or that are replaced; the latter are then inserted.
    async fn delete(
        &self,
        work: &mut Work<'_>,
        target: &Target,
        plan: &mut Plan,
        pending: &mut Vec<i32>,
    ) -> Result<(), Stop> {
        if plan.delete.is_empty() {
            return Ok(());
        }
        let refused = |error| Stop::rows(error, &target.table, None);
        let triggers = target.table.traits.delete_triggers;
        let locked = if triggers {
            work.ords(&target.key_sql.lock, &plan.delete).await.map_err(refused)?
        } else {
            Vec::new()
        };
        let deleted = work.ords(&target.key_sql.delete, &plan.delete).await.map_err(refused)?;
        let (locked, deleted) = (sorted(locked), sorted(deleted));
        for &ord in &plan.delete {
            let entry = self.entry(ord);
            match (holds(&deleted, ord), entry.op) {
                (true, Op::Replace) => plan.insert.push(ord),
                (true, Op::Delete | Op::Merge) => work.count(entry, Outcome::Deleted),
                (false, _) if holds(&locked, ord) => work.count(entry, Outcome::Filtered),
                (false, _) => pending.push(ord),
            }
        }
        plan.insert.sort_unstable();
        Ok(())
    }

    /// Updates rows that differ.
    async fn update(
        &self,
        work: &mut Work<'_>,
        target: &Target,
        update: &[i32],
        pending: &mut Vec<i32>,
    ) -> Result<(), Stop> {
        let refused = |error| Stop::rows(error, &target.table, None);
        let mut changes = Vec::new();
        if target.table.traits.update_triggers {
            for (set, ords) in self.by_group(update) {
                let locked = work.ords(&set.sql.lock_different, ords).await.map_err(refused)?;
                let updated = work.ords(&set.sql.update, &locked).await.map_err(refused)?;
                changes.push((ords, sorted(locked), sorted(updated)));
            }
        } else {
            // In one flush.
            let updates = self.by_group(update).map(|(set, ords)| work.ords(&set.sql.update, ords));
            let updated = flush::all(updates).await.map_err(refused)?;
            let of_groups = self.by_group(update).zip(updated);
            changes.extend(of_groups.map(|((_, ords), updated)| (ords, Vec::new(), sorted(updated))));
        }
        for (ords, locked, updated) in changes {
            for &ord in ords {
                if holds(&updated, ord) {
                    work.count(self.entry(ord), Outcome::Updated);
                } else if holds(&locked, ord) {
                    work.count(self.entry(ord), Outcome::Filtered);
                } else {
                    pending.push(ord);
                }
            }
        }
        Ok(())
    }

    /// Inserts rows whose keys weren't there. Where a unique index refuses, all are taken back and pending.
    async fn insert(
        &self,
        work: &mut Work<'_>,
        target: &Target,
        insert: &[i32],
        pending: &mut Vec<i32>,
    ) -> Result<Option<Stop>, Stop> {
        if insert.is_empty() {
            return Ok(None);
        }
        let mut parts: Vec<(&SetStatements, Option<MoveIndex>, Vec<i32>)> = Vec::new();
        for (set, ords) in self.by_group(insert) {
            if !target.table.traits.insert_triggers {
                parts.push((set, None, ords.to_vec()));
                continue;
            }
            let mut by_move: BTreeMap<MoveIndex, Vec<i32>> = BTreeMap::new();
            for &ord in ords {
                by_move.entry(self.entry(ord).move_index).or_default().push(ord);
            }
            parts.extend(by_move.into_iter().map(|(index, ords)| (set, Some(index), ords)));
        }
        match insert_under_savepoint(work.client, target, &parts).await {
            Ok(counts) => {
                for ((_, index, ords), inserted) in parts.into_iter().zip(counts) {
                    let dropped = target.dropped(ords.len() as u64, inserted)?;
                    match index {
                        Some(index) => {
                            work.count_in(index, Outcome::Inserted, inserted);
                            work.count_in(index, Outcome::Filtered, dropped);
                        }
                        None => ords.iter().for_each(|&ord| work.count(self.entry(ord), Outcome::Inserted)),
                    }
                }
                Ok(None)
            }
            Err(stop) if stop.is_unique_violation() => {
                savepoint::take_back(work.client, target).await?;
                pending.extend(insert);
                Ok(Some(stop))
            }
            Err(stop) => Err(stop),
        }
    }
}

/// Opens the savepoint and inserts all parts, in one flush. The answers come in order, so that the first
/// error is the cause of those behind it. The savepoint stays open: COMMIT keeps what was written under it.
async fn insert_under_savepoint(
    client: &Client,
    target: &Target,
    parts: &[(&SetStatements, Option<MoveIndex>, Vec<i32>)],
) -> Result<Vec<u64>, Stop> {
    let inserts = parts.iter().map(|(set, _, ords)| async move {
        client.execute_typed(&set.sql.insert, &OfOrds::new(ords).parameters()).await
    });
    let opened = client.batch_execute(savepoint::OPEN);
    let ((), counts) = flush::two(opened, flush::all(inserts))
        .await
        .map_err(|error| Stop::rows(error, &target.table, None))?;
    Ok(counts)
}

fn count_existing(presence: &[Presence]) -> usize {
    presence.iter().filter(|presence| **presence != Presence::Absent).count()
}

/// Where an ord stands among those that a statement was asked for, which rise.
fn place_of(pending: &[i32], ord: i32) -> usize {
    let guess = (ord - pending[0]) as usize;
    if pending.get(guess) == Some(&ord) {
        return guess;
    }
    pending.binary_search(&ord).expect("the stage holds the ords that were asked for")
}

/// Ords that a statement answered with, in rising order.
fn sorted(mut ords: Vec<i32>) -> Vec<i32> {
    ords.sort_unstable();
    ords
}

fn holds(sorted: &[i32], ord: i32) -> bool {
    sorted.binary_search(&ord).is_ok()
}
