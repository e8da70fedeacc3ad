-- Two spans of one partition overlap where an operator had records read again: an entry of the quarantine can be
-- of either then. Behind a decision that makes offsets mean other records, it is another span's.
WITH spans AS (
    SELECT topic, partition, topic_id, span, CAST(NULL AS bigint) AS decision_id, start_offset, next_offset, gaps,
           EXISTS (SELECT FROM {ledger}.decisions AS made
                   WHERE made.id = progress.decision_id AND made.from_offset IS NULL) AS made_anew,
           inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, filtered
    FROM {ledger}.progress
    WHERE pipeline = $1
    UNION ALL
    SELECT topic, partition, topic_id, span, decision_id, start_offset, next_offset, gaps, false,
           inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, filtered
    FROM {ledger}.spans
    WHERE pipeline = $1
)
SELECT topic, partition, decision_id, start_offset, next_offset, gaps,
       (SELECT pg_catalog.count(*) FROM {ledger}.quarantine AS kept
        WHERE kept.pipeline = $1 AND kept.topic = spans.topic AND kept.topic_id = spans.topic_id
          AND kept.partition = spans.partition AND kept.span = spans.span AND kept.backfill = ''
          AND kept.record_offset >= spans.start_offset AND kept.record_offset < spans.next_offset),
       made_anew OR EXISTS (
           SELECT FROM spans AS other
           WHERE other.topic = spans.topic AND other.partition = spans.partition
             AND other.topic_id = spans.topic_id AND other.span = spans.span
             AND other.decision_id IS DISTINCT FROM spans.decision_id
             AND other.start_offset < spans.next_offset AND other.next_offset > spans.start_offset),
       inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, filtered
FROM spans
ORDER BY topic COLLATE pg_catalog."C", partition, decision_id NULLS LAST
