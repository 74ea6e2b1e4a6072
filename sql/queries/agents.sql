-- The inventory of agents. $1 is the tenant, always. JSON goes in and out as text, so that
-- no codec of the driver matters.

-- name: list_agents
-- Agents with their trust: the head of every read; store/filter_sql.py appends conditions,
-- order and limit. $1: tenant. Index: agents_pkey, agent_trust_pkey, or the index of the order
-- asked for (0004_agent_lists.sql).
SELECT
    agents.id,
    agents.type,
    agents.name,
    agents.display_name,
    agents.description,
    agents.state,
    agents.source,
    agents.owner,
    agents.version,
    agents.endpoint::text AS endpoint,
    agents.capabilities,
    agents.tools::text AS tools,
    agents.labels::text AS labels,
    agents.criticality,
    agents.heartbeat_interval_seconds,
    agents.latency_limit_us,
    agents.created_at,
    agents.updated_at,
    agents.revision,
    agent_trust.state AS trust_state,
    agent_trust.counted_level_ppb AS trust_ppb,
    agent_trust.health_ppb,
    agent_trust.last_seen_at,
    agent_trust.operations,
    agent_trust.errors,
    agent_trust.violations,
    agent_trust.cost_nano_usd,
    agent_trust.input_tokens,
    agent_trust.output_tokens,
    agent_trust.as_of AS trust_as_of
FROM agents
LEFT JOIN agent_trust
    ON agent_trust.tenant_id = agents.tenant_id
    AND agent_trust.agent_id = agents.id
WHERE agents.tenant_id = $1;

-- name: count_agents
-- Head of a list's total; store/filter_sql.py appends conditions. $1: tenant. PostgreSQL
-- leaves out the join when no condition asks for trust. Index: agents_fleet_idx.
SELECT count(*)
FROM agents
LEFT JOIN agent_trust
    ON agent_trust.tenant_id = agents.tenant_id
    AND agent_trust.agent_id = agents.id
WHERE agents.tenant_id = $1;

-- name: lock_agent
-- One agent, locked against other writers, and the transaction's time. $1: tenant; $2: id.
-- Index: agents_pkey.
SELECT
    id,
    type,
    name,
    display_name,
    description,
    state,
    source,
    owner,
    version,
    endpoint::text AS endpoint,
    capabilities,
    tools::text AS tools,
    labels::text AS labels,
    criticality,
    heartbeat_interval_seconds,
    latency_limit_us,
    left_at,
    counted_until,
    import_stamp,
    revision,
    now() AS read_at
FROM agents
WHERE tenant_id = $1
    AND id = $2
FOR UPDATE;

-- name: lock_named_agents
-- Agents of one type by name, locked in order of id, and the transaction's time. $1: tenant;
-- $2: type; $3: names. Index: agents_tenant_id_type_name_key.
SELECT
    id,
    type,
    name,
    display_name,
    description,
    state,
    source,
    owner,
    version,
    endpoint::text AS endpoint,
    capabilities,
    tools::text AS tools,
    labels::text AS labels,
    criticality,
    heartbeat_interval_seconds,
    latency_limit_us,
    left_at,
    counted_until,
    import_stamp,
    revision,
    now() AS read_at
FROM agents
WHERE tenant_id = $1
    AND type = $2
    AND name = ANY($3::text[])
ORDER BY id
FOR UPDATE;

-- name: lock_file_agents
-- Agents that the registry file created, locked in order of id, and the transaction's time.
-- $1: tenant; $2: type. Index: agents_file_idx.
SELECT
    id,
    type,
    name,
    display_name,
    description,
    state,
    source,
    owner,
    version,
    endpoint::text AS endpoint,
    capabilities,
    tools::text AS tools,
    labels::text AS labels,
    criticality,
    heartbeat_interval_seconds,
    latency_limit_us,
    left_at,
    counted_until,
    import_stamp,
    revision,
    now() AS read_at
FROM agents
WHERE tenant_id = $1
    AND type = $2
    AND source = 'file'
ORDER BY id
FOR UPDATE;

-- name: lock_inventory
-- Lets one sync or import of a tenant run at a time; released with the transaction.
-- $1: tenant. Index: none, no table is read.
SELECT pg_advisory_xact_lock(hashtextextended('orca inventory ' || ($1::uuid)::text, 0)), now() AS read_at;

-- name: find_created_agent
-- The agent that a request created. $1: tenant; $2: the request's id.
-- Index: agents_tenant_id_create_request_id_key.
SELECT id, type, name, state, source
FROM agents
WHERE tenant_id = $1
    AND create_request_id = $2;

-- name: find_named_agent
-- Id, state and source by name. $1: tenant; $2: type; $3: name.
-- Index: agents_tenant_id_type_name_key.
SELECT id, type, name, state, source
FROM agents
WHERE tenant_id = $1
    AND type = $2
    AND name = $3;

-- name: insert_agents
-- Adds agents whose names and request ids are free, and answers with the ids of those added.
-- $1: tenant; then one array per column. Index: agents_tenant_id_type_name_key.
INSERT INTO agents (
    tenant_id, id, type, name, display_name, description, state, source, owner, version,
    endpoint, capabilities, tools, labels, criticality, heartbeat_interval_seconds,
    latency_limit_us, import_stamp, create_request_id
)
SELECT
    $1, new.id, new.type, new.name, new.display_name, new.description, new.state, new.source,
    new.owner, new.version, new.endpoint::jsonb,
    ARRAY(SELECT jsonb_array_elements_text(new.capabilities::jsonb)),
    new.tools::jsonb, new.labels::jsonb, new.criticality, new.heartbeat_interval_seconds,
    new.latency_limit_us, new.import_stamp, new.create_request_id
