//! Catching up with a database that is far away: a delay line between Tidegate and PostgreSQL.

use super::catch_up::{Figures, figures, usual};
use super::check::{self, TABLE, Target};
use super::figures::{BETWEEN, Case, RATE};
use super::ground::{Events, Ground};
use super::product::{Pipeline, Setup};
use super::turns::{self, Player};
use anyhow::Result;
use lab::proxy::{Link, Proxy};
use std::path::Path;
use std::time::Duration;

const NEAR: &str = "tidegate, PostgreSQL beside it";
const FAR: &str = "tidegate, 200 ms away";
const OTHER: &str = "the other build, 200 ms away";

/// From Europe to Japan and back, about.
const ROUND_TRIP: Duration = Duration::from_millis(200);

pub(super) fn far(ground: &Ground, case: &mut Case) -> Result<()> {
    let events = usual(ground, case)?;
    let proxy = Proxy::postgres(ground.postgres.address())?;
    let through = proxy.url(&ground.url);
    let away = |program: Option<&Path>| {
        proxy.link(Link { delay: ROUND_TRIP / 2, ..Link::default() });
        turn(ground, &events, &through, program)
    };
    let mut players =
        vec![Player::new(FAR, || away(None)), Player::new(NEAR, || turn(ground, &events, &ground.url, None))];
    if let Some(program) = &ground.options.before {
        players.push(Player::new(OTHER, || away(Some(program))));
    }
    turns::take(ground, case, ground.options.repeats, players);
    case.at_least("tidegate, start to exit, 200 ms away", (FAR, RATE), 5_000.0, "records/s");
    case.at_least("tidegate, first commit to last, 200 ms away", (FAR, BETWEEN), 5_000.0, "records/s");
    case.note(
        "A proxy on the same machine holds what either side sends for 100 ms, any amount of it at once: a long \
         cable, not a narrow one. To connect takes a round trip as well. There is no TLS and no password.",
    );
    Ok(())
}

fn turn(ground: &Ground, events: &Events, url: &str, program: Option<&Path>) -> Figures {
    let target = Target::keyed(events);
    ground.fresh_table(TABLE, target.columns)?;
    let setup = Setup { program, ..Setup::upsert(&events.topic, TABLE) };
    let pipeline = Pipeline::on(ground, url, setup)?;
    let cost = pipeline.catch_up(1)?;
    target.check(&ground.url)?;
    if program.is_none() {
        check::ledger(&ground.url, &pipeline.name, events.log(), &[("inserted", events.rows)])?;
    }
    figures(ground, events, TABLE, &cost)
}
