//! What a decision changed, before and after.

use std::time::Duration;

use serde::Serialize;

use crate::cli::numbers::{counted, grouped};
use crate::cli::output::{Paper, Report, Tone, plain, visible};
use crate::engine::position::NextOffset;
use crate::postgres::ledger::decide::{Action, Change, Decided, Ground};

/// How long processes that run may take until they obey.
const OBEYED_WITHIN: Duration = Duration::from_secs(5);

/// The document of `-o json`; see `docs/COMMANDS.md`.
#[derive(Debug, Serialize)]
pub(super) struct DecisionReport {
    pub(super) pipeline: String,
    pub(super) dry_run: bool,
    pub(super) reason: Option<String>,
    pub(super) changes: Vec<Changed>,
    /// The command that shows where partitions stand.
    #[serde(skip)]
    pub(super) status: String,
}

/// What happens to a partition.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Changed {
    topic: String,
    partition: i32,
    action: &'static str,
    /// Its number in `decisions`; none in a dry run.
    decision: Option<i64>,
    /// The position before; none where the partition had no row.
    from_offset: Option<i64>,
    /// The position after; none where its row is gone.
    to_offset: Option<i64>,
    log_end_offset: Option<i64>,
    topic_id: String,
    /// Why it stood still, which the decision ends.
    halt: Option<String>,
    #[serde(skip)]
    kind: Action,
}

impl Changed {
    /// A change, with the row as it was judged and as it was recorded.
    pub(super) fn of(change: &Change, ground: &Ground, decided: &[Decided]) -> Self {
        let stand = ground.stands.get(&change.partition);
        let recorded = decided.iter().find(|one| one.partition == change.partition);
        Self {
            topic: change.partition.topic.to_string(),
            partition: change.partition.partition,
            action: change.action.name(),
            decision: recorded.map(|one| one.id),
            from_offset: stand.map(|stand| stand.next.value()),
            to_offset: change.to.map(NextOffset::value),
            log_end_offset: change.end.map(NextOffset::value),
            topic_id: change.topic_id.to_string(),
            halt: stand.and_then(|stand| stand.halt.clone()),
            kind: change.action,
        }
    }

    /// What it means for records, in words.
    fn told(&self) -> String {
        let offsets = |from: i64, to: i64| counted(to - from, "offset");
        match (self.kind, self.from_offset, self.to_offset) {
            (Action::AcceptLost, Some(from), Some(to)) => {
                format!("{} are gone and were never applied", offsets(from, to))
            }
            (Action::AcceptRewritten, Some(from), Some(to)) if to <= from => {
                format!("{} were applied and will be written anew with other records", offsets(to, from))
            }
            (Action::AcceptRewritten, Some(from), Some(to)) => {
                format!("{} are passed over; `offsets set` can go back to them", offsets(from, to))
            }
            (Action::AdoptGone, ..) => "the new topic hasn't this partition".to_owned(),
            (Action::AdoptNew, ..) => "a partition that the old topic hadn't".to_owned(),
            (Action::Adopt, ..) => "the new topic from here".to_owned(),
            (Action::Set | Action::Import, Some(from), Some(to)) if to < from => {
                format!("{} are read again", offsets(to, from))
            }
            (Action::Set | Action::Import, Some(from), Some(to)) if to > from => {
                format!("{} are passed over", offsets(from, to))
            }
            (Action::Set | Action::Import, Some(_), _) => "goes on where it stands".to_owned(),
            (_, None, _) => "its row is made anew".to_owned(),
            (_, Some(_), None) => "its row goes".to_owned(),
        }
    }
}

impl Report for DecisionReport {
    type Line = Changed;

    fn lines(&self) -> Vec<Changed> {
        self.changes.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        let pipeline = &self.pipeline;
        if self.changes.is_empty() {
            return format!(
                "pipeline {pipeline}: every partition stands there already; nothing was changed\n"
            );
        }
        let headings = ["topic", "part", "from", "to", "log end", "decision", "meaning"];
        let mut grid = paper.table(&headings).numbers(&[1, 2, 3, 4, 5]).flexible(6);
        let number = |offset: Option<i64>| offset.map_or("-".to_owned(), grouped);
        for changed in &self.changes {
            grid.row([
                plain(visible(&changed.topic)),
                plain(changed.partition),
                plain(number(changed.from_offset)),
                (number(changed.to_offset), Tone::Warning),
                plain(number(changed.log_end_offset)),
                plain(number(changed.decision)),
                plain(changed.told()),
            ]);
        }
        let partitions = counted(self.changes.len() as i128, "partition");
        let end = match self.dry_run {
            true => format!("{partitions} would change; nothing was changed (--dry-run)"),
            false => format!(
                "{partitions} changed; processes that run go on there within {} s, which `{}` shows",
                OBEYED_WITHIN.as_secs(),
                self.status
            ),
        };
        grid.text() + &paper.wrap(&format!("\npipeline {pipeline}: {end}\n"), 2)
    }
}
