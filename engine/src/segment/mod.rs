//! Decoded records in arrival order, waiting to be cut into batches.
//!
//! A segment keeps the blocks that its records came from, so that a batch can be cut again from any part
//! of them: without a partition that was lost, up to a record that the database refused, or one by one.

mod folding;
mod survey;
mod waiting;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use self::folding::fold_target;
use self::survey::{Moving, Survey};
pub use self::waiting::Waiting;
use crate::arena::{Arena, Mark};
use crate::batch::{Batch, BatchParts, QuarantineRecord, RuleFailures, TableBatch};
use crate::breaker::Judged;
use crate::claim::Holding;
use crate::decode::Decoder;
use crate::fold::Lacking;
use crate::outcome::Tally;
use crate::position::{NextOffset, Offset};
use crate::record::{Record, RecordBlock};
use crate::route::Route;
use crate::row::{Decoded, Encoding, Reject, RejectCode};
use crate::shape::{ColumnSet, Table};

/// Bytes of a record over the limit that the quarantine keeps.
const HEAD_BYTES: usize = 4096;

/// Identifies one assignment of one partition to this lane; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TenureId(pub u32);

impl TenureId {
    /// The one after this.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A route with its decoder, and the target that it shares with routes of the same table, key and mode.
pub struct RouteSlot {
    /// The route.
    pub route: Arc<Route>,
    /// Its decoder.
    pub decoder: Decoder,
    /// Index of the target.
    pub target: usize,
}

/// Records in arrival order, with their fields by target.
#[derive(Default)]
pub struct Segment {
    records: Vec<Staged>,
    /// What the records came in.
    blocks: Vec<Arc<RecordBlock>>,
    targets: Vec<TargetBuffer>,
    start: usize,
    bytes: usize,
    /// Nothing is to be added.
    sealed: bool,
    /// Bytes of the rows that came of them.
    encoded: usize,
    /// Rules of its route that a record fails, by the record's place, in rising order.
    failed_rules: Vec<(usize, u16)>,
}

struct TargetBuffer {
    encoding: Encoding,
    /// The sets of columns that rows have; mostly one.
    shapes: Vec<Shape>,
    arena: Arena,
    /// Where the decoded fields end. What a cut appends behind them, keys and composed rows, goes before the
    /// next cut: a batch can be tried again for hours.
    decoded: Mark,
}

impl TargetBuffer {
    fn new(encoding: Encoding) -> Self {
        Self { encoding, shapes: Vec::new(), arena: Arena::default(), decoded: Mark::default() }
    }

    /// The index of a shape; that of the record before is the likeliest.
    fn shape(&mut self, columns: ColumnSet, lacks_required: bool) -> u32 {
        let shape = Shape { columns, lacks_required };
        let place = self.shapes.iter().rposition(|known| *known == shape).unwrap_or_else(|| {
            self.shapes.push(shape);
            self.shapes.len() - 1
        });
        place as u32
    }

    fn drop_composed(&mut self) {
        self.arena.truncate(self.decoded);
    }

