//! Batches against one transaction for each record.
//!
//! Whatever the limits, the order in which partitions arrive, the records that the database refuses and
//! the partitions that leave in between: what batches leave behind is what records leave behind that are
//! applied alone, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::engine::batch::{Batch, PartitionMove};
use tidegate::engine::claim::{Claim, Holding};
use tidegate::engine::decode::Decoder;
use tidegate::engine::outcome::Outcome;
use tidegate::engine::policy::FailureClass;
use tidegate::engine::position::{Epoch, Generation, NextOffset, TopicPartition};
use tidegate::engine::route::OnBadRecord;
use tidegate::engine::row::{Reject, RejectCode};
use tidegate::engine::segment::{RouteSlot, Segment, TenureId, lacks};

use super::log::{FIRST, topic_id};
use super::oracle::{Expected, Slot};
use super::records::{Deed, NOTE, Spec, TOPIC, block};
use super::state::{Part, Standing, State};
use super::table::Stop;

/// One seed's logs, and how far their batches are written.
struct Run {
    dice: fastrand::Rng,
    spec: Spec,
    routes: Vec<RouteSlot>,
    logs: Vec<Vec<Slot>>,
    segment: Segment,
    state: State,
    held: BTreeMap<TenureId, Holding>,
    largest: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let spec = Spec { on_bad_record: OnBadRecord::Quarantine, ..Spec::draw(&mut dice) };
        let route = spec.route(0);
        let slot = RouteSlot { decoder: Decoder::new(Arc::clone(&route)), route, target: 0 };
        let partitions = dice.i32(1..=3);
        let logs: Vec<Vec<Slot>> = (0..partitions)
            .map(|partition| (0..dice.usize(1..25)).map(|_| draw_slot(&mut dice, partition)).collect())
            .collect();
        let starts = vec![0; logs.len()];
        let held =
            (0..partitions).map(|partition| (TenureId(partition as u32), holding(partition))).collect();
        let mut run = Self {
            spec,
            routes: vec![slot],
            logs,
            segment: Segment::default(),
            state: State::registered(&starts),
            held,
            largest: dice.usize(1..=40),
            dice,
        };
        run.stage();
        run
    }

    /// Stages all logs, interleaved in small runs as they arrive.
    fn stage(&mut self) {
        let mut at = vec![0; self.logs.len()];
        while let Some(partition) = self.draw_unread(&at) {
            let from = at[partition];
            let to = (from + self.dice.usize(1..5)).min(self.logs[partition].len());
            at[partition] = to;
            let records = (from..to).filter_map(|offset| match &self.logs[partition][offset] {
                Slot::Record(deed) => Some((offset as i64, deed)),
                Slot::Hole => None,
            });
            let block = block(partition as i32, Generation(1), records);
            for index in 0..block.len() as u32 {
                self.segment.push(TenureId(partition as u32), &mut self.routes, 0, &block, index);
            }
            if to == self.logs[partition].len() {
                self.segment.push_end(TenureId(partition as u32), NextOffset::new(to as i64));
            }
        }
    }

    fn draw_unread(&mut self, at: &[usize]) -> Option<usize> {
        let unread: Vec<usize> = (0..at.len()).filter(|&p| at[p] < self.logs[p].len()).collect();
        (!unread.is_empty()).then(|| unread[self.dice.usize(0..unread.len())])
    }

    /// Cuts and writes until nothing waits.
    fn drain(&mut self) -> Result<(), String> {
        let mut limit = None;
        for _ in 0..2_000 {
            if self.segment.is_empty() {
                return Ok(());
            }
            if self.held.len() > 1 && self.dice.u8(0..40) == 0 {
                self.held.pop_first();
            }
            let places = limit.take().unwrap_or_else(|| self.dice.usize(1..=self.largest));
            let cut = self.segment.cut(places, &self.held, &self.routes);
            let Some(batch) = cut.batch else {
                self.segment.advance_to(cut.end);
                continue;
            };
            if self.dice.u8(0..8) == 0 {
                // The connection breaks before anything is written.
                self.segment.restore(&self.routes, batch);
                continue;
            }
            limit = self.write(batch, cut.end)?;
        }
        Err("batches went round and round".to_owned())
    }

    /// Writes one batch; gives a smaller limit where it was refused.
    fn write(&mut self, batch: Batch, end: usize) -> Result<Option<usize>, String> {
        if !matches!(self.state.standing(&batch, |_, _| {}), Standing::Ready) {
            return Err(format!("the batch doesn't start where its partitions stand: {:?}", batch.moves()));
        }
        let mut next = self.state.clone();
        let places = end - self.segment.start();
        let stop = match next.write_rows(&self.spec, &batch, &mut self.dice) {
            Ok(tallies) => {
                for (index, tally) in tallies.iter().enumerate() {
                    next.advance(&batch, index, tally);
                    let moved = &batch.moves()[index];
                    let tenure = TenureId(moved.partition.partition as u32);
                    self.held.get_mut(&tenure).expect("it is held").suppose_at(moved.delta.to());
                }
                self.state = next;
                self.segment.restore(&self.routes, batch);
                self.segment.advance_to(end);
                return self.check().map(|()| None);
            }
            Err(stop) => stop,
        };
        let tenure = |moved: &PartitionMove| TenureId(moved.partition.partition as u32);
        let tenures: Vec<TenureId> = batch.moves().iter().map(tenure).collect();
        self.segment.restore(&self.routes, batch);
        match stop {
            Stop::Refused(pendings) => {
                for pending in pendings {
                    let tenure = tenures[pending.move_index.get()];
                    let place = self.segment.find(tenure, pending.offset).ok_or("nothing to refuse")?;
                    self.segment.reject(place, lacks(&self.routes[0].route, pending.column));
                }
                Ok(None)
            }
            Stop::Failed(failure) if places == 1 => {
                if !matches!(
                    failure.class,
                    FailureClass::Record | FailureClass::Doubtful | FailureClass::MissingParent
                ) {
                    return Err(format!("one record alone fails as {:?}", failure.class));
                }
                let reject = Reject {
                    code: RejectCode::Refused,
                    column: None,
                    sqlstate: failure.sqlstate,
                    reason: failure.message,
                };
                self.segment.reject(self.segment.start(), reject);
                Ok(Some(1))
            }
            Stop::Failed(failure) => match failure.suspect {
                Some(suspect) if suspect as usize >= places => Err("a suspect beyond the batch".to_owned()),
                Some(suspect) => Ok(Some((suspect as usize).max(1))),
                None => Ok(Some(places.div_ceil(2))),
            },
        }
    }

    fn check(&self) -> Result<(), String> {
        (0..).zip(&self.logs).try_for_each(|(partition, log)| {
            let part = self.state.part(partition);
            Expected::default().check(part, &self.spec, partition, log)
        })
    }

    /// What is still held has come to its end.
    fn finished(&self) -> Result<(), String> {
        for TenureId(partition) in self.held.keys() {
            let (next, end) =
                (self.state.part(*partition as i32).progress.next, self.logs[*partition as usize].len());
            if next != end as i64 {
                return Err(format!("[{partition}] stands at {next} and not at its end {end}"));
            }
        }
        Ok(())
    }
}

