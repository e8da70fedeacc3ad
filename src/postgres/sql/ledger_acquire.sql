WITH wanted AS (
    SELECT topic, partition
    FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS given(topic, partition)
)
INSERT INTO {ledger}.progress AS held
    (pipeline, topic, partition, topic_id, epoch, owner, start_offset, next_offset)
SELECT $1, wanted.topic, wanted.partition, sibling.topic_id, 1, $4, 0, 0
FROM wanted
CROSS JOIN LATERAL (
    SELECT topic_id FROM {ledger}.progress
    WHERE pipeline = $1 AND topic = wanted.topic
    ORDER BY partition
    LIMIT 1
) AS sibling
ORDER BY wanted.topic COLLATE pg_catalog."C", wanted.partition
ON CONFLICT (pipeline, topic, partition)
    DO UPDATE SET epoch = held.epoch + 1, owner = excluded.owner
RETURNING topic, partition, topic_id, epoch, next_offset
