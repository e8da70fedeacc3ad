//! Moments other than full speed: nothing to do, the first commit, a member that dies, a database that is
//! away.

use super::catch_up::usual;
use super::check::{self, TABLE, Target};
use super::figures::{Case, Kind, PEAK};
use super::ground::{Events, Ground, postgres_options, row};
use super::product::{DEADLINE, Pipeline, Setup};
use super::turns::{self, Player};
use anyhow::{Context, Result, bail};
use lab::generator::{Generator, Plan};
use lab::oracle::Rules;
use lab::process::Running;
use lab::servers::Postgres;
use lab::sql::Watch;
use lab::topics::Topics;
use lab::{sql, vitals};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const TIDEGATE: &str = "tidegate";
const SOON: Duration = Duration::from_secs(60);

const IDLE: Kind = Kind { id: "idle_percent_of_core", title: "% of one core", decimals: 2 };
const RESIDENT: Kind = Kind { id: "resident_mib", title: "MiB resident", decimals: 0 };
const FROM_GROUP: Kind =
    Kind { id: "joined_to_commit_s", title: "group joined → first commit, s", decimals: 2 };
const FROM_START: Kind =
    Kind { id: "start_to_commit_s", title: "process start → first commit, s", decimals: 2 };
const MOVED: Kind =
    Kind { id: "killed_to_moving_s", title: "killed → all partitions move, s", decimals: 2 };
const BACK: Kind = Kind { id: "back_to_applied_s", title: "database back → all applied, s", decimals: 1 };

pub(super) fn idle(ground: &Ground, case: &mut Case) -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(30);
    let topic = ground.name("idle");
    Topics::of(ground.kafka.bootstrap()).create(&topic, ground.options.partitions, &[])?;
    case.data = format!("{} partitions, nothing to do for {WATCHED:?}.", ground.options.partitions);
    ground.fresh_table(TABLE, check::KEYED)?;
    let pipeline = Pipeline::prepare(ground, Setup::upsert(&topic, TABLE))?;
    let idle = || {
        let running = pipeline.start("run", &[])?;
        running.await_output("\"assigned\"", SOON)?;
        // What a start does besides is over by then.
        std::thread::sleep(Duration::from_secs(5));
        let cpu = || vitals::of(running.id()).map(|vitals| vitals.cpu).context("it has ended");
        let (before, begin) = (cpu()?, Instant::now());
        std::thread::sleep(WATCHED);
        let share = (cpu()? - before).as_secs_f64() / begin.elapsed().as_secs_f64();
        let resident = vitals::memory_kib(running.id()).unwrap_or_default() as f64 / 1024.0;
        running.terminate()?;
        running.wait(DEADLINE)?;
        Ok(vec![(IDLE, share * 100.0), (RESIDENT, resident)])
    };
    turns::take(ground, case, 1, vec![Player::new(TIDEGATE, idle)]);
    case.at_most("processor time while idle", (TIDEGATE, IDLE), 0.5, "% of one core");
    Ok(())
}

pub(super) fn start(ground: &Ground, case: &mut Case) -> Result<()> {
    let events = usual(ground, case)?;
    let player = Player::new(TIDEGATE, || first_commit(ground, &events));
    turns::take(ground, case, ground.options.repeats, vec![player]);
    case.at_most("group joined → first commit", (TIDEGATE, FROM_GROUP), 1.5, "s");
    case.note("By the process's own log line \"assigned\" and PostgreSQL's commit timestamps; the process is stopped then.");
    Ok(())
}

fn first_commit(ground: &Ground, events: &Events) -> Result<Vec<(Kind, f64)>> {
    ground.fresh_table(TABLE, check::KEYED)?;
    let pipeline = Pipeline::prepare(ground, Setup::upsert(&events.topic, TABLE))?;
    let watch = Watch::open(&ground.url)?;
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let running = pipeline.start("run", &[])?;
    await_progress(&running, &watch, &pipeline.name, 1)?;
    running.terminate()?;
    let ended = running.wait(DEADLINE)?;
    let query = format!("SELECT extract(epoch FROM min(pg_xact_commit_timestamp(xmin)))::text FROM {TABLE}");
    let first: f64 = sql::value(&ground.url, &query)?.parse().context("a commit's time")?;
    let line = ended.errors.lines().find(|line| line.contains("\"assigned\""));
    let line: serde_json::Value = serde_json::from_str(line.context("no line \"assigned\" was logged")?)?;
    let at: jiff::Timestamp = line["timestamp"].as_str().context("a log line has a timestamp")?.parse()?;
    let joined = at.as_nanosecond() as f64 / 1e9;
    Ok(vec![(FROM_GROUP, first - joined), (FROM_START, first - began)])
}

