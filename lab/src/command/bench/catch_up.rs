//! Catching up with a topic: the main case and the other write modes.

use super::check::{self, TABLE, Target};
use super::connect;
use super::figures::{BETWEEN, CPU, Case, Kind, PEAK, RATE};
use super::ground::{Events, Ground, Recipe};
use super::limit;
use super::product::{Pipeline, Setup};
use super::python;
use super::turns::{self, Player};
use anyhow::Result;
use std::path::Path;

const LIMIT: &str = "COPY, 2 connections (the limit)";
const TIDEGATE: &str = "tidegate";
/// Rows of a sorted batch.
pub(super) const BATCH: usize = 50_000;

pub(super) type Figures = Result<Vec<(Kind, f64)>>;

/// Tries until processes that start together join the group together.
const TOGETHER_TRIES: usize = 10;

/// One turn of Tidegate's upsert into an empty table.
pub(super) fn upsert(ground: &Ground, events: &Events, processes: u32) -> Figures {
    for _ in 0..TOGETHER_TRIES {
        let (figures, rebalanced) = try_upsert(ground, events, processes, None, "")?;
        if !rebalanced {
            return Ok(figures);
        }
        ground.story.tell("the processes joined one after the other; the turn is repeated");
    }
    anyhow::bail!("{processes} processes didn't join the group together in {TOGETHER_TRIES} tries")
}

/// The same by one process of another program.
pub(super) fn upsert_by(ground: &Ground, events: &Events, program: &Path) -> Figures {
    Ok(try_upsert(ground, events, 1, Some(program), "")?.0)
}

/// The same by one process with further lines of the route, indented by four.
pub(super) fn upsert_with(ground: &Ground, events: &Events, route: &str) -> Figures {
    Ok(try_upsert(ground, events, 1, None, route)?.0)
}

fn try_upsert(
    ground: &Ground,
    events: &Events,
    processes: u32,
    program: Option<&Path>,
    route: &str,
) -> Result<(Vec<(Kind, f64)>, bool)> {
    let target = Target::keyed(events);
    ground.fresh_table(TABLE, target.columns)?;
    let setup = Setup { program, route, ..Setup::upsert(&events.topic, TABLE) };
    let pipeline = Pipeline::prepare(ground, setup)?;
    let cost = pipeline.catch_up(processes)?;
    target.check(&ground.url)?;
    if program.is_none() {
        check::ledger(&ground.url, &pipeline.name, events.log(), &[("inserted", events.rows)])?;
    }
    Ok((figures(ground, events, TABLE, &cost)?, cost.rebalanced))
}

pub(super) fn figures(ground: &Ground, events: &Events, table: &str, cost: &super::product::Cost) -> Figures {
    let mut figures = cost.figures(events.records());
    if let Some(rate) = check::between_commits(&ground.url, table, events.records())? {
        figures.insert(1, (BETWEEN, rate));
    }
    Ok(figures)
}

/// The first turns on fresh servers are slower: files are new, and the broker compiles its code while it
/// serves the first million records and half of the second. They are not counted.
pub(super) fn warm_up(ground: &Ground, events: &Events) -> Result<()> {
    if !ground.is_cold() {
        return Ok(());
    }
    ground.story.tell("warming up: one COPY and two catch-ups that aren't counted");
    limit::turn(ground, &Target::keyed(events), &events.streams(2, true), events.records())?;
    upsert(ground, events, 1)?;
    upsert(ground, events, 1).map(drop)
}

/// The usual topic, on servers that are warm.
pub(super) fn usual(ground: &Ground, case: &mut Case) -> Result<std::sync::Arc<Events>> {
    let events = ground.events(Recipe::usual(&ground.options))?;
    case.data = events.told();
    warm_up(ground, &events)?;
    Ok(events)
}

