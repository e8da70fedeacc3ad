//! Trying records of the quarantine again, beside catching up with the same records.

use super::catch_up;
use super::check::{TABLE, Target};
use super::figures::{BETWEEN, Case, Kind, PEAK, RATE};
use super::ground::{Events, Ground};
use super::product::{DEADLINE, Pipeline, Setup, until_exit};
use super::turns::{self, Player};
use anyhow::{Result, bail};
use lab::sql;
use std::time::Instant;

const CATCH_UP: &str = "catch-up";
const RETRY: &str = "quarantine retry --all";

/// The bound on memory, whatever the quarantine holds.
const BOUND_MIB: f64 = 200.0;

pub(super) fn retry(ground: &Ground, case: &mut Case) -> Result<()> {
    let events = catch_up::usual(ground, case)?;
    let players = vec![
        Player::new(CATCH_UP, || {
            let all = catch_up::upsert(ground, &events, 1)?;
            Ok(all.into_iter().filter(|(kind, _)| *kind != BETWEEN).collect())
        }),
        Player::new(RETRY, || again(ground, &events)),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("quarantine retry ÷ catch-up", (RETRY, RATE), (CATCH_UP, RATE), 0.5);
    case.at_most("peak resident memory of the retry", (RETRY, PEAK), BOUND_MIB, "MiB");
    case.note(
        "The table takes no record at first, since a column has another type: all go to the quarantine. Then the column is \
         altered, and one command tries all of them again, into an empty table.",
    );
    Ok(())
}

fn again(ground: &Ground, events: &Events) -> Result<Vec<(Kind, f64)>> {
    let target = Target::keyed(events);
    ground.fresh_table(TABLE, &target.columns.replace("active boolean", "active integer"))?;
    let more = "bad_records: {halt_above: 1}\n";
    let pipeline = Pipeline::prepare(ground, Setup { more, ..Setup::upsert(&events.topic, TABLE) })?;
    pipeline.catch_up(1)?;
    let open = format!(
        "SELECT count(*) FROM tidegate.quarantine WHERE pipeline = '{}' AND resolved_at IS NULL",
        pipeline.name
    );
    let kept = sql::number(&ground.url, &open)?;
    if kept.unsigned_abs() != events.records() {
        bail!("{kept} of {} records are in the quarantine", events.records());
    }
    sql::query(
        &ground.url,
        &format!("ALTER TABLE {TABLE} ALTER COLUMN active TYPE boolean USING active <> 0"),
    )?;
    sql::query(&ground.superuser_url, "VACUUM (ANALYZE) tidegate.quarantine")?;
    ground.checkpoint()?;
    let begin = Instant::now();
    let running = pipeline.start("quarantine retry", &["--all", "--reason", "bench"])?;
    let cost = until_exit(begin, &[running.id()])?;
    let ended = running.wait(DEADLINE)?;
    if ended.code != Some(0) || sql::number(&ground.url, &open)? != 0 {
        bail!("tidegate quarantine retry ended with {:?}:\n{}{}", ended.code, ended.output, ended.errors);
    }
    target.check(&ground.url)?;
    sql::query(
        &ground.url,
        &format!("DELETE FROM tidegate.quarantine WHERE pipeline = '{}'", pipeline.name),
    )?;
    sql::query(&ground.superuser_url, "VACUUM tidegate.quarantine")?;
    Ok(cost.figures(events.records()))
}