/// Waits until this many records are applied.
fn await_progress(running: &Running, watch: &Watch, pipeline: &str, records: i64) -> Result<()> {
    let query = format!(
        "SELECT coalesce(sum(next_offset - start_offset), 0)::bigint FROM tidegate.progress WHERE pipeline = '{pipeline}'"
    );
    running.await_condition(&format!("{records} records are applied"), DEADLINE, |_| {
        watch.number(&query).is_ok_and(|applied| applied >= records)
    })
}

const SESSION: Duration = Duration::from_secs(6);

pub(super) fn takeover(ground: &Ground, case: &mut Case) -> Result<()> {
    case.data = format!(
        "2 processes with group.instance.id, session.timeout.ms={}, 1,000 records/s into {} partitions; one is killed.",
        SESSION.as_millis(),
        ground.options.partitions
    );
    let player = Player::new(TIDEGATE, || kill_one(ground));
    turns::take(ground, case, ground.options.repeats, vec![player]);
    let bound = SESSION.as_secs_f64() + 1.0;
    case.at_most("SIGKILL → its partitions move again", (TIDEGATE, MOVED), bound, "s");
    Ok(())
}

fn kill_one(ground: &Ground) -> Result<Vec<(Kind, f64)>> {
    let topic = ground.name("takeover");
    Topics::of(ground.kafka.bootstrap()).create(&topic, ground.options.partitions, &[])?;
    ground.fresh_table(TABLE, check::KEYED)?;
    let more = format!("timeouts: {{statement: {}ms}}\n", SESSION.as_millis() / 2);
    let pipeline = Pipeline::prepare(ground, Setup { more: &more, ..Setup::upsert(&topic, TABLE) })?;
    let session = format!("kafka.session.timeout.ms={}", SESSION.as_millis());
    let member = |name: &str| {
        let instance = format!("kafka.group.instance.id={name}");
        pipeline.start("run", &["--set", &session, "--set", &instance])
    };
    let (one, other) = (member("one")?, member("other")?);
    let mut generator = Generator::new(ground.kafka.bootstrap(), &topic, &ground.generator_options())?;
    let stop = generator.stop();
    let (moved, generator) = std::thread::scope(|scope| -> Result<_> {
        let sending = scope.spawn(move || {
            let over = Some(Duration::from_secs(300));
            generator.send(&Plan { over, ..Plan::events(300_000) }).map(|()| generator)
        });
        let moved = watch_kill(ground, &pipeline.name, &one, &other);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let generator = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((moved?, generator))
    })?;
    let oracle = generator.oracle();
    let watch = Watch::open(&ground.url)?;
    await_progress(&other, &watch, &pipeline.name, oracle.committed().cast_signed())?;
    other.terminate()?;
    other.wait(DEADLINE)?;
    let rows = oracle.rows(Rules::UPSERT).len() as u64;
    let user_sum = oracle.events(Rules::UPSERT).map(|event| i128::from(event.user_id)).sum();
    Target { table: TABLE, columns: check::KEYED, rows, user_sum }.check(&ground.url)?;
    Ok(vec![(MOVED, moved.as_secs_f64())])
}

