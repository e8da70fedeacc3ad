-- All parts see the rows as they were locked. A row that is made anew has an epoch that no claim can have reached,
-- since nobody knows how often its partition was claimed before.
WITH given AS (
    SELECT *
    FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),
                    pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($9)) WITH ORDINALITY
        AS given(topic, partition, action, to_offset, topic_id, renumbers, log_end, place)
), decided AS (
    INSERT INTO {ledger}.decisions (pipeline, topic, partition, action, reason, from_offset, to_offset)
    SELECT $1, given.topic, given.partition, given.action, $8, held.next_offset, given.to_offset
    FROM given
    LEFT JOIN {ledger}.progress AS held
      ON held.pipeline = $1 AND held.topic = given.topic AND held.partition = given.partition
    ORDER BY given.place
    RETURNING id, topic, partition, from_offset, to_offset
), closed AS (
    INSERT INTO {ledger}.spans
        (decision_id, pipeline, topic, partition, topic_id, epoch, owner, start_offset, next_offset, log_end_offset,
         inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, filtered, gaps,
         newest_at, committed_at, halt, span)
    SELECT decided.id, held.pipeline, held.topic, held.partition, held.topic_id, held.epoch, held.owner,
           held.start_offset, held.next_offset, held.log_end_offset,
           held.inserted, held.updated, held.unchanged, held.superseded, held.ignored, held.stale, held.deleted,
           held.quarantined, held.filtered, held.gaps, held.newest_at, held.committed_at, held.halt, held.span
    FROM {ledger}.progress AS held
    JOIN decided ON held.topic = decided.topic AND held.partition = decided.partition
    WHERE held.pipeline = $1
), gone AS (
    DELETE FROM {ledger}.progress AS held
    USING given
    WHERE held.pipeline = $1 AND held.topic = given.topic AND held.partition = given.partition
      AND given.to_offset IS NULL
), unskipped AS (
    -- The record that was to be skipped is another one, or none.
    DELETE FROM {ledger}.skips AS skipped
    USING given
    WHERE skipped.pipeline = $1 AND skipped.topic = given.topic AND skipped.partition = given.partition
      AND (given.renumbers OR given.to_offset IS NULL)
), made AS (
    INSERT INTO {ledger}.progress
        (pipeline, topic, partition, topic_id, epoch, start_offset, next_offset, log_end_offset, decision_id, span,
         paused_at)
    SELECT $1, given.topic, given.partition, given.topic_id,
           CAST(EXTRACT(epoch FROM pg_catalog.clock_timestamp()) AS bigint), given.to_offset, given.to_offset,
           given.log_end, decided.id, CASE WHEN given.renumbers THEN decided.id ELSE COALESCE(known.span, 0) END,
           {ledger}.paused_since($1, given.topic, given.partition)
    FROM given
    CROSS JOIN LATERAL (
        SELECT GREATEST(
            (SELECT pg_catalog.max(span) FROM {ledger}.spans AS before
             WHERE before.pipeline = $1 AND before.topic = given.topic AND before.partition = given.partition
               AND before.topic_id = given.topic_id),
            (SELECT pg_catalog.max(id) FROM {ledger}.decisions AS before
             WHERE before.pipeline = $1 AND before.topic = given.topic AND before.partition = given.partition
               AND before.action = 'accept-rewritten')) AS span
    ) AS known
    JOIN decided ON decided.topic = given.topic AND decided.partition = given.partition
    WHERE given.to_offset IS NOT NULL
      AND NOT EXISTS (SELECT FROM {ledger}.progress AS held
                      WHERE held.pipeline = $1 AND held.topic = given.topic AND held.partition = given.partition)
), moved AS (
    UPDATE {ledger}.progress AS held
    SET topic_id = given.topic_id, epoch = held.epoch + 1, owner = NULL,
        start_offset = given.to_offset, next_offset = given.to_offset, log_end_offset = given.log_end,
        inserted = 0, updated = 0, unchanged = 0, superseded = 0, ignored = 0, stale = 0, deleted = 0,
        quarantined = 0, filtered = 0, gaps = 0, newest_at = NULL, committed_at = NULL,
        halt = NULL, halt_offset = NULL, decision_id = decided.id,
        span = CASE WHEN given.renumbers THEN decided.id ELSE held.span END,
        judged_from = CASE WHEN given.renumbers OR given.topic_id <> held.topic_id THEN NULL ELSE held.judged_from END,
        anchor_offset = NULL, anchor_at_ms = NULL, anchor_sum = NULL
    FROM given
    JOIN decided ON decided.topic = given.topic AND decided.partition = given.partition
    WHERE held.pipeline = $1 AND held.topic = given.topic AND held.partition = given.partition
      AND given.to_offset IS NOT NULL
)
SELECT id, topic, partition, from_offset, to_offset FROM decided ORDER BY id
