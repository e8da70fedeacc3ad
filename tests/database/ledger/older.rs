//! A ledger as an older program left it.

/// What a version added, undone; the newest first.
const UNDO: [(i32, &str); 4] = [
    (
        5,
        "DROP FUNCTION {ledger}.paused_since(text, text, integer), {ledger}.cluster_of(text, text), \
         {ledger}.skipped_at(text, text, integer, uuid, bigint); \
         DROP TABLE {ledger}.pauses, {ledger}.skips, {ledger}.retried, {ledger}.rule_failures; \
         ALTER TABLE {ledger}.processes DROP COLUMN tries, DROP COLUMN behind, DROP COLUMN waits; \
         ALTER TABLE {ledger}.decisions DROP CONSTRAINT decisions_check; \
         ALTER TABLE {ledger}.decisions ALTER COLUMN topic SET NOT NULL, ALTER COLUMN partition SET NOT NULL; \
         ALTER TABLE {ledger}.progress DROP COLUMN halt_offset, DROP COLUMN decision_id, \
         DROP COLUMN judged_from, DROP COLUMN paused_at, \
         DROP COLUMN span, DROP COLUMN anchor_offset, DROP COLUMN anchor_at_ms, DROP COLUMN anchor_sum; \
         ALTER TABLE {ledger}.spans DROP COLUMN span; \
         ALTER TABLE {ledger}.pipelines DROP COLUMN partitions, DROP COLUMN cluster_id; \
         ALTER TABLE {ledger}.quarantine DROP CONSTRAINT quarantine_pkey; \
         ALTER TABLE {ledger}.quarantine DROP COLUMN span, DROP COLUMN backfill, DROP COLUMN relayed_at, \
         DROP COLUMN relay_error; \
         CREATE INDEX IF NOT EXISTS quarantine_open ON {ledger}.quarantine (pipeline, topic) WHERE resolved_at IS NULL; \
         ALTER TABLE {ledger}.quarantine ADD PRIMARY KEY (pipeline, topic, topic_id, partition, record_offset)",
    ),
    (4, "DROP TABLE {ledger}.processes"),
    (3, "DROP FUNCTION {ledger}.shape(oid)"),
    (2, "SELECT 1"),
];

/// The SQL that takes a ledger back to a version; its schema as SQL spells it.
pub(crate) fn back_to(schema: &str, version: i32) -> String {
    let undone = UNDO.iter().filter(|(number, _)| *number > version).map(|(_, sql)| format!("{sql}; "));
    let undone: String = undone.collect();
    format!("{undone}DELETE FROM {{ledger}}.version WHERE number > {version}").replace("{ledger}", schema)
}
