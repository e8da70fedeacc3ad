//! Tidegate moves records from Kafka to PostgreSQL so that each takes effect exactly once.
//!
//! ```text
//! broker ──▶ kafka::consumer ──▶ lane ──▶ engine::decode ──▶ engine::batch ──▶ postgres::write ──▶ COMMIT
//!                                 ▲                                                                 │
//!                                 └──────────── engine::machine ◀──────── CommitOutcome ◀───────────┘
//! ```
//!
//! 1. PostgreSQL is the only truth about progress; Kafka's committed offset is a hint for lag tools.
//! 2. Rows and progress move in one transaction, and the move names where it starts: a replay is
//!    refused by data, not by timing.
//! 3. A lane writes only while its epoch is the one stored; an old owner is fenced by the same row lock.

//!
//! What other crates use is the command line and what a lane is made of. The rooms behind it are open to the
//! tests of this repository alone, which ask for `failpoints`, so that the compiler sees what nothing uses.

#![cfg_attr(not(feature = "failpoints"), allow(unreachable_pub, unused_imports))]

pub use tidegate_engine as engine;

pub mod cli;
pub mod lane;
pub mod source;
pub mod store;
mod writer;

macro_rules! rooms {
    ($($name:ident)*) => {
        $(
            #[cfg(feature = "failpoints")]
            pub mod $name;
            #[cfg(not(feature = "failpoints"))]
            mod $name;
        )*
    };
}

rooms! { assemble config kafka nearest postgres routing service telemetry }

// rustfmt reads this text, and not what a macro makes of it.
#[cfg(any())]
mod assemble;
#[cfg(any())]
mod config;
#[cfg(any())]
mod kafka;
#[cfg(any())]
mod nearest;
#[cfg(any())]
mod postgres;
#[cfg(any())]
mod routing;
#[cfg(any())]
mod service;
#[cfg(any())]
mod telemetry;
