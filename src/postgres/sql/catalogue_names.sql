SELECT CAST(namespace.nspname AS text), CAST(relation.relname AS text)
FROM pg_catalog.pg_class AS relation
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
WHERE relation.relkind IN ('r', 'p') AND namespace.nspname !~ '^pg_' AND namespace.nspname <> 'information_schema'
ORDER BY 1, 2
LIMIT 10000
