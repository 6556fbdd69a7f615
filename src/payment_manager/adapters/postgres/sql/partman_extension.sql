-- partman_extension: the schema and the major version of pg_partman in this database, and whether we may work with it.
SELECT quote_ident(pg_namespace.nspname), split_part(pg_extension.extversion, '.', 1)::integer,
    has_schema_privilege(pg_namespace.oid, 'USAGE')
        AND has_table_privilege(to_regclass(format('%I.part_config', pg_namespace.nspname)), 'SELECT, INSERT, UPDATE')
FROM pg_extension
JOIN pg_namespace ON pg_namespace.oid = pg_extension.extnamespace
WHERE pg_extension.extname = 'pg_partman'
