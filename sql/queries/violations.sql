-- Policy violations: counted by the tick, resolved by it or by an operator, listed.

-- name: merge_violation_inbox
-- Counts what this snapshot sees of the inbox, of all tenants: a violation that a resolved row
-- covers in that row, every other in the open row of its agent and rule, which is opened if there
-- is none. Counts stay at 2^61. $1: as_of. Returns the agents of open rows that were written.
-- Index: policy_violations_open_idx, policy_violations_resolved_idx; the inbox is read whole.
WITH taken AS (
    DELETE FROM violation_inbox
    RETURNING tenant_id, agent_id, rule, violations, blocked_violations, observed_at
),

placed AS (
    SELECT
        taken.tenant_id, taken.agent_id, taken.rule, taken.violations, taken.blocked_violations,
        taken.observed_at, past.id
    FROM taken
    LEFT JOIN LATERAL (
        SELECT v.id
        FROM policy_violations AS v
        WHERE
            v.tenant_id = taken.tenant_id
            AND v.entity_type = 'agent'
            AND v.entity_id = taken.agent_id
            AND v.rule = taken.rule
            AND v.resolved
            AND v.covered_until >= taken.observed_at
        ORDER BY v.covered_until
        LIMIT 1
    ) AS past ON true
),

late AS (
    UPDATE policy_violations AS kept SET
        violations = least(kept.violations + more.violations, 2305843009213693952),
        blocked_violations = least(kept.blocked_violations + more.blocked_violations, 2305843009213693952),
        first_seen_at = least(kept.first_seen_at, more.first_seen_at),
        last_seen_at = greatest(kept.last_seen_at, more.last_seen_at)
    FROM (
        SELECT
            tenant_id,
            id,
            sum(violations) AS violations,
            sum(blocked_violations) AS blocked_violations,
            min(observed_at) AS first_seen_at,
            max(observed_at) AS last_seen_at
        FROM placed
        WHERE id IS NOT NULL
        GROUP BY tenant_id, id
    ) AS more
    WHERE kept.tenant_id = more.tenant_id AND kept.id = more.id
)

INSERT INTO policy_violations AS kept (
    tenant_id, id, entity_type, entity_id, rule, violations, blocked_violations, first_seen_at, last_seen_at,
    created_at
)
SELECT
    tenant_id,
    new_uuid7($1),
    'agent',
    agent_id,
    rule,
    least(sum(violations), 2305843009213693952)::bigint,
    least(sum(blocked_violations), 2305843009213693952)::bigint,
    min(observed_at),
    max(observed_at),
    $1
FROM placed
WHERE id IS NULL
GROUP BY tenant_id, agent_id, rule
ORDER BY tenant_id, agent_id, rule
ON CONFLICT (tenant_id, entity_type, entity_id, rule) WHERE NOT resolved DO UPDATE SET
    violations = least(kept.violations + excluded.violations, 2305843009213693952),
    blocked_violations = least(kept.blocked_violations + excluded.blocked_violations, 2305843009213693952),
    first_seen_at = least(kept.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(kept.last_seen_at, excluded.last_seen_at)
RETURNING tenant_id, entity_id;

-- name: resolve_clean_violations
-- Resolves open rows of these agents that have worked for the clean period since the newest
-- violation. $1: tenants; $2: agents; $3: as_of; $4: clean period, seconds. Returns how many.
-- Index: policy_violations_open_idx, agent_trust_pkey.
WITH clean AS (
    UPDATE policy_violations AS v SET
        resolved = true,
        resolution = 'clean',
        resolved_at = $3,
        resolved_by = 'tick',
        reason = 'worked on without another violation of it',
        covered_until = v.last_seen_at
    FROM (
        SELECT DISTINCT tenant_id, agent_id
        FROM unnest($1::uuid[], $2::uuid[]) AS given (tenant_id, agent_id)
    ) AS dirty
    INNER JOIN agent_trust AS t ON t.tenant_id = dirty.tenant_id AND t.agent_id = dirty.agent_id
    WHERE
        v.tenant_id = dirty.tenant_id
        AND v.entity_type = 'agent'
        AND v.entity_id = dirty.agent_id
        AND NOT v.resolved
        AND t.last_operation_at >= v.last_seen_at + $4 * interval '1 second'
    RETURNING 1
)

SELECT count(*) FROM clean;

-- name: resolve_violation
-- Resolves an open row by hand; returns nothing if there is no open one. $1: tenant; $2: id;
-- $3: who; $4: why. Index: policy_violations_pkey.
UPDATE policy_violations SET
    resolved = true,
    resolution = 'operator',
    resolved_at = clock_timestamp(),
    resolved_by = $3,
    reason = $4,
    covered_until = clock_timestamp()
WHERE tenant_id = $1 AND id = $2 AND NOT resolved
RETURNING entity_id;

-- name: list_violations
-- Violations with their agents: the head of every read; store/filter_sql.py appends conditions,
-- order and limit. $1: tenant. Index: policy_violations_pkey, agents_pkey, or that of the order.
SELECT
    policy_violations.id,
    policy_violations.entity_type,
    policy_violations.entity_id,
    agents.type,
    agents.name,
    policy_violations.rule,
    policy_violations.violations,
    policy_violations.blocked_violations,
    policy_violations.first_seen_at,
    policy_violations.last_seen_at,
    policy_violations.resolved,
    policy_violations.resolution,
    policy_violations.resolved_at,
    policy_violations.resolved_by,
    policy_violations.reason,
    policy_violations.created_at
FROM policy_violations
INNER JOIN agents
    ON agents.tenant_id = policy_violations.tenant_id
    AND agents.id = policy_violations.entity_id
WHERE policy_violations.tenant_id = $1;

-- name: count_violations
-- Head of that list's total; store/filter_sql.py appends conditions. $1: tenant.
-- Index: policy_violations_pkey, agents_pkey.
SELECT count(*)
FROM policy_violations
INNER JOIN agents
    ON agents.tenant_id = policy_violations.tenant_id
    AND agents.id = policy_violations.entity_id
WHERE policy_violations.tenant_id = $1;
