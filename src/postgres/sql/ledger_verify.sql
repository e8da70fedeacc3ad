WITH spans AS (
    SELECT pipeline, topic, partition, topic_id, CAST(NULL AS bigint) AS decision_id, start_offset, next_offset,
           gaps, inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, filtered
    FROM {ledger}.progress
    WHERE pipeline = $1
    UNION ALL
    SELECT pipeline, topic, partition, topic_id, decision_id, start_offset, next_offset,
           gaps, inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, filtered
    FROM {ledger}.spans
    WHERE pipeline = $1
)
SELECT topic, partition, decision_id, start_offset, next_offset, gaps,
       (SELECT pg_catalog.count(*) FROM {ledger}.quarantine AS kept
        WHERE kept.pipeline = spans.pipeline AND kept.topic = spans.topic AND kept.topic_id = spans.topic_id
          AND kept.partition = spans.partition
          AND kept.record_offset >= spans.start_offset AND kept.record_offset < spans.next_offset),
       EXISTS (SELECT FROM {ledger}.spans AS closed
               WHERE closed.pipeline = spans.pipeline AND closed.topic = spans.topic
                 AND closed.partition = spans.partition),
       inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, filtered
FROM spans
ORDER BY topic COLLATE pg_catalog."C", partition, decision_id NULLS LAST
