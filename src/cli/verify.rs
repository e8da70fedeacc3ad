//! `tidegate verify`: proves the accounting from the ledger.
//!
//! For each span of each partition: `next_offset - start_offset` = the sum of all outcomes + gaps. What else
//! must hold of a row is the ledger's own matter; here its findings are set beside the numbers.

use serde::Serialize;

use crate::postgres::ledger::{Discrepancy, Progress};

use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::{self, OutputArgs, Paper, Report, Tone, plain};
use super::servers::Database;

const EXAMPLES: &str = "\
Examples:
  tidegate verify -c orders.yaml           exit code 0: it adds up; 3: it doesn't
  tidegate verify -c orders.yaml -o json | jq '.discrepancies'

";

/// Prove from the ledger that every offset is accounted for
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// The document of `-o json`; see `docs/COMMANDS.md`.
#[derive(Debug, Serialize)]
struct VerifyReport {
    pipeline: String,
    holds: bool,
    partitions: Vec<Account>,
    discrepancies: Vec<Finding>,
}

/// The account of one partition's open span.
#[derive(Clone, Debug, Serialize)]
struct Account {
    topic: String,
    partition: i32,
    start_offset: i64,
    next_offset: i64,
    offsets: i64,
    outcomes: u64,
    gaps: u64,
    holds: bool,
}

/// What doesn't hold.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    topic: String,
    partition: i32,
    /// The decision that closed the span; none for the open one.
    decision: Option<i64>,
    finding: String,
}

pub(super) fn run(args: &VerifyArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let (rows, discrepancies) = block_on(async {
        let database = Database::connect_to_read(&settings, config).await?;
        Ok((database.progress().await?, database.discrepancies().await?))
    })?;
    let report = VerifyReport::of(settings.pipeline.to_string(), &rows, &discrepancies);
    output::print(args.output.form, &report)?;
    Ok(if report.holds { Exit::Done } else { Exit::Found })
}

impl VerifyReport {
    fn of(pipeline: String, rows: &[Progress], discrepancies: &[Discrepancy]) -> Self {
        let partitions = rows.iter().map(|row| account(row, discrepancies)).collect();
        let findings = discrepancies.iter().map(|found| Finding {
            topic: found.partition.topic.to_string(),
            partition: found.partition.partition,
            decision: found.decision,
            finding: found.what.clone(),
        });
        Self { pipeline, holds: discrepancies.is_empty(), partitions, discrepancies: findings.collect() }
    }
}

fn account(row: &Progress, discrepancies: &[Discrepancy]) -> Account {
    let broken = |found: &Discrepancy| found.decision.is_none() && found.partition == row.partition;
    Account {
        topic: row.partition.topic.to_string(),
        partition: row.partition.partition,
        start_offset: row.start.value(),
        next_offset: row.next.value(),
        offsets: row.next.value() - row.start.value(),
        outcomes: row.tally.total(),
        gaps: row.gaps,
        holds: !discrepancies.iter().any(broken),
    }
}

impl Report for VerifyReport {
    type Line = Account;

    fn lines(&self) -> Vec<Account> {
        self.partitions.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        if self.partitions.is_empty() && self.holds {
            return format!(
                "pipeline {}: no partition is registered yet; nothing to verify\n",
                self.pipeline
            );
        }
        let headings = ["topic", "part", "start", "next", "offsets", "outcomes", "gaps", "verdict"];
        let mut grid = paper.table(&headings).numbers(&[1, 2, 3, 4, 5, 6]);
        for account in &self.partitions {
            let verdict = if account.holds { ("holds", Tone::Good) } else { ("BROKEN", Tone::Bad) };
            grid.row([
                plain(&account.topic),
                plain(account.partition),
                plain(account.start_offset),
                plain(account.next_offset),
                plain(account.offsets),
                plain(account.outcomes),
                plain(account.gaps),
                (verdict.0.to_owned(), verdict.1),
            ]);
        }
        let mut text = grid.text() + "\n";
        for found in &self.discrepancies {
            let span =
                found.decision.map(|id| format!(" (span closed by decision {id})")).unwrap_or_default();
            let name = format!("{}[{}]{span}:", found.topic, found.partition);
            let told = format!("{} {}", paper.paint(Tone::Bad, &name), found.finding);
            text += &(paper.wrap(&told, 4) + "\n");
        }
        text + &self.verdict(paper)
    }
}

impl VerifyReport {
    fn verdict(&self, paper: &Paper) -> String {
        let offsets: i64 = self.partitions.iter().map(|account| account.offsets).sum();
        let outcomes: u64 = self.partitions.iter().map(|account| account.outcomes).sum();
        let gaps: u64 = self.partitions.iter().map(|account| account.gaps).sum();
        let (sign, verdict) = match self.discrepancies.len() {
            0 => ("=", paper.paint(Tone::Good, "the accounting holds")),
            found => ("vs", paper.paint(Tone::Bad, &format!("the accounting is broken: {found} findings"))),
        };
        format!(
            "pipeline {}: {offsets} offsets {sign} {outcomes} outcomes + {gaps} gaps; {verdict}\n",
            self.pipeline
        )
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::engine::outcome::{Outcome, Tally};
    use crate::engine::position::{Epoch, NextOffset, TopicId, TopicPartition};

    fn row(partition: i32, inserted: u64, next: i64) -> Progress {
        let mut tally = Tally::default();
        tally.add(Outcome::Inserted, inserted);
        Progress {
            partition: TopicPartition::new("events", partition),
            topic_id: TopicId(Uuid::nil()),
            epoch: Epoch::new(1),
            owner: None,
            start: NextOffset::new(100),
            next: NextOffset::new(next),
            log_end: None,
            tally,
            gaps: 2,
            newest_at_ms: None,
            committed_at_ms: None,
            halt: None,
        }
    }

    #[test]
    fn a_finding_marks_its_partition_and_breaks_the_whole() {
        let rows = [row(0, 8, 110), row(1, 8, 111)];
        let whole = VerifyReport::of("orders".to_owned(), &rows[..1], &[]);
        assert!(whole.holds && whole.partitions[0].holds);
        let text = whole.text(&Paper { width: None, colour: false });
        assert!(
            text.ends_with("pipeline orders: 10 offsets = 8 outcomes + 2 gaps; the accounting holds\n"),
            "{text}"
        );
        let found = Discrepancy {
            partition: TopicPartition::new("events", 1),
            decision: None,
            what: "1 offset is unaccounted for".to_owned(),
        };
        let broken = VerifyReport::of("orders".to_owned(), &rows, &[found]);
        assert_eq!(
            (broken.holds, broken.partitions[0].holds, broken.partitions[1].holds),
            (false, true, false)
        );
        let text = broken.text(&Paper { width: None, colour: false });
        assert!(text.contains("BROKEN") && text.contains("events[1]: 1 offset is unaccounted for"), "{text}");
    }

    #[test]
    fn a_closed_span_s_finding_is_told_with_its_decision() {
        let found = Discrepancy {
            partition: TopicPartition::new("events", 0),
            decision: Some(7),
            what: "x".to_owned(),
        };
        let broken = VerifyReport::of("orders".to_owned(), &[row(0, 8, 110)], &[found]);
        assert!(!broken.holds && broken.partitions[0].holds);
        let text = broken.text(&Paper { width: None, colour: false });
        assert!(text.contains("events[0] (span closed by decision 7): x"), "{text}");
    }
}
