-- The rows are locked in the order in which every transaction locks them, all of them before the first is
-- changed: that is what the count is for. What else the ledger knows of them is looked up behind the locks, by
-- functions that see what was decided while they were waited for.
WITH held AS MATERIALIZED (
    SELECT progress.topic, progress.partition
    FROM {ledger}.progress
    JOIN ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS wanted(topic, partition)
      ON progress.topic = wanted.topic AND progress.partition = wanted.partition
    WHERE progress.pipeline = $1
    ORDER BY progress.topic COLLATE pg_catalog."C", progress.partition
    FOR UPDATE OF progress
)
-- What a process waits for is no halt of the one that claims: it says so again where it waits too long itself.
UPDATE {ledger}.progress
SET epoch = progress.epoch + 1, owner = $4,
    halt = CASE WHEN progress.halt LIKE 'TG-309:%' THEN NULL ELSE progress.halt END,
    paused_at = {ledger}.paused_since(progress.pipeline, progress.topic, progress.partition)
FROM held
WHERE (SELECT pg_catalog.count(*) FROM held) > 0
  AND progress.pipeline = $1 AND progress.topic = held.topic AND progress.partition = held.partition
RETURNING progress.topic, progress.partition, progress.topic_id, progress.epoch, progress.next_offset,
    progress.paused_at IS NOT NULL,
    {ledger}.skipped_at(progress.pipeline, progress.topic, progress.partition,
        progress.topic_id, progress.next_offset),
    {ledger}.cluster_of(progress.pipeline, progress.topic),
    progress.anchor_offset, progress.anchor_at_ms, progress.anchor_sum,
    progress.judged_from
