WITH RECURSIVE tree AS (
    -- Not by pg_partition_tree, which waits for locks on the partitions.
    SELECT $1 AS oid
    UNION
    SELECT node.inhrelid FROM tree JOIN pg_catalog.pg_inherits AS node ON node.inhparent = tree.oid
)
SELECT CAST(index_relation.relname AS text),
       entry.indrelid = $1,
       entry.indisvalid AND entry.indisready AND entry.indislive,
       entry.indisunique AND NOT entry.indisexclusion,
       entry.indisexclusion,
       entry.indimmediate,
       entry.indpred IS NOT NULL,
       entry.indexprs IS NOT NULL,
       ARRAY(
           SELECT CAST(field.attname AS text)
           FROM pg_catalog.generate_series(0, entry.indnkeyatts - 1) AS place
           JOIN pg_catalog.pg_attribute AS field
               ON field.attrelid = entry.indrelid AND field.attnum = entry.indkey[place]
           ORDER BY place
       ),
       NOT EXISTS (
           SELECT FROM pg_catalog.generate_series(0, entry.indnkeyatts - 1) AS place
           JOIN pg_catalog.pg_collation AS ordering ON ordering.oid = entry.indcollation[place]
           WHERE NOT ordering.collisdeterministic
       ),
       NOT EXISTS (
           SELECT FROM pg_catalog.generate_series(0, entry.indnkeyatts - 1) AS place
           JOIN pg_catalog.pg_opclass AS equality ON equality.oid = entry.indclass[place]
           WHERE NOT equality.opcdefault
       )
FROM tree
JOIN pg_catalog.pg_index AS entry ON entry.indrelid = tree.oid
JOIN pg_catalog.pg_class AS index_relation ON index_relation.oid = entry.indexrelid
ORDER BY entry.indrelid <> $1, entry.indexrelid
