//! The last lines of a run on standard error, and the code that it ends with.

use std::io::Write;

use super::report::{End, LeftReport, RunReport};
use crate::cli::exit::Exit;
use crate::cli::numbers::counted;
use crate::cli::output::visible;

/// Partitions that are named of what is left.
const NAMED: usize = 20;

/// Says what the run left, the sentence that says how it ended last.
pub(super) fn ended(report: &RunReport, fail_on_quarantine: bool, naming: &str) -> Exit {
    let (exit, lines) = last_words(report, fail_on_quarantine, naming);
    let mut stderr = std::io::stderr().lock();
    for line in lines {
        // A reader that went away doesn't change how the run ended.
        let _ = writeln!(stderr, "{}", visible(&line));
    }
    exit
}

fn last_words(report: &RunReport, fail_on_quarantine: bool, naming: &str) -> (Exit, Vec<String>) {
    let quarantined = report.quarantined();
    match report.end {
        End::Stopped | End::Reached if fail_on_quarantine && quarantined > 0 => {
            let records = counted(quarantined, "record");
            let line = format!(
                "quarantined: this run put {records} into the quarantine (--fail-on-quarantine); to see \
                 them: `tidegate quarantine list{naming}`"
            );
            (Exit::Found, vec![line])
        }
        End::Stopped | End::Reached => (Exit::Done, Vec::new()),
        End::Interrupted => (Exit::Interrupted, left(report, "interrupted", "")),
        End::TimedOut => {
            let after = report.timeout.map_or_else(String::new, |time| format!("after {time:?} "));
            let mut lines = left(report, "timed out", &after);
            if let (Some(last), false) = (lines.last_mut(), report.reasons.is_empty()) {
                *last += &format!("; waiting for {}", report.reasons.join("; "));
            }
            (Exit::Failed, lines)
        }
        End::Halted => (Exit::Halted, halted(&report.reasons)),
        End::Broken => (Exit::Failed, vec![broken(&report.reasons.join("; "))]),
    }
}

fn halted(reasons: &[String]) -> Vec<String> {
    let mut lines: Vec<_> = reasons.iter().map(|reason| format!("halted: {reason}")).collect();
    if lines.len() > 1 {
        lines.push(format!("halted: what is left stands still for these {} reasons", lines.len()));
    }
    lines
}

fn broken(what: &str) -> String {
    format!(
        "failed: {what}: its panic is told above, and worth a report; what isn't committed is read again by the \
         next process, so start it again"
    )
}

