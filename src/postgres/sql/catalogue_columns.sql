SELECT CAST(field.attname AS text),
       field.atttypid,
       field.atttypmod,
       field.attnotnull,
       field.atthasdef AND field.attgenerated = '',
       CAST(field.attidentity AS text),
       field.attgenerated <> '',
       COALESCE(ordering.collisdeterministic, true)
FROM pg_catalog.pg_attribute AS field
LEFT JOIN pg_catalog.pg_collation AS ordering ON ordering.oid = field.attcollation
WHERE field.attrelid = $1 AND field.attnum > 0 AND NOT field.attisdropped
ORDER BY field.attnum
