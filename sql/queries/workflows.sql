-- The inventory of workflows. $1 is the tenant, always. JSON goes in and out as text, so that no
-- codec of the driver matters.

-- name: list_workflows
-- Workflows with what follows from their events: the head of every read; store/filter_sql.py
-- appends conditions, order and limit. $1: tenant. Index: workflows_pkey, workflow_status_pkey,
-- workflow_status_freshness_idx, or the index of the order asked for. The next deadline of a retired workflow may be the end of its
-- stay, at which it becomes no less fresh.
SELECT
    workflows.id,
    workflows.provider,
    workflows.name,
    workflows.display_name,
    workflows.external_id,
    workflows.url,
    workflows.owner,
    workflows.state,
    workflows.schedule::text AS schedule,
    workflows.freshness_slo_seconds,
    workflows.labels::text AS labels,
    workflows.created_at,
    workflows.updated_at,
    workflows.revision,
    workflow_status.last_event_at,
    workflow_status.last_run_at,
    workflow_status.last_success_at,
    workflow_status.last_outcome,
    workflow_status.freshness,
    CASE
        WHEN workflow_status.freshness = 'fresh'
            AND workflow_status.next_deadline_at IS DISTINCT FROM workflows.counted_until
            THEN workflow_status.next_deadline_at
    END AS fresh_until,
    workflow_status.succeeded,
    workflow_status.failed,
    workflow_status.cancelled,
    workflow_status.p50_us,
    workflow_status.p95_us,
    workflow_status.p99_us,
    workflow_status.timed_runs
FROM workflows
LEFT JOIN workflow_status
    ON workflow_status.tenant_id = workflows.tenant_id
    AND workflow_status.workflow_id = workflows.id
WHERE workflows.tenant_id = $1;

-- name: count_workflows
-- Head of a list's total; store/filter_sql.py appends conditions. $1: tenant. PostgreSQL leaves
-- out the join when no condition asks for what follows from events. Index: workflows_pkey.
SELECT count(*)
FROM workflows
LEFT JOIN workflow_status
    ON workflow_status.tenant_id = workflows.tenant_id
    AND workflow_status.workflow_id = workflows.id
WHERE workflows.tenant_id = $1;

-- name: workflow_exists
-- Whether there is a workflow of an id. $1: tenant; $2: id. Index: workflows_pkey.
SELECT EXISTS (SELECT FROM workflows WHERE tenant_id = $1 AND id = $2);

-- name: lock_workflow
-- One workflow, locked against other writers, and the transaction's time. $1: tenant; $2: id.
-- Index: workflows_pkey.
SELECT
    id,
    provider,
    name,
    display_name,
    external_id,
    url,
    owner,
    state,
    schedule::text AS schedule,
    freshness_slo_seconds,
    labels::text AS labels,
    counted_until,
    revision,
    now() AS read_at
FROM workflows
WHERE tenant_id = $1
    AND id = $2
FOR UPDATE;

-- name: lock_named_workflow
-- One workflow by name, locked against other writers. $1: tenant; $2: provider; $3: name.
-- Index: workflows_tenant_id_provider_name_key.
SELECT
    id,
    provider,
    name,
    display_name,
    external_id,
    url,
    owner,
    state,
    schedule::text AS schedule,
    freshness_slo_seconds,
    labels::text AS labels,
    counted_until,
    revision
FROM workflows
WHERE tenant_id = $1
    AND provider = $2
    AND name = $3
FOR UPDATE;

-- name: find_created_workflow
-- The workflow that a request created. $1: tenant; $2: the request's id.
-- Index: workflows_tenant_id_create_request_id_key.
SELECT id, provider, name, state
FROM workflows
WHERE tenant_id = $1
    AND create_request_id = $2;

-- name: find_named_workflow
-- Id and state by name. $1: tenant; $2: provider; $3: name.
-- Index: workflows_tenant_id_provider_name_key.
SELECT id, provider, name, state
FROM workflows
WHERE tenant_id = $1
    AND provider = $2
    AND name = $3;

-- name: insert_workflow
-- Adds a workflow whose name and request id are free, and answers with its id, or with no row.
-- $1: tenant; $2: id; $3: provider; $4: name; $5: state; $6: display name; $7: external id;
-- $8: address; $9: owner; $10: schedule; $11: objective in seconds; $12: labels; $13: the request's
-- id. Index: workflows_tenant_id_provider_name_key, workflows_tenant_id_create_request_id_key.
INSERT INTO workflows (
    tenant_id, id, provider, name, state, display_name, external_id, url, owner, schedule,
    freshness_slo_seconds, labels, create_request_id
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, ($10::text)::jsonb, $11, ($12::text)::jsonb, $13
)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: update_workflow
-- Writes what may change of a locked workflow. $1: tenant; $2: id; $3: state; $4: end of its stay;
-- $5: display name; $6: external id; $7: address; $8: owner; $9: schedule; $10: objective in
-- seconds; $11: labels. Index: workflows_pkey.
UPDATE workflows
SET
    state = $3,
    counted_until = $4,
    display_name = $5,
    external_id = $6,
    url = $7,
    owner = $8,
    schedule = ($9::text)::jsonb,
    freshness_slo_seconds = $10,
    labels = ($11::text)::jsonb,
    updated_at = now(),
    revision = revision + 1
WHERE tenant_id = $1
    AND id = $2;

-- name: mark_workflow
-- Makes the next tick compute a workflow anew. $1: tenant; $2: id. Index: none, inserts only.
INSERT INTO workflow_inbox (tenant_id, workflow_id)
VALUES ($1, $2);

-- name: hold_workflow_events
-- Waits for events that are being stored and holds up what follows, until the transaction ends.
-- Tenant: of all. Index: none. The parent's lock is enough: ingest inserts through it.
LOCK TABLE ONLY workflow_events IN SHARE ROW EXCLUSIVE MODE;

-- name: workflow_has_history
-- Whether a workflow ever reported. $1: tenant; $2: id. Index: the primary key of each table; of
-- the inbox all that waits of the tenant is read.
SELECT
    EXISTS (SELECT FROM workflow_events WHERE tenant_id = $1 AND workflow_id = $2)
    OR EXISTS (SELECT FROM workflow_runs WHERE tenant_id = $1 AND workflow_id = $2)
    OR EXISTS (
        SELECT FROM workflow_status
        WHERE tenant_id = $1
            AND workflow_id = $2
            AND last_event_at IS NOT NULL
    )
    OR EXISTS (
        SELECT FROM workflow_inbox
        WHERE tenant_id = $1
            AND workflow_id = $2
            AND key IS NOT NULL
    );

-- name: delete_workflow
-- Removes a workflow that never reported, and its empty status. $1: tenant; $2: id.
-- Index: workflows_pkey, workflow_status_pkey.
WITH status AS (
    DELETE FROM workflow_status
    WHERE tenant_id = $1
        AND workflow_id = $2
)
DELETE FROM workflows
WHERE tenant_id = $1
    AND id = $2;
