-- State of the schema itself. Tenant: none, these read catalogs and schema_migrations.

-- name: read_schema_version
-- Highest migration that is applied, and PostgreSQL's version. Tenant: none. Index:
-- schema_migrations_pkey.
SELECT max(version) AS version, current_setting('server_version') AS server_version
FROM schema_migrations;

-- name: list_partitions
-- Tables named NAME_pYYYYMMDD, and whether each is a partition of NAME, or is being detached. $1: names.
-- Tenant: none. Index: pg_class_relname_nsp_index, pg_inherits_relid_seqno_index.
SELECT
    parents.name AS parent,
    pg_class.relname AS name,
    pg_inherits.inhrelid IS NOT NULL AS attached,
    coalesce(pg_inherits.inhdetachpending, false) AS detaching
FROM unnest($1::text[]) AS parents (name)
INNER JOIN pg_class AS parent ON parent.oid = parents.name::regclass
INNER JOIN pg_class
    ON pg_class.relnamespace = parent.relnamespace
    AND pg_class.relname ~ ('^' || parents.name || '_p[0-9]{8}$')
    AND pg_class.relkind = 'r'
LEFT JOIN pg_inherits
    ON pg_inherits.inhrelid = pg_class.oid
    AND pg_inherits.inhparent = parent.oid
ORDER BY parents.name, pg_class.relname;

-- name: try_session_lock
-- Takes an advisory lock of the session, if nobody has it. $1: its number. Tenant, index: none.
SELECT pg_try_advisory_lock($1);

-- name: unlock_session
-- Gives an advisory lock of the session back. $1: its number. Tenant, index: none.
SELECT pg_advisory_unlock($1);
