SELECT relation.oid,
       CAST(relation.relkind AS text),
       CAST(relation.relpersistence AS text),
       relation.relispartition,
       relation.relkind = 'r' AND EXISTS (
           SELECT FROM pg_catalog.pg_inherits AS child WHERE child.inhparent = relation.oid
       )
FROM pg_catalog.pg_class AS relation
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
WHERE namespace.nspname = $1 AND relation.relname = $2
