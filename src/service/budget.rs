//! The memory that records may take between the log and their commit, over all lanes.
//!
//! The poll thread charges each block before it hands it on; the share comes back when the block is
//! dropped, which is when its last record has been settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A record and its encoded row are about as long as each other; where rows are longer, lanes say so.
const COPIES: usize = 2;

/// Bytes that a record takes beside its own: its place in the segment and in the batch, and what allocations
/// leave unused.
const PLACES: usize = 160;

/// The parts of `limits.memory`, in eighths: for what isn't polled yet, which the Kafka client holds, and for
/// what is. The rest is for what no account is kept of: the program itself, fingerprints of keys, buffers of
/// connections, free memory between.
const CLIENT_EIGHTHS: u64 = 1;
const RECORD_EIGHTHS: u64 = 5;

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
        let limit = memory_bytes / 8 * RECORD_EIGHTHS;
        Self { used: Arc::default(), limit: usize::try_from(limit).unwrap_or(usize::MAX) }
    }

    /// Takes a share for `records` records of `bytes` together; never refused, since what is fetched has
    /// to go somewhere.
    pub(super) fn charge(&self, bytes: usize, records: usize) -> Share {
        let bytes = bytes.saturating_mul(COPIES).saturating_add(records.saturating_mul(PLACES));
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Share { used: Arc::clone(&self.used), bytes }
    }

    /// The account of a lane whose rows are longer than their records.
    pub(super) fn surplus(&self) -> Surplus {
        Surplus(Share { used: Arc::clone(&self.used), bytes: 0 })
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

/// A share that changes; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Surplus(Share);

impl Surplus {
    /// The share is this large now.
    pub(super) fn set(&mut self, bytes: usize) {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        self.0.used.fetch_sub(self.0.bytes, Ordering::Relaxed);
        self.0.bytes = bytes;
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
        let budget = Budget::new(7936);
        let one = budget.charge(1000, 3);
        assert!(!budget.is_exhausted() && !budget.has_recovered());
        let two = budget.charge(1000, 3);
        assert!(budget.is_exhausted());
        drop(one);
        assert!(!budget.is_exhausted());
        drop(two);
        assert!(budget.has_recovered());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn rows_longer_than_their_records_count() {
        let budget = Budget::new(1600);
        let mut surplus = budget.surplus();
        surplus.set(999);
        assert!(!budget.is_exhausted());
        surplus.set(1000);
        assert!(budget.is_exhausted());
        surplus.set(10);
        assert_eq!(budget.used(), 10);
        drop(surplus);
        assert_eq!(budget.used(), 0);
    }
}