FROM unnest(
    $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
    $16::integer[], $17::bigint[], $18::text[], $19::uuid[]
) AS new (
    id, type, name, display_name, description, state, source, owner, version, endpoint,
    capabilities, tools, labels, criticality, heartbeat_interval_seconds, latency_limit_us,
    import_stamp, create_request_id
)
ORDER BY new.type, new.name
ON CONFLICT DO NOTHING
RETURNING id;

-- name: update_agents
-- Writes what may change of locked agents. $1: tenant; then one array per column. An agent that
-- is past its heartbeat when that is changed stays silent until it reports: otherwise an edit
-- would lift silence. Index: agents_pkey, agent_hours_pkey; the inbox is read whole, and only then.
UPDATE agents
SET
    display_name = new.display_name,
    description = new.description,
    state = new.state,
    source = new.source,
    owner = new.owner,
    version = new.version,
    endpoint = new.endpoint::jsonb,
    capabilities = ARRAY(SELECT jsonb_array_elements_text(new.capabilities::jsonb)),
    tools = new.tools::jsonb,
    labels = new.labels::jsonb,
    criticality = new.criticality,
    heartbeat_interval_seconds = new.heartbeat_interval_seconds,
    latency_limit_us = new.latency_limit_us,
    import_stamp = new.import_stamp,
    left_at = new.left_at,
    counted_until = new.counted_until,
    overdue_at = CASE
        WHEN agents.heartbeat_interval_seconds IS DISTINCT FROM new.heartbeat_interval_seconds
            AND greatest(
                (
                    SELECT hours.last_counted_at
                    FROM agent_hours AS hours
                    WHERE hours.tenant_id = agents.tenant_id
                        AND hours.agent_id = agents.id
                        AND hours.last_counted_at IS NOT NULL
                    ORDER BY hours.hour DESC
                    LIMIT 1
                ),
                (
                    SELECT max(inbox.last_counted_at)
                    FROM trust_inbox AS inbox
                    WHERE inbox.tenant_id = agents.tenant_id AND inbox.agent_id = agents.id
                )
            ) + agents.heartbeat_interval_seconds * interval '1 second'
            + greatest(
                agents.heartbeat_interval_seconds * interval '100 milliseconds', interval '1 minute'
            ) <= now()
            THEN now()
        ELSE agents.overdue_at
    END,
    updated_at = now(),
    revision = agents.revision + 1
FROM unnest(
    $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::integer[],
    $15::bigint[], $16::text[], $17::timestamptz[], $18::timestamptz[]
) AS new (
    id, display_name, description, state, source, owner, version, endpoint, capabilities,
    tools, labels, criticality, heartbeat_interval_seconds, latency_limit_us, import_stamp,
    left_at, counted_until
)
WHERE agents.tenant_id = $1
    AND agents.id = new.id;

-- name: mark_agents
-- Makes the next trust tick compute agents anew. $1: tenant; $2: ids. Index: none, inserts only.
INSERT INTO trust_inbox (tenant_id, agent_id)
SELECT $1, unnest($2::uuid[]);

-- name: limit_lock_wait
-- Makes this transaction give up a lock after 2 seconds. Tenant: of none. Index: none.
SELECT set_config('lock_timeout', '2s', true);

-- name: hold_telemetry
-- Waits for telemetry that is being stored and holds up what follows, until the transaction
-- ends. Tenant: of all. Index: none. The parent's lock is enough: ingest inserts through it.
LOCK TABLE ONLY telemetry IN SHARE ROW EXCLUSIVE MODE;

-- name: agent_has_history
-- Whether an agent ever reported. $1: tenant; $2: id. Index: the primary key of each table.
SELECT
    EXISTS (SELECT FROM telemetry WHERE tenant_id = $1 AND agent_id = $2)
    OR EXISTS (SELECT FROM agent_hours WHERE tenant_id = $1 AND agent_id = $2)
    OR EXISTS (SELECT FROM agent_days WHERE tenant_id = $1 AND agent_id = $2)
    OR EXISTS (
        SELECT FROM trust_inbox
        WHERE tenant_id = $1
            AND agent_id = $2
            AND hour IS NOT NULL
    )
    OR EXISTS (
        SELECT FROM agent_trust_history
        WHERE tenant_id = $1
            AND agent_id = $2
            AND counted_level_ppb IS NOT NULL
    )
    OR EXISTS (SELECT FROM agent_observations WHERE tenant_id = $1 AND agent_id = $2);

-- name: delete_agent
-- Removes an agent that never reported, and its empty trust. $1: tenant; $2: id.
-- Index: agents_pkey, agent_trust_pkey, agent_trust_history_pkey.
WITH trust AS (
    DELETE FROM agent_trust
    WHERE tenant_id = $1
        AND agent_id = $2
),
history AS (
    DELETE FROM agent_trust_history
    WHERE tenant_id = $1
        AND agent_id = $2
)
DELETE FROM agents
WHERE tenant_id = $1
    AND id = $2;
