//! Chaos from a seed: workers under load, a schedule of faults and decisions, and the question at every
//! moment and at the end whether each record has taken effect once.
//!
//! The schedule is a function of the seed; what it meets isn't, since processes and servers take their time.

mod acts;
mod proof;
mod remains;
mod schedule;
mod stage;
mod watch;

use self::acts::Actor;
use self::schedule::{Edge, Happening, draw, edges};
use self::stage::{CONSTANT, Stage, WORKERS};
use self::watch::Watch;
use crate::event::mix;
use crate::generator::{Generator, Options as GeneratorOptions, Plan};
use crate::oracle::Oracle;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::schedule::Kind;

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of which the schedule and the records are functions.
    pub seed: u64,
    /// How long things happen.
    pub over: Duration,
    /// Records a second, over both topics.
    pub rate: u64,
    /// What may happen.
    pub kinds: Vec<Kind>,
    /// Where the folder goes that is kept of a run that fails.
    pub keep: PathBuf,
}

/// What came of a run that holds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// That of the run.
    pub seed: u64,
    /// How long things happened.
    pub seconds: u64,
    /// It was ended before its time.
    pub interrupted: bool,
    /// By kind.
    pub kinds: Vec<KindReport>,
    /// Kinds that can't be had here, and why.
    pub left_out: Vec<LeftOut>,
    /// Records that were sent.
    pub records: u64,
    /// Rows in both tables.
    pub rows: u64,
    /// Records whose key was there, replays included.
    pub duplicates: u64,
    /// Records that went to the quarantine, replays included.
    pub quarantined: u64,
    /// Entries of the quarantine that were written later.
    pub retried: u64,
    /// Events without a row.
    pub lost: i64,
    /// Rows beyond the first of their event.
    pub doubled: i64,
    /// Questions about the accounting that were answered meanwhile.
    pub accounting_checks: u64,
    /// Calls of `tidegate verify` that held meanwhile.
    pub verified: u64,
    /// Halts that were met meanwhile and are over.
    pub halts_met: Vec<String>,
}

/// What is told of a kind.
#[derive(Debug, Clone, Serialize)]
pub struct KindReport {
    /// Its word.
    pub kind: &'static str,
    /// How often it was done.
    pub times: u64,
    /// The longest time from its end until all was applied that had been sent by then.
    pub worst_recovery_ms: Option<u64>,
}

/// A kind that can't be had here.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOut {
    /// Its word.
    pub kind: &'static str,
    /// Why.
    pub reason: String,
}

/// Tells, and remembers what was told.
struct Story<'a> {
    begin: Instant,
    tell: &'a (dyn Fn(&str) + Sync),
    told: Mutex<String>,
}

impl Story<'_> {
    fn tell(&self, line: &str) {
        let line = format!("[{:5.1} s] {line}", self.begin.elapsed().as_secs_f64());
        (self.tell)(&line);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push_str(&line);
        told.push('\n');
    }
}

