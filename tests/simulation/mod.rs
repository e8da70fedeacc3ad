//! The protocol under every fault that a seed can think of.
//!
//! `TIDEGATE_SIM_SEED=n` replays one seed, with its trace; `TIDEGATE_SIM_SEEDS=n` runs that many.

mod folding;
mod oracle;
mod records;
mod state;
mod table;

use std::ops::Range;

/// The seeds of a test: `count`, or what the environment says.
fn seeds(count: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TIDEGATE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SIM_SEEDS").unwrap_or(count),
    }
}

/// The command that replays a seed.
fn replay(seed: u64, test: &str) -> String {
    format!("TIDEGATE_SIM_SEED={seed} cargo test --test tests simulation::{test} -- --nocapture")
}
