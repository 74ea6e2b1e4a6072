-- Removal of the sample fleet, with its history: only rows that `orca db seed` makes, by name, and
-- that are labelled as sample still.

-- name: lock_sample_agents
-- Agents of these names that are labelled as sample, locked. $1: tenant; $2: types; $3: names.
-- Index: agents_tenant_id_type_name_key.
SELECT agents.id, agents.type, agents.name
FROM agents
WHERE agents.tenant_id = $1
  AND (agents.type, agents.name) IN (SELECT * FROM unnest($2::text[], $3::text[]))
  AND agents.labels ->> 'sample' = 'true'
ORDER BY agents.id
FOR UPDATE;

-- name: remove_sample_agents
-- Locked agents and all that is known of them; how many records of telemetry went with them.
-- $1: tenant; $2: ids. Index: the primary key of each table; of the inboxes, violations and drift
-- the tenant's part is read.
WITH inbox AS (
    DELETE FROM trust_inbox
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
),
hours AS (
    DELETE FROM agent_hours
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
),
days AS (
    DELETE FROM agent_days
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
),
trust AS (
    DELETE FROM agent_trust
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
),
history AS (
    DELETE FROM agent_trust_history
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
),
reported AS (
    DELETE FROM violation_inbox
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
),
violation AS (
    DELETE FROM policy_violations
    WHERE tenant_id = $1
      AND entity_type = 'agent'
      AND entity_id = ANY($2::uuid[])
),
observation AS (
    DELETE FROM agent_observations
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
),
drift AS (
    DELETE FROM drift_detections
    WHERE tenant_id = $1
      AND entity_type = 'agent'
      AND entity_id = ANY($2::uuid[])
),
judged AS (
    DELETE FROM drift_inbox
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
),
agent AS (
    DELETE FROM agents
    WHERE tenant_id = $1
      AND id = ANY($2::uuid[])
),
record AS (
    DELETE FROM telemetry
    WHERE tenant_id = $1
      AND agent_id = ANY($2::uuid[])
    RETURNING key
)
SELECT count(*) FROM record;

-- name: lock_sample_workflows
-- Workflows of these names that are labelled as sample, locked. $1: tenant; $2: providers;
-- $3: names. Index: workflows_tenant_id_provider_name_key.
SELECT workflows.id, workflows.provider, workflows.name
FROM workflows
WHERE workflows.tenant_id = $1
  AND (workflows.provider, workflows.name) IN (SELECT * FROM unnest($2::text[], $3::text[]))
  AND workflows.labels ->> 'sample' = 'true'
ORDER BY workflows.id
FOR UPDATE;

-- name: remove_sample_workflows
-- Locked workflows and all that is known of them; how many events went with them. $1: tenant;
-- $2: ids. The next tick is told. Index: the primary key of each table; of workflow_inbox the
-- tenant's part is read.
WITH told AS (
    INSERT INTO workflow_inbox (tenant_id, workflow_id)
    SELECT $1, unnest($2::uuid[])
),
inbox AS (
    DELETE FROM workflow_inbox
    WHERE tenant_id = $1
      AND workflow_id = ANY($2::uuid[])
),
runs AS (
    DELETE FROM workflow_runs
    WHERE tenant_id = $1
      AND workflow_id = ANY($2::uuid[])
),
hours AS (
    DELETE FROM workflow_hours
    WHERE tenant_id = $1
      AND workflow_id = ANY($2::uuid[])
),
durations AS (
    DELETE FROM workflow_durations
    WHERE tenant_id = $1
      AND workflow_id = ANY($2::uuid[])
),
status AS (
    DELETE FROM workflow_status
    WHERE tenant_id = $1
      AND workflow_id = ANY($2::uuid[])
),
workflow AS (
    DELETE FROM workflows
    WHERE tenant_id = $1
      AND id = ANY($2::uuid[])
),
event AS (
    DELETE FROM workflow_events
    WHERE tenant_id = $1
      AND workflow_id = ANY($2::uuid[])
    RETURNING key
)
SELECT count(*) FROM event;
