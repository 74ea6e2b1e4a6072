-- The log of changes; sql/migrations/0006_changes.sql says why it is numbered afterwards.

-- name: record_changes
-- Says that rows which this transaction has locked change, and wakes the readers once it commits.
-- $1: tenant; $2: type of the entities; $3: their ids; $4: kind. Index: none, inserts only.
WITH recorded AS (
    INSERT INTO change_outbox (tenant_id, entity_type, entity_id, kind)
    SELECT $1, $2, changed.id, $4
    FROM unnest($3::uuid[]) AS changed (id)
    RETURNING id
)

SELECT pg_notify('orca_changes', '')
FROM recorded
LIMIT 1;

-- name: record_tenants_changes
-- The same for entities of several tenants. $1: tenants; $2: type of the entities; $3: their ids;
-- $4: kind. Index: none, inserts only.
WITH recorded AS (
    INSERT INTO change_outbox (tenant_id, entity_type, entity_id, kind)
    SELECT changed.tenant_id, $2, changed.id, $4
    FROM unnest($1::uuid[], $3::uuid[]) AS changed (tenant_id, id)
    RETURNING id
)

SELECT pg_notify('orca_changes', '')
FROM recorded
LIMIT 1;

-- name: lock_changes
-- Lets one process number or prune at a time; released with the transaction. A statement of its own:
-- the next one has a new snapshot, which sees what the holder before has done. Tenant: all.
-- Index: none, no table is read.
SELECT pg_advisory_xact_lock(hashtextextended('orca changes', 0));

-- name: number_changes
-- Moves changes from the outbox into the log, in the order of their ids, and gives how many. Only
-- under lock_changes. $1: at most so many. Of all tenants. Index: changes_position_idx; the outbox is
-- read whole, and as a rule it is empty.
WITH taken AS (
    DELETE FROM change_outbox
    WHERE (tenant_id, id) IN (
        SELECT waiting.tenant_id, waiting.id
        FROM change_outbox AS waiting
        ORDER BY waiting.id
        LIMIT $1
    )
    RETURNING tenant_id, id, entity_type, entity_id, kind, created_at
),

numbered AS (
    INSERT INTO changes (tenant_id, position, entity_type, entity_id, kind, created_at)
    SELECT
        taken.tenant_id,
        (SELECT coalesce(max(changes.position), 0) FROM changes) + row_number() OVER (ORDER BY taken.id),
        taken.entity_type,
        taken.entity_id,
        taken.kind,
        taken.created_at
    FROM taken
    RETURNING position
)

SELECT count(*) AS moved
FROM numbered;

-- name: read_change_head
-- Where the log is, and what its epoch is made of; no timeline on a standby, where it cannot be known.
-- Of all tenants: it reads no tenant_id. Index: changes_position_idx.
SELECT
    control.system_identifier::text AS system,
    CASE
        WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8)
    END AS timeline,
    'changes'::regclass::oid::bigint AS relation,
    (SELECT change_epoch.stored FROM change_epoch) AS stored,
    (SELECT coalesce(max(changes.position), 0) FROM changes) AS newest,
    (SELECT min(changes.position) FROM changes) AS oldest,
    EXISTS (SELECT FROM change_outbox) AS waiting
FROM pg_control_system() AS control;

-- name: read_changes
-- Changes after a position, in order. $1: the position; $2: at most so many. Of all tenants.
-- Index: changes_position_idx.
SELECT tenant_id, position, entity_type, entity_id, kind, created_at
FROM changes
WHERE position > $1
ORDER BY position
LIMIT $2;

-- name: begin_change_epoch
-- Makes the stored part of the epoch, where there is none. Tenant: of none. Index: change_epoch_pkey.
INSERT INTO change_epoch (single)
VALUES (true)
ON CONFLICT DO NOTHING;

-- name: renew_change_epoch
-- Makes every resume token unknown: after a restore the same positions stand for other changes.
-- Tenant: of none. Index: change_epoch_pkey.
INSERT INTO change_epoch (single)
VALUES (true)
ON CONFLICT (single) DO UPDATE SET stored = excluded.stored;

-- name: prune_changes
-- Deletes changes that are older than an instant, from the oldest on and without a hole, never the
-- newest; gives how many. Only under lock_changes. $1: the instant; $2: at most so many. Of all
-- tenants: their tenant_id does not matter. Index: changes_position_idx.
WITH oldest AS (
    SELECT
        changes.position,
        bool_and(changes.created_at < $1) OVER (ORDER BY changes.position) AS old
    FROM changes
    ORDER BY changes.position
    LIMIT $2
),

pruned AS (
    DELETE FROM changes
    WHERE
        position <= (SELECT max(oldest.position) FROM oldest WHERE oldest.old)
        AND position < (SELECT max(newest.position) FROM changes AS newest)
    RETURNING position
)

SELECT count(*) AS pruned
FROM pruned;

-- name: get_stand
-- What differs after each write of a tenant's resources and after each tick, for store/totals.py.
-- While changes wait for their position, the newest position does not tell. $1: tenant.
-- Index: changes_pkey, change_outbox_pkey, trust_current_pkey.
SELECT
    (SELECT max(changes.position) FROM changes WHERE changes.tenant_id = $1) AS position,
    EXISTS (SELECT FROM change_outbox WHERE change_outbox.tenant_id = $1) AS waiting,
    (SELECT trust_current.as_of FROM trust_current WHERE trust_current.tenant_id = $1) AS ticked_at;
