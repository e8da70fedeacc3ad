//! `lab retries`: every class of failure is forced on real servers, and a table shows what failed, what was
//! tried when, and how it ended.

mod stage;
mod told;

use self::stage::{RETRY, Seen, Stage};
use super::output::Output;
use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use std::time::Instant;

/// Arguments of `lab retries`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How the end is told on standard output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// A class of failure: what forces it, and its name while that is under way.
type Case = (&'static str, fn(&mut Stage) -> Result<Seen>);

const CASES: [Case; 8] = [
    ("transient", Stage::transient),
    ("conflict", Stage::conflict),
    ("lock", Stage::lock),
    ("resources", Stage::resources),
    ("ambiguous", Stage::ambiguous),
    ("schema", Stage::schema),
    ("bad record", Stage::bad_record),
    ("halt", Stage::halt),
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let tell = |line: &str| eprintln!("[{:5.1} s] {line}", begin.elapsed().as_secs_f64());
    let mut stage = Stage::set(&tell)?;
    let seen = force_all(&mut stage, &tell);
    if seen.is_err() {
        eprintln!("--- last lines of the worker\n{}", stage.last_words());
    }
    let seen = seen?;
    match options.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&seen)?),
        Output::Table => show(&seen),
    }
    Ok(())
}

fn force_all(stage: &mut Stage, tell: &dyn Fn(&str)) -> Result<Vec<Seen>> {
    let mut all = Vec::new();
    for (name, force) in CASES {
        tell(&format!("forcing: {name}"));
        let seen = force(stage)?;
        tell(&format!("{name}: {}", seen.ended));
        all.push(seen);
    }
    stage.prove()?;
    tell("each record took effect once, whatever was tried how often; the worker ended in order");
    Ok(all)
}

fn show(seen: &[Seen]) {
    println!("Waits are drawn between nothing and what the configuration says (full jitter):\n\n{RETRY}");
    let mut table = Table::new();
    table.load_style(presets::ASCII_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(120);
    }
    table.set_header(["class", "forced", "what failed", "tries: at s, then wait ms", "how it ended"]);
    for one in seen {
        table.add_row([one.class, one.forced, one.error.as_str(), &tries(one), one.ended.as_str()]);
    }
    println!("{table}");
}

/// The tries of a class, in a line each.
fn tries(seen: &Seen) -> String {
    const SHOWN: usize = 8;
    let line = |(at, wait): (u64, u64)| format!("{:5.2}  {wait:>5}", at as f64 / 1_000.0);
    let mut lines: Vec<String> =
        seen.tries.iter().take(SHOWN).map(|one| line((one.at_ms, one.wait_ms))).collect();
    if seen.tries.len() > SHOWN {
        lines.push(format!("and {} more", seen.tries.len() - SHOWN));
    }
    if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
}
