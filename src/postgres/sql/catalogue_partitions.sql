WITH RECURSIVE tree AS (
    -- Not by pg_partition_tree, which waits for locks on the partitions.
    SELECT $1 AS oid
    UNION
    SELECT node.inhrelid FROM tree JOIN pg_catalog.pg_inherits AS node ON node.inhparent = tree.oid
)
SELECT CAST(home.nspname AS text) || '.' || CAST(relation.relname AS text),
       ARRAY(
           SELECT pg_catalog.replace(pg_catalog.pg_get_expr(part.relpartbound, part.oid), 'FOR VALUES ', '')
           FROM pg_catalog.pg_inherits AS node
           JOIN pg_catalog.pg_class AS part ON part.oid = node.inhrelid
           WHERE node.inhparent = tree.oid
           ORDER BY part.relname
       )
FROM tree
JOIN pg_catalog.pg_partitioned_table AS parent ON parent.partrelid = tree.oid
JOIN pg_catalog.pg_class AS relation ON relation.oid = tree.oid
JOIN pg_catalog.pg_namespace AS home ON home.oid = relation.relnamespace
-- A table that is partitioned by hash has a place for every row, and can't have a default.
WHERE parent.partdefid = 0
  AND (parent.partstrat <> 'h'
       OR NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS node WHERE node.inhparent = tree.oid))
ORDER BY 1
