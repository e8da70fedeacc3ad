-- The rows are locked in the order in which every transaction locks them. Pauses are looked up behind the locks,
-- whatever was decided while they were waited for.
WITH held AS MATERIALIZED (
    SELECT progress.topic, progress.partition, route.cluster_id
    FROM {ledger}.progress
    JOIN ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS wanted(topic, partition)
      ON progress.topic = wanted.topic AND progress.partition = wanted.partition
    LEFT JOIN {ledger}.pipelines AS route ON route.pipeline = $1 AND route.topic = progress.topic
    WHERE progress.pipeline = $1
    ORDER BY progress.topic COLLATE pg_catalog."C", progress.partition
    FOR UPDATE OF progress
)
UPDATE {ledger}.progress
SET epoch = progress.epoch + 1, owner = $4,
    paused_at = {ledger}.paused_since(progress.pipeline, progress.topic, progress.partition)
FROM held
WHERE progress.pipeline = $1 AND progress.topic = held.topic AND progress.partition = held.partition
RETURNING progress.topic, progress.partition, progress.topic_id, progress.epoch, progress.next_offset,
    progress.paused_at IS NOT NULL,
    (SELECT skipped.record_offset FROM {ledger}.skips AS skipped
     WHERE skipped.pipeline = progress.pipeline AND skipped.topic = progress.topic
       AND skipped.partition = progress.partition AND skipped.topic_id = progress.topic_id
       AND skipped.record_offset >= progress.next_offset),
    held.cluster_id, progress.anchor_offset, progress.anchor_at_ms, progress.anchor_sum
