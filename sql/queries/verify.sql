-- What `orca trust verify` reads, agent by agent in one snapshot: records against hours, hours
-- against trust. Written apart from the statements that it checks.

-- name: lift_statement_limit
-- Lets each statement of this transaction take its time (no tenant, no index).
SELECT set_config('statement_timeout', '0', true);

-- name: count_agents_to_verify
-- How many agents there are. $1: tenant. Index: agents_pkey.
SELECT count(*)
FROM agents
WHERE tenant_id = $1;

-- name: verify_hours
-- Compares the hours of some agents, with what waits for the next tick, to the sums of the records
-- that count. One row per agent: its hours, how many of them have lost records to retention, and a
-- JSON list of those that differ, each with both sides. $1: tenant; $2: agents; $3: hours that start
-- before this may have lost records. Index: telemetry_pkey, agent_hours_pkey; the inbox is read whole.
WITH told AS (
    SELECT
        agent_id,
        date_bin('1 hour', observed_at, 'epoch') AS hour,
        ARRAY[
            least(coalesce(sum(operations) FILTER (WHERE counted), 0), 2305843009213693952),
            least(coalesce(sum(errors) FILTER (WHERE counted), 0), 2305843009213693952),
            least(coalesce(sum(violations) FILTER (WHERE counted), 0), 2305843009213693952),
            least(coalesce(sum(blocked_violations) FILTER (WHERE counted), 0), 2305843009213693952),
            least(coalesce(sum(latency_us::numeric * operations) FILTER (WHERE counted), 0), 2305843009213693952),
            least(coalesce(sum(operations) FILTER (WHERE counted AND latency_us IS NOT NULL), 0), 2305843009213693952),
            least(coalesce(sum(cost_nano_usd) FILTER (WHERE counted), 0), 2305843009213693952),
            least(coalesce(sum(input_tokens) FILTER (WHERE counted), 0), 2305843009213693952),
            least(coalesce(sum(output_tokens) FILTER (WHERE counted), 0), 2305843009213693952)
        ] AS sums,
        ARRAY[
            max(observed_at) FILTER (WHERE counted AND operations > 0),
            max(observed_at) FILTER (WHERE counted),
            max(observed_at)
        ] AS newest
    FROM telemetry
    WHERE tenant_id = $1 AND agent_id = ANY($2::uuid[])
    GROUP BY agent_id, 2
),

pieces AS (
    SELECT
        agent_id, hour, operations, errors, violations, blocked_violations, latency_us, latency_operations,
        cost_nano_usd, input_tokens, output_tokens, last_operation_at, last_counted_at, last_seen_at
    FROM agent_hours
    WHERE tenant_id = $1 AND agent_id = ANY($2::uuid[])
    UNION ALL
    SELECT
        agent_id, hour, operations, errors, violations, blocked_violations, latency_us, latency_operations,
        cost_nano_usd, input_tokens, output_tokens, last_operation_at, last_counted_at, last_seen_at
    FROM trust_inbox
    WHERE tenant_id = $1 AND agent_id = ANY($2::uuid[]) AND hour IS NOT NULL
),

kept AS (
    SELECT
        agent_id,
        hour,
        ARRAY[
            least(sum(operations), 2305843009213693952),
            least(sum(errors), 2305843009213693952),
            least(sum(violations), 2305843009213693952),
            least(sum(blocked_violations), 2305843009213693952),
            least(sum(latency_us), 2305843009213693952),
            least(sum(latency_operations), 2305843009213693952),
            least(sum(cost_nano_usd), 2305843009213693952),
            least(sum(input_tokens), 2305843009213693952),
            least(sum(output_tokens), 2305843009213693952)
        ] AS sums,
        ARRAY[max(last_operation_at), max(last_counted_at), max(last_seen_at)] AS newest
    FROM pieces
    GROUP BY agent_id, hour
),

compared AS (
    SELECT
        agent_id,
        hour,
        kept.sums AS kept_sums,
        told.sums AS told_sums,
        kept.newest AS kept_newest,
        told.newest AS told_newest,
        told.sums IS NOT DISTINCT FROM kept.sums AND told.newest IS NOT DISTINCT FROM kept.newest AS agrees,
        CASE
            -- No record is left, or it is old and some of them are gone: what is left is less.
            WHEN told.sums IS NULL THEN true
            WHEN hour >= $3 THEN false
            -- Old and rolled up into days.
            WHEN kept.sums IS NULL THEN EXISTS (
                SELECT FROM agent_days AS days
                WHERE
                    days.tenant_id = $1
                    AND days.agent_id = told.agent_id
                    AND days.day = (told.hour AT TIME ZONE 'UTC')::date
            )
            ELSE NOT EXISTS (
                SELECT FROM unnest(told.sums, kept.sums) AS pair (told, kept) WHERE pair.told > pair.kept
            )
        END AS may_expire
    FROM kept
    FULL JOIN told USING (agent_id, hour)
)

SELECT
    agent_id,
    count(*) AS hours,
    count(*) FILTER (WHERE NOT agrees AND may_expire) AS expired,
    json_agg(
        json_build_object(
            'hour', hour, 'kept', kept_sums, 'told', told_sums, 'kept_newest', kept_newest,
            'told_newest', told_newest
        )
        ORDER BY hour
    ) FILTER (WHERE NOT agrees AND NOT may_expire) AS differing
FROM compared
GROUP BY agent_id;

