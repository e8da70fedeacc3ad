//! States that can't be: looked for while the program runs, and counted where they are met.
//!
//! A broken rule panics in a debug build, where a test is to fail. In a release the caller goes on the way
//! that writes nothing wrong, and the count says that this program has a defect worth a report. It is the
//! only thing that the core keeps for itself; nothing is ever decided by it.

use std::sync::atomic::{AtomicU64, Ordering};

static MET: AtomicU64 = AtomicU64::new(0);

/// Holds what must be so, and answers whether it is. `rule` says it as a sentence.
#[track_caller]
pub fn hold(is_so: bool, rule: &str) -> bool {
    if !is_so {
        MET.fetch_add(1, Ordering::Relaxed);
        debug_assert!(is_so, "{rule}");
    }
    is_so
}

/// How many broken rules this process has met.
pub fn met() -> u64 {
    MET.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_so_is_counted() {
        assert!(hold(true, "one is one"));
        let before = met();
        let panics = std::panic::catch_unwind(|| hold(false, "one is two"));
        assert_eq!(panics.is_err(), cfg!(debug_assertions));
        assert_eq!(met(), before + 1);
    }
}