/// Kills the first process once both own partitions that move; returns when all partitions have moved on from
/// where the dead one left them.
fn watch_kill(ground: &Ground, pipeline: &str, one: &Running, other: &Running) -> Result<Duration> {
    let state = || -> Result<BTreeMap<String, (String, i64)>> {
        let query = format!(
            "SELECT partition, coalesce(owner, ''), next_offset FROM tidegate.progress WHERE pipeline = '{pipeline}'"
        );
        let rows = sql::query(&ground.url, &query)?.into_iter().map(|row| {
            let mut values = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || values.next().unwrap_or_default();
            let (partition, owner) = (next(), next());
            Ok((partition, (owner, next().parse()?)))
        });
        rows.collect()
    };
    let until = Instant::now() + SOON;
    loop {
        let now = state()?;
        let owners: std::collections::BTreeSet<&String> = now.values().map(|(owner, _)| owner).collect();
        if owners.len() == 2 && now.values().all(|(owner, next)| !owner.is_empty() && *next > 0) {
            break;
        }
        if Instant::now() > until || !one.alive() || !other.alive() {
            bail!("the two processes don't share the partitions: {now:?}\n{}", other.errors());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // Both are settled: nothing else moves partitions while the time is taken.
    std::thread::sleep(Duration::from_secs(2));
    one.kill9()?;
    let killed = Instant::now();
    let left = state()?;
    loop {
        let now = state()?;
        if now.iter().all(|(partition, (_, next))| left.get(partition).is_some_and(|(_, was)| next > was)) {
            return Ok(killed.elapsed());
        }
        if killed.elapsed() > SOON {
            bail!("a minute after the kill partitions still stand: then {left:?}, now {now:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

const AWAY: Duration = Duration::from_secs(60);
/// `limits.memory` at its default, and what the process needs besides.
const BOUND_MIB: f64 = 128.0 + 64.0;

pub(super) fn outage(ground: &Ground, case: &mut Case) -> Result<()> {
    const STOPPED: &str = "tidegate, database stopped";
    const FROZEN: &str = "tidegate, database frozen";
    let events = usual(ground, case)?;
    let postgres = Postgres::start(&postgres_options(&ground.options))?;
    let players = vec![
        Player::new(STOPPED, || {
            away(ground, &postgres, &events, Postgres::stop_immediate, Postgres::start_again)
        }),
        Player::new(FROZEN, || away(ground, &postgres, &events, Postgres::pause, Postgres::resume)),
    ];
    turns::take(ground, case, 1, players);
    for name in [STOPPED, FROZEN] {
        case.at_most(&format!("{name}: peak resident memory"), (name, PEAK), BOUND_MIB, "MiB");
    }
    case.note(format!(
        "In the middle of catching up a PostgreSQL of the case's own is ended without a checkpoint, or all its processes \
         are stopped by SIGSTOP, for {AWAY:?}; it comes back, and everything is applied once, which is checked."
    ));
    Ok(())
}

fn away(
    ground: &Ground,
    postgres: &Postgres,
    events: &Events,
    leave: fn(&Postgres) -> Result<()>,
    come_back: fn(&Postgres) -> Result<()>,
) -> Result<Vec<(Kind, f64)>> {
    let database = format!("outage_{}", ground.number());
    postgres.create_database(&database)?;
    let url = postgres.database_url(&database);
    sql::query(&url, &format!("CREATE TABLE {TABLE} {}", check::KEYED))?;
    let pipeline = Pipeline::on(ground, &url, Setup::upsert(&events.topic, TABLE))?;
    let watch = Watch::open(&url)?;
    let running = pipeline.start("run", &[])?;
    await_progress(&running, &watch, &pipeline.name, 1)?;
    leave(postgres)?;
    drop(watch);
    std::thread::sleep(AWAY);
    come_back(postgres)?;
    let back = Instant::now();
    let watch = Watch::open(&url)?;
    let applied = row(
        &url,
        &format!(
            "SELECT coalesce(sum(next_offset), 0) FROM tidegate.progress WHERE pipeline = '{}'",
            pipeline.name
        ),
    )?;
    await_progress(&running, &watch, &pipeline.name, events.records().cast_signed())?;
    let took = back.elapsed();
    let peak = running.peak_memory_kib().context("it has ended")? as f64 / 1024.0;
    running.terminate()?;
    running.wait(DEADLINE)?;
    if applied == [events.records().to_string()] {
        bail!("everything was applied before the database went away: more records are needed (--records)");
    }
    Target::keyed(events).check(&url)?;
    check::ledger(&url, &pipeline.name, events.log(), &[("inserted", events.rows)])?;
    Ok(vec![(PEAK, peak), (BACK, took.as_secs_f64())])
}