/// Runs chaos with this `tidegate`. `stop` ends it before its time, with the same proof.
pub fn play(
    options: &Options,
    binary: &Path,
    stop: &AtomicBool,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Report> {
    let story = Story { begin: Instant::now(), tell, told: Mutex::default() };
    let tell = |line: &str| story.tell(line);
    let mut stage = stage::set(binary, &options.kinds, &tell)?;
    let mut report = Report { seed: options.seed, seconds: options.over.as_secs(), ..Report::default() };
    for (kind, reason) in &stage.left_out {
        tell(&format!("left out: {}: {reason}", kind.name()));
        report.left_out.push(LeftOut { kind: kind.name(), reason: reason.clone() });
    }
    let played = run(options, &mut stage, stop, &tell, &mut report);
    let Err(error) = played else { return Ok(report) };
    tell(&format!("failed: {error:#}"));
    let told = story.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let kept = remains::keep(&stage, &options.keep, &format!("seed-{}", options.seed), &told);
    Err(match kept {
        Ok(folder) => error.context(format!("logs and the ledger are kept in {}", folder.display())),
        Err(failure) => error.context(format!("nothing could be kept: {failure:#}")),
    })
}

fn run(
    options: &Options,
    stage: &mut Stage,
    stop: &AtomicBool,
    tell: &dyn Fn(&str),
    report: &mut Report,
) -> Result<()> {
    let kinds: Vec<Kind> =
        options.kinds.iter().copied().filter(|kind| !stage.left_out.contains_key(kind)).collect();
    let schedule = draw(options.seed, options.over, &kinds, WORKERS);
    let (feeds, misfits) = Feeds::new(options, stage)?;
    let watch = Watch::default();
    let (url, events, ticks) = (stage.url.clone(), stage.events.clone(), stage.ticks.clone());
    let operator = stage.operator.clone();
    let (events, ticks) = std::thread::scope(|scope| {
        scope.spawn(|| watch.look(&url, &events, &ticks));
        scope.spawn(|| watch.prove(&operator));
        let (sent, stops) = feeds.begin();
        let mut actor = Actor::new(stage, &watch, tell, misfits);
        let done = perform(&mut actor, &schedule, options.over, stop).and_then(|()| {
            report.interrupted = stop.load(Ordering::Relaxed);
            if report.interrupted {
                stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
            }
            let (mut events, ticks) = sent.end()?;
            events.sent.extend(actor.misfits.oracle().sent.iter());
            tell("the producers are done; waiting until everything is applied");
            proof::await_caught_up(actor.stage)?;
            actor.retry()?;
            watch.await_recovered()?;
            Ok((events, ticks))
        });
        watch.end();
        stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
        done
    })?;
    watch.holds()?;
    stage.all_alive()?;
    proof::prove(stage, &events, &ticks, report)?;
    proof::add_seen(&watch, report);
    let verified = stage.operator.call("verify", stage::SOON)?;
    if verified.code != Some(0) {
        bail!("tidegate verify ended with {:?}:\n{}{}", verified.code, verified.output, verified.errors);
    }
    tell("SIGTERM to all workers");
    for worker in &mut stage.workers {
        worker.drain()?;
    }
    proof::no_panic(stage)
}

/// Follows the schedule; what was begun is ended, also where it is stopped. What takes longer than planned
/// puts off all that follows, so that everything lasts as long as it is to last.
fn perform(actor: &mut Actor<'_>, schedule: &[Happening], over: Duration, stop: &AtomicBool) -> Result<()> {
    let begin = Instant::now();
    let mut late = Duration::ZERO;
    let mut begun = vec![false; schedule.len()];
    for Edge { at, of, ends } in edges(schedule) {
        while begin.elapsed() < at + late && !stop.load(Ordering::Relaxed) {
            // The schedule is one of times: between its edges records flow, and this looks after workers.
            std::thread::sleep(Duration::from_millis(100).min((at + late).saturating_sub(begin.elapsed())));
            actor.stage.all_alive()?;
            actor.watch.holds()?;
        }
        late = late.max(begin.elapsed().saturating_sub(at));
        let what = &schedule[of];
        if ends && begun[of] {
            actor.end(what)?;
        } else if !ends && begin.elapsed() < over && !stop.load(Ordering::Relaxed) {
            actor.begin(what)?;
            begun[of] = true;
        } else {
            continue;
        }
        if ends || what.end == what.begin {
            actor.is_over(what.kind)?;
        }
    }
    Ok(())
}

/// What sends records while things happen.
struct Feeds {
    events: (Generator, Plan),
    ticks: (Generator, Plan),
}

/// The same, sending.
struct Sending {
    events: std::thread::JoinHandle<Result<Oracle>>,
    ticks: std::thread::JoinHandle<Result<Oracle>>,
}

impl Feeds {
    /// Three quarters are events, of which some come again or change; the rest are rows of their own. Beside
    /// them a generator of records that don't fit.
    fn new(options: &Options, stage: &Stage) -> Result<(Feeds, Generator)> {
        let of = |topic: &str, salt: u64| {
            let seed = mix(options.seed, salt, 29);
            let own = GeneratorOptions { seed, constant: CONSTANT, ..GeneratorOptions::default() };
            Generator::new(stage.kafka.bootstrap(), topic, &own)
        };
        let plan = |rate: u64| {
            let records = rate * options.over.as_secs();
            Plan { poison: 0.001, over: Some(options.over), ..Plan::events(records.max(1)) }
        };
        let quarter = (options.rate / 4).max(1);
        let events = Plan { redelivered: 0.05, updated: 0.05, ..plan(quarter * 3) };
        let feeds =
            Feeds { events: (of(&stage.events, 1)?, events), ticks: (of(&stage.ticks, 2)?, plan(quarter)) };
        Ok((feeds, of(&stage.events, 3)?))
    }

    /// Begins, and gives what ends it before its time.
    fn begin(self) -> (Sending, [Arc<AtomicBool>; 2]) {
        let stops = [self.events.0.stop(), self.ticks.0.stop()];
        let send = |(mut generator, plan): (Generator, Plan)| {
            std::thread::spawn(move || generator.send(&plan).map(|()| generator.oracle().clone()))
        };
        (Sending { events: send(self.events), ticks: send(self.ticks) }, stops)
    }
}

impl Sending {
    /// Waits until all is sent, and gives it.
    fn end(self) -> Result<(Oracle, Oracle)> {
        let join = |thread: std::thread::JoinHandle<Result<Oracle>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let (events, ticks) = (join(self.events), join(self.ticks));
        Ok((events.context("sending events")?, ticks.context("sending ticks")?))
    }
}
