//! `./dev simulate`: many seeds, and what is known of the first one that breaks the promise.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use sim::fault::Fault;
use sim::mutant::Mutant;
use sim::{Plan, Report, Sum, replay, run, shrink, sweep, threads};

/// Seeds that are run where neither their number nor one of them is given.
const SEEDS: u64 = 20_000;
/// Lines of a trace that are shown of a seed that was found.
const LINES: usize = 30;

/// Runs the product's lanes against models of Kafka and PostgreSQL under every fault that a seed can think
/// of, and holds each commit against the promise. Ends with 1 where something was broken.
#[derive(Parser, Debug)]
#[command(name = "simulate", bin_name = "./dev simulate")]
struct Arguments {
    /// How many seeds to run; one, with its trace, where --seed is given.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Steps with faults in each run.
    #[arg(long, value_name = "N", default_value_t = sim::STEPS)]
    steps: usize,
    /// Offsets of each log at most.
    #[arg(long, value_name = "N")]
    records: Option<usize>,
    /// Faults that don't happen, by their names in the table.
    #[arg(long, value_name = "FAULT", value_delimiter = ',')]
    without: Vec<Fault>,
    /// Break the protocol in this way, to see what that looks like; any wrong name lists them all.
    #[arg(long, value_name = "NAME")]
    mutant: Option<Mutant>,
    /// Runs at a time; as many as there are processors where it isn't given.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        mutant: arguments.mutant,
        without: arguments.without.into_iter().collect(),
        steps: arguments.steps,
        records: arguments.records.unwrap_or(usize::MAX),
        trace: false,
    };
    if let Some(mutant) = plan.mutant {
        println!("{mutant}: {}", mutant.what().trim());
    }
    let first = arguments.seed.unwrap_or(0);
    match (arguments.seed, arguments.seeds) {
        (Some(seed), None | Some(1)) => one(seed, plan),
        (_, seeds) => {
            let seeds = seeds.unwrap_or(SEEDS);
            many(first, seeds, &plan, arguments.threads.unwrap_or_else(threads))
        }
    }
}

/// Runs one seed and shows all that happened.
fn one(seed: u64, plan: Plan) -> ExitCode {
    let report = run(seed, &Plan { trace: true, ..plan });
    report.trace.iter().for_each(|line| println!("{line}"));
    match report.violation {
        Some(what) => {
            println!("\nSeed {seed} breaks the promise: {what}");
            ExitCode::FAILURE
        }
        None => {
            println!("\nSeed {seed} keeps the promise.");
            ExitCode::SUCCESS
        }
    }
}

fn many(first: u64, seeds: u64, plan: &Plan, threads: usize) -> ExitCode {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} seeds, {per_sec}, {eta} left");
    let bar = ProgressBar::new(seeds);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let begin = Instant::now();
    let mut sum = sweep(first..first.saturating_add(seeds), plan, threads, || bar.inc(1));
    let elapsed = begin.elapsed();
    bar.finish_and_clear();
    show(&sum, elapsed);
    match sum.violation.take() {
        Some((seed, report)) => explain(seed, plan, &report),
        None => ExitCode::SUCCESS,
    }
}

/// What was run, and what happened in it.
fn show(sum: &Sum, elapsed: Duration) {
    let table = |head: &str, faults: bool| {
        let mut table = Table::new();
        table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
        table.set_header([head, "times"]);
        for fault in Fault::ALL.iter().filter(|_| faults) {
            let times = sum.seen.get(fault.name()).copied().unwrap_or_default();
            table.add_row([fault.name().to_owned(), times.to_string()]);
        }
        let is_fault = |what: &str| Fault::ALL.iter().any(|fault| fault.name() == what);
        for (what, times) in sum.seen.iter().filter(|(what, _)| !faults && !is_fault(what)) {
            table.add_row([(*what).to_owned(), times.to_string()]);
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    };
    println!("{}\n{}", table("fault", true), table("what was met", false));
    let hours = sum.simulated_ms as f64 / 3_600_000.0;
    let per_second = sum.seeds as f64 / elapsed.as_secs_f64().max(0.001);
    println!(
        "{} seeds in {:.1} s, {per_second:.0} a second; {hours:.1} hours of the worlds' time.",
        sum.seeds,
        elapsed.as_secs_f64()
    );
}

/// What was broken, the least of the run that still does, and how to see it again.
fn explain(seed: u64, plan: &Plan, report: &Report) -> ExitCode {
    let what = report.violation.as_deref().unwrap_or_default();
    println!("\nSeed {seed} breaks the promise: {what}");
    let least = shrink(seed, plan);
    let shrunk = run(seed, &Plan { trace: true, ..least.clone() });
    println!(
        "\nThe least of it that still does, {} steps: {}",
        least.steps,
        shrunk.violation.unwrap_or_default()
    );
    let hidden = shrunk.trace.len().saturating_sub(LINES);
    if hidden > 0 {
        println!("  … {hidden} lines");
    }
    shrunk.trace.iter().skip(hidden).for_each(|line| println!("{line}"));
    println!("\nTo see it again:\n  {}", replay(seed, &least));
    ExitCode::FAILURE
}
