-- What `orca doctor` asks of the database. Tenant: none unless a block says so; these read catalogs.

-- name: doctor_read_server
-- Version, clock, rights and connections. Tenant, index: none, a few rows of catalogs and of
-- pg_stat_activity. NULL in `schema`: no schema of the search path may be used.
SELECT
    current_setting('server_version_num')::integer AS version,
    current_setting('server_version') AS version_text,
    clock_timestamp() AS clock,
    current_user::text AS role,
    current_database()::text AS database,
    current_schema()::text AS schema,
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS is_read_only,
    (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector_version,
    (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS vector_available,
    coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false)
    OR coalesce(
        (
            SELECT bool_or(trusted)
            FROM pg_available_extension_versions
            WHERE name = 'vector'
        )
        AND has_database_privilege(current_database(), 'CREATE'),
        false
    ) AS may_create_vector,
    current_setting('max_connections')::integer
    - current_setting('superuser_reserved_connections')::integer AS most_connections,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections;

-- name: doctor_read_oldest_transaction
-- The transaction that has been open for longest, of this database. Tenant, index: none,
-- pg_stat_activity alone.
SELECT
    pid,
    application_name::text AS application,
    coalesce(state, '') AS state,
    extract(EPOCH FROM clock_timestamp() - xact_start)::double precision AS seconds
FROM pg_stat_activity
WHERE datname = current_database()
  AND xact_start IS NOT NULL
  AND pid <> pg_backend_pid()
  AND backend_type = 'client backend'
ORDER BY xact_start
LIMIT 1;

-- name: doctor_list_foreign_tables
-- Tables beside schema_migrations that this role may not alter, or not read and write; the first
-- five, and how many there are. Tenant: none. Index: pg_class_relname_nsp_index and others of
-- the catalogs.
SELECT
    relname::text AS name,
    pg_get_userbyid(relowner)::text AS owner,
    count(*) OVER () AS tables
FROM pg_class
WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('schema_migrations'))
  AND relkind IN ('r', 'p')
  AND NOT (
      pg_has_role(relowner, 'USAGE')
      AND has_table_privilege(oid, 'SELECT')
      AND has_table_privilege(oid, 'INSERT')
      AND has_table_privilege(oid, 'UPDATE')
      AND has_table_privilege(oid, 'DELETE')
  )
ORDER BY relname
LIMIT 5;

-- name: doctor_count_open
-- Violations and drifts that are not resolved. $1: tenant.
-- Index: policy_violations_open_idx, drift_detections_open_idx.
SELECT
    (SELECT count(*) FROM policy_violations WHERE tenant_id = $1 AND NOT resolved) AS violations,
    (SELECT count(*) FROM drift_detections WHERE tenant_id = $1 AND NOT resolved) AS drifts;

-- name: doctor_count_backlog
-- Sums that wait for the tick, counted up to 100,000. $1: tenant. Index: trust_inbox_pkey.
SELECT count(*)
FROM (
    SELECT FROM trust_inbox
    WHERE tenant_id = $1
    ORDER BY id
    LIMIT 100000
) AS waiting;
