//! One walk over the records of a cut: which partitions move how far, which changes there are, which
//! records don't fit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Content, HEAD_BYTES, RouteSlot, Segment, Shape, Staged, TenureId};
use crate::anchor::Anchor;
use crate::batch::{MoveIndex, PartitionMove, QuarantineRecord, RuleFailures};
use crate::breaker::Judged;
use crate::change::Change;
use crate::claim::Holding;
use crate::defect;
use crate::outcome::{Outcome, Tally};
use crate::position::{NextOffset, Offset};
use crate::record::{Record, RecordBlock};
use crate::route::Route;
use crate::row::Reject;

impl Segment {
    /// Walks the range once: which partitions move how far, which changes and misfits there are.
    pub(super) fn survey(
        &self,
        end: usize,
        held: &BTreeMap<TenureId, Holding>,
        routes: &[RouteSlot],
    ) -> Survey<'_> {
        let mut survey = Survey::default();
        let mut places: BTreeMap<TenureId, Option<MoveIndex>> = BTreeMap::new();
        // Records come in runs of one partition.
        let mut latest: Option<(TenureId, Option<&Holding>)> = None;
        for place in self.start..end {
            let staged = &self.records[place];
            if latest.is_none_or(|(tenure, _)| tenure != staged.tenure) {
                latest = Some((staged.tenure, held.get(&staged.tenure)));
            }
            let Some((_, Some(holding))) = latest else { continue };
            if !self.moves_on(staged, holding) {
                continue;
            }
            let route = &routes[staged.route as usize].route;
            if let Content::Rejected(reject) = &staged.content
                && route.stops_at(reject)
                && (route.demands(reject) || !holding.skips(staged.offset))
            {
                // The partition stops in front of this record; what came before it goes on.
                if places.get(&staged.tenure) != Some(&None) {
                    survey.stops.push((staged.tenure, staged.offset, Reject::clone(reject)));
                    survey.seal(&mut places, staged.tenure);
                }
                continue;
            }
            let index = match places.get(&staged.tenure) {
                Some(None) => continue,
                Some(Some(index)) => *index,
                None => {
                    let index = survey.open(staged.tenure, holding);
                    places.insert(staged.tenure, Some(index));
                    index
                }
            };
            survey.advance(index, staged, self.record(staged));
            self.sort_out(place, index, routes, &mut survey);
        }
        survey
    }

    pub(super) fn moves_on(&self, staged: &Staged, holding: &Holding) -> bool {
        match staged.content {
            Content::End(next) => next > holding.next(),
            Content::Row { .. } | Content::Delete { .. } | Content::Filtered | Content::Rejected(_) => {
                !holding.next().has_passed(staged.offset)
            }
        }
    }

    pub(super) fn sort_out<'s>(
        &'s self,
        place: usize,
        index: MoveIndex,
        routes: &[RouteSlot],
        survey: &mut Survey<'s>,
    ) {
        let staged = &self.records[place];
        let slot = &routes[staged.route as usize];
        let bad = u64::from(matches!(staged.content, Content::Rejected(_)));
        if self.is_record(place) {
            let judged = survey.judged.entry(staged.route).or_default();
            if survey.moves[index.get()].holding.judges(staged.offset) {
                judged.records += 1;
                judged.bad += bad;
            }
            let first = self.failed_rules.partition_point(|(of, _)| *of < place);
            for (_, rule) in self.failed_rules[first..].iter().take_while(|(of, _)| *of == place) {
                *survey.failed_rules.entry((index.get(), staged.route, *rule)).or_default() += 1;
            }
        }
        let (shape, fields, deletes, unproven) = match &staged.content {
            Content::End(_) => return,
            Content::Filtered => return survey.settled[index.get()].add(Outcome::Filtered, 1),
            Content::Rejected(reject) => {
                survey.settled[index.get()].add(Outcome::Quarantined, 1);
                let is_skipped = survey.moves[index.get()].holding.skips(staged.offset);
                let kept = self.record(staged).map(|record| keep(index, &record, &slot.route, reject));
                let kept = kept.map(|kept| QuarantineRecord { is_skipped, ..kept });
                return survey.quarantine.extend(kept);
            }
            Content::Row { shape, fields, unproven } => (*shape, fields, false, *unproven),
            Content::Delete { shape, fields } => (*shape, fields, true, false),
        };
        let Shape { columns, lacks_required } = &self.targets[slot.target].shapes[shape as usize];
        let room = || Vec::with_capacity(self.records.len() - place);
        let changes = survey.changes.entry(slot.target).or_insert_with(|| (staged.route, room()));
        changes.1.push(Change {
            move_index: index,
            offset: staged.offset,
            arrival: (place - self.start) as u32,
            deletes,
            columns,
            fields: fields.clone(),
            key: 0..0,
            fingerprint: 0,
            lacks_required: *lacks_required,
            unproven,
        });
    }
}

