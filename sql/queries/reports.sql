-- Reports on the fleet: read in one snapshot, together with get_trust. $1 is the tenant, always. Sums
-- over the fleet read agent_trust once per tenant; names are looked up for the few that are shown.

-- name: list_trust_before
-- The newest score at or before each of some instants, one row per instant that has one.
-- $1: tenant; $2: instants. Index: trust_snapshots_pkey.
SELECT wanted.at, before.trust_ppb, before.summary
FROM unnest($2::timestamptz[]) AS wanted (at)
CROSS JOIN LATERAL (
    SELECT trust_ppb, summary
    FROM trust_snapshots
    WHERE tenant_id = $1 AND as_of <= wanted.at
    ORDER BY as_of DESC
    LIMIT 1
) AS before;

-- name: list_owner_costs
-- What the agents of each owner cost, the most expensive owners first, with the number of owners
-- and the operations and violations of the whole fleet. $1: tenant; $2: most rows.
-- Index: none, agents and agent_trust are read once per tenant.
SELECT
    agents.owner,
    count(*) AS agents,
    sum(agent_trust.cost_nano_usd) AS cost_nano_usd,
    sum(agent_trust.input_tokens) AS input_tokens,
    sum(agent_trust.output_tokens) AS output_tokens,
    count(*) OVER () AS total,
    sum(sum(agent_trust.operations)) OVER () AS operations,
    sum(sum(agent_trust.violations)) OVER () AS violations
FROM agent_trust
INNER JOIN agents ON agents.tenant_id = agent_trust.tenant_id AND agents.id = agent_trust.agent_id
WHERE agent_trust.tenant_id = $1 AND agent_trust.in_fleet
GROUP BY agents.owner
ORDER BY cost_nano_usd DESC, sum(agent_trust.input_tokens + agent_trust.output_tokens::numeric) DESC, agents.owner
LIMIT $2;

-- name: list_agent_costs
-- The agents that cost most, with the number of those that have cost or tokens. $1: tenant;
-- $2: most rows. Index: none, agent_trust is read once per tenant; agents_pkey.
SELECT
    agents.id, agents.type, agents.name, agents.owner, costly.last_seen_at, costly.cost_nano_usd,
    costly.input_tokens, costly.output_tokens, costly.total
FROM (
    SELECT
        tenant_id, agent_id, last_seen_at, cost_nano_usd, input_tokens, output_tokens,
        input_tokens + output_tokens::numeric AS tokens, count(*) OVER () AS total
    FROM agent_trust
    WHERE tenant_id = $1 AND in_fleet AND (cost_nano_usd > 0 OR input_tokens > 0 OR output_tokens > 0)
    ORDER BY cost_nano_usd DESC, tokens DESC, agent_id
    LIMIT $2
) AS costly
INNER JOIN agents ON agents.tenant_id = costly.tenant_id AND agents.id = costly.agent_id
ORDER BY costly.cost_nano_usd DESC, costly.tokens DESC, agents.id;

-- name: list_quiet_agents
-- The first silent and the first unmeasured agents by id. $1: tenant; $2: most rows of each.
-- Index: none, agent_trust is read once per tenant; agents_pkey.
SELECT agents.id, agents.type, agents.name, agents.owner, quiet.state, quiet.last_seen_at
FROM (
    SELECT
        tenant_id, agent_id, state, last_seen_at,
        row_number() OVER (PARTITION BY state ORDER BY agent_id) AS place
    FROM agent_trust
    WHERE tenant_id = $1 AND in_fleet AND state IN ('silent', 'unmeasured')
) AS quiet
INNER JOIN agents ON agents.tenant_id = quiet.tenant_id AND agents.id = quiet.agent_id
WHERE quiet.place <= $2
ORDER BY quiet.state, agents.id;

-- name: list_stale_workflows
-- The first stale workflows that count, by id. $1: tenant; $2: most rows.
-- Index: workflow_status_freshness_idx, workflows_pkey.
SELECT
    workflows.id, workflows.provider, workflows.name, workflows.owner, stale.last_outcome,
    stale.last_success_at
FROM (
    SELECT tenant_id, workflow_id, last_outcome, last_success_at
    FROM workflow_status
    WHERE tenant_id = $1 AND freshness = 'stale' AND counted = 'counted'
    ORDER BY workflow_id
    LIMIT $2
) AS stale
INNER JOIN workflows ON workflows.tenant_id = stale.tenant_id AND workflows.id = stale.workflow_id
ORDER BY workflows.id;

