//! What makes a run end, and how it has ended then.

use std::time::Duration;

use super::goal::{Finish, Share};
use super::summary::RunEnd;

/// What makes a run end.
pub(super) enum Cut {
    /// A signal.
    Signal(&'static str),
    /// The run had this much time.
    Timeout(Duration),
    /// Its goal.
    Finish(Finish),
    /// A defect has ended this part.
    Fallen(String),
}

impl Cut {
    /// The same, unless a part has fallen while the process was draining: what it had in hand isn't done.
    pub(super) fn or_fallen(self, part: Option<String>) -> Self {
        match (self, part) {
            (Self::Fallen(first), _) | (_, Some(first)) => Self::Fallen(first),
            (cut, None) => cut,
        }
    }

    /// How a run ended that was cut short by this: what a drain finishes counts.
    pub(super) fn ending(self, share: Option<&Result<Share, String>>, waiting: Vec<String>) -> RunEnd {
        let is_all = matches!(share, Some(Ok(share)) if share.left.is_empty());
        match self {
            Self::Finish(Finish::Reached) => RunEnd::Reached,
            Self::Finish(Finish::Halted(reasons)) => RunEnd::Halted(reasons),
            Self::Fallen(part) => RunEnd::Broken(part),
            Self::Signal(signal) if share.is_none() => RunEnd::Stopped(signal),
            Self::Signal(_) | Self::Timeout(_) if is_all => RunEnd::Reached,
            Self::Signal(signal) => RunEnd::Interrupted(signal),
            Self::Timeout(time) => RunEnd::TimedOut(time, waiting),
        }
    }
}
