//! This build beside another one, turn by turn: what a change costs.

use super::catch_up::{upsert, upsert_by, usual};
use super::figures::{CPU, Case, DATABASE_CPU, Kind, RATE};
use super::ground::Ground;
use super::replay::again;
use super::steady::{self, P50};
use super::turns::{self, Player};
use anyhow::{Result, bail};
use std::path::Path;

const THIS: &str = "tidegate";
const OTHER: &str = "tidegate, the other build";

/// The other build's program.
fn other(ground: &Ground) -> Result<&Path> {
    match &ground.options.before {
        Some(program) if program.is_file() => Ok(program),
        Some(program) => bail!("--before {}: there is no such file", program.display()),
        None => bail!("--before FILE names the program of another build"),
    }
}

pub(super) fn catch_up(ground: &Ground, case: &mut Case) -> Result<()> {
    let program = other(ground)?;
    let events = usual(ground, case)?;
    let players = vec![
        Player::new(OTHER, || upsert_by(ground, &events, program)),
        Player::new(THIS, || upsert(ground, &events, 1)),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("this build ÷ the other", (THIS, RATE), (OTHER, RATE), 0.98);
    Ok(())
}

/// Each replays what this build has written.
pub(super) fn replay(ground: &Ground, case: &mut Case) -> Result<()> {
    let program = other(ground)?;
    let events = usual(ground, case)?;
    upsert(ground, &events, 1)?;
    let players = vec![
        Player::new(OTHER, || again(ground, &events, Some(program))),
        Player::new(THIS, || again(ground, &events, None)),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("this build ÷ the other", (THIS, RATE), (OTHER, RATE), 0.98);
    Ok(())
}

pub(super) fn slow(ground: &Ground, case: &mut Case) -> Result<()> {
    at(ground, case, 200)
}

pub(super) fn fast(ground: &Ground, case: &mut Case) -> Result<()> {
    at(ground, case, 2_000)
}

/// Both at a steady rate. A ratio below one says that this build takes more.
fn at(ground: &Ground, case: &mut Case, rate: u64) -> Result<()> {
    let program = other(ground)?;
    case.data = steady::told(ground, rate)?;
    let players = vec![
        Player::new(OTHER, || steady::by_tidegate(ground, rate, Some(program))),
        Player::new(THIS, || steady::by_tidegate(ground, rate, None)),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    let mut hold = |what: &str, kind: Kind| {
        case.ratio(&format!("{what} of the other ÷ this build's"), (OTHER, kind), (THIS, kind), 0.95);
    };
    hold("p50", P50);
    hold("processor time", CPU);
    hold("PostgreSQL's processor time", DATABASE_CPU);
    Ok(())
}
