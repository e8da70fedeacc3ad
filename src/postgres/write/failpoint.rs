//! Named stops at each step of a batch, so that tests can end the process exactly there.
//!
//! Without the cargo feature `failpoints` the whole module is constants and empty functions. With it, a
//! step's action comes from the environment (`FAILPOINTS="before_commit=return"`): `return` ends the
//! process at once by `SIGABRT`, without unwinding and without a word to the server, which is as sudden
//! for PostgreSQL as `SIGKILL`; the other actions (`pause`, `sleep(ms)`, …) are those of the crate `fail`.

crate::engine::words! {
    /// A step of a batch.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Failpoint {
        /// The transaction is open and the locks are asked for.
        AfterBegin = "after_begin",
        /// The progress rows are locked and compared.
        AfterLock = "after_lock",
        /// Half of the rows of a COPY are sent.
        MidCopy = "mid_copy",
        /// All rows of all tables are written.
        AfterRows = "after_rows",
        /// The quarantine is written.
        AfterQuarantine = "after_quarantine",
        /// Progress is moved and counted.
        AfterProgress = "after_progress",
        /// Everything is awaited; COMMIT is next.
        BeforeCommit = "before_commit",
        /// COMMIT is answered; nobody has been told.
        AfterCommit = "after_commit",
    }

    /// The name under which the step's action is configured.
    fn name;
}

impl Failpoint {
    /// Whether this build has stops at all.
    pub const ENABLED: bool = cfg!(feature = "failpoints");

    /// Does what is configured for the step; nothing in builds without the feature.
    #[cfg(feature = "failpoints")]
    pub(super) fn reach(self) {
        configure_once();
        if fail::eval(self.name(), |_| ()).is_some() {
            std::process::abort();
        }
    }

    /// Does nothing: this build has no stops.
    #[cfg(not(feature = "failpoints"))]
    #[inline(always)]
    pub(super) const fn reach(self) {}
}

/// Whether small batches take the long way, so that tests can see each of its steps with few records:
/// `FAILPOINTS="general_path=return"`.
#[cfg(feature = "failpoints")]
pub(super) fn forces_general_path() -> bool {
    configure_once();
    fail::eval("general_path", |_| ()).is_some()
}

/// This build has one way for each batch.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(super) const fn forces_general_path() -> bool {
    false
}

/// Takes the actions from the environment at the first stop, so that no start-up code needs to know of them.
#[cfg(feature = "failpoints")]
fn configure_once() {
    static CONFIGURED: std::sync::Once = std::sync::Once::new();
    CONFIGURED.call_once(|| {
        let actions = std::env::var("FAILPOINTS").unwrap_or_default();
        for (name, action) in actions.split(';').filter_map(|one| one.split_once('=')) {
            if let Err(error) = fail::cfg(name.trim(), action.trim()) {
                tracing::error!("FAILPOINTS: {name}: {error}");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Failpoint::ALL.into_iter().map(Failpoint::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Failpoint::ALL.len());
    }
}
