SELECT topic, topic_id, partition, record_offset, record_key, record_value, header_names, header_values,
       CAST(EXTRACT(epoch FROM record_at) * 1000 AS bigint) AS record_at_ms,
       target, truncated, record_sha256, code, sqlstate, column_name, reason, attempts,
       CAST(EXTRACT(epoch FROM first_at) * 1000 AS bigint) AS first_at_ms,
       CAST(EXTRACT(epoch FROM resolved_at) * 1000 AS bigint) AS resolved_at_ms, resolution, span, backfill
FROM (
    SELECT {columns} FROM {ledger}.quarantine
    WHERE {conditions}
      AND ($12 IS NULL OR span = $12)
      AND ($10 IS NULL OR code = $10 OR sqlstate = $10
           OR pg_catalog.strpos(pg_catalog.lower(reason), pg_catalog.lower($10)) > 0)
    OFFSET 0
) AS quarantine
WHERE (
{condition}
)
ORDER BY topic COLLATE pg_catalog."C", partition, record_offset, span, backfill
LIMIT $11
