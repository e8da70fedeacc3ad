WITH RECURSIVE tree AS (
    -- Not by pg_partition_tree, which waits for locks on the partitions.
    SELECT $1 AS oid
    UNION
    SELECT node.inhrelid FROM tree JOIN pg_catalog.pg_inherits AS node ON node.inhparent = tree.oid
), triggers AS (
    -- Bits of tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update (pg_trigger.h).
    SELECT trigger.tgtype
    FROM tree
    JOIN pg_catalog.pg_trigger AS trigger ON trigger.tgrelid = tree.oid
    WHERE NOT trigger.tgisinternal
      AND trigger.tgenabled IN (
          'A',
          CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END
      )
), rules AS (
    SELECT rule.ev_type
    FROM tree
    JOIN pg_catalog.pg_rewrite AS rule ON rule.ev_class = tree.oid
    WHERE rule.ev_enabled <> 'D'
)
SELECT EXISTS (SELECT FROM triggers WHERE tgtype & 7 = 7) OR EXISTS (SELECT FROM rules WHERE ev_type = '3'),
       EXISTS (SELECT FROM triggers WHERE tgtype & 19 = 19) OR EXISTS (SELECT FROM rules WHERE ev_type = '2'),
       EXISTS (SELECT FROM triggers WHERE tgtype & 11 = 11) OR EXISTS (SELECT FROM rules WHERE ev_type = '4'),
       EXISTS (SELECT FROM triggers),
       EXISTS (
           SELECT FROM tree
           JOIN pg_catalog.pg_constraint AS rule ON tree.oid IN (rule.conrelid, rule.confrelid)
           WHERE rule.contype IN ('c', 'f', 'x')
       ),
       (SELECT pg_catalog.string_agg(CAST(CAST(part.oid AS regclass) AS text), ', ')
        FROM tree JOIN pg_catalog.pg_class AS part ON part.oid = tree.oid
        WHERE part.relkind = 'f'),
       (SELECT pg_catalog.string_agg(CAST(CAST(part.oid AS regclass) AS text), ', ')
        FROM tree JOIN pg_catalog.pg_class AS part ON part.oid = tree.oid
        WHERE part.relkind = 'r' AND part.relpersistence <> 'p')