-- name: verify_agents
-- Every agent with what the last tick wrote of it, by id. `changed`: an operator changed it since;
-- `waiting`: that, or records came since; `drift_waiting`: it was observed since. $1: tenant.
-- Index: agents_pkey, agent_trust_pkey, agent_observations_pkey, drift_detections_open_idx; the inboxes
-- are read whole.
SELECT
    agents.id,
    agents.type,
    agents.name,
    agents.state AS agent_state,
    agents.left_at,
    agents.counted_until,
    agents.overdue_at,
    agents.criticality AS said_criticality,
    agents.heartbeat_interval_seconds,
    agents.latency_limit_us AS said_latency_limit_us,
    agents.id IN (SELECT agent_id FROM trust_inbox WHERE tenant_id = $1 AND hour IS NULL) AS changed,
    agents.id IN (SELECT agent_id FROM trust_inbox WHERE tenant_id = $1) AS waiting,
    trust.state,
    trust.success_ppb,
    trust.adherence_ppb,
    trust.level_ppb,
    trust.counted_success_ppb,
    trust.counted_adherence_ppb,
    trust.counted_level_ppb,
    trust.health_ppb,
    trust.window_end,
    trust.operations,
    trust.errors,
    trust.violations,
    trust.blocked_violations,
    trust.latency_us,
    trust.latency_operations,
    trust.cost_nano_usd,
    trust.input_tokens,
    trust.output_tokens,
    trust.recent_operations,
    trust.recent_errors,
    trust.last_operation_at,
    trust.last_counted_at,
    trust.last_seen_at,
    trust.in_fleet,
    trust.criticality,
    trust.next_deadline_at,
    trust.drifted,
    CASE
        WHEN EXISTS (
            SELECT FROM agent_observations AS o WHERE o.tenant_id = agents.tenant_id AND o.agent_id = agents.id
        )
            THEN EXISTS (
                SELECT FROM drift_detections AS d
                WHERE
                    d.tenant_id = agents.tenant_id
                    AND d.entity_type = 'agent'
                    AND d.entity_id = agents.id
                    AND NOT d.resolved
            )
    END AS said_drifted,
    agents.id IN (SELECT agent_id FROM drift_inbox WHERE tenant_id = $1) AS drift_waiting
FROM agents
LEFT JOIN agent_trust AS trust ON trust.tenant_id = agents.tenant_id AND trust.agent_id = agents.id
WHERE agents.tenant_id = $1
ORDER BY agents.id;

-- name: verify_violations
-- Compares the violations of some agents, with what waits for the next tick, to the records that
-- count. One row per agent and rule: how many, kept and told, blocked ones second; `expired`: some
-- were observed before $3, so their records may be gone. $1: tenant; $2: agents.
-- Index: telemetry_pkey, policy_violations_open_idx, policy_violations_resolved_idx; the inbox is read
-- whole.
WITH told AS (
    SELECT
        agent_id,
        coalesce(rule, 'reported') AS rule,
        ARRAY[sum(violations), sum(coalesce(blocked_violations, 0))] AS counts
    FROM telemetry
    WHERE
        tenant_id = $1
        AND agent_id = ANY($2::uuid[])
        AND counted
        AND (violations > 0 OR blocked_violations > 0)
    GROUP BY agent_id, 2
),

pieces AS (
    SELECT entity_id AS agent_id, rule, violations, blocked_violations, first_seen_at
    FROM policy_violations
    WHERE tenant_id = $1 AND entity_type = 'agent' AND entity_id = ANY($2::uuid[])
    UNION ALL
    SELECT agent_id, rule, violations, blocked_violations, observed_at
    FROM violation_inbox
    WHERE tenant_id = $1 AND agent_id = ANY($2::uuid[])
),

kept AS (
    SELECT
        agent_id,
        rule,
        ARRAY[sum(violations), sum(blocked_violations)] AS counts,
        min(first_seen_at) < $3 AS expired
    FROM pieces
    GROUP BY agent_id, rule
)

SELECT
    coalesce(kept.agent_id, told.agent_id) AS agent_id,
    coalesce(kept.rule, told.rule) AS rule,
    coalesce(kept.counts, ARRAY[0::numeric, 0]) AS kept,
    coalesce(told.counts, ARRAY[0::numeric, 0]) AS told,
    coalesce(kept.expired, false) AS expired
FROM kept
FULL JOIN told ON told.agent_id = kept.agent_id AND told.rule = kept.rule;

-- name: verify_facts
-- The hours of some agents that a score is made of: those of its window, and newer ones; all hours
-- of an agent that never operated. $1: tenant; $2: agents. Index: agent_hours_pkey.
SELECT
    hours.agent_id, hours.hour, hours.operations, hours.errors, hours.violations, hours.blocked_violations,
    hours.latency_us, hours.latency_operations, hours.cost_nano_usd, hours.input_tokens,
    hours.output_tokens, hours.last_operation_at, hours.last_counted_at, hours.last_seen_at
FROM unnest($2::uuid[]) AS agent (id)
CROSS JOIN LATERAL (
    SELECT max(h.hour) - interval '168 hours' AS start
    FROM agent_hours AS h
    WHERE h.tenant_id = $1 AND h.agent_id = agent.id AND h.operations > 0
) AS oldest
INNER JOIN agent_hours AS hours
    ON
        hours.tenant_id = $1
        AND hours.agent_id = agent.id
        AND hours.hour >= coalesce(oldest.start, '-infinity'::timestamptz);

-- name: verify_fleet
-- What the last tick wrote of the fleet, and whether an agent was deleted since. $1: tenant.
-- Index: trust_current_pkey, agents_pkey; the inbox is read whole.
SELECT
    as_of,
    trust_ppb,
    band,
    capped_by,
    summary,
    EXISTS (
        SELECT FROM trust_inbox
        WHERE
            trust_inbox.tenant_id = $1
            AND NOT EXISTS (
                SELECT FROM agents
                WHERE agents.tenant_id = trust_inbox.tenant_id AND agents.id = trust_inbox.agent_id
            )
    ) AS changed
FROM trust_current
WHERE tenant_id = $1;
