pipeline = $1
AND ($2 IS NULL OR topic = $2)
AND ($3 IS NULL OR partition = $3)
AND ($4 IS NULL OR record_offset = $4)
AND ($5 IS NULL OR code = $5 OR sqlstate = $5)
AND ($6 IS NULL OR first_at >= pg_catalog.to_timestamp($6 / 1000.0))
AND ($7 IS NULL OR first_at < pg_catalog.to_timestamp($7 / 1000.0))
AND ($8 IS NULL OR column_name = $8)
AND ($9 OR resolved_at IS NULL)
