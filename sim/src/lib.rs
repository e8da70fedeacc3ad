//! The protocol under every fault that a seed can think of.
//!
//! Several workers run the product's own lanes ([`tidegate::lane::run`]) and its rules of ownership
//! ([`tidegate::engine::ownership`]) against a model of the broker and a model of the database, on a clock
//! that the world moves, in an order that a seed decides. After each commit an oracle holds the state
//! against the promise, and whatever a lane does is held against what its two traits promise; in the end,
//! without faults, everything must have been read. The same run with the protocol broken on purpose shows
//! that the oracle notices.
//!
//! A run is one thread: the same seed and plan give the same trace, always.

// The models' errors are as large as a server's, and each is looked at once.
#![allow(clippy::result_large_err)]

mod database;
pub mod fault;
pub mod folding;
mod ground;
mod lane;
mod link;
mod log;
pub mod mutant;
mod oracle;
mod records;
mod scene;
mod session;
mod shrink;
mod state;
mod sweep;
mod table;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

pub use self::scene::{Plan, STEPS};
pub use self::shrink::shrink;
pub use self::sweep::{Sum, sweep, threads};
use self::world::World;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// What was broken, if anything was.
    pub violation: Option<String>,
    /// What happened, and how often.
    pub seen: BTreeMap<&'static str, u64>,
    /// Milliseconds of the world's clock.
    pub simulated_ms: u64,
    /// What happened, in words, where the plan asks for it.
    pub trace: Vec<String>,
}

/// The command that replays a seed under a plan, with its trace.
pub fn replay(seed: u64, plan: &Plan) -> String {
    let mut command = format!("./dev simulate --seed {seed}");
    if let Some(mutant) = plan.mutant {
        command += &format!(" --mutant {mutant}");
    }
    if plan.steps != STEPS {
        command += &format!(" --steps {}", plan.steps);
    }
    if plan.records != usize::MAX {
        command += &format!(" --records {}", plan.records);
    }
    if !plan.without.is_empty() {
        let names: Vec<&str> = plan.without.iter().map(|fault| fault.name()).collect();
        command += &format!(" --without {}", names.join(","));
    }
    command
}

/// Runs one seed.
///
/// # Panics
///
/// Where the system has no memory for a runtime.
pub fn run(seed: u64, plan: &Plan) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets");
    let shared = OnceLock::new();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut world = World::new(seed, plan);
            let _ = shared.set(world.ground());
            world.run().await;
        });
    }));
    drop(runtime);
    let mut report = Report::default();
    if let Some(ground) = shared.into_inner() {
        let scene = &mut ground.lock().scene;
        report.violation = scene.violation.take();
        report.seen = std::mem::take(&mut scene.seen);
        report.simulated_ms = scene.now;
        report.trace = std::mem::take(&mut scene.trace);
    }
    if ran.is_err() {
        report.violation.get_or_insert_with(|| "a panic, printed above".to_owned());
    }
    report
}
