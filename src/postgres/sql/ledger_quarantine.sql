SELECT topic, topic_id, partition, record_offset, record_key, record_value, header_names, header_values,
       CAST(EXTRACT(epoch FROM record_at) * 1000 AS bigint) AS record_at_ms,
       target, truncated, record_sha256, code, sqlstate, column_name, reason, attempts,
       CAST(EXTRACT(epoch FROM first_at) * 1000 AS bigint) AS first_at_ms,
       CAST(EXTRACT(epoch FROM resolved_at) * 1000 AS bigint) AS resolved_at_ms, resolution
FROM (
    SELECT {columns} FROM {ledger}.quarantine
    WHERE pipeline = $1
      AND ($2 IS NULL OR topic = $2)
      AND ($3 IS NULL OR partition = $3)
      AND ($4 IS NULL OR record_offset = $4)
      AND ($5 IS NULL OR code = $5 OR sqlstate = $5
           OR pg_catalog.strpos(pg_catalog.lower(reason), pg_catalog.lower($5)) > 0)
      AND ($6 IS NULL OR first_at >= pg_catalog.to_timestamp($6 / 1000.0))
      AND ($7 OR resolved_at IS NULL)
    OFFSET 0
) AS quarantine
WHERE (
{condition}
)
ORDER BY topic COLLATE pg_catalog."C", partition, record_offset
LIMIT $8
