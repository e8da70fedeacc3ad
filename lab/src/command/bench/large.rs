//! Catching up into a table that is large already, beside an empty one, and what plain COPY makes of both.

use super::catch_up::{BATCH, upsert, usual};
use super::check::{self, KEYED, Target};
use super::figures::{BROKER_CPU, CPU, Case, DATABASE_CPU, Kind, PEAK, RATE};
use super::ground::{Events, Ground, Recipe, row};
use super::limit::{self, Load};
use super::product::{Pipeline, Setup};
use super::turns::{self, Player};
use anyhow::{Context, Result};
use lab::event::{FIRST_KEY_MS, Keys};
use lab::sql;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

const TABLE: &str = "public.large";
const SHOWN: [Kind; 5] = [RATE, DATABASE_CPU, BROKER_CPU, CPU, PEAK];
const EMPTY: &str = "tidegate, empty table";
const LARGE: &str = "tidegate, large table";
const COPY_EMPTY: &str = "COPY, 2 connections, empty table";
const COPY_LARGE: &str = "COPY, 2 connections, large table";
const COPY_SORTED: &str = "COPY, 2 connections, sorted batches of 50,000, large table";

/// The large table, which grows with every turn into it: events that it doesn't hold yet, and what it must
/// hold afterwards.
struct Growing<'a> {
    ground: &'a Ground,
    keys: Keys,
    /// Turns taken so far; each has a seed of its own.
    turns: Cell<u64>,
    rows: Cell<u64>,
    sum: Cell<i128>,
}

impl<'a> Growing<'a> {
    fn of(ground: &'a Ground, keys: Keys) -> Result<Growing<'a>> {
        let (rows, sum) = held(ground)?;
        Ok(Growing { ground, keys, turns: Cell::new(0), rows: Cell::new(rows), sum: Cell::new(sum) })
    }

    /// The next turn's events, which an empty table takes too.
    fn events(&self) -> Result<Arc<Events>> {
        let usual = Recipe::usual(&self.ground.options);
        self.ground.events(Recipe { keys: self.keys, seed: 100 + self.turns.get(), ..usual })
    }

    /// Loads the next turn's events and checks that the table has grown by them.
    fn grow<T>(&self, load: impl FnOnce(&Events) -> Result<T>) -> Result<T> {
        let events = self.events()?;
        self.turns.set(self.turns.get() + 1);
        self.ground.checkpoint()?;
        let loaded = load(&events)?;
        self.rows.set(self.rows.get() + events.rows);
        self.sum.set(self.sum.get() + events.user_sum);
        let target = Target { table: TABLE, columns: KEYED, rows: self.rows.get(), user_sum: self.sum.get() };
        target.check(&self.ground.url)?;
        self.ground.forget(&events)?;
        Ok(loaded)
    }

    fn copy(&self, loads: impl FnOnce(&Events) -> Vec<Load>) -> Result<Vec<(Kind, f64)>> {
        self.grow(|events| {
            let loads = loads(events);
            limit::measure(self.ground, TABLE, &loads, events.records())
        })
    }

    fn tidegate(&self) -> Result<Vec<(Kind, f64)>> {
        self.grow(|events| {
            let pipeline = Pipeline::prepare(self.ground, Setup::upsert(&events.topic, TABLE))?;
            let cost = pipeline.catch_up(1)?;
            check::ledger(&self.ground.url, &pipeline.name, events.log(), &[("inserted", events.rows)])?;
            Ok(cost.figures(events.records()))
        })
    }
}

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
    let table = Growing::of(ground, keys)?;
    let rows = table.rows.get();
    let sizes = row(
        &ground.url,
        &format!(
            "SELECT pg_size_pretty(pg_table_size('{TABLE}')), pg_size_pretty(pg_indexes_size('{TABLE}')), \
             current_setting('shared_buffers')"
        ),
    )?;
    let [heap, index, buffers] = &sizes[..] else { anyhow::bail!("sizes are {sizes:?}") };
    ground.story.tell(&format!(
        "{}: filled with {rows} rows in {:.0?}: {heap}, index {index}",
        case.name,
        begin.elapsed()
    ));
    let empty = || {
        let figures = upsert(ground, &*table.events()?, 1)?;
        Ok(figures.into_iter().filter(|(kind, _)| SHOWN.contains(kind)).collect())
    };
    let copy_empty = || {
        let events = table.events()?;
        limit::turn(ground, &Target::keyed(&events), &events.streams(2, true), events.records())
    };
    let players = vec![
        Player::new(COPY_EMPTY, copy_empty),
        Player::new(EMPTY, empty),
        Player::new(LARGE, || table.tidegate()),
        Player::new(COPY_LARGE, || table.copy(|events| events.streams(2, true))),
        Player::new(COPY_SORTED, || table.copy(|events| events.sorted_batches(2, BATCH))),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("large table ÷ empty table", (LARGE, RATE), (EMPTY, RATE), at_least);
    if let Some(share) = case.share((COPY_LARGE, RATE), (COPY_EMPTY, RATE)) {
        case.note(format!(
            "Plain COPY keeps {share:.2} × of its own rate when it loads the same rows into the large table."
        ));
    }
    case.data = format!(
        "{} JSON events of 250 bytes, {} partitions, uuid {} key, new events in each turn, into a table of {} rows \
         ({heap}, index {index}) that grows by them.",
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