pub(super) fn catch_up(ground: &Ground, case: &mut Case) -> Result<()> {
    let events = usual(ground, case)?;
    let (two, one) = (events.streams(2, true), events.streams(1, true));
    let sorted = events.sorted_batches(2, BATCH);
    let target = Target::keyed(&events);
    let records = events.records();
    let mut players = vec![
        Player::new(LIMIT, || limit::turn(ground, &target, &two, records)),
        Player::new(TIDEGATE, || upsert(ground, &events, 1)),
        Player::new("COPY, 1 connection", || limit::turn(ground, &target, &one, records)),
        Player::new("COPY, 2 connections, sorted batches of 50,000", || {
            limit::turn(ground, &target, &sorted, records)
        }),
    ];
    python::players(ground, &events, &mut players);
    players.push(connect::player(ground, &events, 2));
    turns::take(ground, case, ground.options.repeats, players);
    let (rate, limit) = ((TIDEGATE, RATE), (LIMIT, RATE));
    case.ratio("tidegate, start to exit ÷ the limit", rate, limit, 0.70).stretch = Some(0.80);
    case.ratio("tidegate, first commit to last ÷ the limit", (TIDEGATE, BETWEEN), limit, 0.70).stretch =
        Some(0.80);
    case.ratio("tidegate ÷ Python consumer, 2 processes", rate, (python::TWO, RATE), 2.2);
    case.ratio(
        "tidegate, start to exit ÷ Connect, first commit to last",
        rate,
        (connect::NAME, BETWEEN),
        4.0,
    );
    case.ratio("tidegate, start to exit ÷ Connect, start to last commit", rate, (connect::NAME, RATE), 4.0);
    case.note(connect::NOTE);
    case.at_most("processor time of tidegate per record", (TIDEGATE, CPU), 2.2, "µs");
    case.at_most("peak resident memory of tidegate", (TIDEGATE, PEAK), 120.0, "MiB");
    Ok(())
}

pub(super) fn insert(ground: &Ground, case: &mut Case) -> Result<()> {
    let events = usual(ground, case)?;
    let two = events.streams(2, true);
    let target = Target::keyed(&events);
    let insert = || {
        ground.fresh_table(TABLE, target.columns)?;
        let setup = Setup { write: "insert", ..Setup::upsert(&events.topic, TABLE) };
        let pipeline = Pipeline::prepare(ground, setup)?;
        let cost = pipeline.catch_up(1)?;
        target.check(&ground.url)?;
        check::ledger(&ground.url, &pipeline.name, events.log(), &[("inserted", events.rows)])?;
        figures(ground, &events, TABLE, &cost)
    };
    let players = vec![
        Player::new(LIMIT, || limit::turn(ground, &target, &two, events.records())),
        Player::new("tidegate, write: upsert", || upsert(ground, &events, 1)),
        Player::new("tidegate, write: insert", insert),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    let insert = ("tidegate, write: insert", RATE);
    case.ratio("write: insert ÷ write: upsert", insert, ("tidegate, write: upsert", RATE), 1.0);
    case.ratio("write: insert ÷ the limit", insert, (LIMIT, RATE), 0.70);
    Ok(())
}

pub(super) fn append(ground: &Ground, case: &mut Case) -> Result<()> {
    const OWN: &str = "COPY of all records without a key, 2 connections";
    const APPEND: &str = "tidegate, write: append";
    let events = usual(ground, case)?;
    let (two, all) = (events.streams(2, true), events.streams(2, false));
    let (keyed, unkeyed) = (Target::keyed(&events), Target::unkeyed(&events));
    let append = || {
        ground.fresh_table(unkeyed.table, unkeyed.columns)?;
        let setup = Setup { write: "append", key: None, ..Setup::upsert(&events.topic, unkeyed.table) };
        let pipeline = Pipeline::prepare(ground, setup)?;
        let cost = pipeline.catch_up(1)?;
        unkeyed.check(&ground.url)?;
        check::ledger(&ground.url, &pipeline.name, events.log(), &[("inserted", unkeyed.rows)])?;
        figures(ground, &events, unkeyed.table, &cost)
    };
    let players = vec![
        Player::new(LIMIT, || limit::turn(ground, &keyed, &two, events.records())),
        Player::new(OWN, || limit::turn(ground, &unkeyed, &all, events.records())),
        Player::new(APPEND, append),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("write: append, start to exit ÷ the limit", (APPEND, RATE), (LIMIT, RATE), 0.80);
    case.ratio("write: append, first commit to last ÷ the limit", (APPEND, BETWEEN), (LIMIT, RATE), 0.80);
    case.note(
        "The table of the appends has no key and so no index, and takes every record as a row, redelivered ones \
         too; the limit is that of the other write modes, the distinct rows under their primary key.",
    );
    Ok(())
}
