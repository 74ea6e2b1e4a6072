-- State of the schema itself. Tenant: none, these read catalogs and schema_migrations.

-- name: read_schema_version
-- Highest migration that is applied, and PostgreSQL's version. Tenant: none. Index:
-- schema_migrations_pkey.
SELECT max(version) AS version, current_setting('server_version') AS server_version
FROM schema_migrations;

-- name: list_telemetry_partitions
-- Tables named telemetry_pYYYYMMDD, and whether each is a partition, or is being detached.
-- Tenant: none. Index: pg_class_relname_nsp_index.
SELECT
    pg_class.relname AS name,
    pg_inherits.inhrelid IS NOT NULL AS attached,
    coalesce(pg_inherits.inhdetachpending, false) AS detaching
FROM pg_class
LEFT JOIN pg_inherits
    ON pg_inherits.inhrelid = pg_class.oid
    AND pg_inherits.inhparent = 'telemetry'::regclass
WHERE pg_class.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'telemetry'::regclass)
  AND pg_class.relname ~ '^telemetry_p[0-9]{8}$'
  AND pg_class.relkind = 'r'
ORDER BY pg_class.relname;

-- name: try_session_lock
-- Takes an advisory lock of the session, if nobody has it. $1: its number. Tenant, index: none.
SELECT pg_try_advisory_lock($1);

-- name: unlock_session
-- Gives an advisory lock of the session back. $1: its number. Tenant, index: none.
SELECT pg_advisory_unlock($1);
