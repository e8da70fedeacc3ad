//! `lab bench`: what Tidegate reaches, against the limit and other consumers, in one run on the same servers.
//!
//! In reading order: the cases by name; the ground that a run stands on; participants and their turns (COPY,
//! Tidegate, a Python consumer); how a turn is checked; the figures, and how they are shown.

mod before;
mod cases;
mod catch_up;
mod check;
mod connect;
mod document;
mod far;
mod feed;
mod figures;
mod ground;
mod large;
mod limit;
mod lookup;
mod machine;
mod memory;
mod moments;
mod pauses;
mod product;
mod python;
mod replay;
mod retry;
mod shapes;
mod steady;
mod table;
mod turns;
mod variants;

use anyhow::{Result, bail};
use figures::{Case, Results};
use ground::Ground;
use std::path::PathBuf;
use std::time::Instant;

/// Where the results of a run are written unless `--json` says otherwise.
const RESULTS: &str = "target/bench.json";

/// Arguments of `lab bench`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Cases to run; all without.
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// Show the cases and their goals.
    #[arg(long)]
    list: bool,
    /// Records of a topic, where the case doesn't say otherwise.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    records: u64,
    /// Partitions of a topic, where the case doesn't say otherwise.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// How often each participant is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Share of records that repeat an earlier one, any of them, 0 to 0.9.
    #[arg(long, default_value_t = 0.05)]
    redelivered: f64,
    /// Rows that the large tables hold at first.
    #[arg(long, default_value_t = 20_000_000)]
    rows: u64,
    /// Tidegate's lanes, one connection each: as many as the machine has cores without.
    #[arg(long, default_value_t = cores())]
    workers: u32,
    /// Compression of the topics: none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    compression: String,
    /// PostgreSQL: any, or a major version.
    #[arg(long, default_value = "any", value_parser = lab::servers::PgVersion::NAMES)]
    postgres: String,
    /// A setting of PostgreSQL (NAME=VALUE); repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    postgres_set: Vec<String>,
    /// Another configuration line for Tidegate, as its own `--set`; repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Another build of tidegate, for the cases that hold this one against it.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Where the results are written for programs.
    #[arg(long, value_name = "FILE", default_value = RESULTS)]
    json: PathBuf,
    /// Writes machine, command and tables between the markers of this Markdown file.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// With --document: writes these results instead of measuring; repeatable: of two runs of a case, the
    /// later holds.
    #[arg(long, value_name = "RESULTS", requires = "document")]
    from: Vec<PathBuf>,
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(2, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        print!("{}", cases::list());
        return Ok(());
    }
    if let (Some(document), false) = (&options.document, options.from.is_empty()) {
        let runs = options.from.iter().map(|file| Results::read(file)).collect::<Result<Vec<_>>>()?;
        return document::write(document, &Results::join(runs, &cases::names()));
    }
    if !(0.0..=0.9).contains(&options.redelivered) {
        bail!("--redelivered is {}; it is a share from 0 to 0.9", options.redelivered);
    }
    let selected = cases::select(&options.cases)?;
    let results = measure(options, &selected)?;
    print!("\n{}", table::print(&results));
    if let Some(document) = &options.document {
        document::write(document, &results)?;
    }
    println!("\nfor programs: {}", options.json.display());
    let wrong: Vec<&str> =
        results.cases.iter().filter(|case| case.is_wrong()).map(|case| case.name.as_str()).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("wrong results or crashes in: {}", wrong.join(", "))
}

/// Runs the cases one after the other. A case that fails doesn't hide the others; results are written after
/// each.
fn measure(options: &Options, selected: &[&cases::Plan]) -> Result<Results> {
    let ground = Ground::prepare(options)?;
    let date = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let mut results = Results::new(date, command(), machine::facts(&ground)?);
    for plan in selected {
        let begin = Instant::now();
        ground.story.tell(&format!("{}: {}", plan.name, plan.about));
        let mut case = Case::new(plan.name, plan.about);
        if let Err(error) = (plan.run)(&ground, &mut case) {
            ground.story.tell(&format!("{} FAILED: {error:#}", plan.name));
            case.failure = Some(format!("{error:#}"));
        }
        case.seconds = begin.elapsed().as_secs_f64();
        results.cases.push(case);
        results.write(&options.json)?;
    }
    Ok(results)
}

/// The command that repeats this run, without what only says where results go.
fn command() -> String {
    let mut words = vec!["./dev".to_owned()];
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        if ["--json", "--document"].contains(&word.as_str()) {
            arguments.next();
        } else if !word.starts_with("--json=") && !word.starts_with("--document=") {
            words.push(word);
        }
    }
    words.join(" ")
}
