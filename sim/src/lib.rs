//! The protocol under every fault that a seed can think of.
//!
//! Several workers run the engine's machines against a model of the broker and a model of the database, one
//! step at a time, in an order that a seed decides. After each commit an oracle holds the state against
//! the promise; in the end, without faults, everything must have been read. The same run with the
//! protocol broken on purpose shows that the oracle notices.
//!
//! `tests/simulation` runs it.

// The models' errors are as large as a server's, and each is looked at once.
#![allow(clippy::result_large_err)]

mod database;
pub mod folding;
pub mod mutant;
mod oracle;
mod records;
mod state;
mod table;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::mutant::Mutant;
use self::world::World;

/// Runs one seed; gives what it met and how often, or what was broken. The trace goes to stderr.
pub fn run(seed: u64, mutant: Option<Mutant>, trace: bool) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut world = World::new(seed, mutant, trace);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(result) => result.map(|()| world.database.seen),
        Err(_) => Err("a panic, printed above".to_owned()),
    }
}