-- name: list_open_violations
-- The newest open violations by id, with how many there are. $1: tenant; $2: most rows.
-- Index: policy_violations_pkey, policy_violations_open_idx, agents_pkey.
SELECT
    open.id, open.entity_id, agents.type, agents.name, open.rule, open.violations,
    open.blocked_violations, open.last_seen_at,
    (SELECT count(*) FROM policy_violations WHERE tenant_id = $1 AND NOT resolved) AS total
FROM (
    SELECT tenant_id, id, entity_id, rule, violations, blocked_violations, last_seen_at
    FROM policy_violations
    WHERE tenant_id = $1 AND NOT resolved
    ORDER BY id DESC
    LIMIT $2
) AS open
INNER JOIN agents ON agents.tenant_id = open.tenant_id AND agents.id = open.entity_id
ORDER BY open.id DESC;

-- name: list_newest_drift
-- The newest open drifts by id, with how many there are. $1: tenant; $2: most rows.
-- Index: drift_detections_pkey, drift_detections_open_idx, agents_pkey.
SELECT
    open.id, open.entity_id, agents.type, agents.name, open.rule, open.difference_count,
    open.first_path, open.last_seen_at,
    (SELECT count(*) FROM drift_detections WHERE tenant_id = $1 AND NOT resolved) AS total
FROM (
    SELECT
        tenant_id, id, entity_id, rule, difference_count, differences -> 0 ->> 'path' AS first_path,
        last_seen_at
    FROM drift_detections
    WHERE tenant_id = $1 AND NOT resolved
    ORDER BY id DESC
    LIMIT $2
) AS open
INNER JOIN agents ON agents.tenant_id = open.tenant_id AND agents.id = open.entity_id
ORDER BY open.id DESC;

-- name: list_agent_findings
-- Active agents that are silent, unreachable, failing, degraded, drifted, violating or unowned: of
-- each kind the first, critical ones before others, then by id; with how many there are. $1: tenant;
-- $2: most rows of each kind; $3: fewest operations that prove a failure; $4: share of errors above
-- which an agent fails, parts per billion; $5: health below which it is degraded, parts per billion.
-- A probe that reached nobody is an operation that failed: so the newest record is looked up, by the
-- millisecond in its key, of those alone whose newest hours have errors and whose newest record
-- is an operation. Index: telemetry_pkey, drift_detections_open_idx, policy_violations_open_idx;
-- agents and agent_trust are read once per tenant.
WITH drift AS MATERIALIZED (
    SELECT
        entity_id,
        (array_agg(id ORDER BY id DESC))[1] AS id,
        string_agg(rule, ', ' ORDER BY rule) AS rules,
        sum(difference_count) AS differences,
        min(first_seen_at) AS first_seen_at
    FROM drift_detections
    WHERE tenant_id = $1 AND entity_type = 'agent' AND NOT resolved
    GROUP BY entity_id
),

violation AS MATERIALIZED (
    SELECT
        entity_id,
        count(*) AS rules,
        (array_agg(rule ORDER BY last_seen_at DESC, id DESC))[1] AS newest_rule,
        sum(violations) AS violations,
        sum(blocked_violations) AS blocked_violations,
        max(last_seen_at) AS last_seen_at
    FROM policy_violations
    WHERE tenant_id = $1 AND entity_type = 'agent' AND NOT resolved
    GROUP BY entity_id
),

