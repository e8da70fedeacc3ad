//! Reading everything again that is applied already: all unchanged, and no tuple of the table is written.

use super::catch_up;
use super::check::{self, TABLE, Target};
use super::figures::{BETWEEN, Case, Kind, RATE};
use super::ground::{Events, Ground, row};
use super::lookup;
use super::product::{Pipeline, Setup};
use super::turns::{self, Player};
use anyhow::{Context, Result, bail};
use lab::sql;
use std::path::Path;

const FIRST: &str = "first pass";
const REPLAY: &str = "replay, all unchanged";

const fn kind(id: &'static str, title: &'static str, decimals: u8) -> Kind {
    Kind { id, title, decimals }
}

/// The most WAL for a transaction that moves its progress only, first touches of pages after a checkpoint
/// included. Locking the rows of a batch alone would write millions.
const PROGRESS_BYTES: f64 = 65_536.0;

const WAL: Kind = kind("wal_bytes_per_transaction", "WAL bytes/transaction", 0);
const WAL_RECORD: Kind = kind("wal_bytes_per_record", "WAL bytes/record", 2);

pub(super) fn replay(ground: &Ground, case: &mut Case) -> Result<()> {
    let events = catch_up::usual(ground, case)?;
    let players = vec![
        Player::new(FIRST, || {
            let all = catch_up::upsert(ground, &events, 1)?;
            Ok(all.into_iter().filter(|(kind, _)| *kind != BETWEEN).collect())
        }),
        Player::new(REPLAY, || again(ground, &events, None)),
        Player::new("keys alone looked up by SQL, 2 connections", || lookup::keys(ground, &events)),
        Player::new("rows sent back by SQL, 2 connections", || lookup::sent_back(ground, &events)),
        Player::new("rows staged and compared by SQL, 2 connections", || lookup::compared(ground, &events)),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("replay ÷ first pass", (REPLAY, RATE), (FIRST, RATE), 1.2);
    case.note(
        "Another pipeline reads the same topic into the table that the first pass filled, after a VACUUM. That the \
         replay inserts, updates and deletes no tuple of the table is checked by PostgreSQL's own counters in every turn. \
         Those of plain SQL ask the same table the same at the least, and take nothing from Kafka.",
    );
    Ok(())
}

/// Replays what the table holds already, by this build or by another program.
pub(super) fn again(ground: &Ground, events: &Events, program: Option<&Path>) -> Result<Vec<(Kind, f64)>> {
    let url = &ground.superuser_url;
    sql::query(url, &format!("VACUUM (ANALYZE) {TABLE}"))?;
    let setup = Setup { program, ..Setup::upsert(&events.topic, TABLE) };
    let pipeline = Pipeline::prepare(ground, setup)?;
    ground.checkpoint()?;
    let before = State::now(url)?;
    let cost = pipeline.catch_up(1)?;
    let after = State::now(url)?;
    Target::keyed(events).check(&ground.url)?;
    if program.is_none() {
        check::ledger(&ground.url, &pipeline.name, events.log(), &[("inserted", 0), ("updated", 0)])?;
    }
    if before.tuples != after.tuples {
        bail!(
            "the replay wrote tuples: (inserted, updated, deleted) was {:?}, is {:?}",
            before.tuples,
            after.tuples
        );
    }
    let wal = after.wal - before.wal;
    let each = wal / (after.transactions - before.transactions).max(1.0);
    if each > PROGRESS_BYTES {
        bail!("the replay wrote {each:.0} bytes of WAL for each transaction, more than its progress takes");
    }
    let mut figures = cost.figures(events.records());
    figures.push((WAL_RECORD, wal / events.records() as f64));
    figures.push((WAL, each));
    Ok(figures)
}

/// What PostgreSQL has counted so far.
struct State {
    tuples: [String; 3],
    wal: f64,
    /// Transaction ids given: transactions that wrote.
    transactions: f64,
}

impl State {
    fn now(url: &str) -> Result<State> {
        // Backends of ended processes have reported by the time that they are gone.
        let backends = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bench-%' \
                        AND pid <> pg_backend_pid()";
        for _ in 0..200 {
            if sql::number(url, backends)? == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let found = row(
            url,
            &format!(
                "SELECT n_tup_ins, n_tup_upd, n_tup_del, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), \
                 pg_snapshot_xmax(pg_current_snapshot()) FROM pg_stat_all_tables WHERE relid = '{TABLE}'::regclass"
            ),
        )?;
        let [inserted, updated, deleted, wal, next] = <[String; 5]>::try_from(found)
            .map_err(|found| anyhow::anyhow!("PostgreSQL's counters are {found:?}"))?;
        Ok(State {
            tuples: [inserted, updated, deleted],
            wal: wal.parse().context("a position in the write-ahead log")?,
            transactions: next.parse().context("a transaction id")?,
        })
    }
}
