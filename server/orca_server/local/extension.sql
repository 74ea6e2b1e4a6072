-- Part of bootstrap.sql: the vector extension in the present database, owned by orca.
SELECT NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') AS missing
\gset
\if :missing
BEGIN;
ALTER ROLE orca SUPERUSER;
SET LOCAL ROLE orca;
CREATE EXTENSION vector;
RESET ROLE;
ALTER ROLE orca NOSUPERUSER;
COMMIT;
\endif
