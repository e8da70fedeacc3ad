//! What became of chosen records: how many of each topic and code ended how.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::numbers::{counted, grouped};
use crate::cli::output::{Paper, Report, Tone, plain, visible};

/// The word for records that stay open.
pub(super) const OPEN: &str = "open";

/// Different reasons that are told.
const REASONS_TOLD: usize = 10;

/// Counts, while they are made.
#[derive(Default)]
pub(super) struct Account {
    counts: BTreeMap<(String, String, String), u64>,
    reasons: BTreeMap<(String, String), u64>,
    /// Records that stay open for reasons that aren't told one by one.
    others: u64,
}

impl Account {
    /// Records of a topic that had this code are settled so.
    pub(super) fn settled(&mut self, topic: &str, code: &str, resolution: &str, records: u64) {
        let key = (topic.to_owned(), code.to_owned(), resolution.to_owned());
        *self.counts.entry(key).or_default() += records;
    }

    /// A record of a topic that had this code stays open.
    pub(super) fn open(&mut self, topic: &str, code: &str, reason: &str) {
        self.settled(topic, code, OPEN, 1);
        let key = (topic.to_owned(), reason.to_owned());
        if self.reasons.len() < REASONS_TOLD || self.reasons.contains_key(&key) {
            *self.reasons.entry(key).or_default() += 1;
        } else {
            self.others += 1;
        }
    }

    /// Takes over what another one counted.
    pub(super) fn add(&mut self, other: Self) {
        for (key, records) in other.counts {
            *self.counts.entry(key).or_default() += records;
        }
        for (key, records) in other.reasons {
            if self.reasons.len() < REASONS_TOLD || self.reasons.contains_key(&key) {
                *self.reasons.entry(key).or_default() += records;
            } else {
                self.others += records;
            }
        }
        self.others += other.others;
    }

    /// Records so far.
    pub(super) fn records(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The report on a command that did this, or would do it.
    pub(super) fn report(self, did: Did, decision: Option<i64>, dry_run: bool) -> AccountReport {
        let entry = |((topic, code, resolution), records): ((String, String, String), u64)| CountEntry {
            topic,
            code,
            resolution,
            records,
        };
        let counts: Vec<CountEntry> = self.counts.into_iter().map(entry).collect();
        let open = counts.iter().filter(|count| count.resolution == OPEN).map(|count| count.records).sum();
        let chosen = counts.iter().map(|count| count.records).sum();
        let reason = |((topic, reason), records)| ReasonEntry { topic, reason, records };
        let mut reasons: Vec<ReasonEntry> = self.reasons.into_iter().map(reason).collect();
        reasons.sort_by_key(|entry| std::cmp::Reverse(entry.records));
        let others = self.others;
        AccountReport {
            did,
            dry_run,
            decision,
            chosen,
            open,
            counts,
            open_reasons: reasons,
            open_for_other_reasons: others,
        }
    }
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Did {
    Retry,
    Discard,
}

/// What became of chosen records; see `docs/COMMANDS.md`.
#[derive(Clone, Serialize)]
pub(super) struct AccountReport {
    #[serde(rename = "action")]
    did: Did,
    dry_run: bool,
    /// The decision's number in the ledger; none was made where there was nothing to decide about.
    decision: Option<i64>,
    chosen: u64,
    /// How many of them are open still.
    pub(super) open: u64,
    counts: Vec<CountEntry>,
    /// Why records are open still, the most frequent first.
    open_reasons: Vec<ReasonEntry>,
    /// Records that are open for other reasons.
    open_for_other_reasons: u64,
}

#[derive(Clone, Serialize)]
pub(super) struct CountEntry {
    topic: String,
    code: String,
    resolution: String,
    records: u64,
}

#[derive(Clone, Serialize)]
struct ReasonEntry {
    topic: String,
    reason: String,
    records: u64,
}

impl Report for AccountReport {
    type Line = CountEntry;

    fn lines(&self) -> Vec<CountEntry> {
        self.counts.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        if self.chosen == 0 {
            return "no such record is in the quarantine\n".to_owned();
        }
        let mut grid = paper.table(&["topic", "code", "resolution", "records"]).numbers(&[3]);
        for count in &self.counts {
            let tone = if count.resolution == OPEN { Tone::Warning } else { Tone::Good };
            grid.row([
                plain(&count.topic),
                plain(&count.code),
                (count.resolution.clone(), tone),
                plain(grouped(count.records)),
            ]);
        }
        let mut text = grid.text();
        text += &format!("\n{}\n", self.sentence());
        for entry in &self.open_reasons {
            let line = format!("  {} × {}: {}", grouped(entry.records), entry.topic, visible(&entry.reason));
            text += &format!("{}\n", paper.wrap(&line, 4));
        }
        if self.open_for_other_reasons > 0 {
            text += &format!("  {} × for other reasons\n", grouped(self.open_for_other_reasons));
        }
        text
    }
}

impl AccountReport {
    fn sentence(&self) -> String {
        let settled = self.chosen - self.open;
        let verb = match (self.did, self.dry_run) {
            (Did::Retry, false) => "settled",
            (Did::Retry, true) => "would be settled",
            (Did::Discard, false) => "discarded",
            (Did::Discard, true) => "would be discarded",
        };
        let decision = self.decision.map(|id| format!(" (decision {id})")).unwrap_or_default();
        if self.open == 0 {
            return format!("{} {verb}{decision}", counted(self.chosen, "record"));
        }
        let stay = if self.dry_run { "would stay open" } else { "stay open" };
        let (settled, chosen, open) = (grouped(settled), counted(self.chosen, "record"), grouped(self.open));
        format!("{settled} of {chosen} {verb}{decision}, {open} {stay}:")
    }
}
