//! Whether a pipeline of the ledger has caught up, as far as its processes tell.

use tokio_postgres::types::Type;

use super::processes::DEAD_AFTER_MS;
use super::{Ledger, LedgerError, Parameter, count};
use crate::postgres::session::Session;

/// How far a pipeline is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Distance {
    /// Partitions that it is registered for.
    pub partitions: u64,
    /// Those that halted.
    pub halted: u64,
    /// Those that no process owns which was heard of lately.
    pub alone: u64,
    /// Those that are behind, or whose process is or doesn't tell.
    pub behind: u64,
}

/// A process tells of all that it holds at once, and of what it held when it told: that counts only where it
/// told of as many partitions as it owns, and where their rows don't know of more either. A row that does was
/// set back since then, or claimed from another process. What it doesn't know the end of is told as unknown.
const READ: &str = "SELECT pg_catalog.count(*), \
     pg_catalog.count(*) FILTER (WHERE progress.halt IS NOT NULL), \
     pg_catalog.count(*) FILTER (WHERE process.instance IS NULL), \
     pg_catalog.count(*) FILTER (WHERE process.instance IS NOT NULL AND (\
       process.behind IS DISTINCT FROM 0 OR process.partitions <> progress.owned \
       OR progress.next_offset < progress.log_end_offset)) \
     FROM (SELECT pipeline, owner, halt, next_offset, log_end_offset, \
         pg_catalog.count(*) OVER (PARTITION BY owner) AS owned \
       FROM {ledger}.progress WHERE pipeline = $1) AS progress \
     LEFT JOIN {ledger}.processes AS process \
       ON process.pipeline = progress.pipeline AND process.instance = progress.owner \
       AND process.beaten_at > pg_catalog.now() - $2 * interval '1 millisecond'";

impl Ledger {
    /// How far a pipeline is.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn distance(&self, session: &Session, pipeline: &str) -> Result<Distance, LedgerError> {
        let limit = DEAD_AFTER_MS as f64;
        let parameters: [Parameter<'_>; 2] = [(&pipeline, Type::TEXT), (&limit, Type::FLOAT8)];
        let rows = self.read(session, "reading how far a pipeline is", READ, &parameters).await?;
        let of = |column| rows.first().map_or(0, |row| count(row, column));
        Ok(Distance { partitions: of(0), halted: of(1), alone: of(2), behind: of(3) })
    }
}

impl Distance {
    /// Why it hasn't caught up; `None` where it has.
    pub fn obstacle(&self, pipeline: &str) -> Option<String> {
        let Self { partitions, halted, alone, behind } = *self;
        let of = |number: u64, what: &str| {
            Some(format!("pipeline {pipeline}: {number} of {partitions} partitions {what}"))
        };
        match (partitions, halted, alone, behind) {
            (0, ..) => {
                Some(format!("the ledger knows no pipeline {pipeline}: is it spelt right, and did it run?"))
            }
            (_, 1.., ..) => of(halted, "halted"),
            (_, _, 1.., _) => of(alone, "are read by nobody that runs"),
            (_, _, _, 1..) => of(behind, "aren't known to have caught up"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_pipeline_from_having_caught_up_is_named() {
        for (counts, told) in [
            ([0, 0, 0, 0], Some("the ledger knows no pipeline users: is it spelt right, and did it run?")),
            ([3, 1, 1, 1], Some("pipeline users: 1 of 3 partitions halted")),
            ([3, 0, 3, 0], Some("pipeline users: 3 of 3 partitions are read by nobody that runs")),
            ([3, 0, 0, 2], Some("pipeline users: 2 of 3 partitions aren't known to have caught up")),
            ([3, 0, 0, 0], None),
        ] {
            let [partitions, halted, alone, behind] = counts;
            let distance = Distance { partitions, halted, alone, behind };
            assert_eq!(distance.obstacle("users").as_deref(), told, "{counts:?}");
        }
    }
}
