//! What a seed can make go wrong. None of it is a fault of the protocol, which must bear it all.

use std::fmt;
use std::str::FromStr;

macro_rules! faults {
    ($($(#[doc = $what:literal])+ $fault:ident => $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Fault {
            $($(#[doc = $what])+ $fault,)+
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$fault,)+];

            /// Its name on the command line and in tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)+
                }
            }
        }
    };
}

faults! {
    /// A partition moves to another member in good order.
    Rebalance => "rebalance",
    /// The group gives a partition away behind its owner's back.
    Loss => "loss",
    /// A process is killed, and another takes its place.
    Kill => "kill",
    /// A process is told to end, and another takes its place.
    Leave => "leave",
    /// A process sleeps while the world goes on.
    Freeze => "freeze",
    /// The broker delivers again what it has delivered.
    Reread => "reread",
    /// Another group runs the same pipeline and has the partition too.
    SecondGroup => "second-group",
    /// The topic is given another partition.
    PartitionAdded => "partition-added",
    /// The topic is deleted and created anew.
    CreatedAnew => "created-anew",
    /// Retention removes the beginning of a log.
    Retention => "retention",
    /// A log loses its end for good.
    Truncation => "truncation",
    /// A new leader knows less of a log's end, for a moment.
    ShyLeader => "shy-leader",
    /// Nobody has looked at the topic for a while.
    Doubt => "doubt",
    /// The log says nothing when it is asked.
    SilentLog => "silent-log",
    /// The database refuses a transaction, or breaks its connection.
    Refusal => "refusal",
    /// The database refuses every other transaction with an error that nobody knows.
    Mood => "mood",
    /// The answer to a COMMIT is lost; it was applied, wasn't, or will be later.
    LostAnswer => "lost-answer",
    /// A session isn't answered until somebody ends it.
    Silence => "silence",
    /// Others need a connection that is idle.
    Crowd => "crowd",
    /// The database stops for a while.
    Outage => "outage",
    /// A standby takes over that lacks the newest commits.
    FailOver => "fail-over",
    /// Somebody alters the table.
    Alter => "alter",
    /// The table doesn't fit its route for a while.
    Misfit => "misfit",
    /// An operator takes a partition from its owner.
    Decision => "decision",
    /// An operator makes a partition stand still for a while.
    Pause => "pause",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().find(|fault| fault.name() == name);
        found.copied().ok_or_else(|| format!("no fault is called {name}; there are {}", known()))
    }
}
