WITH RECURSIVE wanted(oid) AS (
    SELECT field.atttypid FROM pg_catalog.pg_attribute AS field
    WHERE field.attrelid = $1 AND field.attnum > 0 AND NOT field.attisdropped
    UNION
    SELECT part.oid
    FROM wanted
    CROSS JOIN LATERAL (
        SELECT base.typbasetype FROM pg_catalog.pg_type AS base
        WHERE base.oid = wanted.oid AND base.typtype = 'd'
        UNION ALL
        SELECT element.oid FROM pg_catalog.pg_type AS element WHERE element.typarray = wanted.oid
        UNION ALL
        SELECT span.rngsubtype FROM pg_catalog.pg_range AS span WHERE span.rngtypid = wanted.oid
        UNION ALL
        SELECT field.atttypid
        FROM pg_catalog.pg_type AS composite
        JOIN pg_catalog.pg_attribute AS field ON field.attrelid = composite.typrelid AND field.attnum > 0
        WHERE composite.oid = wanted.oid AND composite.typtype = 'c' AND NOT field.attisdropped
    ) AS part(oid)
)
SELECT kind.oid,
       CAST(namespace.nspname AS text),
       CAST(kind.typname AS text),
       CAST(kind.typtype AS text),
       kind.typbasetype,
       kind.typtypmod,
       kind.typnotnull,
       kind.typdefault IS NOT NULL,
       EXISTS (
           SELECT FROM pg_catalog.pg_constraint AS rule WHERE rule.contypid = kind.oid AND rule.contype = 'c'
       ),
       COALESCE((SELECT element.oid FROM pg_catalog.pg_type AS element WHERE element.typarray = kind.oid), 0),
       COALESCE((SELECT span.rngsubtype FROM pg_catalog.pg_range AS span WHERE span.rngtypid = kind.oid), 0),
       ARRAY(
           SELECT CAST(label.enumlabel AS text) FROM pg_catalog.pg_enum AS label
           WHERE label.enumtypid = kind.oid ORDER BY label.enumsortorder
       )
FROM wanted
JOIN pg_catalog.pg_type AS kind ON kind.oid = wanted.oid
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = kind.typnamespace
