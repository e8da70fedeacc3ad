//! Catching up into a table that is large already, beside an empty one.

use super::catch_up::{upsert, usual};
use super::check::{self, KEYED, Target};
use super::figures::{CPU, Case, Kind, PEAK, RATE};
use super::ground::{Ground, Recipe, row};
use super::product::{Pipeline, Setup};
use super::turns::{self, Player};
use anyhow::{Context, Result};
use lab::event::{FIRST_KEY_MS, Keys};
use lab::sql;
use std::cell::Cell;
use std::time::Instant;

const TABLE: &str = "public.large";
const EMPTY: &str = "tidegate, empty table";
const LARGE: &str = "tidegate, large table";

pub(super) fn random_keys(ground: &Ground, case: &mut Case) -> Result<()> {
    into_large(ground, case, Keys::Random, 0.8)
}

pub(super) fn ordered_keys(ground: &Ground, case: &mut Case) -> Result<()> {
    into_large(ground, case, Keys::Ordered, 0.95)
}

fn into_large(ground: &Ground, case: &mut Case, keys: Keys, at_least: f64) -> Result<()> {
    // For warm servers.
    usual(ground, case)?;
    let begin = Instant::now();
    fill(ground, keys)?;
    let (rows, sum) = held(ground)?;
    let sizes = row(
        &ground.url,
        &format!(
            "SELECT pg_size_pretty(pg_table_size('{TABLE}')), pg_size_pretty(pg_indexes_size('{TABLE}')), \
             current_setting('shared_buffers')"
        ),
    )?;
    let [table, index, buffers] = &sizes[..] else { anyhow::bail!("sizes are {sizes:?}") };
    ground.story.tell(&format!(
        "{}: filled with {rows} rows in {:.0?}: {table}, index {index}",
        case.name,
        begin.elapsed()
    ));
    let held = Cell::new((rows, sum));
    let turn = Cell::new(0);
    let recipe = || Recipe { keys, seed: 100 + turn.get(), ..Recipe::usual(&ground.options) };
    let empty = || {
        let events = ground.events(recipe())?;
        let figures = upsert(ground, &events, 1)?;
        Ok(figures.into_iter().filter(|(kind, _)| [RATE, CPU, PEAK].contains(kind)).collect())
    };
    let large = || -> Result<Vec<(Kind, f64)>> {
        let events = ground.events(recipe())?;
        turn.set(turn.get() + 1);
        ground.checkpoint()?;
        let pipeline = Pipeline::prepare(ground, Setup::upsert(&events.topic, TABLE))?;
        let cost = pipeline.catch_up(1)?;
        let (rows, sum) = held.get();
        held.set((rows + events.rows, sum + events.user_sum));
        let (rows, user_sum) = held.get();
        Target { table: TABLE, columns: KEYED, rows, user_sum }.check(&ground.url)?;
        check::ledger(&ground.url, &pipeline.name, events.log(), &[("inserted", events.rows)])?;
        ground.forget(&events)?;
        Ok(cost.figures(events.records()))
    };
    let players = vec![Player::new(EMPTY, empty), Player::new(LARGE, large)];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("large table ÷ empty table", (LARGE, RATE), (EMPTY, RATE), at_least);
    case.data = format!(
        "{} JSON events of 250 bytes, {} partitions, uuid {} key, new events in each turn, into a table of {} rows \
         ({table}, index {index}) that grows by them.",
        super::table::number(ground.options.records as f64, 0),
        ground.options.partitions,
        if keys == Keys::Random { "v4" } else { "v7" },
        super::table::number(rows as f64, 0),
    );
    case.note(format!(
        "shared_buffers is {buffers}: what doesn't fit lies in the kernel's page cache, if there."
    ));
    sql::query(&ground.url, &format!("DROP TABLE {TABLE}")).map(drop)
}

fn held(ground: &Ground) -> Result<(u64, i128)> {
    let found = row(&ground.url, &format!("SELECT count(*), coalesce(sum(user_id), 0) FROM {TABLE}"))?;
    let [rows, sum] = &found[..] else { anyhow::bail!("the table's sums are {found:?}") };
    Ok((rows.parse().context("a count")?, sum.parse().context("a sum")?))
}

/// Rows like those of events, made by the server, half on each of two connections; the key last, at once.
fn fill(ground: &Ground, keys: Keys) -> Result<()> {
    let columns = check::UNKEYED;
    sql::query(&ground.url, &format!("DROP TABLE IF EXISTS {TABLE}; CREATE TABLE {TABLE} {columns}"))?;
    let rows = ground.options.rows;
    let key = match keys {
        Keys::Random => "gen_random_uuid()".to_owned(),
        Keys::Ordered => format!(
            "(lpad(to_hex({} + i), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' || \
             substr(md5(i::text), 4, 15))::uuid",
            FIRST_KEY_MS.saturating_sub(rows)
        ),
    };
    let half = |from: u64, to: u64| {
        format!(
            "INSERT INTO {TABLE} SELECT {key}, i * 7919, 'view', (i % 10000000) / 100.0, \
             timestamptz '2025-12-01' + i * interval '1 millisecond', true, \
             ('{{\"session\":\"' || substr(md5(i::text), 1, 16) || '\",\"revision\":0,\"path\":\"/p/' || i % 65536 || \
             '\",\"tags\":[\"a\",\"b\"]}}')::jsonb FROM generate_series({from}::bigint, {to}::bigint) i"
        )
    };
    let halves = [half(1, rows / 2), half(rows / 2 + 1, rows)];
    std::thread::scope(|scope| {
        let fills: Vec<_> = halves.iter().map(|half| scope.spawn(|| sql::query(&ground.url, half))).collect();
        fills.into_iter().try_for_each(|fill| {
            fill.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(drop)
        })
    })?;
    sql::query(
        &ground.superuser_url,
        &format!("SET maintenance_work_mem = '1GB'; ALTER TABLE {TABLE} ADD PRIMARY KEY (event_id)"),
    )?;
    // VACUUM runs outside of any transaction, so it is a statement of its own.
    sql::query(&ground.superuser_url, &format!("VACUUM (ANALYZE) {TABLE}"))?;
    ground.checkpoint()
}
