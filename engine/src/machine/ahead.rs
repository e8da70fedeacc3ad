//! The next batch, cut while the one in flight is being committed, as if it were already.
//!
//! Cutting sorts and folds, and the session would wait for it between two transactions. What was cut ahead
//! is used only where the partitions stand exactly as it took for granted; else it is cut again.

use std::collections::BTreeMap;

use super::Machine;
use super::search::Search;
use crate::claim::Holding;
use crate::segment::{Cut, Segment, TenureId};

/// A batch that was cut ahead, of the segment behind the one in flight.
pub(super) struct Ahead {
    cut: Cut,
    /// How the partitions were taken to stand.
    held: BTreeMap<TenureId, Holding>,
}

impl Machine {
    /// Cuts the batch behind the one in flight, where that takes its whole segment.
    pub(super) fn cut_ahead(&mut self) {
        let Some(flight) = &self.flight else { return };
        let takes_all = self.segments.front().is_some_and(|front| flight.end == front.end());
        if !takes_all || self.ahead.is_some() || self.search != Search::None {
            return;
        }
        let mut held = self.writable();
        for (id, next) in flight.tenures.iter().zip(&flight.nexts) {
            if let Some(holding) = held.get_mut(id) {
                holding.suppose_at(*next);
            }
        }
        let least = self.limits.ahead_records.max(1);
        let Some(segment) = self.segments.get_mut(1).filter(|segment| segment.len() >= least) else { return };
        let cut = segment.cut(self.search.limit(), &held, &self.routes);
        self.ahead = Some(Ahead { cut, held });
    }

    /// The segments at the front whose rows travel with a batch.
    pub(super) fn cut_segments(&self) -> usize {
        usize::from(self.flight.is_some()) + usize::from(self.ahead.is_some())
    }

    /// Cuts the front segment, unless that was done ahead and still holds.
    pub(super) fn cut(&mut self, segment: &mut Segment, held: &BTreeMap<TenureId, Holding>) -> Cut {
        if let Some(Ahead { cut, held: expected }) = self.ahead.take() {
            if self.search == Search::None && stand_alike(&expected, held) {
                return cut;
            }
            if let Some(batch) = cut.batch {
                segment.restore(&self.routes, batch);
            }
        }
        segment.cut(self.search.limit(), held, &self.routes)
    }

    /// Gives the rows of what was cut ahead back to their segment, since the one in flight stays before it.
    pub(super) fn forget_ahead(&mut self) {
        if let Some(batch) = self.ahead.take().and_then(|ahead| ahead.cut.batch)
            && let Some(segment) = self.segments.get_mut(1)
        {
            segment.restore(&self.routes, batch);
        }
    }
}

/// The same partitions under the same claims at the same positions.
fn stand_alike(expected: &BTreeMap<TenureId, Holding>, found: &BTreeMap<TenureId, Holding>) -> bool {
    expected.len() == found.len()
        && expected
            .iter()
            .zip(found)
            .all(|((id, one), (other_id, other))| id == other_id && one.stands_like(other))
}
