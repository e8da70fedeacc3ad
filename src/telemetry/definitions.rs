//! Every metric: name, labels, help, buckets. No other file holds a metric's name.

/// What a metric is, as `docs/METRICS.md` prints it.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The full name.
    pub name: &'static str,
    /// The kind of series.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub kind: Kind,
    /// Its labels, besides the constant label `pipeline`.
    pub labels: &'static [&'static str],
    /// One sentence: what it says, in what unit.
    pub help: &'static str,
    /// Upper bounds of a histogram's buckets.
    pub buckets: &'static [f64],
}

/// The kind of a metric's series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only rises, until the process starts anew.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

macro_rules! definitions {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal $(in $buckets:expr)?;)*) => {
        $(pub(super) const $id: Definition = Definition {
            name: concat!("tidegate_", $name),
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
            buckets: { let none: &[f64] = &[]; $(let none = { let _ = none; $buckets };)? none },
        };)*
        /// All metrics of our own, in the order of the documentation.
        #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
        pub const DEFINITIONS: &[Definition] = &[$($id),*];
    };
}

const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const LONG_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
const ROWS: &[f64] = &[1.0, 10.0, 100.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5];
const BYTES: &[f64] =
    &[1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 8388608.0, 16777216.0, 67108864.0];

definitions! {
    LAG_RECORDS: Gauge "consumer_lag_records" ["topic", "partition"]
        "End of the committed log minus the next offset stored in PostgreSQL.";
    LAG_SECONDS: Gauge "consumer_lag_seconds" ["topic", "partition"]
        "Age of the oldest record not yet applied; 0 when caught up.";
    NEXT_OFFSET: Gauge "next_offset" ["topic", "partition"]
        "First offset not yet applied, as stored in PostgreSQL.";
    LOG_END_OFFSET: Gauge "log_end_offset" ["topic", "partition"]
        "End of the committed log as last seen.";
    RETENTION_MARGIN: Gauge "retention_margin_records" ["topic", "partition"]
        "Next offset minus the log's first offset; below 0 means that records were deleted unread.";
    LAST_COMMIT: Gauge "last_commit_timestamp_seconds" ["table"]
        "Last commit into the table by any process, seconds since the Unix epoch; 0 before the first.";
    NEWEST_RECORD: Gauge "newest_record_timestamp_seconds" ["table"]
        "Newest record in the table by any process, seconds since the Unix epoch; 0 before the first.";
    CONSUMED: Counter "records_consumed_total" ["topic"]
        "Records read from the log: the sum of outcomes, of records discarded and of records in flight.";
    DISCARDED: Counter "records_discarded_total" ["topic"]
        "Records read and dropped unwritten because the assignment ended; their next owner reads them again.";
    RECORDS: Counter "records_total" ["topic", "table", "outcome"]
        "Records settled, by their one outcome.";
    RULE_FAILURES: Counter "rule_failures_total" ["topic", "rule"]
        "Records that failed a rule of their route, whatever became of them.";
    DUPLICATES: Counter "duplicates_total" ["topic", "table"]
        "Records whose key was there already: updated, unchanged, superseded, ignored or stale.";
    TRANSACTION_SECONDS: Histogram "transaction_seconds" []
        "Time from BEGIN to the answer to COMMIT." in SECONDS;
    END_TO_END_SECONDS: Histogram "end_to_end_seconds" []
        "Time from a record's timestamp to the commit that applied it." in LONG_SECONDS;
    STAGE_SECONDS: Histogram "stage_seconds" ["stage"]
        "Time that a batch spent in a stage." in SECONDS;
    BATCH_ROWS: Histogram "batch_rows" []
        "Records settled by one transaction." in ROWS;
    BATCH_BYTES: Histogram "batch_bytes" []
        "Bytes of the records settled by one transaction." in BYTES;
    TRANSACTIONS: Counter "transactions_total" ["result"]
        "Transactions, by how they ended.";
    RETRIES: Counter "retries_total" ["class"]
        "Transactions tried again, by the class of the failure.";
    NEXT_TRY: Gauge "next_try_timestamp_seconds" ["lane"]
        "When a lane tries its transaction again, seconds since the Unix epoch; 0 while nothing failed.";
    ERRORS: Counter "errors_total" ["class", "code"]
        "Errors of PostgreSQL (code is the SQLSTATE) and of Kafka (code is librdkafka's name).";
    FENCED: Counter "fenced_total" []
        "Writes refused because another owner holds the partition or its stored position has moved.";
    COMMIT_UNKNOWN: Counter "commit_unknown_total" ["resolved"]
        "Commits whose answer was lost, by what the stored position told later.";
    REBALANCES: Counter "rebalances_total" ["event"]
        "Changes of the assignment of partitions to this process.";
    PARTITIONS_ASSIGNED: Gauge "partitions_assigned" []
        "Partitions that this process owns now.";
    PARTITIONS_HALTED: Gauge "partitions_halted" ["code"]
        "Partitions of this process that stand still, by the code of the halt.";
    PARTITIONS_PAUSED: Gauge "partitions_paused" []
        "Partitions of this process that people made stand still.";
    WAITS_UNMET: Gauge "waits_unmet" ["wait"]
        "1 while what this process waits for isn't known to hold, else 0.";
    QUARANTINE_OPEN: Gauge "quarantine_open" ["topic"]
        "Records in the quarantine that nobody has decided on, over all processes of the pipeline.";
    DEPENDENCY_UP: Gauge "dependency_up" ["dependency"]
        "1 when the dependency answers, else 0.";
    DEFECTS: Counter "defects_total" []
        "States met that can't be: above 0 this program has a defect, which is worth a report.";
    BUFFERED_BYTES: Gauge "buffered_bytes" []
        "Bytes of records read and not yet settled.";
    BUILD_INFO: Gauge "build_info" ["version", "librdkafka"]
        "Always 1; the labels tell what is running.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the contract, `records_discarded_total`, which its identity needs, and `defects_total`.
    const CONTRACT: &str = "consumer_lag_records consumer_lag_seconds next_offset log_end_offset \
        retention_margin_records last_commit_timestamp_seconds newest_record_timestamp_seconds \
        records_consumed_total records_discarded_total records_total rule_failures_total \
        duplicates_total transaction_seconds \
        end_to_end_seconds stage_seconds batch_rows batch_bytes transactions_total retries_total \
        next_try_timestamp_seconds errors_total fenced_total commit_unknown_total rebalances_total partitions_assigned \
        partitions_halted partitions_paused waits_unmet quarantine_open \
        dependency_up defects_total buffered_bytes build_info";

    #[test]
    fn names_are_those_of_the_contract_in_its_order() {
        let names: Vec<_> = DEFINITIONS.iter().map(|definition| definition.name).collect();
        let expected: Vec<_> = CONTRACT.split_whitespace().map(|name| format!("tidegate_{name}")).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_documentation_lists_each_metric() {
        let mut page = String::from(include_str!("metrics.md"));
        for definition in DEFINITIONS {
            let labels =
                definition.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            let kind = format!("{:?}", definition.kind).to_lowercase();
            page += &format!("| `{}` | {kind} | {labels} | {} |\n", definition.name, definition.help);
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == page,
            "docs/METRICS.md differs from the definitions; UPDATE_DOCS=1 cargo test writes it"
        );
    }
}
