//! The brokers' logs: what stands in them, where they begin and end, and which incarnation of the topic they
//! are.

use tidegate::engine::ownership::LogState;
use tidegate::engine::position::{NextOffset, TopicId};

use super::oracle::Slot;
use super::records::Deed;

/// The incarnation of the topic that the ledger counts.
pub(crate) const FIRST: u128 = 1;

/// The topic's id in an incarnation.
pub(crate) fn topic_id(incarnation: u128) -> TopicId {
    TopicId(uuid::Uuid::from_u128(incarnation))
}

/// The log of one partition.
pub(crate) struct Log {
    /// All that it has ever held, and will hold.
    slots: Vec<Slot>,
    /// The first offset that is still there, and the end of what has been produced.
    low: i64,
    end: i64,
    /// Its end was lost for good, and nothing is produced any more.
    is_cut: bool,
    /// A new leader tells this end, for so many looks; each log has one such leader.
    shy: Option<(i64, u8)>,
    was_shy: bool,
    /// What stands in it after the topic was created anew.
    anew: Vec<Slot>,
}

/// All logs of the topic.
pub(crate) struct Logs {
    logs: Vec<Log>,
    pub incarnation: u128,
}

impl Log {
    pub(crate) fn draw(dice: &mut fastrand::Rng, number: i32, longest: usize) -> Self {
        let slot = |dice: &mut fastrand::Rng| match dice.u8(0..8) {
            0 => Slot::Hole,
            _ => Slot::Record(Deed::draw(dice, number)),
        };
        let mut slots: Vec<Slot> = (0..dice.usize(5..40)).map(|_| slot(dice)).collect();
        let mut anew: Vec<Slot> = (0..dice.usize(5..40)).map(|_| slot(dice)).collect();
        let end = dice.i64(3..=slots.len() as i64);
        slots.truncate(longest.max(3));
        anew.truncate(longest.max(3));
        let end = end.min(slots.len() as i64);
        Self { slots, low: 0, end, is_cut: false, shy: None, was_shy: false, anew }
    }
}

impl Logs {
    pub(crate) fn new(logs: Vec<Log>) -> Self {
        Self { logs, incarnation: FIRST }
    }

    pub(crate) fn push(&mut self, log: Log) {
        self.logs.push(log);
    }

    fn log(&self, number: i32) -> &Log {
        &self.logs[number as usize]
    }

    fn log_mut(&mut self, number: i32) -> &mut Log {
        &mut self.logs[number as usize]
    }

    /// All that the partition's log holds in the incarnation that the ledger counts.
    pub(crate) fn slots(&self, number: i32) -> &[Slot] {
        &self.log(number).slots
    }

    /// The same, in any incarnation.
    pub(crate) fn slots_of(&self, number: i32, incarnation: u128) -> &[Slot] {
        if incarnation == FIRST { self.slots(number) } else { &self.log(number).anew }
    }

    pub(crate) fn was_created_anew(&self) -> bool {
        self.incarnation != FIRST
    }

    pub(crate) fn low(&self, number: i32) -> i64 {
        if self.was_created_anew() { 0 } else { self.log(number).low }
    }

    pub(crate) fn end(&self, number: i32) -> i64 {
        let log = self.log(number);
        if self.was_created_anew() { log.anew.len() as i64 } else { log.end }
    }

    /// Whether retention has removed anything of what the ledger counts.
    pub(crate) fn was_retained(&self, number: i32) -> bool {
        self.log(number).low > 0
    }

    pub(crate) fn is_cut(&self, number: i32) -> bool {
        self.log(number).is_cut
    }

    pub(crate) fn produce(&mut self, number: i32, offsets: i64) {
        let log = self.log_mut(number);
        if !log.is_cut {
            log.end = (log.end + offsets).min(log.slots.len() as i64);
        }
    }

    /// All that is to come is produced, and all leaders know it.
    pub(crate) fn finish(&mut self) {
        for log in &mut self.logs {
            log.shy = None;
            if !log.is_cut {
                log.end = log.slots.len() as i64;
            }
        }
    }

    /// What somebody who looks at the partition's log is told.
    pub(crate) fn look(&mut self, number: i32) -> LogState {
        let (topic, low, end) = (topic_id(self.incarnation), self.low(number), self.end(number));
        let log = self.log_mut(number);
        let told = match &mut log.shy {
            Some((told, looks)) if *looks > 0 => {
                *looks -= 1;
                end.min(*told)
            }
            _ => end,
        };
        LogState { topic_id: topic, low: NextOffset::new(low), end: NextOffset::new(told) }
    }

    /// For a few looks, a new leader knows less of the end than progress does. Gives whether that is so.
    pub(crate) fn grow_shy(&mut self, number: i32, told: i64, looks: u8) -> bool {
        let log = self.log_mut(number);
        let happens = !log.was_shy && !log.is_cut;
        if happens {
            (log.shy, log.was_shy) = (Some((told, looks)), true);
        }
        happens
    }

    /// The log loses its end for good, from this offset on.
    pub(crate) fn cut(&mut self, number: i32, end: i64) {
        let log = self.log_mut(number);
        log.end = log.end.min(end.max(log.low));
        log.is_cut = true;
    }

    /// Retention removes what comes before this offset.
    pub(crate) fn retain_from(&mut self, number: i32, low: i64) {
        let log = self.log_mut(number);
        log.low = log.low.max(low.min(log.end));
    }
}
