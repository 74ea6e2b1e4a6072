-- Telemetry in, telemetry out.

-- name: store_telemetry
-- Stores a batch of records of many requests and tenants and appends their sums to the inbox of the
-- trust tick, in one statement: after its commit all of it is there, before it nothing.
-- $1: tenants; $2: agents; $3: keys; $4: observed_at in microseconds since 1970; $5: operations;
-- $6: errors; $7: violations; $8: attempts; $9: blocked violations; $10: mean latency in
-- microseconds; $11: largest latency; $12: cost in nano-dollars; $13: input tokens; $14: output
-- tokens; $15: attributes; $16: rule that violations broke; $17: request of the row, negative if that
-- request wants all or nothing. Violations that count go into the inbox of violations too.
-- Returns how many rows were stored, the positions (from 1) of rows whose agent is unknown or retired,
-- and, unless all rows were stored, the positions that were. Rows are inserted in the order of day,
-- agent and key, so two replicas never wait for each other in a circle.
-- Index: agents_pkey, telemetry_pkey.
WITH input AS (
    SELECT
        record.tenant_id, record.agent_id, record.key, record.observed_us, record.operations, record.errors,
        record.violations, record.attempts, record.blocked_violations, record.latency_us,
        record.latency_max_us, record.cost_nano_usd, record.input_tokens, record.output_tokens,
        record.attributes, record.rule, record.request, record.position, agents.state
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::integer[], $6::integer[], $7::integer[],
        $8::integer[], $9::integer[], $10::bigint[], $11::bigint[], $12::bigint[], $13::integer[],
        $14::integer[], $15::text[], $16::text[], $17::integer[]
    ) WITH ORDINALITY AS record (
        tenant_id, agent_id, key, observed_us, operations, errors, violations, attempts, blocked_violations,
        latency_us, latency_max_us, cost_nano_usd, input_tokens, output_tokens, attributes, rule, request, position
    )
    LEFT JOIN agents ON agents.tenant_id = record.tenant_id AND agents.id = record.agent_id
),

refused AS (
    SELECT position, request, state
    FROM input
    WHERE state IS NULL OR state = 'RETIRED'
),

stored AS (
    INSERT INTO telemetry (
        tenant_id, agent_id, key, observed_at, operations, errors, violations, attempts, blocked_violations,
        latency_us, latency_max_us, cost_nano_usd, input_tokens, output_tokens, attributes, rule, counted
    )
    SELECT
        tenant_id, agent_id, key, 'epoch'::timestamptz + observed_us * interval '1 microsecond', operations,
        errors, violations, attempts, blocked_violations, latency_us, latency_max_us, cost_nano_usd,
        input_tokens, output_tokens, attributes, rule, state <> 'SUSPENDED'
    FROM input
    WHERE
        state IS NOT NULL
        AND state <> 'RETIRED'
        AND NOT (request < 0 AND request IN (SELECT refused.request FROM refused))
    ORDER BY observed_us / 86400000000, tenant_id, agent_id, key
    ON CONFLICT DO NOTHING
    RETURNING
        tenant_id, agent_id, key, observed_at, operations, errors, violations, blocked_violations, latency_us,
        cost_nano_usd, input_tokens, output_tokens, rule, counted
),

queued AS (
    INSERT INTO trust_inbox (
        tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at,
        last_counted_at, last_seen_at
    )
    SELECT
        tenant_id,
        agent_id,
        date_bin('1 hour', observed_at, 'epoch'),
        coalesce(sum(operations) FILTER (WHERE counted), 0),
        coalesce(sum(errors) FILTER (WHERE counted), 0),
        coalesce(sum(violations) FILTER (WHERE counted), 0),
        coalesce(sum(blocked_violations) FILTER (WHERE counted), 0),
        least(coalesce(sum(latency_us::numeric * operations) FILTER (WHERE counted), 0), 2305843009213693952)::bigint,
        coalesce(sum(operations) FILTER (WHERE counted AND latency_us IS NOT NULL), 0),
        least(coalesce(sum(cost_nano_usd) FILTER (WHERE counted), 0), 2305843009213693952)::bigint,
        coalesce(sum(input_tokens) FILTER (WHERE counted), 0),
        coalesce(sum(output_tokens) FILTER (WHERE counted), 0),
        max(observed_at) FILTER (WHERE counted AND operations > 0),
        max(observed_at) FILTER (WHERE counted),
        max(observed_at)
    FROM stored
    GROUP BY tenant_id, agent_id, date_bin('1 hour', observed_at, 'epoch')
),

violated AS (
    INSERT INTO violation_inbox (tenant_id, agent_id, rule, violations, blocked_violations, observed_at)
    SELECT
        tenant_id, agent_id, coalesce(rule, 'reported'), violations, coalesce(blocked_violations, 0), observed_at
    FROM stored
    WHERE counted AND (violations > 0 OR blocked_violations > 0)
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
            INNER JOIN input USING (tenant_id, agent_id, key)
            WHERE NOT (input.request < 0 AND input.request IN (SELECT refused.request FROM refused))
            GROUP BY input.tenant_id, input.agent_id, input.key
        )
    END AS positions
FROM counts;

