//! The protocol under every fault that a seed can think of; see the crate `sim`.
//!
//! `TIDEGATE_SIM_SEED=n` replays one seed, with its trace; `TIDEGATE_SIM_SEEDS=n` runs that many.

mod folding;

use std::collections::BTreeMap;
use std::ops::Range;

use sim::mutant::Mutant;

/// Seeds of the run in continuous integration.
const SEEDS: u64 = 2_000;
/// Seeds within which each broken protocol must be noticed.
const SEEDS_FOR_MUTANTS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The seeds of a test: `count`, or what the environment says.
fn seeds(count: u64) -> Range<u64> {
    match number("TIDEGATE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SIM_SEEDS").unwrap_or(count),
    }
}

/// The command that replays a seed.
fn replay(seed: u64, test: &str) -> String {
    format!("TIDEGATE_SIM_SEED={seed} cargo test --test tests simulation::{test} -- --nocapture")
}

#[test]
fn every_seed_keeps_the_promise() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    let seeds = seeds(SEEDS);
    let trace = number("TIDEGATE_SIM_SEED").is_some();
    let all = seeds.end - seeds.start >= SEEDS;
    for seed in seeds {
        match sim::run(seed, None, trace) {
            Ok(met) => met.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += times),
            Err(what) => panic!("{what}\n{}", replay(seed, "every_seed")),
        }
    }
    println!("{seen:#?}");
    let hoped = [
        "a batch was fenced",
        "a batch was stored already",
        "a claim ended the transaction in its way",
        "a lost COMMIT was applied late",
        "a partition was claimed anew",
        "a record came behind",
        "a zombie was left behind",
        "an operator decided",
        "an owner was fenced",
        "an unknown COMMIT was applied",
        "an unknown COMMIT was not applied",
        "collision",
        "record",
        "records were dropped",
        "records without a row were refused",
        "the database went back",
        "a table was changed",
        "TG-301",
        "TG-305",
    ];
    let missed: Vec<_> = hoped.into_iter().filter(|what| all && !seen.contains_key(what)).collect();
    assert!(missed.is_empty(), "no seed met: {missed:?}");
}

#[test]
fn every_broken_protocol_is_noticed() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let noticed =
            (0..SEEDS_FOR_MUTANTS).find_map(|seed| Some((seed, sim::run(seed, Some(mutant), false).err()?)));
        match noticed {
            Some((seed, what)) => println!("{mutant:?}, seed {seed}: {what}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not noticed within {SEEDS_FOR_MUTANTS} seeds: {missed:?}");
}