fn draw_slot(dice: &mut fastrand::Rng, partition: i32) -> Slot {
    if dice.u8(0..10) == 0 { Slot::Hole } else { Slot::Record(Deed::draw(dice, partition)) }
}

fn holding(partition: i32) -> Holding {
    let partition = TopicPartition::new(TOPIC, partition);
    Claim::granted(partition, topic_id(FIRST), Epoch::new(0), NextOffset::new(0)).holding(None)
}

/// Writes one seed's logs in batches, and holds each against one transaction for each record.
///
/// # Errors
///
/// What differs, with the route that the seed drew.
pub fn run(seed: u64) -> Result<(), String> {
    let mut run = Run::new(seed);
    run.drain().and_then(|()| run.finished()).map_err(|what| format!("{what}\n{:?}", run.spec))
}

/// Something done by hand to what is stored; `false` where there is nothing to do it to.
type Damage = fn(&mut Part) -> bool;

/// Ways to damage what is stored of a partition, each of which must be noticed.
const DAMAGES: [(&str, Damage); 6] = [
    ("a row is gone", |part| part.rows.pop_first().is_some()),
    ("a row has another value", |part| {
        let row = part.rows.values_mut().next();
        row.map(|row| row.insert(NOTE, Some("other".to_owned()))).is_some()
    }),
    ("a quarantined record is gone", |part| part.quarantine.pop_first().is_some()),
    ("a good record is quarantined", |part| part.quarantine.insert(-1)),
    ("an outcome is counted twice", |part| {
        part.progress.tally.add(Outcome::Inserted, 1);
        true
    }),
    ("a gap is counted that is none", |part| {
        part.progress.gaps += 1;
        true
    }),
];

/// Damages the final states of these seeds in every way. Gives each way with how often it could be done, and
/// the seeds in which the oracle didn't notice.
///
/// # Panics
///
/// Where a seed fails without any damage.
pub fn damage(seeds: std::ops::Range<u64>) -> Vec<(&'static str, usize, Vec<u64>)> {
    let of = |(name, damage): (&'static str, Damage)| {
        let (mut done, mut missed) = (0, Vec::new());
        for seed in seeds.clone() {
            let mut run = Run::new(seed);
            run.drain().expect("the seed passes");
            if run.state.partitions().into_iter().any(|partition| damage(run.state.part_mut(partition))) {
                done += 1;
                missed.extend(run.check().is_ok().then_some(seed));
            }
        }
        (name, done, missed)
    };
    DAMAGES.into_iter().map(of).collect()
}
