//! Proves the accounting from the ledger alone.
//!
//! Each span, open or closed, must satisfy `next_offset - start_offset = the sum of all outcomes + gaps`,
//! and its quarantined records must be there. The numbers are read raw, so that one that no program of
//! ours would write is told as it stands.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Ledger, LedgerError};
use crate::engine::outcome::Outcome;
use crate::engine::position::TopicPartition;
use crate::postgres::session::Session;

/// A span whose numbers don't add up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discrepancy {
    /// The partition.
    pub partition: TopicPartition,
    /// The decision that closed the span; `None` is the open one.
    pub decision: Option<i64>,
    /// What doesn't hold, in a sentence with the numbers.
    pub what: String,
}

/// The numbers of a span, as stored.
struct Span {
    decision: Option<i64>,
    start: i64,
    next: i64,
    gaps: i64,
    outcomes: [i64; Outcome::ALL.len()],
    /// Rows in the quarantine with an offset of the span.
    kept: i64,
    /// Other spans have offsets of it as well, or its row was lost and made anew.
    reopened: bool,
}

impl Ledger {
    /// Everything that doesn't hold in a pipeline's progress and closed spans; empty when all is well.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn verify(&self, session: &Session, pipeline: &str) -> Result<Vec<Discrepancy>, LedgerError> {
        let rows = session
            .client()
            .query_typed(&self.sql(include_str!("../sql/ledger_verify.sql")), &[(&pipeline, Type::TEXT)])
            .await
            .map_err(LedgerError::doing("verifying the ledger"))?;
        Ok(rows.iter().flat_map(check).collect())
    }
}

fn check(row: &Row) -> Vec<Discrepancy> {
    let partition = TopicPartition::new(row.get::<_, &str>(0), row.get(1));
    let span = Span {
        decision: row.get(2),
        start: row.get(3),
        next: row.get(4),
        gaps: row.get(5),
        kept: row.get(6),
        reopened: row.get(7),
        outcomes: std::array::from_fn(|index| row.get(8 + index)),
    };
    let told = |what| Discrepancy { partition: partition.clone(), decision: span.decision, what };
    findings(&span).into_iter().map(told).collect()
}

fn findings(span: &Span) -> Vec<String> {
    let mut found = Vec::new();
    for (outcome, count) in Outcome::ALL.into_iter().zip(span.outcomes) {
        if count < 0 {
            found.push(format!("{outcome} is {count}, and no count is negative"));
        }
    }
    if span.gaps < 0 {
        found.push(format!("gaps is {}, and no count is negative", span.gaps));
    }
    let passed = i128::from(span.next) - i128::from(span.start);
    let settled: i128 = span.outcomes.iter().copied().map(i128::from).sum();
    let accounted = settled + i128::from(span.gaps);
    if passed != accounted {
        found.push(format!(
            "next_offset {} - start_offset {} = {passed}, but the outcomes ({settled}) and gaps ({}) are \
             {accounted}",
            span.next, span.start, span.gaps
        ));
    }
    let counted = span.outcomes[Outcome::Quarantined as usize];
    // Offsets that an operator had applied again may hold records of an earlier pass as well.
    let wrong = if span.reopened { span.kept < counted } else { span.kept != counted };
    if wrong {
        found.push(format!(
            "quarantined is {counted}, but the quarantine holds {} of these offsets",
            span.kept
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of the first outcomes; the others have none.
    fn counts<const N: usize>(first: [i64; N]) -> [i64; Outcome::ALL.len()] {
        std::array::from_fn(|at| first.get(at).copied().unwrap_or_default())
    }

    fn sound() -> Span {
        Span {
            decision: None,
            start: 10,
            next: 30,
            gaps: 4,
            outcomes: counts([10, 1, 1, 1, 0, 0, 0, 2, 1]),
            kept: 2,
            reopened: false,
        }
    }

    #[test]
    fn a_sound_span_has_no_findings() {
        assert_eq!(findings(&sound()), Vec::<String>::new());
        assert_eq!(findings(&Span { kept: 3, reopened: true, ..sound() }), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_discrepancy_is_told_with_its_numbers() {
        let cases = [
            (Span { next: 31, ..sound() }, "= 21, but the outcomes (16) and gaps (4) are 20"),
            (Span { gaps: -1, next: 25, ..sound() }, "gaps is -1"),
            (Span { outcomes: counts([12, -1, 1, 1, 0, 0, 0, 2, 1]), ..sound() }, "updated is -1"),
            (Span { kept: 3, ..sound() }, "quarantined is 2, but the quarantine holds 3"),
            (Span { kept: 1, reopened: true, ..sound() }, "the quarantine holds 1"),
            (Span { start: i64::MIN, next: i64::MAX, ..sound() }, "18446744073709551615"),
        ];
        for (span, expected) in cases {
            let found = findings(&span);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
    }
}
