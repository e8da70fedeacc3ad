//! What `pause` and `resume` print; see `docs/COMMANDS.md`.

use serde::Serialize;

use crate::cli::numbers::counted;
use crate::cli::output::{Paper, Report, Tone, time, visible};
use crate::engine::pause::{Pause, Pauses, Scope};
use crate::engine::position::{NextOffset, TopicPartition};
use crate::postgres::ledger::Progress;

/// The document of `-o json`.
#[derive(Debug, Serialize)]
pub(super) struct PauseReport {
    pub(super) pipeline: String,
    pub(super) dry_run: bool,
    changes: Vec<Change>,
    /// Partitions that stood still for another reason than a pause.
    halts: Vec<HaltLine>,
    /// `progress.paused_at` tells it.
    #[serde(skip)]
    pub(super) is_noted: bool,
    #[serde(skip)]
    pub(super) naming: String,
}

/// What became of a scope.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    topic: Option<String>,
    partition: Option<i32>,
    effect: Effect,
    /// Partitions of it that the ledger has.
    partitions: usize,
    /// The pause: the new one, or the one that stood.
    pause: Option<PauseLine>,
    /// The wider pause that covers it as well.
    under: Option<PauseLine>,
    /// Narrower pauses that stay.
    still_paused: Vec<PauseLine>,
    #[serde(skip)]
    scope: Scope,
}

/// A partition that stood still, and whether it goes on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HaltLine {
    topic: String,
    partition: i32,
    halt: String,
    goes_on: bool,
    /// Below it, misfits go to the quarantine, however many they are.
    judged_from: Option<i64>,
    /// It isn't as it was looked at, and stays as it is.
    changed: bool,
}

impl HaltLine {
    pub(super) fn of(
        partition: &TopicPartition,
        halt: &str,
        goes_on: bool,
        judged_from: Option<NextOffset>,
    ) -> Self {
        Self {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            halt: halt.to_owned(),
            goes_on,
            judged_from: judged_from.filter(|_| goes_on).map(NextOffset::value),
            changed: false,
        }
    }

    /// Goes on only where it is one of these.
    pub(super) fn keep_to(&mut self, lifted: &[TopicPartition]) {
        let is_it = |one: &TopicPartition| *one.topic == *self.topic && one.partition == self.partition;
        if self.goes_on && !lifted.iter().any(is_it) {
            (self.goes_on, self.judged_from, self.changed) = (false, None, true);
        }
    }

    fn line(&self, dry_run: bool, paper: &Paper) -> String {
        let name = format!("{}[{}]", visible(&self.topic), self.partition);
        let halt = visible(&self.halt);
        if self.changed {
            let changed =
                paper.paint(Tone::Warning, &format!("{name} changed meanwhile, and stays as it is"));
            return format!("{changed} (it stood still: {halt}): type it again");
        }
        if !self.goes_on {
            return format!("{} ({halt})", paper.paint(Tone::Warning, &format!("{name} stays halted")));
        }
        let goes = if dry_run { "would go on" } else { "goes on" };
        let goes_on = paper.paint(Tone::Good, &format!("{name} {goes}"));
        let judged = self.judged_from.map_or(String::new(), |from| {
            format!(
                "; below offset {from} whatever doesn't fit goes to the quarantine, from there on its share is \
                 judged again"
            )
        });
        format!("{goes_on} (it stood still: {halt}){judged}")
    }
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    Paused,
    AlreadyPaused,
    Resumed,
    NotPaused,
}

#[derive(Clone, Debug, Serialize)]
struct PauseLine {
    decision: i64,
    topic: Option<String>,
    partition: Option<i32>,
    made_by: String,
    made_at: String,
    reason: String,
    #[serde(skip)]
    scope: Scope,
}

impl PauseLine {
    fn of(pause: &Pause) -> Self {
        Self {
            decision: pause.decision,
            topic: pause.scope.topic().map(str::to_owned),
            partition: pause.scope.partition(),
            made_by: pause.made_by.clone(),
            made_at: time(pause.made_at_ms),
            reason: pause.reason.clone(),
            scope: pause.scope.clone(),
        }
    }

    fn why(&self) -> String {
        visible(&format!("by {} since {}: {}", self.made_by, self.made_at, self.reason))
    }
}

impl Change {
    pub(super) fn of(scope: &Scope, effect: Effect, pause: Option<&Pause>) -> Self {
        Self {
            topic: scope.topic().map(str::to_owned),
            partition: scope.partition(),
            effect,
            partitions: 0,
            pause: pause.map(PauseLine::of),
            under: None,
            still_paused: Vec::new(),
            scope: scope.clone(),
        }
    }