    /// The arena without what an earlier cut composed, for a cut to work on.
    fn take_arena(&mut self) -> Arena {
        self.drop_composed();
        std::mem::take(&mut self.arena)
    }
}

/// What the columns of a row are.
#[derive(PartialEq, Eq)]
struct Shape {
    columns: ColumnSet,
    lacks_required: bool,
}

/// One record, or a log's end; as small as can be, since a segment has many.
struct Staged {
    tenure: TenureId,
    route: u32,
    offset: Offset,
    /// Where the record is: its block, and its index there. Of no meaning for a log's end.
    block: u32,
    index: u32,
    content: Content,
}

enum Content {
    Row {
        shape: u32,
        fields: Range<u32>,
        unproven: bool,
    },
    Delete {
        shape: u32,
        fields: Range<u32>,
    },
    Filtered,
    Rejected(Box<Reject>),
    /// No record: the log's end, past whatever holds no record.
    End(NextOffset),
}

/// A batch, and where it ends in the segment.
pub struct Cut {
    /// The batch; `None` when nothing in the range moves any partition.
    pub batch: Option<Batch>,
    /// The segment's place behind the last record of the range.
    pub end: usize,
    /// The tenures of the batch's moves.
    pub tenures: Vec<TenureId>,
    /// Partitions that stop at a record, by `on_bad_record: halt`.
    pub stops: Vec<(TenureId, Offset, Reject)>,
    /// Records and misfits by route, for the breaker.
    pub judged: BTreeMap<u32, Judged>,
    /// How many records fail a rule, by route and the rule's place in it.
    pub failed_rules: BTreeMap<(u32, u16), u64>,
}

impl Segment {
    /// Records not yet committed.
    pub fn len(&self) -> usize {
        self.records.len() - self.start
    }

    /// Whether all records are behind.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the records as they came.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes by which the encoded rows exceed the records that they came of.
    pub fn surplus(&self) -> usize {
        self.encoded.saturating_sub(self.bytes)
    }

    /// The place of the first record that is not behind.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The place behind the last record.
    pub fn end(&self) -> usize {
        self.records.len()
    }

    /// Leaves everything before `place` behind.
    pub fn advance_to(&mut self, place: usize) {
        self.start = place;
    }

    /// Timestamp of the oldest waiting record of a tenure, milliseconds since the Unix epoch.
    pub fn oldest_ms(&self, tenure: TenureId) -> Option<i64> {
        let first = self.records[self.start..].iter().find(|staged| staged.tenure == tenure);
        first.and_then(|staged| self.record(staged)?.timestamp_ms)
    }

    /// The record as it came; `None` for a log's end.
    fn record(&self, staged: &Staged) -> Option<Record<'_>> {
        match staged.content {
            Content::End(_) => None,
            Content::Row { .. } | Content::Delete { .. } | Content::Filtered | Content::Rejected(_) => {
                Some(self.blocks[staged.block as usize].get(staged.index as usize))
            }
        }
    }

    /// Records of a tenure that stand at `next` or behind it.
    pub fn waiting_for(&self, tenure: TenureId, next: NextOffset) -> usize {
        let places = self.start..self.records.len();
        places
            .filter(|&place| {
                let staged = &self.records[place];
                staged.tenure == tenure && !next.has_passed(staged.offset) && self.is_record(place)
            })
            .count()
    }

    /// Decodes the block's record at `index` and appends it.
    pub fn push(
        &mut self,
        tenure: TenureId,
        routes: &mut [RouteSlot],
        route: u32,
        block: &Arc<RecordBlock>,
        index: u32,
    ) {
        let record = block.get(index as usize);
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let mut content = self.decode(&mut routes[route as usize], block, index);
        if content.is_none() {
            self.turn_to_text(routes, routes[route as usize].target);
            content = self.decode(&mut routes[route as usize], block, index);
        }
        if self.blocks.last().is_none_or(|last| !Arc::ptr_eq(last, block)) {
            self.blocks.push(Arc::clone(block));
        }
        let (place, decoder) = (self.records.len(), &routes[route as usize].decoder);
        self.failed_rules.extend(decoder.failed_rules().iter().map(|rule| (place, *rule)));
        self.records.push(Staged {
            tenure,
            route,
            offset: record.offset,
            block: (self.blocks.len() - 1) as u32,
            index,
            content: content.unwrap_or_else(|| Content::Rejected(Box::new(undecidable()))),
        });
    }

    /// Appends the log's end for a tenure.
    pub fn push_end(&mut self, tenure: TenureId, next: NextOffset) {
        self.records.push(Staged {
            tenure,
            route: 0,
            offset: Offset::new(next.value() - 1),
            block: 0,
            index: 0,
            content: Content::End(next),
        });
    }