/// What is left, in a line each; the sum comes last.
fn left(report: &RunReport, how: &str, when: &str) -> Vec<String> {
    let Some(goal) = &report.goal else { return Vec::new() };
    if let Some(unknown) = &goal.unknown {
        return vec![format!("{how}: {when}{unknown}")];
    }
    let named = |left: &LeftReport| {
        let LeftReport { topic, partition, next_offset, goal_offset, offsets } = left;
        format!("{how}: {topic}[{partition}]: {offsets} left, at {next_offset} of {goal_offset}")
    };
    let mut lines: Vec<String> = goal.left.iter().take(NAMED).map(named).collect();
    if goal.left.len() > NAMED {
        lines.push(format!("{how}: and {} partitions more", goal.left.len() - NAMED));
    }
    let all: i64 = goal.left.iter().map(|left| left.offsets).sum();
    let partitions = goal.left.len();
    lines.push(format!(
        "{how}: {when}{all} offsets of {partitions} partitions are left; the same command goes on from there"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::outcome::{Outcome, Tally};
    use crate::engine::position::{NextOffset, TopicPartition};
    use crate::service::{Aim, Left, RunEnd, RunSummary, Share, TableSummary};

    fn report(end: RunEnd, share: Result<Share, String>, quarantined: u64) -> RunReport {
        let mut tally = Tally::default();
        tally.add(Outcome::Inserted, 5);
        tally.add(Outcome::Quarantined, quarantined);
        let table = TableSummary {
            topic: "events".to_owned(),
            table: "public.events".to_owned(),
            tally,
            took: Duration::from_secs(1),
        };
        let summary = RunSummary {
            end,
            elapsed: Duration::from_secs(2),
            tables: vec![table],
            open: Ok([("events".to_owned(), quarantined)].into()),
            share: Some(share),
        };
        RunReport::of("orders".to_owned(), Some(Aim::Ends), summary)
    }

    fn share(partitions: i32) -> Share {
        let left = |number| Left {
            partition: TopicPartition::new("events", number),
            next: NextOffset::new(1_000),
            goal: NextOffset::new(1_003),
        };
        let left: Vec<_> = (0..partitions).map(left).collect();
        Share { partitions: left.len(), left, ..Share::default() }
    }

    #[test]
    fn the_last_line_says_how_it_ended() {
        let halts =
            |count: usize| RunEnd::Halted((0..count).map(|it| format!("events[{it}]: TG-301")).collect());
        let (signal, time) = (RunEnd::Interrupted("SIGINT"), Duration::from_secs(30));
        let kafka = vec!["group: Kafka gives no answer".to_owned()];
        let unseen = Err("the ends of the logs were not seen yet, so what is left isn't known".to_owned());
        let goes_on = "are left; the same command goes on from there";
        let cases = [
            (RunEnd::Reached, Ok(share(0)), 0, Exit::Done, String::new()),
            (signal, Ok(share(2)), 3, Exit::Interrupted, format!("interrupted: 6 offsets of 2 partitions {goes_on}")),
            (
                RunEnd::TimedOut(time, Vec::new()),
                Ok(share(1)),
                3,
                Exit::Failed,
                format!("timed out: after 30s 3 offsets of 1 partitions {goes_on}"),
            ),
            (
                RunEnd::TimedOut(time, kafka),
                unseen,
                0,
                Exit::Failed,
                "timed out: after 30s the ends of the logs were not seen yet, so what is left isn't known; \
                 waiting for group: Kafka gives no answer"
                    .to_owned(),
            ),
            (halts(1), Ok(share(1)), 3, Exit::Halted, "halted: events[0]: TG-301".to_owned()),
            (
                RunEnd::Broken("lane 1".to_owned()),
                Ok(share(1)),
                0,
                Exit::Failed,
                broken("a defect has ended lane 1"),
            ),
            (
                halts(2),
                Ok(share(2)),
                0,
                Exit::Halted,
                "halted: what is left stands still for these 2 reasons".to_owned(),
            ),
            (
                RunEnd::Reached,
                Ok(share(0)),
                3,
                Exit::Found,
                "quarantined: this run put 3 records into the quarantine (--fail-on-quarantine); to see them: \
                 `tidegate quarantine list -c orders.yaml`"
                    .to_owned(),
            ),
        ];
        for (end, share, quarantined, exit, last) in cases {
            let name = format!("{end:?}");
            let (found, lines) = last_words(&report(end, share, quarantined), true, " -c orders.yaml");
            assert_eq!((found, lines.last().cloned().unwrap_or_default()), (exit, last), "{name}");
        }
        let (exit, lines) = last_words(&report(RunEnd::Reached, Ok(share(0)), 3), false, "");
        assert_eq!((exit, lines.len()), (Exit::Done, 0), "nobody asked for it");
    }

    #[test]
    fn what_is_left_is_named_up_to_a_bound_and_summed() {
        let (_, lines) = last_words(&report(RunEnd::Interrupted("SIGINT"), Ok(share(25)), 0), false, "");
        assert_eq!(lines.len(), NAMED + 2);
        assert_eq!(lines[0], "interrupted: events[0]: 3 left, at 1000 of 1003");
        assert_eq!(lines[NAMED], "interrupted: and 5 partitions more");
    }
}
