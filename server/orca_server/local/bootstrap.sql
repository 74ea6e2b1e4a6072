-- Makes the role and the database of the embedded PostgreSQL, or heals them; run by psql as the
-- superuser at each start, with ORCA_DB_PASSWORD in its environment. Repeatable.
--
-- orca is no superuser, as in production, so that what would need more shows on a laptop too.
-- It owns the extension all the same (it is made superuser for one statement, inside the
-- transaction that takes that back): a dump comments on the extension, which only its owner may.
\set ON_ERROR_STOP on
\getenv password ORCA_DB_PASSWORD

SELECT 'CREATE ROLE orca' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orca')
\gexec
SET password_encryption = 'scram-sha-256';
ALTER ROLE orca LOGIN CREATEDB NOSUPERUSER PASSWORD :'password';
GRANT pg_monitor TO orca;

SELECT 'CREATE DATABASE orcamesh OWNER orca TEMPLATE template0'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'orcamesh')
\gexec

-- template1 has it too, so that every database that orca creates can hold vectors.
\c template1
\ir extension.sql
\c orcamesh
\ir extension.sql