    /// Whether the record at `place` is known to be one that can't be written.
    pub fn is_rejected(&self, place: usize) -> bool {
        matches!(self.records[place].content, Content::Rejected(_))
    }

    /// Marks the record at `place` as one that can't be written.
    pub fn reject(&mut self, place: usize, reject: Reject) {
        self.records[place].content = Content::Rejected(Box::new(reject));
    }

    /// The places of a partition's record by its offset, within the live part.
    pub fn find(&self, tenure: TenureId, offset: Offset) -> Option<usize> {
        (self.start..self.records.len()).find(|&place| {
            self.records[place].tenure == tenure
                && self.records[place].offset == offset
                && self.is_record(place)
        })
    }

    /// Whether a place holds a record rather than a log's end.
    pub fn is_record(&self, place: usize) -> bool {
        !matches!(self.records[place].content, Content::End(_))
    }

    /// Takes back the arenas that a batch travelled with.
    pub fn restore(&mut self, routes: &[RouteSlot], batch: Batch) {
        for table in batch.into_parts().tables {
            let target =
                routes.iter().find(|slot| Arc::ptr_eq(&slot.route, &table.route)).map(|slot| slot.target);
            if let Some(buffer) = target.and_then(|target| self.targets.get_mut(target)) {
                buffer.arena = table.arena;
            }
        }
    }

    /// Gives `None` when the target must turn to text first.
    fn decode(&mut self, slot: &mut RouteSlot, block: &RecordBlock, index: u32) -> Option<Content> {
        while self.targets.len() <= slot.target {
            self.targets.push(TargetBuffer::new(Encoding::Binary));
        }
        let buffer = &mut self.targets[slot.target];
        buffer.drop_composed();
        let record = block.get(index as usize);
        // Rows are mostly shorter than the JSON that they come from.
        let room = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let encoding = buffer.encoding;
        let write = |row: &mut Vec<u8>| slot.decoder.decode(block.partition(), &record, encoding, row);
        let (decoded, fields) = buffer.arena.put(room, write);
        buffer.decoded = buffer.arena.mark();
        self.encoded += fields.len();
        Some(match decoded {
            Decoded::Row { columns, lacks_required, unproven } => {
                Content::Row { shape: buffer.shape(columns, lacks_required), fields, unproven }
            }
            Decoded::Delete { columns } => Content::Delete { shape: buffer.shape(columns, false), fields },
            Decoded::Filtered => Content::Filtered,
            Decoded::Rejected(reject) => Content::Rejected(Box::new(reject)),
            Decoded::NeedsText => return None,
        })
    }

    /// Encodes all waiting records of a target as text, since one of them has no certain binary form.
    fn turn_to_text(&mut self, routes: &mut [RouteSlot], target: usize) {
        let binary = std::mem::replace(&mut self.targets[target], TargetBuffer::new(Encoding::Text));
        self.encoded -= binary.arena.len().min(self.encoded);
        for place in self.start..self.records.len() {
            let Staged { route, block, index, .. } = self.records[place];
            if !self.is_record(place) {
                continue;
            }
            let block = Arc::clone(&self.blocks[block as usize]);
            let was_refused = matches!(self.records[place].content, Content::Rejected(_));
            if routes[route as usize].target != target || was_refused {
                continue;
            }
            let content = self.decode(&mut routes[route as usize], &block, index);
            self.records[place].content =
                content.unwrap_or_else(|| Content::Rejected(Box::new(undecidable())));
        }
    }

