//! Batches that unpack to more than the client takes.
//!
//! librdkafka unpacks zstd into at most `receive.message.max.bytes`, and reports a batch that needs more in
//! the same words as one that is damaged. Its log tells them apart (context `msg`), before the report is
//! queued. That context has a line for each partition in each answer, so only a client that follows a report
//! has it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The context of librdkafka's log whose lines are listened to; see its property `debug`.
pub(super) const DEBUG_CONTEXT: &str = "msg";

/// librdkafka's name of a batch that can't be unpacked.
pub(super) const CODE: &str = "_BAD_COMPRESSION";

/// What the report says of a batch in zstd, which is the only codec with a bound.
const ZSTD: &str = "codec 0x4)";

/// How many batches are remembered: a report follows its line at once.
const REMEMBERED: usize = 64;

/// The packed sizes of batches that unpack to too much, as one client has met them.
#[derive(Default)]
pub(super) struct Oversized(Mutex<VecDeque<u64>>);

impl Oversized {
    /// Listens to a line of the log. Called by librdkafka's threads.
    pub(super) fn hear(&self, line: &str) {
        let Some(packed) = packed_of_line(line) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == REMEMBERED {
            known.pop_front();
        }
        known.push_back(packed);
    }

    fn contains(&self, packed: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&packed)
    }
}

/// What a report of a batch that can't be unpacked is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// The batch is damaged.
    Damaged,
    /// It unpacks to more than the client takes.
    TooLarge,
    /// Either of them: only a client that listens can tell.
    Either,
}

/// What a report of a batch that can't be unpacked is about. `oversized` is what a client has heard that
/// listens for it; without it a batch in zstd may be either.
pub(super) fn judge(report: &str, oversized: Option<&Oversized>) -> Cause {
    if !report.contains(ZSTD) {
        return Cause::Damaged;
    }
    match (oversized, packed_of_report(report)) {
        (None, _) => Cause::Either,
        (Some(known), Some(packed)) if known.contains(packed) => Cause::TooLarge,
        (Some(_), _) => Cause::Damaged,
    }
}

/// `Unable to decompress ZSTD (input buffer BYTES, output buffer BYTES): output would exceed …`
fn packed_of_line(line: &str) -> Option<u64> {
    let (_, sizes) = line.split_once("Unable to decompress ZSTD (input buffer ")?;
    let (packed, rest) = sizes.split_once(',')?;
    rest.contains("output would exceed").then(|| packed.trim().parse().ok())?
}

/// `Decompression (codec 0x4) of message at OFFSET of BYTES bytes failed: …`
fn packed_of_report(report: &str) -> Option<u64> {
    let (_, place) = report.split_once(" of message at ")?;
    let (_, size) = place.split_once(" of ")?;
    size.split_once(' ')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "[thrd:b:9092/1]: b:9092/1: Unable to decompress ZSTD (input buffer 4411, output buffer \
                        173664000): output would exceed message.max.bytes (1000000)";
    const REPORT: &str =
        "Decompression (codec 0x4) of message at 7 of 4411 bytes failed: Local: Invalid compressed data";

    #[test]
    fn a_batch_is_too_large_only_where_the_log_has_said_so() {
        let heard = Oversized::default();
        assert_eq!(judge(REPORT, None), Cause::Either);
        assert_eq!(judge(REPORT, Some(&heard)), Cause::Damaged);
        for line in ["", "Unable to begin ZSTD decompression (out buffer is 4411 bytes): Data corruption"] {
            heard.hear(line);
            assert_eq!(judge(REPORT, Some(&heard)), Cause::Damaged, "{line}");
        }
        heard.hear(LINE);
        assert_eq!(judge(REPORT, Some(&heard)), Cause::TooLarge);
        let others = [REPORT.replace("4411", "4412"), REPORT.replace("0x4", "0x1"), String::new()];
        for other in &others {
            assert_eq!(judge(other, Some(&heard)), Cause::Damaged, "{other}");
        }
        assert_eq!(judge(&others[1], None), Cause::Damaged, "the other codecs have no bound");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let heard = Oversized::default();
        for _ in 0..2 * REMEMBERED {
            heard.hear(LINE);
        }
        assert_eq!(heard.0.lock().unwrap().len(), REMEMBERED);
    }
}
