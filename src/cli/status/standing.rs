//! What stands still and what went wrong, in the order in which somebody should look at it: the same lines
//! on paper and on the screen.

use super::life::{OwnerState, RunState, ago, by_owner, counted, listed, to_go};
use super::report::{LogEnds, PauseStatus, ProcessStatus, StatusReport};
use crate::cli::output::{Tone, visible};
use crate::telemetry::board::Wait;

/// One such thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// What it is about, with what is wrong.
    pub(super) subject: String,
    /// More of it, with what can be done.
    pub(super) told: String,
    /// How bad it is.
    pub(super) tone: Tone,
}

impl Standing {
    fn new(tone: Tone, subject: String, told: String) -> Self {
        Self { subject: visible(&subject).replace('\n', " "), told: visible(&told), tone }
    }
}

/// All of them.
pub(super) fn standing(report: &StatusReport) -> Vec<Standing> {
    let mut all: Vec<Standing> = halts(report).chain(pauses(report)).collect();
    all.extend(strangers(report));
    all.extend(left_alone(report));
    all.extend(no_member(report));
    all.extend(report.processes.iter().filter(|process| process.alive).flat_map(|process| {
        let kafka = process.kafka_away.as_ref().filter(|_| report.kafka_away.is_none());
        let kafka = kafka.map(|why| Standing::new(Tone::Bad, format!("{}:", place(process)), why.clone()));
        kafka.into_iter().chain(waits(process)).chain(last_error(process, report.now_ms))
    }));
    all.extend(unknown(report));
    all
}

fn halts(report: &StatusReport) -> impl Iterator<Item = Standing> {
    report.partitions.iter().filter_map(|partition| {
        let halt = partition.halt.as_ref()?;
        Some(Standing::new(Tone::Bad, format!("{} halted:", partition.name()), halt.clone()))
    })
}

fn pauses(report: &StatusReport) -> impl Iterator<Item = Standing> {
    report.pauses.iter().map(|pause| {
        let PauseStatus { scope, made_by, made_at_ms, reason, .. } = pause;
        let (arguments, naming) = (scope.arguments(), &report.commands.naming);
        let told = format!(
            "by {made_by} {}: {reason}; `tidegate resume{arguments} --reason TEXT{naming}` lets it go on",
            ago(report.now_ms - made_at_ms)
        );
        Standing::new(Tone::Warning, format!("{scope} is paused:"), told)
    })
}

fn strangers(report: &StatusReport) -> impl Iterator<Item = Standing> {
    report.partitions.iter().filter_map(|partition| {
        let stranger = partition.stranger.as_ref()?;
        let subject = format!("{} is held by a stranger in the consumer group:", partition.name());
        let (client, host) = (&stranger.client_id, &stranger.host);
        let told =
            format!("client id {client}, host {host}; stop that program, or give it a group.id of its own");
        Some(Standing::new(Tone::Bad, subject, told))
    })
}

/// Partitions whose owner is gone while others run. Where nobody does, the headline says so of all.
fn left_alone(report: &StatusReport) -> Vec<Standing> {
    if matches!(report.state, RunState::Stopped | RunState::Unknown) {
        return Vec::new();
    }
    let lost = report.partitions.iter().filter_map(|partition| {
        let is_lost = matches!(partition.owner_state, Some(OwnerState::Dead | OwnerState::Gone));
        is_lost.then_some((partition.owner.as_deref()?, partition.name()))
    });
    let tell = |(owner, partitions): (&str, Vec<String>)| {
        let process = report.processes.iter().find(|process| process.instance == owner);
        let (tone, fate) = match process {
            Some(dead) => {
                let heard = ago((dead.beaten_seconds_ago * 1000.0) as i64);
                (Tone::Bad, format!("{}, which was last heard of {heard}", place(dead)))
            }
            None => (Tone::Warning, format!("{owner}, which has ended")),
        };
        let belong = if partitions.len() == 1 { "belongs" } else { "belong" };
        let subject = format!("{} {belong} to {fate}:", counted(partitions.len(), "partition", "s"));
        let told =
            format!("{}; another process takes over when the group's session is over", listed(&partitions));
        Standing::new(tone, subject, told)
    };
    by_owner(lost).into_iter().map(tell).collect()
}

/// A process that is a member of nothing gets nothing to read.
fn no_member(report: &StatusReport) -> Option<Standing> {
    let is_missed = report.state == RunState::Running && report.group_members == Some(0);
    let subject = "no process that runs is a member of the consumer group:".to_owned();
    let told = "nothing is read until one joins; its log says what it waits for".to_owned();
    is_missed.then(|| Standing::new(Tone::Bad, subject, told))
}

/// What is waited for and doesn't hold. What halted for it is told of its partitions.
fn waits(process: &ProcessStatus) -> impl Iterator<Item = Standing> {
    let unmet = |wait: &&Wait| wait.state != "halted" && (!wait.holds() || wait.times_out_at.is_some());
    process.waits.iter().filter(unmet).map(|wait| {
        let tone = if wait.state == "skipped" { Tone::Bad } else { Tone::Warning };
        Standing::new(tone, format!("{}:", place(process)), wait.message.clone())
    })
}

fn last_error(process: &ProcessStatus, now_ms: i64) -> Option<Standing> {
    let error = process.last_error.as_ref()?;
    let when = process.last_error_at_ms.map_or(String::new(), |at| format!(" {}", ago(now_ms - at)));
    let subject = format!("{}, last error{when}:", place(process));
    Some(match process.next_try_at_ms {
        Some(next) => {
            // Beats are seconds apart.
            let next = match next > now_ms {
                true => format!("next try in {}", to_go((next - now_ms) as f64 / 1000.0)),
                false => "it is being tried again".to_owned(),
            };
            let tries = process.tries.filter(|tries| *tries > 0);
            let tries = tries.map(|tries| format!(" (retry {tries})")).unwrap_or_default();
            Standing::new(Tone::Warning, subject, format!("{error}; {next}{tries}"))
        }
        None => Standing::new(Tone::Faint, subject, format!("{error}; it has passed")),
    })
}

/// What can't be told.
fn unknown(report: &StatusReport) -> Vec<Standing> {
    let mut all = Vec::new();
    let mut warn = |subject: &str, told: &str| {
        all.push(Standing::new(Tone::Warning, subject.to_owned(), told.to_owned()));
    };
    if report.log_ends == LogEnds::Ledger {
        warn("log ends are those that the service saw last:", "Kafka doesn't tell them now");
    } else if let Some(reason) = &report.group_unknown {
        warn("strangers in the consumer group can't be told:", reason);
    }
    for missing in &report.log_ends_missing {
        warn(&format!("ends of {} aren't known:", missing.topic), &missing.why);
    }
    if let Some(reason) = &report.pauses_unknown {
        warn("what is paused isn't known:", reason);
    }
    if let Some(reason) = &report.rules_unknown {
        warn("which rules records failed isn't known:", reason);
    }
    if let Some(reason) = &report.quarantine_unknown {
        warn("what is open in the quarantine isn't known:", reason);
    }
    if report.standby {
        warn("read from a server that takes no writes:", "what it tells can be behind");
    }
    all
}

fn place(process: &ProcessStatus) -> String {
    format!("{}/{}", process.host, process.pid)
}
