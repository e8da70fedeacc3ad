SELECT pg_catalog.has_schema_privilege(relation.relnamespace, 'USAGE'),
       pg_catalog.has_any_column_privilege(relation.oid, 'SELECT'),
       pg_catalog.has_any_column_privilege(relation.oid, 'INSERT'),
       pg_catalog.has_any_column_privilege(relation.oid, 'UPDATE'),
       pg_catalog.has_table_privilege(relation.oid, 'DELETE')
FROM pg_catalog.pg_class AS relation
WHERE relation.oid = $1