    /// This wider pause covers it as well.
    pub(super) fn under(&mut self, wider: Option<&Pause>) {
        self.under = wider.map(PauseLine::of);
    }

    /// These narrower pauses stay.
    pub(super) fn still<'p>(&mut self, narrower: impl Iterator<Item = &'p Pause>) {
        self.still_paused = narrower.map(PauseLine::of).collect();
    }

    /// A line for it, and one for each pause that bears on it.
    fn lines(&self, dry_run: bool, naming: &str, paper: &Paper) -> Vec<String> {
        let (scope, would) = (&self.scope, if dry_run { "would be " } else { "" });
        let resume = |scope: &Scope| format!("`tidegate resume{} --reason TEXT{naming}`", scope.arguments());
        let why = self.pause.as_ref().map_or(String::new(), PauseLine::why);
        let holds = match (&self.scope, self.partitions) {
            (Scope::Topic(_), 0) => ", which isn't registered yet".to_owned(),
            (Scope::Partition(_), _) => String::new(),
            (_, count) => format!(" ({})", counted(count as i64, "partition")),
        };
        let first = match self.effect {
            Effect::Paused => {
                let what = paper.paint(Tone::Warning, &format!("{scope} {would}paused{holds}"));
                format!("{what}; {} lets it go on", resume(scope))
            }
            Effect::AlreadyPaused => format!("{scope} is paused already{holds}, {why}"),
            Effect::Resumed => {
                let what = paper.paint(Tone::Good, &format!("{scope} {would}resumed{holds}"));
                format!("{what}; it was paused {why}")
            }
            Effect::NotPaused => format!("{scope} isn't paused as such"),
        };
        let mut lines = vec![first];
        lines.extend(
            self.under
                .iter()
                .map(|wider| format!("  {} is paused as well, {}; both hold it", wider.scope, wider.why())),
        );
        lines.extend(self.still_paused.iter().map(|narrower| {
            let (scope, resume) = (&narrower.scope, resume(&narrower.scope));
            format!("  {scope} stays paused, {}; {resume} lets it go on", narrower.why())
        }));
        lines
    }
}

impl PauseReport {
    pub(super) fn of(changes: Vec<Change>) -> Self {
        let (pipeline, naming) = (String::new(), String::new());
        let halts = Vec::new();
        Self { pipeline, dry_run: false, changes, halts, is_noted: true, naming }
    }

    /// Whether anything is changed.
    pub(super) fn changes(&self) -> bool {
        self.changes.iter().any(|change| matches!(change.effect, Effect::Paused | Effect::Resumed))
    }

    /// Takes over what became of halts.
    pub(super) fn take_halts(&mut self, halts: Vec<HaltLine>) {
        self.halts = halts;
    }

    /// Counts the partitions that the ledger has of each scope.
    pub(super) fn count(&mut self, rows: &[Progress]) {
        for change in &mut self.changes {
            change.partitions = rows.iter().filter(|row| change.scope.covers(&row.partition)).count();
        }
    }

    /// Takes the numbers of the decisions over from the pauses that stand.
    pub(super) fn take_decisions(&mut self, standing: &Pauses) {
        for change in self.changes.iter_mut().filter(|change| change.effect == Effect::Paused) {
            let own = standing.iter().find(|pause| pause.scope == change.scope);
            change.pause = own.map(PauseLine::of);
        }
    }
}

impl Report for PauseReport {
    type Line = Change;

    fn lines(&self) -> Vec<Change> {
        self.changes.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        let each = self.changes.iter();
        let goes_on = self.halts.iter().any(|halt| halt.goes_on);
        // That nothing was paused is no news where something goes on all the same.
        let each = each.filter(|change| !goes_on || change.effect != Effect::NotPaused);
        let mut lines: Vec<_> =
            each.flat_map(|change| change.lines(self.dry_run, &self.naming, paper)).collect();
        lines.extend(self.halts.iter().map(|halt| halt.line(self.dry_run, paper)));
        if self.dry_run {
            lines.push("nothing was changed (--dry-run)".to_owned());
        } else if !self.is_noted {
            lines.push(
                "a transaction holds rows of the ledger: paused_at follows with their next claim".to_owned(),
            );
        }
        lines.iter().map(|line| paper.wrap(line, 4) + "\n").collect()
    }
}
