//! The protocol under every fault that a seed can think of; see the crate `sim` and `./dev simulate`.
//!
//! `TIDEGATE_SIM_SEED=n` runs one seed, `TIDEGATE_SIM_SEEDS=n` that many.

mod folding;

use std::ops::Range;

use sim::fault::Fault;
use sim::mutant::Mutant;
use sim::{Plan, replay, run, sweep, threads};

/// Seeds of the run in continuous integration.
const SEEDS: u64 = 20_000;
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

#[test]
fn every_seed_keeps_the_promise() {
    let (seeds, plan) = (seeds(SEEDS), Plan::default());
    let all = seeds.end - seeds.start >= SEEDS;
    let sum = sweep(seeds, &plan, threads(), || {});
    if let Some((seed, report)) = sum.violation {
        panic!("{}\n{}", report.violation.unwrap_or_default(), replay(seed, &plan));
    }
    println!("{:#?}", sum.seen);
    let met = [
        "a batch came for another shape of its table",
        "a batch was fenced",
        "a batch was stored already",
        "a claim ended the transaction in its way",
        "a claim met a pause",
        "a halt was noted",
        "a lost COMMIT was applied late",
        "a note of an old owner was dropped",
        "a paused partition went on",
        "a partition rested",
        "a partition waited for parents",
        "a partition was paused",
        "a partition was claimed anew",
        "a partition went on after a rest",
        "a partition went on after it stood still",
        "a record came behind",
        "an orphan was given up",
        "an owner was fenced",
        "an unknown COMMIT was applied",
        "an unknown COMMIT was not applied",
        "collision",
        "getting ready was dropped half-way",
        "parents came",
        "record",
        "records were dropped",
        "records without a row were refused",
        "the database went back",
        "TG-101",
        "TG-102",
        "TG-103",
        "TG-301",
        "TG-303",
        "TG-305",
    ];
    let hoped = Fault::ALL.iter().map(|fault| fault.name()).chain(met);
    let missed: Vec<_> = hoped.filter(|what| all && !sum.seen.contains_key(what)).collect();
    assert!(missed.is_empty(), "no seed met: {missed:?}");
}

#[test]
fn every_broken_protocol_is_noticed() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let plan = Plan { mutant: Some(*mutant), ..Plan::default() };
        match sweep(0..SEEDS_FOR_MUTANTS, &plan, threads(), || {}).violation {
            Some((seed, report)) => {
                println!("{mutant}, seed {seed}: {}", report.violation.unwrap_or_default());
            }
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not noticed within {SEEDS_FOR_MUTANTS} seeds: {missed:?}");
}

/// Whatever else ran before or runs beside it.
#[test]
fn a_seed_gives_the_same_trace_each_time() {
    let plan = Plan { trace: true, ..Plan::default() };
    let traces = |seed: u64| run(seed, &plan).trace;
    for seed in 0..40 {
        let first = traces(seed);
        let beside = std::thread::scope(|scope| {
            let other = scope.spawn(move || traces(seed + 1));
            let again = traces(seed);
            other.join().expect("the other seed runs");
            again
        });
        assert!(first.len() > 20, "seed {seed} does next to nothing");
        assert_eq!(first, beside, "seed {seed}");
    }
}

/// What is left of a broken run is less of it, and replays to the same end.
#[test]
fn a_broken_run_shrinks_to_one_that_replays() {
    let plan = Plan { mutant: Some(Mutant::UnknownIsRepeated), ..Plan::default() };
    let (seed, _) = sweep(0..SEEDS_FOR_MUTANTS, &plan, threads(), || {}).violation.expect("it is noticed");
    let least = sim::shrink(seed, &plan);
    assert!(least.steps < plan.steps && !least.without.is_empty(), "{least:?}");
    assert!(!least.without.contains(&Fault::LostAnswer), "without it nothing is broken: {least:?}");
    let what = run(seed, &least).violation.expect("the least of it breaks something as well");
    assert_eq!(run(seed, &least).violation, Some(what));
    assert!(
        replay(seed, &least).starts_with(&format!("./dev simulate --seed {seed} --mutant UnknownIsRepeated"))
    );
}
