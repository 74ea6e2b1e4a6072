-- Events of workflows in, events out.

-- name: store_events
-- Stores a batch of events of many requests and tenants and appends them to the inbox of the tick, in
-- one statement: after its commit all of it is there, before it nothing.
-- $1: tenants; $2: workflows; $3: keys; $4: run ids; $5: attempts; $6: kinds; $7: occurred_at in
-- microseconds since 1970; $8: triggers; $9: addresses; $10: types of errors; $11: their messages; $12:
-- durations in microseconds; $13: attributes; $14: request of the row, negative if that request wants
-- all or nothing.
-- Returns how many rows were stored, the positions (from 1) of rows whose workflow is unknown or
-- retired, and, unless all rows were stored, the positions that were. Rows are inserted in the order
-- of day, workflow and key, so two replicas never wait for each other in a circle.
-- Index: workflows_pkey, workflow_events_pkey.
WITH input AS (
    SELECT
        event.tenant_id, event.workflow_id, event.key, event.run_id, event.attempt, event.kind,
        event.occurred_us, event.trigger, event.url, event.error_type, event.error_message,
        event.duration_us, event.attributes, event.request, event.position, workflows.state
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::bigint[], $8::text[],
        $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::integer[]
    ) WITH ORDINALITY AS event (
        tenant_id, workflow_id, key, run_id, attempt, kind, occurred_us, trigger, url, error_type,
        error_message, duration_us, attributes, request, position
    )
    LEFT JOIN workflows ON workflows.tenant_id = event.tenant_id AND workflows.id = event.workflow_id
),

refused AS (
    SELECT position, request, state
    FROM input
    WHERE state IS NULL OR state = 'RETIRED'
),

stored AS (
    INSERT INTO workflow_events (
        tenant_id, workflow_id, key, run_id, attempt, kind, occurred_at, trigger, url, error_type,
        error_message, duration_us, attributes
    )
    SELECT
        tenant_id, workflow_id, key, run_id, attempt, kind,
        'epoch'::timestamptz + occurred_us * interval '1 microsecond', trigger, url, error_type,
        error_message, duration_us, attributes
    FROM input
    WHERE
        state IS NOT NULL
        AND state <> 'RETIRED'
        AND NOT (request < 0 AND request IN (SELECT refused.request FROM refused))
    ORDER BY occurred_us / 86400000000, tenant_id, workflow_id, key
    ON CONFLICT DO NOTHING
    RETURNING tenant_id, workflow_id, key
),

queued AS (
    INSERT INTO workflow_inbox (tenant_id, workflow_id, key)
    SELECT tenant_id, workflow_id, key
    FROM stored
),

counts AS (
    SELECT
        (SELECT count(*) FROM stored) AS stored,
        (SELECT array_agg(position) FROM refused WHERE state IS NULL) AS unknown,
        (SELECT array_agg(position) FROM refused WHERE state IS NOT NULL) AS retired
)

SELECT
    counts.stored,
    counts.unknown,
    counts.retired,
    CASE
        WHEN counts.stored < cardinality($3::uuid[]) THEN ARRAY(
            SELECT min(input.position)
            FROM stored
            INNER JOIN input USING (tenant_id, workflow_id, key)
            WHERE NOT (input.request < 0 AND input.request IN (SELECT refused.request FROM refused))
            GROUP BY input.tenant_id, input.workflow_id, input.key
        )
    END AS positions
FROM counts;

-- name: resolve_workflows
-- Ids of workflows by provider and name. $1: tenant; $2: providers; $3: names. Index:
-- workflows_tenant_id_provider_name_key.
SELECT workflows.provider, workflows.name, workflows.id
FROM unnest($2::text[], $3::text[]) AS wanted (provider, name)
INNER JOIN workflows
    ON workflows.tenant_id = $1 AND workflows.provider = wanted.provider AND workflows.name = wanted.name;

-- name: list_events
-- A page of a workflow's events by key, oldest first. $1: tenant; $2: workflow; $3: smallest key;
-- $4: key that is not reached; $5: page size. Index: workflow_events_pkey.
SELECT
    key, run_id, attempt, kind, occurred_at, trigger, url, error_type, error_message, duration_us, attributes,
    created_at
FROM workflow_events
WHERE tenant_id = $1 AND workflow_id = $2 AND key >= $3 AND key < $4
ORDER BY key
LIMIT $5;

-- name: list_events_newest_first
-- The same, newest first. $1: tenant; $2: workflow; $3: smallest key; $4: key that is not reached;
-- $5: page size. Index: workflow_events_pkey.
SELECT
    key, run_id, attempt, kind, occurred_at, trigger, url, error_type, error_message, duration_us, attributes,
    created_at
FROM workflow_events
WHERE tenant_id = $1 AND workflow_id = $2 AND key >= $3 AND key < $4
ORDER BY key DESC
LIMIT $5;

-- name: count_events
-- Events of a workflow in a range of keys. $1: tenant; $2: workflow; $3: smallest key; $4: key that is
-- not reached. Index: workflow_events_pkey.
SELECT count(*)
FROM workflow_events
WHERE tenant_id = $1 AND workflow_id = $2 AND key >= $3 AND key < $4;
