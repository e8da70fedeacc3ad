//! How long it takes from a decision of people until it is obeyed, under a steady load.

use super::check::{self, TABLE};
use super::figures::{Case, Kind};
use super::ground::Ground;
use super::product::{DEADLINE, Pipeline, Setup};
use super::turns::{self, Player};
use anyhow::{Context, Result, ensure};
use lab::generator::{Generator, Plan};
use lab::process::Running;
use lab::sql;
use lab::topics::Topics;
use std::time::Duration;

const TIDEGATE: &str = "tidegate";
const RATE: u64 = 1_000;
const LOAD: Duration = Duration::from_secs(20);
/// Between the decisions: twice as long as a pause may take, so that its last commit is the last.
const STILL: Duration = Duration::from_secs(5);

const PAUSED: Kind = Kind { id: "paused_to_last_commit_s", title: "pause → last commit, s", decimals: 2 };
const RESUMED: Kind =
    Kind { id: "resumed_to_first_commit_s", title: "resume → first commit, s", decimals: 2 };

pub(super) fn pause(ground: &Ground, case: &mut Case) -> Result<()> {
    case.data = format!(
        "{RATE} records/s for {LOAD:?} into {} partitions; all of it is paused, and resumed {STILL:?} later.",
        ground.options.partitions
    );
    turns::take(ground, case, ground.options.repeats, vec![Player::new(TIDEGATE, || decide(ground))]);
    case.at_most("pause → nothing in flight", (TIDEGATE, PAUSED), 2.0, "s");
    case.at_most("resume → first commit", (TIDEGATE, RESUMED), 2.0, "s");
    case.note("By PostgreSQL's clock: from decisions.made_at to the commit timestamps of rows.");
    Ok(())
}

fn decide(ground: &Ground) -> Result<Vec<(Kind, f64)>> {
    let topic = ground.name("pause");
    Topics::of(ground.kafka.bootstrap()).create(&topic, ground.options.partitions, &[])?;
    ground.fresh_table(TABLE, check::KEYED)?;
    let pipeline = Pipeline::prepare(ground, Setup::upsert(&topic, TABLE))?;
    let running = pipeline.start("run", &[])?;
    let mut generator = Generator::new(ground.kafka.bootstrap(), &topic, &ground.generator_options())?;
    let figures = std::thread::scope(|scope| {
        let sending = scope
            .spawn(move || generator.send(&Plan { over: Some(LOAD), ..Plan::events(RATE * LOAD.as_secs()) }));
        let figures = paused_and_resumed(ground, &pipeline, &running);
        sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        figures
    })?;
    running.terminate()?;
    running.wait(DEADLINE)?;
    Ok(figures)
}

fn paused_and_resumed(ground: &Ground, pipeline: &Pipeline, running: &Running) -> Result<Vec<(Kind, f64)>> {
    let seconds = |query: &str| -> Result<f64> {
        let value = sql::value(&ground.url, &format!("SELECT extract(epoch FROM ({query}))::text"))?;
        value.parse().with_context(|| format!("a time of {query}"))
    };
    let rows = format!("SELECT count(*) FROM {TABLE}");
    running.await_condition("records flow", DEADLINE, |_| {
        sql::number(&ground.url, &rows).is_ok_and(|rows| rows > RATE.cast_signed())
    })?;
    let made = |action: &str| {
        format!(
            "SELECT max(made_at) FROM tidegate.decisions WHERE pipeline = '{}' AND action = '{action}'",
            pipeline.name
        )
    };
    said(pipeline, "pause")?;
    std::thread::sleep(STILL);
    let last = seconds(&format!("SELECT max(pg_xact_commit_timestamp(xmin)) FROM {TABLE}"))?;
    let paused = last - seconds(&made("pause"))?;
    said(pipeline, "resume")?;
    let behind = format!(
        "SELECT min(pg_xact_commit_timestamp(xmin)) FROM {TABLE} WHERE pg_xact_commit_timestamp(xmin) > ({})",
        made("resume")
    );
    running.await_condition("records flow again", DEADLINE, |_| seconds(&behind).is_ok())?;
    let resumed = seconds(&behind)? - seconds(&made("resume"))?;
    // Before the decision came to the process is no time at all.
    Ok(vec![(PAUSED, paused.max(0.0)), (RESUMED, resumed)])
}

/// Makes a decision about the pipeline.
fn said(pipeline: &Pipeline, command: &str) -> Result<()> {
    let ended = pipeline.start(command, &["--reason", "measured"])?.wait(DEADLINE)?;
    ensure!(ended.code == Some(0), "tidegate {command} ended with {:?}: {}", ended.code, ended.errors);
    Ok(())
}
