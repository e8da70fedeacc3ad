WITH wanted AS (
    SELECT topic, partition
    FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS given(topic, partition)
)
INSERT INTO {ledger}.progress AS held
    (pipeline, topic, partition, topic_id, epoch, owner, start_offset, next_offset, paused_at)
SELECT $1, wanted.topic, wanted.partition, sibling.topic_id, 1, $4, 0, 0,
       {ledger}.paused_since($1, wanted.topic, wanted.partition)
FROM wanted
CROSS JOIN LATERAL (
    SELECT topic_id FROM {ledger}.progress
    WHERE pipeline = $1 AND topic = wanted.topic
    ORDER BY partition
    LIMIT 1
) AS sibling
ORDER BY wanted.topic COLLATE pg_catalog."C", wanted.partition
ON CONFLICT (pipeline, topic, partition)
    DO UPDATE SET epoch = held.epoch + 1, owner = excluded.owner,
        -- Looked up behind the row's lock, whatever was decided while it was waited for.
        paused_at = {ledger}.paused_since(held.pipeline, held.topic, held.partition)
RETURNING topic, partition, topic_id, epoch, next_offset, paused_at IS NOT NULL