fleet AS (
    SELECT
        agents.id, agents.type, agents.name, agents.owner, agents.source, agents.criticality,
        agents.heartbeat_interval_seconds, agent_trust.operations, agent_trust.errors,
        agent_trust.health_ppb, agent_trust.counted_level_ppb, agent_trust.latency_us,
        agent_trust.latency_operations, agent_trust.last_seen_at, probe.state AS probe_state,
        drift.id AS drift_id, drift.rules AS drift_rules, drift.differences, drift.first_seen_at AS drifted_at,
        violation.rules AS violated_rules, violation.newest_rule, violation.violations,
        violation.blocked_violations, violation.last_seen_at AS violated_at,
        agent_trust.state = 'silent' AS silent,
        coalesce(probe.state IN ('unreachable', 'not-mcp'), false) AS unreachable,
        agent_trust.operations >= $3::bigint
        AND agent_trust.errors * 1000000000::numeric > agent_trust.operations * $4::numeric AS failing
    FROM agent_trust
    INNER JOIN agents ON agents.tenant_id = agent_trust.tenant_id AND agents.id = agent_trust.agent_id
    LEFT JOIN drift ON drift.entity_id = agents.id
    LEFT JOIN violation ON violation.entity_id = agents.id
    CROSS JOIN LATERAL (
        SELECT floor(extract(EPOCH FROM agent_trust.last_seen_at) * 1000)::bigint AS last
    ) AS millisecond
    LEFT JOIN LATERAL (
        -- jsonb knows no NUL, which attributes may hold; a probe writes none.
        SELECT
            CASE
                WHEN position('\u0000' IN telemetry.attributes) = 0
                    THEN telemetry.attributes::jsonb ->> 'probe.state'
            END AS state
        FROM telemetry
        WHERE
            telemetry.tenant_id = $1
            AND telemetry.agent_id = agent_trust.agent_id
            AND telemetry.key >= rpad(lpad(to_hex(millisecond.last), 12, '0'), 32, '0')::uuid
            AND telemetry.key < rpad(lpad(to_hex(millisecond.last + 1), 12, '0'), 32, '0')::uuid
        ORDER BY telemetry.key DESC
        LIMIT 1
    ) AS probe ON agent_trust.recent_errors > 0 AND agent_trust.last_operation_at = agent_trust.last_seen_at
    WHERE agent_trust.tenant_id = $1 AND agent_trust.in_fleet AND agents.state = 'ACTIVE'
),

ranked AS (
    SELECT
        kinds.kind,
        fleet.*,
        count(*) OVER (PARTITION BY kinds.kind) AS total,
        row_number() OVER (
            PARTITION BY kinds.kind ORDER BY fleet.criticality = 'critical' DESC, fleet.id
        ) AS place
    FROM fleet
    CROSS JOIN LATERAL (
        VALUES
        ('silent', fleet.silent),
        ('unreachable', fleet.unreachable AND NOT fleet.silent),
        ('failing', fleet.failing AND NOT fleet.unreachable AND NOT fleet.silent),
        (
            'degraded',
            coalesce(fleet.health_ppb < $5::integer, false)
            AND NOT (fleet.failing OR fleet.unreachable OR fleet.silent)
        ),
        ('drifted', fleet.drift_id IS NOT NULL),
        ('violating', fleet.newest_rule IS NOT NULL),
        ('unowned', fleet.owner = '')
    ) AS kinds (kind, found)
    WHERE kinds.found
)

SELECT
    kind, id, type, name, owner, source, criticality, heartbeat_interval_seconds, operations, errors,
    health_ppb, counted_level_ppb, latency_us, latency_operations, last_seen_at, probe_state,
    drift_id, drift_rules, differences, drifted_at, violated_rules, newest_rule, violations,
    blocked_violations, violated_at, total
FROM ranked
WHERE place <= $2
ORDER BY kind, place;

-- name: list_workflow_findings
-- Workflows that fail, are stale for another reason, or have no owner: of each kind the first by
-- id, with how many there are. $1: tenant; $2: most rows of each kind.
-- Index: none, workflows and workflow_status are read once per tenant.
WITH ranked AS (
    SELECT
        kinds.kind,
        workflows.id, workflows.provider, workflows.name, workflow_status.last_outcome,
        workflow_status.last_success_at, workflow_status.last_end_at, workflow_status.failed,
        count(*) OVER (PARTITION BY kinds.kind) AS total,
        row_number() OVER (PARTITION BY kinds.kind ORDER BY workflows.id) AS place
    FROM workflows
    INNER JOIN workflow_status
        ON workflow_status.tenant_id = workflows.tenant_id
        AND workflow_status.workflow_id = workflows.id
    CROSS JOIN LATERAL (
        VALUES
        (
            'failing',
            workflow_status.freshness = 'stale' AND workflow_status.last_outcome IS NOT DISTINCT FROM 'failed'
        ),
        (
            'stale',
            workflow_status.freshness = 'stale' AND workflow_status.last_outcome IS DISTINCT FROM 'failed'
        ),
        ('unowned', workflows.owner = '')
    ) AS kinds (kind, found)
    WHERE workflows.tenant_id = $1 AND workflows.state = 'ACTIVE' AND kinds.found
)

SELECT kind, id, provider, name, last_outcome, last_success_at, last_end_at, failed, total
FROM ranked
WHERE place <= $2
ORDER BY kind, place;
