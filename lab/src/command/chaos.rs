//! `lab chaos`: chaos from a seed, and a table of what came of it.

use super::output::Output;
use super::servers::await_interrupt;
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use lab::chaos::{self, Kind, Report};
use lab::process::Tidegate;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Arguments of `lab chaos`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ./dev chaos --minutes 10 --seed 7\n  \
    ./dev chaos --minutes 2 --only kill,freeze,postgres\n\nExit codes: 0 holds, 1 doesn't, 130 ended by Ctrl-C \
    (what happened until then is proved all the same).")]
pub(crate) struct Options {
    /// How long things happen, in minutes.
    #[arg(long, default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// Of which schedule and records are functions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Records a second.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(4..=100_000))]
    rate: u64,
    /// Only these kinds, by their words in the table.
    #[arg(long, value_delimiter = ',', value_parser = kind)]
    only: Vec<Kind>,
    /// Where the folder goes that is kept of a run that fails.
    #[arg(long, default_value = "target/chaos")]
    keep: PathBuf,
    /// How the end is told on standard output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::named(name).ok_or_else(|| {
        let all: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("it is one of {}", all.join(", "))
    })
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if !(0.25..=10_000.0).contains(&minutes) {
        return Err("it is 0.25 to 10000".to_owned());
    }
    Ok(minutes)
}

pub(crate) fn run(options: &Options) -> ExitCode {
    static STOP: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        // A process that can't hear of signals is ended by them, and the keeper cleans up.
        while await_interrupt().is_ok() {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            eprintln!("lab: ending in order, with the proof; once more ends at once");
        }
    });
    let kinds = if options.only.is_empty() { Kind::ALL.to_vec() } else { options.only.clone() };
    let played = Tidegate::find().and_then(|binary| {
        let options = chaos::Options {
            seed: options.seed,
            over: Duration::from_secs_f64(options.minutes * 60.0),
            rate: options.rate,
            kinds,
            keep: options.keep.clone(),
        };
        chaos::play(&options, &binary, &STOP, &|line| eprintln!("{line}"))
    });
    match played {
        Ok(report) => {
            match options.output {
                Output::Table => show(&report),
                Output::Json => {
                    println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
                }
            }
            if report.interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("lab: {error:#}");
            eprintln!("lab: the same again: {}", command(options));
            ExitCode::FAILURE
        }
    }
}

/// What to type to have this run again.
fn command(options: &Options) -> String {
    let Options { minutes, seed, rate, only, .. } = options;
    let mut command = format!("./dev chaos --minutes {minutes} --seed {seed} --rate {rate}");
    if !only.is_empty() {
        let names: Vec<&str> = only.iter().map(|kind| kind.name()).collect();
        command.push_str(&format!(" --only {}", names.join(",")));
    }
    command
}

fn show(report: &Report) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header(["what", "times", "worst recovery"]);
    for kind in &report.kinds {
        let worst = kind.worst_recovery_ms.map(|worst| format!("{:.1} s", worst as f64 / 1_000.0));
        table.add_row([kind.kind.to_owned(), kind.times.to_string(), worst.unwrap_or_default()]);
    }
    for left in &report.left_out {
        table.add_row([left.kind, "0", "left out"]);
    }
    let figures = [
        ("records", report.records),
        ("rows", report.rows),
        ("duplicates, replays included", report.duplicates),
        ("quarantined, replays included", report.quarantined),
        ("of those written later", report.retried),
        ("questions about the accounting", report.accounting_checks),
        ("calls of tidegate verify", report.verified),
        ("lost", report.lost.unsigned_abs()),
        ("doubled", report.doubled.unsigned_abs()),
    ];
    for (name, value) in figures {
        table.add_row([name.to_owned(), value.to_string(), String::new()]);
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    for left in &report.left_out {
        println!("left out: {}: {}", left.kind, left.reason);
    }
    let halts = if report.halts_met.is_empty() { "none" } else { &report.halts_met.join(", ") };
    println!("halts met meanwhile, all over: {halts}; workers that ended by themselves: 0");
    let held = if report.interrupted { "Until it was ended, seed" } else { "Seed" };
    println!("{held} {} holds: each record took effect once.", report.seed);
}