#[derive(Default)]
pub(super) struct Survey<'s> {
    pub(super) moves: Vec<Moving>,
    pub(super) tenures: Vec<TenureId>,
    pub(super) settled: Vec<Tally>,
    /// By target: a route of it, and its changes.
    pub(super) changes: BTreeMap<usize, (u32, Vec<Change<'s>>)>,
    pub(super) quarantine: Vec<QuarantineRecord>,
    pub(super) stops: Vec<(TenureId, Offset, Reject)>,
    pub(super) judged: BTreeMap<u32, Judged>,
    /// By the move's place, the route and the rule's place in it.
    pub(super) failed_rules: BTreeMap<(usize, u32, u16), u64>,
}

impl Survey<'_> {
    /// How many records fail which rule, for what is written, and by route for what is told.
    pub(super) fn failures(&self, routes: &[RouteSlot]) -> (Vec<RuleFailures>, BTreeMap<(u32, u16), u64>) {
        let mut by_route: BTreeMap<(u32, u16), u64> = BTreeMap::new();
        let failures = self.failed_rules.iter().map(|((index, route, place), records)| {
            *by_route.entry((*route, *place)).or_default() += records;
            let rule = &routes[*route as usize].route.rules[usize::from(*place)];
            RuleFailures {
                partition: self.moves[*index].holding.partition().clone(),
                rule: Arc::clone(&rule.name),
                on_fail: rule.on_fail,
                records: *records,
            }
        });
        (failures.collect(), by_route)
    }
}

pub(super) struct Moving {
    holding: Holding,
    to: NextOffset,
    records: u64,
    holes: Vec<Range<i64>>,
    newest_at_ms: Option<i64>,
    /// Where its last record is: the block, and the index there.
    last: Option<(u32, u32)>,
}

impl Survey<'_> {
    pub(super) fn open(&mut self, tenure: TenureId, holding: &Holding) -> MoveIndex {
        let index = MoveIndex::new(self.moves.len());
        self.moves.push(Moving {
            holding: holding.clone(),
            to: holding.next(),
            records: 0,
            holes: Vec::new(),
            newest_at_ms: None,
            last: None,
        });
        self.tenures.push(tenure);
        self.settled.push(Tally::default());
        index
    }

    /// No further record of the tenure belongs to this batch.
    pub(super) fn seal(&mut self, places: &mut BTreeMap<TenureId, Option<MoveIndex>>, tenure: TenureId) {
        places.insert(tenure, None);
    }

    pub(super) fn advance(&mut self, index: MoveIndex, staged: &Staged, record: Option<Record<'_>>) {
        let moving = &mut self.moves[index.get()];
        match staged.content {
            Content::End(next) => {
                moving.pass_hole(next.value());
                moving.to = moving.to.max(next);
            }
            Content::Row { .. } | Content::Delete { .. } | Content::Filtered | Content::Rejected(_) => {
                moving.pass_hole(staged.offset.value());
                moving.to = staged.offset.next();
                moving.records += 1;
                moving.last = Some((staged.block, staged.index));
                moving.newest_at_ms = moving.newest_at_ms.max(record.and_then(|record| record.timestamp_ms));
            }
        }
    }
}

impl Moving {
    /// Notes the offsets in front of the next record, which hold none.
    fn pass_hole(&mut self, next: i64) {
        if next > self.to.value() {
            self.holes.push(self.to.value()..next);
        }
    }

    /// The move, whose last record is in one of these blocks.
    pub(super) fn finish(self, settled: Tally, blocks: &[Arc<RecordBlock>]) -> Option<PartitionMove> {
        let last = self.last.map(|(block, index)| blocks[block as usize].get(index as usize));
        let anchor = last.map(|record| Anchor::of(&record));
        let moved = self.holding.moves(self.to, self.records, settled, self.newest_at_ms, anchor);
        defect::hold(moved.is_ok(), "a partition is surveyed for what moves it");
        Some(PartitionMove { holes: self.holes, ..moved.ok()? })
    }
}

/// Copies a record with all that is needed to look at it and to try it again.
fn keep(index: MoveIndex, record: &Record<'_>, route: &Route, reject: &Reject) -> QuarantineRecord {
    let whole = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    let truncated = (whole > route.record_bytes_max).then(|| crate::evidence::fingerprint(record));
    let limit = if truncated.is_some() { HEAD_BYTES } else { usize::MAX };
    let head = |bytes: &[u8]| bytes[..bytes.len().min(limit)].to_vec();
    QuarantineRecord {
        move_index: index,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(head),
        value: record.value.map(head),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
            .collect(),
        target: route.table.to_string(),
        truncated,
        reject: reject.clone(),
        is_skipped: false,
    }
}