    /// Cuts a batch of at most `limit` places from the live part, for the partitions that are held.
    pub fn cut(&mut self, limit: usize, held: &BTreeMap<TenureId, Holding>, routes: &[RouteSlot]) -> Cut {
        let mut end = self.records.len().min(self.start.saturating_add(limit.max(1)));
        loop {
            let mut arenas: Vec<Arena> = self.targets.iter_mut().map(TargetBuffer::take_arena).collect();
            let survey = self.survey(end, held, routes);
            let mut tables = Vec::new();
            let mut cut = None;
            let mut refused = Vec::new();
            let (failures, failed_rules) = survey.failures(routes);
            let mut settled = survey.settled;
            for (target, changes) in survey.changes {
                let route = Arc::clone(&routes[changes.0 as usize].route);
                let binary = self.targets[target].encoding == Encoding::Binary;
                let exact = route.table.traits.bytewise_key && binary;
                let folded = fold_target(&route, exact, changes.1, &mut arenas[target]);
                cut = min_option(cut, folded.cut);
                refused.extend(folded.refused);
                for (index, outcome) in folded.settled {
                    settled[index.get()].add(outcome, 1);
                }
                if !folded.entries.is_empty() {
                    tables.push((target, route, folded.entries));
                }
            }
            let Survey { moves, tenures, quarantine, stops, judged, .. } = survey;
            for (buffer, arena) in self.targets.iter_mut().zip(arenas) {
                buffer.arena = arena;
            }
            if let Some(cut) = cut {
                end = self.start + cut as usize;
                continue;
            }
            if !refused.is_empty() {
                for Lacking { arrival, column } in refused {
                    let place = self.start + arrival as usize;
                    let reject = lacks(&routes[self.records[place].route as usize].route, column);
                    self.reject(place, reject);
                }
                continue;
            }
            let shapes = shapes(judged.keys().map(|route| &routes[*route as usize].route));
            let batch = self.assemble(moves, settled, tables, (quarantine, failures), shapes);
            return Cut { batch, end, tenures, stops, judged, failed_rules };
        }
    }

    fn assemble(
        &mut self,
        moves: Vec<Moving>,
        settled: Vec<Tally>,
        tables: Vec<(usize, Arc<Route>, Vec<crate::batch::Entry>)>,
        (quarantine, failures): (Vec<QuarantineRecord>, Vec<RuleFailures>),
        shapes: Vec<Arc<Table>>,
    ) -> Option<Batch> {
        let finish = |(moving, settled): (Moving, Tally)| moving.finish(settled, &self.blocks);
        let moves: Vec<_> = moves.into_iter().zip(settled).filter_map(finish).collect();
        let tables = tables
            .into_iter()
            .map(|(target, route, entries)| {
                let buffer = &mut self.targets[target];
                TableBatch {
                    route,
                    encoding: buffer.encoding,
                    arena: std::mem::take(&mut buffer.arena),
                    entries,
                }
            })
            .collect();
        Batch::seal(BatchParts { moves, tables, quarantine, failures, shapes })
    }
}

/// The tables of these routes, each shape once, in the order in which every transaction locks them.
fn shapes<'r>(routes: impl Iterator<Item = &'r Arc<Route>>) -> Vec<Arc<Table>> {
    let mut shapes: Vec<Arc<Table>> = Vec::new();
    for route in routes {
        if shapes.iter().all(|shape| *shape != route.table) {
            shapes.push(Arc::clone(&route.table));
        }
    }
    shapes.sort_by_key(|shape| shape.oid);
    shapes
}

fn min_option(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The reject of a record whose key is absent and that lacks the column at `place`.
pub fn lacks(route: &Route, place: u32) -> Reject {
    let name = route.table.columns.get(place as usize).map_or("", |column| column.name.as_str());
    Reject {
        code: RejectCode::MissingValue,
        column: Some(name.to_owned()),
        sqlstate: Some("23502".to_owned()),
        reason: format!(
            "the record lacks a value for {name}, which a new row needs, and its key has no row yet"
        ),
    }
}

/// The reject of a record that can't be encoded in any form.
pub(crate) fn undecidable() -> Reject {
    Reject {
        code: RejectCode::BadValue,
        column: None,
        sqlstate: None,
        reason: "the record has neither a binary nor a text form for its table".to_owned(),
    }
}