-- name: store_record
-- Stores one record without violations and appends its sums to the inbox of the trust tick. $1: tenant; $2 to $15: the
-- columns of store_telemetry. Returns whether it was stored: not if it is there already or its agent is
-- unknown, retired or suspended. Index: agents_pkey, telemetry_pkey.
WITH stored AS (
    INSERT INTO telemetry (
        tenant_id, agent_id, key, observed_at, operations, errors, violations, attempts, blocked_violations,
        latency_us, latency_max_us, cost_nano_usd, input_tokens, output_tokens, attributes, counted
    )
    SELECT
        agents.tenant_id, agents.id, $3::uuid, 'epoch'::timestamptz + $4::bigint * interval '1 microsecond',
        $5::integer, $6::integer, $7::integer, $8::integer, $9::integer, $10::bigint, $11::bigint, $12::bigint,
        $13::integer, $14::integer, $15::text, true
    FROM agents
    WHERE agents.tenant_id = $1 AND agents.id = $2 AND agents.state IN ('ACTIVE', 'CATALOG')
    ON CONFLICT DO NOTHING
    RETURNING observed_at
),

queued AS (
    INSERT INTO trust_inbox (
        tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at,
        last_counted_at, last_seen_at
    )
    SELECT
        $1,
        $2,
        date_bin('1 hour', observed_at, 'epoch'),
        $5,
        $6,
        $7,
        coalesce($9, 0),
        least(coalesce($10::numeric * $5, 0), 2305843009213693952)::bigint,
        CASE WHEN $10 IS NULL THEN 0 ELSE $5 END,
        coalesce($12, 0),
        coalesce($13, 0),
        coalesce($14, 0),
        CASE WHEN $5 > 0 THEN observed_at END,
        observed_at,
        observed_at
    FROM stored
)

SELECT EXISTS (SELECT 1 FROM stored);

-- name: queue_hour_sums
-- Appends the sums of a batch that COPY stores in the same transaction to the inbox of the trust tick.
-- Each of its records has operations. $1: tenant; $2: agents; $3: hours in microseconds since 1970;
-- $4 to $12: sums; $13: newest record, microseconds. Returns how many were appended: fewer than given
-- if an agent is unknown, retired or suspended. Index: agents_pkey.
WITH queued AS (
    INSERT INTO trust_inbox (
        tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at,
        last_counted_at, last_seen_at
    )
    SELECT
        agents.tenant_id,
        agents.id,
        'epoch'::timestamptz + sums.hour_us * interval '1 microsecond',
        sums.operations,
        sums.errors,
        sums.violations,
        sums.blocked_violations,
        sums.latency_us,
        sums.latency_operations,
        sums.cost_nano_usd,
        sums.input_tokens,
        sums.output_tokens,
        'epoch'::timestamptz + sums.last_us * interval '1 microsecond',
        'epoch'::timestamptz + sums.last_us * interval '1 microsecond',
        'epoch'::timestamptz + sums.last_us * interval '1 microsecond'
    FROM unnest(
        $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]
    ) AS sums (
        agent_id, hour_us, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens, last_us
    )
    INNER JOIN agents
        ON agents.tenant_id = $1 AND agents.id = sums.agent_id AND agents.state IN ('ACTIVE', 'CATALOG')
    RETURNING 1
)

SELECT count(*) FROM queued;

-- name: queue_violations
-- Appends violations of a batch that COPY stores in the same transaction to the inbox of violations;
-- none of them names a rule. $1: tenant; $2: agents; $3: violations; $4: blocked violations; $5: when,
-- microseconds since 1970. Index: none, inserts only.
INSERT INTO violation_inbox (tenant_id, agent_id, rule, violations, blocked_violations, observed_at)
SELECT
    $1, agent_id, 'reported', violations, blocked_violations, 'epoch'::timestamptz + observed_us * interval '1 microsecond'
FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[])
    AS seen (agent_id, violations, blocked_violations, observed_us);

-- name: resolve_agents
-- Ids of agents by type and name. $1: tenants; $2: types; $3: names. Index: agents_tenant_id_type_name_key.
SELECT agents.tenant_id, agents.type, agents.name, agents.id
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS wanted (tenant_id, type, name)
INNER JOIN agents
    ON agents.tenant_id = wanted.tenant_id AND agents.type = wanted.type AND agents.name = wanted.name;

-- name: list_telemetry
-- A page of an agent's records by key, oldest first. $1: tenant; $2: agent; $3: smallest key;
-- $4: key that is not reached; $5: page size. Index: telemetry_pkey.
SELECT
    key, observed_at, operations, errors, violations, attempts, blocked_violations, latency_us,
    latency_max_us, cost_nano_usd, input_tokens, output_tokens, attributes, rule, counted, created_at
FROM telemetry
WHERE tenant_id = $1 AND agent_id = $2 AND key >= $3 AND key < $4
ORDER BY key
LIMIT $5;

-- name: list_telemetry_newest_first
-- The same, newest first. $1: tenant; $2: agent; $3: smallest key; $4: key that is not reached;
-- $5: page size. Index: telemetry_pkey.
SELECT
    key, observed_at, operations, errors, violations, attempts, blocked_violations, latency_us,
    latency_max_us, cost_nano_usd, input_tokens, output_tokens, attributes, rule, counted, created_at
FROM telemetry
WHERE tenant_id = $1 AND agent_id = $2 AND key >= $3 AND key < $4
ORDER BY key DESC
LIMIT $5;

-- name: count_telemetry
-- Records of an agent in a range of keys. $1: tenant; $2: agent; $3: smallest key; $4: key that is
-- not reached. Index: telemetry_pkey.
SELECT count(*)
FROM telemetry
WHERE tenant_id = $1 AND agent_id = $2 AND key >= $3 AND key < $4;
