SELECT CAST(field.attname AS text),
       pg_catalog.quote_ident(home.nspname) || '.' || pg_catalog.quote_ident(sequence.relname)
FROM pg_catalog.pg_attrdef AS filled
JOIN pg_catalog.pg_attribute AS field ON field.attrelid = filled.adrelid AND field.attnum = filled.adnum
JOIN pg_catalog.pg_depend AS needs
    ON needs.classid = CAST('pg_catalog.pg_attrdef' AS regclass) AND needs.objid = filled.oid
   AND needs.refclassid = CAST('pg_catalog.pg_class' AS regclass)
JOIN pg_catalog.pg_class AS sequence ON sequence.oid = needs.refobjid
JOIN pg_catalog.pg_namespace AS home ON home.oid = sequence.relnamespace
-- What AND leaves out in one process it may ask first in another: only a sequence may be asked about.
WHERE filled.adrelid = $1
  AND CASE WHEN sequence.relkind = 'S'
           THEN NOT pg_catalog.has_sequence_privilege(sequence.oid, 'USAGE, UPDATE')
           ELSE false END
ORDER BY field.attnum
