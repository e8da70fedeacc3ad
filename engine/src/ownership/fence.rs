//! When a fenced partition may be taken back.
//!
//! Kafka gave the partition to us and the ledger says that another process owns it: a zombie that is
//! about to go, or a second group that runs the same pipeline. It is claimed again only when its row has
//! work to do and has not moved for a while that doubles with each try, so that two groups don't fence
//! each other for ever.

use crate::machine::Millis;
use crate::position::{Epoch, NextOffset};

/// The first wait for a row that doesn't move, in milliseconds.
const PATIENCE_MS: Millis = 5_000;
/// The longest.
const PATIENCE_MAX_MS: Millis = 60_000;

/// Watches the row of one fenced partition.
#[derive(Clone, Debug)]
pub(super) struct FenceWatch {
    epoch: Epoch,
    next: NextOffset,
    still_since: Millis,
    patience: Millis,
}

/// What a look at the row gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Leave it to its owner.
    Wait,
    /// Claim it.
    Claim,
}

/// The row as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its newest epoch.
    pub(super) epoch: Epoch,
    /// Its position.
    pub(super) next: NextOffset,
    /// Whether an owner stands in it; an operator's decision clears it.
    pub(super) owned: bool,
    /// Whether the log goes on behind its position.
    pub(super) behind: bool,
}

impl FenceWatch {
    /// A watch that begins now. `tries` counts the claims of this partition after fences so far; `draw`, from
    /// 0 to 1, spreads the waits of several processes.
    pub(super) fn new(epoch: Epoch, next: NextOffset, now: Millis, tries: u32, draw: f64) -> Self {
        let ceiling = PATIENCE_MS.saturating_mul(1 << tries.min(8)).min(PATIENCE_MAX_MS);
        let patience = ceiling + (ceiling as f64 * draw.clamp(0.0, 1.0)) as u64;
        Self { epoch, next, still_since: now, patience }
    }

    /// Looks at the row.
    pub(super) fn look(&mut self, row: Row, now: Millis) -> Verdict {
        if !row.owned {
            return Verdict::Claim;
        }
        let moved = row.next != self.next || row.epoch != self.epoch;
        if moved || !row.behind {
            (self.epoch, self.next, self.still_since) = (row.epoch, row.next, now);
            return Verdict::Wait;
        }
        if now.saturating_sub(self.still_since) >= self.patience { Verdict::Claim } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: i64, next: i64, behind: bool) -> Row {
        Row { epoch: Epoch::new(epoch), next: NextOffset::new(next), owned: true, behind }
    }

    fn watch(tries: u32) -> FenceWatch {
        FenceWatch::new(Epoch::new(2), NextOffset::new(10), 0, tries, 0.0)
    }

    #[test]
    fn a_row_that_stands_still_with_work_to_do_is_claimed_after_a_while() {
        let mut watch = watch(0);
        assert_eq!(watch.look(row(2, 10, true), 4_999), Verdict::Wait);
        assert_eq!(watch.look(row(2, 10, true), 5_000), Verdict::Claim);
    }

    #[test]
    fn a_row_that_moves_belongs_to_its_owner() {
        let mut watch = watch(0);
        for second in 1..100 {
            assert_eq!(watch.look(row(2, 10 + second, true), second as u64 * 1000), Verdict::Wait);
        }
        assert_eq!(watch.look(row(3, 109, true), 103_900), Verdict::Wait);
        assert_eq!(watch.look(row(3, 109, true), 108_900), Verdict::Claim);
    }

    #[test]
    fn a_row_without_work_is_left_alone_and_starts_the_wait_anew() {
        let mut watch = watch(0);
        assert_eq!(watch.look(row(2, 10, false), 60_000), Verdict::Wait);
        assert_eq!(watch.look(row(2, 10, true), 64_000), Verdict::Wait);
        assert_eq!(watch.look(row(2, 10, true), 65_000), Verdict::Claim);
    }

    #[test]
    fn an_operators_decision_is_followed_at_once() {
        let unowned = Row { owned: false, ..row(3, 10, false) };
        assert_eq!(watch(9).look(unowned, 1), Verdict::Claim);
    }

    #[test]
    fn patience_doubles_with_each_try() {
        for (tries, patience) in [(0, 5_000), (1, 10_000), (3, 40_000), (4, 60_000), (30, 60_000)] {
            let mut watch = watch(tries);
            assert_eq!(watch.look(row(2, 10, true), patience - 1), Verdict::Wait, "{tries}");
            assert_eq!(watch.look(row(2, 10, true), patience), Verdict::Claim, "{tries}");
        }
    }
}
