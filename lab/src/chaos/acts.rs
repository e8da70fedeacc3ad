//! How each kind is done, and undone.

use super::schedule::{Happening, Kind};
use super::stage::{CONSTANT, EVENTS, EVENTS_PARTITIONS, SOON, Stage, WORKERS};
use super::watch::Watch;
use crate::checker;
use crate::generator::{Generator, Plan};
use crate::process::{Ended, Running};
use crate::proxy::{CommitAction, CommitFault, Link};
use crate::servers::Postgres;
use crate::sql;
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

const BURST: u64 = 300;
/// How long is tried to do what others stand in the way of: a lock of a worker that is frozen, for example.
const PATIENCE: Duration = Duration::from_secs(90);

/// Does what the schedule says.
pub(super) struct Actor<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) watch: &'a Watch,
    pub(super) tell: &'a dyn Fn(&str),
    /// Sends records that don't fit.
    pub(super) misfits: Generator,
    /// COMMITs that met their fault before the one that is armed.
    fired: [u64; WORKERS],
    kafka_is_away: bool,
    /// What was over while nobody could ask Kafka for the ends.
    unmarked: Vec<(Kind, Instant)>,
    columns: u32,
    is_indexed: bool,
    width: u32,
}

impl<'a> Actor<'a> {
    pub(super) fn new(
        stage: &'a mut Stage,
        watch: &'a Watch,
        tell: &'a dyn Fn(&str),
        misfits: Generator,
    ) -> Actor<'a> {
        Actor {
            stage,
            watch,
            tell,
            misfits,
            fired: [0; WORKERS],
            kafka_is_away: false,
            unmarked: Vec::new(),
            columns: 0,
            is_indexed: false,
            width: 16,
        }
    }

    /// A kind is over: its recovery begins.
    pub(super) fn is_over(&mut self, kind: Kind) -> Result<()> {
        self.unmarked.push((kind, Instant::now()));
        if self.kafka_is_away {
            return Ok(());
        }
        let ends = self.stage.ends()?;
        for (kind, since) in self.unmarked.drain(..) {
            self.watch.over_since(kind, since, ends.clone());
        }
        Ok(())
    }

    /// Begins it; where it doesn't last, it is over when this returns.
    pub(super) fn begin(&mut self, what: &Happening) -> Result<()> {
        let Happening { kind, worker, draw, .. } = *what;
        let name = self.stage.workers[worker].name.clone();
        let lasts = (what.end - what.begin).as_secs_f64();
        match kind {
            Kind::Kill => {
                (self.tell)(&format!("SIGKILL to {name}"));
                let running = self.stage.workers[worker].running.take();
                running.context("a worker is killed while it runs")?.kill9()
            }
            Kind::Freeze => {
                (self.tell)(&format!("SIGSTOP to {name} for {lasts:.0} s"));
                self.running(worker)?.freeze()
            }
            Kind::Silence => {
                (self.tell)(&format!("nothing passes between {name} and PostgreSQL for {lasts:.0} s"));
                self.stage.workers[worker].proxy.link(Link { blackhole: true, ..Link::default() });
                Ok(())
            }
            Kind::AnswerLost => self.arm(worker, CommitAction::ForwardThenDrop, draw),
            Kind::RequestLost => self.arm(worker, CommitAction::SwallowThenReset, draw),
            Kind::Terminate => self.terminate(),
            Kind::Postgres => self.end_postgres(draw),
            Kind::Kafka => self.end_kafka(draw),
            Kind::DiskFull => {
                (self.tell)(&format!("the disk under the tables and the ledger is full for {lasts:.0} s"));
                self.stage.disk.as_ref().context("there is a disk")?.fill()
            }
            Kind::Join => {
                (self.tell)(&format!("one more worker joins for {lasts:.0} s"));
                self.stage.workers[WORKERS].start()
            }
            Kind::AddColumn => self.add_column(),
            Kind::Index => self.index(draw),
            Kind::Widen => self.widen(),
            Kind::Refuse => self.ddl(&format!(
                "ALTER TABLE {EVENTS} ADD CONSTRAINT refused CHECK (user_id % {CONSTANT} <> 0) NOT VALID"
            )),
            Kind::BadRecords => {
                (self.tell)(&format!("{BURST} records that don't fit"));
                self.misfits.send(&Plan { poison: 1.0, ..Plan::events(BURST) })
            }
            Kind::Pause => self.pause(draw),
            Kind::Retry => self.retry(),
            Kind::Replay => self.replay(draw),
        }
    }

    /// Undoes what lasts.
    pub(super) fn end(&mut self, what: &Happening) -> Result<()> {
        let Happening { kind, worker, draw, .. } = *what;
        let name = self.stage.workers[worker].name.clone();
        match kind {
            Kind::Kill => {
                (self.tell)(&format!("{name} is started again"));
                self.stage.workers[worker].start()
            }
            Kind::Freeze => {
                (self.tell)(&format!("SIGCONT to {name}"));
                self.running(worker)?.wake()
            }
            Kind::Silence => {
                self.stage.workers[worker].proxy.link(Link::default());
                Ok(())
            }
            Kind::AnswerLost | Kind::RequestLost => {
                let proxy = &self.stage.workers[worker].proxy;
                proxy.disarm();
                let struck = proxy.counters().fired - self.fired[worker];
                (self.tell)(&format!("{struck} COMMITs of {name} met their fault"));
                Ok(())
            }
            Kind::Postgres => {
                self.stage.postgres.start_again()?;
                (self.tell)("PostgreSQL is back");
                Ok(())
            }
            Kind::Kafka => {
                self.stage.kafka.start_again()?;
                self.kafka_is_away = false;
                (self.tell)("Kafka is back");
                Ok(())
            }
            Kind::DiskFull => {
                (self.tell)("the disk has room again");
                self.stage.disk.as_ref().context("there is a disk")?.free()
            }
            Kind::Join => {
                (self.tell)("SIGTERM to the worker that joined");
                self.stage.workers[WORKERS].drain()
            }
            Kind::Refuse => self.ddl(&format!("ALTER TABLE {EVENTS} DROP CONSTRAINT refused")),
            Kind::Pause => self.resume(draw),
            Kind::Terminate
            | Kind::AddColumn
            | Kind::Index
            | Kind::Widen
            | Kind::BadRecords
            | Kind::Retry
            | Kind::Replay => Ok(()),
        }
    }

    fn running(&self, worker: usize) -> Result<&Running> {
        self.stage.workers[worker].running.as_ref().context("the worker runs")
    }

    fn arm(&mut self, worker: usize, action: CommitAction, draw: u64) -> Result<()> {
        let Stage { workers, .. } = &*self.stage;
        let (skip, times) = (draw % 3, 1 + draw / 3 % 3);
        let what = if action == CommitAction::ForwardThenDrop { "the answers to" } else { "the requests of" };
        (self.tell)(&format!("{what} {times} COMMITs of {} are lost", workers[worker].name));
        self.fired[worker] = workers[worker].proxy.counters().fired;
        workers[worker].proxy.arm(CommitFault::new(action).after(skip).times(times));
        Ok(())
    }

    fn terminate(&self) -> Result<()> {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
                   AND application_name LIKE 'tidegate/%' AND datname = current_database()";
        let ended = self.patiently("ending sessions", || sql::number(&self.stage.superuser_url, sql))?;
        (self.tell)(&format!("{ended} sessions are terminated"));
        Ok(())
    }

    fn end_postgres(&self, draw: u64) -> Result<()> {
        let (how, end): (_, fn(&Postgres) -> Result<()>) = match draw % 3 {
            0 => ("stopped", Postgres::stop),
            1 => ("stopped without a checkpoint", Postgres::stop_immediate),
            _ => ("killed", Postgres::kill9),
        };
        (self.tell)(&format!("PostgreSQL is {how}"));
        end(&self.stage.postgres)
    }

    fn end_kafka(&mut self, draw: u64) -> Result<()> {
        self.kafka_is_away = true;
        if draw.is_multiple_of(2) {
            (self.tell)("Kafka is stopped");
            self.stage.kafka.stop()
        } else {
            (self.tell)("Kafka is killed");
            self.stage.kafka.kill9()
        }
    }

    fn add_column(&mut self) -> Result<()> {
        self.columns += 1;
        self.ddl(&format!("ALTER TABLE {EVENTS} ADD COLUMN extra_{} smallint DEFAULT 7", self.columns))
    }

    fn index(&mut self, draw: u64) -> Result<()> {
        let concurrently = if draw.is_multiple_of(2) { "CONCURRENTLY " } else { "" };
        self.is_indexed = !self.is_indexed;
        // One that failed half-way leaves an index that isn't valid.
        let sql = if self.is_indexed {
            format!("CREATE INDEX {concurrently}IF NOT EXISTS by_time ON {EVENTS} (created_at)")
        } else {
            format!("DROP INDEX {concurrently}IF EXISTS by_time")
        };
        self.ddl(&sql)
    }

    /// The newest column that was added gets the next wider type, which writes the table anew; without one, a
    /// text gets a higher limit, which doesn't.
    fn widen(&mut self) -> Result<()> {
        self.width += 8;
        if self.columns == 0 || self.width.is_multiple_of(16) {
            return self.ddl(&format!("ALTER TABLE {EVENTS} ALTER COLUMN kind TYPE varchar({})", self.width));
        }
        let column = format!("extra_{}", self.columns);
        let type_ = format!(
            "SELECT format_type(atttypid, NULL) FROM pg_attribute \
             WHERE attrelid = '{EVENTS}'::regclass AND attname = '{column}'"
        );
        let wider = match sql::value(&self.stage.url, &type_)?.as_str() {
            "smallint" => "integer",
            "integer" => "bigint",
            _ => "numeric",
        };
        self.ddl(&format!("ALTER TABLE {EVENTS} ALTER COLUMN {column} TYPE {wider}"))
    }

    fn ddl(&self, sql: &str) -> Result<()> {
        (self.tell)(sql);
        if sql.contains("CONCURRENTLY") {
            return self.patiently(sql, || sql::query(&self.stage.url, sql).map(drop));
        }
        // Nobody's statements are to wait behind this one for longer.
        let bounded = format!("SET LOCAL lock_timeout = '1s'; {sql}");
        self.patiently(sql, || sql::query(&self.stage.url, &bounded).map(drop))
    }

    fn partition(draw: u64) -> i32 {
        i32::try_from(draw % EVENTS_PARTITIONS as u64).unwrap_or(0)
    }

    fn pause(&self, draw: u64) -> Result<()> {
        let place = (self.stage.events.clone(), Self::partition(draw));
        self.decide("pause", &["--topic", &place.0, "--partition", &place.1.to_string()], &[0])?;
        self.watch.paused(&place);
        Ok(())
    }

    fn resume(&self, draw: u64) -> Result<()> {
        let place = (self.stage.events.clone(), Self::partition(draw));
        self.decide("resume", &["--topic", &place.0, "--partition", &place.1.to_string()], &[0])?;
        self.watch.resumed(&place);
        Ok(())
    }

    /// What doesn't fit the table stays open, and the exit code says so.
    pub(super) fn retry(&self) -> Result<()> {
        self.decide("quarantine retry", &["--all"], &[0, 3])
    }

    fn replay(&self, draw: u64) -> Result<()> {
        let partition = Self::partition(draw);
        let stored = checker::next_offsets(self.stage.of_events())?;
        let next = stored.get(&partition).copied().unwrap_or_default();
        let back = 200 + i64::try_from(draw / 8 % 2_000).unwrap_or_default();
        let to = (next - back).max(0).to_string();
        self.watch.excuse(&(self.stage.events.clone(), partition));
        let topic = self.stage.events.clone();
        self.decide(
            "offsets set",
            &["--topic", &topic, "--partition", &partition.to_string(), "--to", &to],
            &[0],
        )
    }

    /// A command that ends with one of these codes, for a reason. Where it doesn't reach a server, or others
    /// stand in its way, it is called again.
    fn decide(&self, command: &str, arguments: &[&str], codes: &[i32]) -> Result<()> {
        (self.tell)(&format!("tidegate {command} {}", arguments.join(" ")));
        let program = self.stage.operator.clone().args(arguments.iter().copied());
        let program = program.args(["--reason", "chaos"]);
        self.patiently(command, || {
            let Ended { code, output, errors } = program.call(command, SOON)?;
            if !code.is_some_and(|code| codes.contains(&code)) {
                bail!("tidegate {command} ended with {code:?}:\n{output}{errors}");
            }
            Ok(())
        })
    }

    fn patiently<T>(&self, what: &str, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            match attempt() {
                Err(error) if Instant::now() < until => {
                    (self.tell)(&format!("again: {}", first_line(&format!("{error:#}"))));
                    std::thread::sleep(Duration::from_millis(200));
                }
                result => return result.with_context(|| format!("for {PATIENCE:?}: {what}")),
            }
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
