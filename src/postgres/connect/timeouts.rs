//! How long a session may take for what.

use std::time::Duration;

/// Limits of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionTimeouts {
    /// The whole of connecting, over all hosts. The look at a pooler isn't part of it.
    pub connect: Duration,
    /// `statement_timeout`
    pub statement: Duration,
    /// `lock_timeout`
    pub lock: Duration,
    /// `idle_in_transaction_session_timeout`
    pub idle_in_transaction: Duration,
}
