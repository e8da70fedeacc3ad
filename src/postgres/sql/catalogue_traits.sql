WITH RECURSIVE tree AS (
    -- Not by pg_partition_tree, which waits for locks on the partitions.
    SELECT $1 AS oid
    UNION
    SELECT node.inhrelid FROM tree JOIN pg_catalog.pg_inherits AS node ON node.inhparent = tree.oid
), triggers AS (
    -- Bits of tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update (pg_trigger.h).
    SELECT trigger.tgtype, trigger.tgconstraint
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
), led_to AS (
    -- Tables that the foreign keys of the table lead to, over any number of others and their partitions.
    SELECT constraints.confrelid AS oid
    FROM tree
    JOIN pg_catalog.pg_constraint AS constraints ON constraints.conrelid = tree.oid
    WHERE constraints.contype = 'f'
    UNION
    SELECT link.target
    FROM led_to
    CROSS JOIN LATERAL (
        SELECT constraints.confrelid AS target
        FROM pg_catalog.pg_constraint AS constraints
        WHERE constraints.conrelid = led_to.oid AND constraints.contype = 'f'
        UNION ALL
        SELECT parts.inhrelid FROM pg_catalog.pg_inherits AS parts WHERE parts.inhparent = led_to.oid
    ) AS link
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
        WHERE part.relkind = 'r' AND part.relpersistence <> 'p'),
       EXISTS (SELECT FROM triggers WHERE tgconstraint <> 0)
           OR EXISTS (SELECT FROM led_to JOIN tree ON tree.oid = led_to.oid),
       ARRAY(
           SELECT DISTINCT CAST(field.attname AS text)
           FROM tree
           JOIN pg_catalog.pg_partitioned_table AS parent ON parent.partrelid = tree.oid
           JOIN pg_catalog.pg_attribute AS field
               ON field.attrelid = tree.oid AND field.attnum = ANY (parent.partattrs)
       )
