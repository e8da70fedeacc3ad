-- Each topic's row is locked first, so that two processes which see the same partitions come make their rows
-- once. A topic whose partitions nobody has counted, as an older program leaves it, is taken to have had those
-- that have rows.
WITH wanted AS (
    SELECT topic, pg_catalog.max(partition) + 1 AS partitions
    FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS given(topic, partition)
    GROUP BY topic
), known AS MATERIALIZED (
    SELECT route.topic, route.partitions
    FROM {ledger}.pipelines AS route
    JOIN wanted ON wanted.topic = route.topic
    WHERE route.pipeline = $1
    ORDER BY route.topic COLLATE pg_catalog."C"
    FOR UPDATE OF route
), added AS MATERIALIZED (
    SELECT known.topic, sibling.topic_id, wanted.partitions,
           COALESCE(known.partitions, sibling.partitions) AS first
    FROM known
    JOIN wanted ON wanted.topic = known.topic
    CROSS JOIN LATERAL (
        SELECT topic_id, partition + 1 AS partitions
        FROM {ledger}.progress
        WHERE pipeline = $1 AND topic = known.topic
        ORDER BY partition DESC
        LIMIT 1
    ) AS sibling
), counted AS (
    UPDATE {ledger}.pipelines AS route
    SET partitions = GREATEST(added.first, added.partitions)
    FROM added
    WHERE route.pipeline = $1 AND route.topic = added.topic
      AND route.partitions IS DISTINCT FROM GREATEST(added.first, added.partitions)
)
INSERT INTO {ledger}.progress (pipeline, topic, partition, topic_id, start_offset, next_offset)
SELECT $1, added.topic, number, added.topic_id, 0, 0
FROM added CROSS JOIN LATERAL pg_catalog.generate_series(added.first, added.partitions - 1) AS number
ORDER BY added.topic COLLATE pg_catalog."C", number
ON CONFLICT (pipeline, topic, partition) DO NOTHING
