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

pub use tidegate_engine as engine;

pub mod nearest;
pub mod source;
pub mod store;
pub mod lane;
pub mod kafka;
pub mod postgres;
pub mod routing;
pub mod assemble;
pub mod service;
pub mod telemetry;
pub mod config;
pub mod cli;
