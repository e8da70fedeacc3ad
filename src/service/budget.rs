//! The memory that records may take between the log and their commit, over all lanes.
//!
//! The poll thread charges each block before it hands it on; the share comes back when the block is
//! dropped, which is when its last record has been settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of memory that stand for one byte of a record: the record itself, its encoded row, and the
/// copy that is on its way to the server.
const FOOTPRINT: usize = 6;

/// The part of the budget, in eighths, that the Kafka client may take for what isn't polled yet.
const CLIENT_EIGHTHS: u64 = 1;

/// Counts the bytes in use. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// A charged share; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Share {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    /// A budget out of `limits.memory` in bytes.
    pub(super) fn new(memory_bytes: u64) -> Self {
        let limit = memory_bytes - client_bytes(memory_bytes);
        Self { used: Arc::default(), limit: usize::try_from(limit).unwrap_or(usize::MAX) }
    }

    /// Takes a share for records of `bytes`; never refused, since what is fetched has to go somewhere.
    pub(super) fn charge(&self, bytes: usize) -> Share {
        let bytes = bytes.saturating_mul(FOOTPRINT);
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Share { used: Arc::clone(&self.used), bytes }
    }

    /// Whether nothing more should be fetched.
    pub(super) fn is_exhausted(&self) -> bool {
        self.used() >= self.limit
    }

    /// Whether so much has come back that fetching pays again.
    pub(super) fn has_recovered(&self) -> bool {
        self.used() < self.limit / 2
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What the Kafka client may take of `limits.memory` for what isn't polled yet.
pub(super) fn client_bytes(memory_bytes: u64) -> u64 {
    memory_bytes / 8 * CLIENT_EIGHTHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back() {
        let budget = Budget::new(11_656);
        let one = budget.charge(1000);
        assert!(!budget.is_exhausted() && !budget.has_recovered());
        let two = budget.charge(700);
        assert!(budget.is_exhausted());
        drop(one);
        assert!(budget.has_recovered());
        drop(two);
        assert_eq!(budget.used(), 0);
    }
}
