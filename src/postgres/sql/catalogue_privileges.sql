WITH relation AS (
    SELECT oid, relnamespace FROM pg_catalog.pg_class WHERE oid = $1
), held AS (
    -- Roles whose rights the session could have and doesn't inherit.
    SELECT role.oid, CAST(role.rolname AS text) AS name
    FROM pg_catalog.pg_roles AS role
    WHERE pg_catalog.pg_has_role(role.oid, 'MEMBER') AND NOT pg_catalog.pg_has_role(role.oid, 'USAGE')
), wanted (place, privilege, columns) AS (
    VALUES (1, 'SELECT', $2), (2, 'INSERT', $3), (3, 'UPDATE', $4)
)
SELECT 0 AS place, 'USAGE' AS privilege,
       pg_catalog.has_schema_privilege(relation.relnamespace, 'USAGE') AS granted,
       CAST('{}' AS text[]) AS lacking,
       (SELECT pg_catalog.min(held.name) FROM held
        WHERE pg_catalog.has_schema_privilege(held.oid, relation.relnamespace, 'USAGE')) AS holder
FROM relation
UNION ALL
SELECT wanted.place, wanted.privilege,
       pg_catalog.has_any_column_privilege(relation.oid, wanted.privilege),
       ARRAY(
           SELECT name FROM pg_catalog.unnest(wanted.columns) AS name
           WHERE NOT pg_catalog.has_column_privilege(relation.oid, name, wanted.privilege)
       ),
       (SELECT pg_catalog.min(held.name) FROM held
        WHERE pg_catalog.has_table_privilege(held.oid, relation.oid, wanted.privilege))
FROM relation, wanted
UNION ALL
SELECT 4, 'DELETE', pg_catalog.has_table_privilege(relation.oid, 'DELETE'), CAST('{}' AS text[]),
       (SELECT pg_catalog.min(held.name) FROM held
        WHERE pg_catalog.has_table_privilege(held.oid, relation.oid, 'DELETE'))
FROM relation
ORDER BY place
