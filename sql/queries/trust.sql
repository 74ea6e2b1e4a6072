-- The trust tick and what reads it. Scores are integers in parts per billion; the formulas
-- are those of orca_server.domain.trust, to which a property test holds this file.

-- name: try_lock_tick
-- True if this transaction may tick: one at a time, all tenants together (no tenant, no index).
SELECT pg_try_advisory_xact_lock(7016996765293437281);

-- name: lock_tick
-- Waits until this transaction may tick (no tenant, no index).
SELECT pg_advisory_xact_lock(7016996765293437281);

-- name: read_clock
-- The database's clock once the lock is held: `as_of` of the tick (no tenant, no index).
SELECT clock_timestamp();

-- name: merge_trust_inbox
-- Takes what this snapshot sees of the inbox, of all tenants, into agent_hours and into the sums of
-- the windows in agent_trust, so that these stay equal; returns the agents that must be computed.
-- Rows of a transaction that is still open stay for a later tick. Sums stay at 2^61.
-- Index: agent_hours_pkey, agent_trust_pkey; the inbox is read whole.
WITH taken AS (
    DELETE FROM trust_inbox
    RETURNING
        tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at,
        last_counted_at, last_seen_at
),

hours AS (
    SELECT
        tenant_id,
        agent_id,
        hour,
        least(sum(operations), 2305843009213693952)::bigint AS operations,
        least(sum(errors), 2305843009213693952)::bigint AS errors,
        least(sum(violations), 2305843009213693952)::bigint AS violations,
        least(sum(blocked_violations), 2305843009213693952)::bigint AS blocked_violations,
        least(sum(latency_us), 2305843009213693952)::bigint AS latency_us,
        least(sum(latency_operations), 2305843009213693952)::bigint AS latency_operations,
        least(sum(cost_nano_usd), 2305843009213693952)::bigint AS cost_nano_usd,
        least(sum(input_tokens), 2305843009213693952)::bigint AS input_tokens,
        least(sum(output_tokens), 2305843009213693952)::bigint AS output_tokens,
        max(last_operation_at) AS last_operation_at,
        max(last_counted_at) AS last_counted_at,
        max(last_seen_at) AS last_seen_at
    FROM taken
    WHERE hour IS NOT NULL
    GROUP BY tenant_id, agent_id, hour
),

merged AS (
    INSERT INTO agent_hours AS kept (
        tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at,
        last_counted_at, last_seen_at
    )
    SELECT
        tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at,
        last_counted_at, last_seen_at
    FROM hours
    ORDER BY tenant_id, agent_id, hour
    ON CONFLICT (tenant_id, agent_id, hour) DO UPDATE SET
        operations = least(kept.operations + excluded.operations, 2305843009213693952),
        errors = least(kept.errors + excluded.errors, 2305843009213693952),
        violations = least(kept.violations + excluded.violations, 2305843009213693952),
        blocked_violations = least(kept.blocked_violations + excluded.blocked_violations, 2305843009213693952),
        latency_us = least(kept.latency_us + excluded.latency_us, 2305843009213693952),
        latency_operations = least(kept.latency_operations + excluded.latency_operations, 2305843009213693952),
        cost_nano_usd = least(kept.cost_nano_usd + excluded.cost_nano_usd, 2305843009213693952),
        input_tokens = least(kept.input_tokens + excluded.input_tokens, 2305843009213693952),
        output_tokens = least(kept.output_tokens + excluded.output_tokens, 2305843009213693952),
        last_operation_at = greatest(kept.last_operation_at, excluded.last_operation_at),
        last_counted_at = greatest(kept.last_counted_at, excluded.last_counted_at),
        last_seen_at = greatest(kept.last_seen_at, excluded.last_seen_at)
),

windows AS (
    UPDATE agent_trust AS kept SET
        operations = least(kept.operations + gained.operations, 2305843009213693952),
        errors = least(kept.errors + gained.errors, 2305843009213693952),
        violations = least(kept.violations + gained.violations, 2305843009213693952),
        blocked_violations = least(kept.blocked_violations + gained.blocked_violations, 2305843009213693952),
        latency_us = least(kept.latency_us + gained.latency_us, 2305843009213693952),
        latency_operations = least(kept.latency_operations + gained.latency_operations, 2305843009213693952),
        cost_nano_usd = least(kept.cost_nano_usd + gained.cost_nano_usd, 2305843009213693952),
        input_tokens = least(kept.input_tokens + gained.input_tokens, 2305843009213693952),
        output_tokens = least(kept.output_tokens + gained.output_tokens, 2305843009213693952)
    FROM (
        SELECT
            hours.tenant_id,
            hours.agent_id,
            sum(hours.operations) AS operations,
            sum(hours.errors) AS errors,
            sum(hours.violations) AS violations,
            sum(hours.blocked_violations) AS blocked_violations,
            sum(hours.latency_us) AS latency_us,
            sum(hours.latency_operations) AS latency_operations,
            sum(hours.cost_nano_usd) AS cost_nano_usd,
            sum(hours.input_tokens) AS input_tokens,
            sum(hours.output_tokens) AS output_tokens
        FROM hours
        INNER JOIN agent_trust AS t ON t.tenant_id = hours.tenant_id AND t.agent_id = hours.agent_id
        WHERE hours.hour >= t.window_end - interval '168 hours' AND hours.hour < t.window_end
        GROUP BY hours.tenant_id, hours.agent_id
    ) AS gained
    WHERE kept.tenant_id = gained.tenant_id AND kept.agent_id = gained.agent_id
)

SELECT
    tenant_id,
    agent_id,
    bool_or(hour IS NOT NULL) AS facts,
    bool_or(hour IS NULL) AS told
FROM taken
GROUP BY tenant_id, agent_id;

-- name: enrol_reporting_agents
-- Makes catalogue entries that reported part of the fleet and returns them. Rows that another
-- transaction holds are left alone and put into the inbox again, with nothing to add to their newest
-- hour, so that a later tick finds them. $1: tenants; $2: agents. Index: agents_pkey, agent_hours_pkey.
WITH reporting AS (
    SELECT agents.tenant_id, agents.id
    FROM unnest($1::uuid[], $2::uuid[]) AS dirty (tenant_id, agent_id)
    INNER JOIN agents ON agents.tenant_id = dirty.tenant_id AND agents.id = dirty.agent_id
    WHERE agents.state = 'CATALOG'
    FOR NO KEY UPDATE OF agents SKIP LOCKED
),

held AS (
    INSERT INTO trust_inbox (tenant_id, agent_id, hour)
    SELECT agents.tenant_id, agents.id, max(agent_hours.hour)
    FROM unnest($1::uuid[], $2::uuid[]) AS dirty (tenant_id, agent_id)
    INNER JOIN agents ON agents.tenant_id = dirty.tenant_id AND agents.id = dirty.agent_id
    INNER JOIN agent_hours ON agent_hours.tenant_id = agents.tenant_id AND agent_hours.agent_id = agents.id
    WHERE
        agents.state = 'CATALOG'
        AND NOT EXISTS (
            SELECT FROM reporting WHERE reporting.tenant_id = agents.tenant_id AND reporting.id = agents.id
        )
    GROUP BY agents.tenant_id, agents.id
)

UPDATE agents SET
    state = 'ACTIVE', updated_at = now(), revision = agents.revision + 1
FROM reporting
WHERE agents.tenant_id = reporting.tenant_id AND agents.id = reporting.id
RETURNING agents.tenant_id, agents.id;

-- name: audit_reporting_agents
-- Records that these agents came into the fleet by reporting. $1: tenants; $2: agents. No index.
INSERT INTO audit_entries (tenant_id, actor, action, entity_type, entity_id, reason)
SELECT tenant_id, 'telemetry', 'agents.enrol', 'agent', agent_id, 'it reported'
FROM unnest($1::uuid[], $2::uuid[]) AS enrolled (tenant_id, agent_id);

-- name: mark_all_agents
-- Puts every agent that has trust up for computing, of all tenants; used when the settings of the
-- score changed. Index: agent_trust_pkey (read whole).
INSERT INTO trust_inbox (tenant_id, agent_id)
SELECT tenant_id, agent_id
FROM agent_trust;

-- name: compute_agent_trust
-- Computes trust of the agents given and of those whose deadline has passed, of all tenants. The sums
-- of a window that moved are those of the last tick, less the hours that left it, plus those that came
-- into it; they are made anew where there are none, where one is at its limit, and where an operator
-- changed the agent or the settings. $1: tenants; $2: agents; $3: whether facts came; $4: as_of;
-- $5: baseline, ppb; $6: whether an operator changed it. Returns how many were computed.
-- Index: agents_pkey, agent_hours_pkey, agent_trust_pkey, agent_trust_deadline_hour_idx.
WITH due AS (
    SELECT tenant_id, agent_id, min(rank) AS rank, bool_or(told) AS told
    FROM (
        SELECT tenant_id, agent_id, CASE WHEN facts THEN 1 ELSE 2 END AS rank, told
        FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $6::boolean[]) AS dirty (tenant_id, agent_id, facts, told)
        UNION ALL
        SELECT tenant_id, agent_id, 3 AS rank, false AS told
        FROM agent_trust
        WHERE deadline_hour <= $4 AND next_deadline_at <= $4
    ) AS causes
    GROUP BY tenant_id, agent_id
),

subjects AS (
    SELECT
        due.tenant_id,
        due.agent_id,
        due.rank,
        agents.left_at,
        agents.counted_until,
        agents.overdue_at,
        agents.criticality,
        coalesce(agents.latency_limit_us, 1000000) AS latency_limit_us,
        agents.heartbeat_interval_seconds * interval '1 second'
        + greatest(agents.heartbeat_interval_seconds * interval '100 milliseconds', interval '1 minute') AS patience,
        newest.last_operation_at,
        newest.window_end,
        counted.last_counted_at,
        seen.last_seen_at,
        kept.operations AS kept_operations,
        kept.errors AS kept_errors,
        kept.violations AS kept_violations,
        kept.blocked_violations AS kept_blocked_violations,
        kept.latency_us AS kept_latency_us,
        kept.latency_operations AS kept_latency_operations,
        kept.cost_nano_usd AS kept_cost_nano_usd,
        kept.input_tokens AS kept_input_tokens,
        kept.output_tokens AS kept_output_tokens,
        CASE
            WHEN
                NOT due.told
                AND greatest(
                    kept.operations, kept.errors, kept.violations, kept.blocked_violations, kept.latency_us,
                    kept.latency_operations, kept.cost_nano_usd, kept.input_tokens, kept.output_tokens
                ) < 2305843009213693952
                THEN kept.window_end
        END AS kept_end
    FROM due
    INNER JOIN agents ON agents.tenant_id = due.tenant_id AND agents.id = due.agent_id
    LEFT JOIN agent_trust AS kept ON kept.tenant_id = due.tenant_id AND kept.agent_id = due.agent_id
    LEFT JOIN LATERAL (
        SELECT h.last_operation_at, h.hour + interval '1 hour' AS window_end
        FROM agent_hours AS h
        WHERE h.tenant_id = due.tenant_id AND h.agent_id = due.agent_id AND h.operations > 0
        ORDER BY h.hour DESC
        LIMIT 1
    ) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT h.last_counted_at
        FROM agent_hours AS h
        WHERE h.tenant_id = due.tenant_id AND h.agent_id = due.agent_id AND h.last_counted_at IS NOT NULL
        ORDER BY h.hour DESC
        LIMIT 1
    ) AS counted ON true
    LEFT JOIN LATERAL (
        SELECT h.last_seen_at
        FROM agent_hours AS h
        WHERE h.tenant_id = due.tenant_id AND h.agent_id = due.agent_id
        ORDER BY h.hour DESC
        LIMIT 1
    ) AS seen ON true
    WHERE agents.state <> 'CATALOG'
),

sums AS (
    SELECT
        subjects.tenant_id,
        subjects.agent_id,
        subjects.rank,
        subjects.left_at,
        subjects.counted_until,
        subjects.criticality,
        subjects.latency_limit_us,
        subjects.window_end,
        subjects.last_operation_at,
        subjects.last_counted_at,
        subjects.last_seen_at,
        least($4, subjects.left_at) AS judged_at,
        subjects.last_operation_at + interval '24 hours' AS idle_at,
        subjects.last_counted_at + subjects.patience AS heartbeat_at,
        subjects.last_operation_at + interval '2160 hours' AS forgotten_at,
        CASE WHEN subjects.last_counted_at <= subjects.overdue_at THEN subjects.overdue_at END AS overdue_at,
        facts.operations,
        facts.errors,
        facts.violations,
        facts.blocked_violations,
        facts.latency_us,
        facts.latency_operations,
        facts.cost_nano_usd,
        facts.input_tokens,
        facts.output_tokens,
        recent.operations AS recent_operations,
        recent.errors AS recent_errors
    FROM subjects
    CROSS JOIN LATERAL (
        SELECT
            least(coalesce(sum(part.operations), 0), 2305843009213693952) AS operations,
            least(coalesce(sum(part.errors), 0), 2305843009213693952) AS errors,
            least(coalesce(sum(part.violations), 0), 2305843009213693952) AS violations,
            least(coalesce(sum(part.blocked_violations), 0), 2305843009213693952) AS blocked_violations,
            least(coalesce(sum(part.latency_us), 0), 2305843009213693952) AS latency_us,
            least(coalesce(sum(part.latency_operations), 0), 2305843009213693952) AS latency_operations,
            least(coalesce(sum(part.cost_nano_usd), 0), 2305843009213693952) AS cost_nano_usd,
            least(coalesce(sum(part.input_tokens), 0), 2305843009213693952) AS input_tokens,
            least(coalesce(sum(part.output_tokens), 0), 2305843009213693952) AS output_tokens
        FROM (
            SELECT
                h.operations, h.errors, h.violations, h.blocked_violations, h.latency_us,
                h.latency_operations, h.cost_nano_usd, h.input_tokens, h.output_tokens
            FROM agent_hours AS h
            WHERE
                h.tenant_id = subjects.tenant_id
                AND h.agent_id = subjects.agent_id
                AND h.hour >= greatest(subjects.kept_end, subjects.window_end - interval '168 hours')
                AND h.hour < subjects.window_end
            UNION ALL
            SELECT
                -h.operations, -h.errors, -h.violations, -h.blocked_violations, -h.latency_us,
                -h.latency_operations, -h.cost_nano_usd, -h.input_tokens, -h.output_tokens
            FROM agent_hours AS h
            WHERE
                h.tenant_id = subjects.tenant_id
                AND h.agent_id = subjects.agent_id
                AND h.hour >= subjects.kept_end - interval '168 hours'
                AND h.hour < least(subjects.kept_end, subjects.window_end - interval '168 hours')
            UNION ALL
            SELECT
                subjects.kept_operations, subjects.kept_errors, subjects.kept_violations,
                subjects.kept_blocked_violations, subjects.kept_latency_us, subjects.kept_latency_operations,
                subjects.kept_cost_nano_usd, subjects.kept_input_tokens, subjects.kept_output_tokens
            WHERE subjects.kept_end IS NOT NULL
        ) AS part
    ) AS facts
    CROSS JOIN LATERAL (
        SELECT
            least(coalesce(sum(h.operations), 0), 2305843009213693952) AS operations,
            least(coalesce(sum(h.errors), 0), 2305843009213693952) AS errors
        FROM agent_hours AS h
        WHERE
            h.tenant_id = subjects.tenant_id
            AND h.agent_id = subjects.agent_id
            AND h.hour >= subjects.window_end - interval '6 hours'
            AND h.hour < subjects.window_end
    ) AS recent
),

-- A quotient a / b rounded half up is div(2 a + b, 2 b) for a >= 0, b > 0.
parts AS MATERIALIZED (
    SELECT
        sums.*,
        CASE
            WHEN sums.window_end IS NULL THEN NULL
            WHEN sums.recent_operations >= 20 THEN least(
                div(
                    2 * ((sums.operations - sums.errors) * 1000000000 + 20 * $5::numeric) + (sums.operations + 20),
                    2 * (sums.operations + 20)
                ),
                div(
                    2 * ((sums.recent_operations - sums.recent_errors) * 1000000000 + 20 * $5::numeric)
                    + (sums.recent_operations + 20),
                    2 * (sums.recent_operations + 20)
                )
            )
            ELSE div(
                2 * ((sums.operations - sums.errors) * 1000000000 + 20 * $5::numeric) + (sums.operations + 20),
                2 * (sums.operations + 20)
            )
        END AS success_ppb,
        CASE
            WHEN sums.window_end IS NULL THEN NULL
            ELSE div(
                2 * greatest(
                    0, 10 * (sums.operations + 100) - 20 * (10 * sums.violations + sums.blocked_violations)
                ) * 1000000000 + 10 * (sums.operations + 100),
                20 * (sums.operations + 100)
            )
        END AS adherence_ppb,
        CASE
            WHEN sums.window_end IS NULL THEN 'unmeasured'
            WHEN
                sums.heartbeat_at <= sums.judged_at
                OR sums.forgotten_at <= sums.judged_at
                OR sums.overdue_at <= sums.judged_at
                THEN 'silent'
            WHEN sums.idle_at <= sums.judged_at THEN 'idle'
            ELSE 'measured'
        END AS state,
        sums.left_at IS NULL OR coalesce(sums.counted_until > $4, false) AS in_fleet,
        CASE
            WHEN sums.left_at IS NOT NULL THEN CASE WHEN sums.counted_until > $4 THEN sums.counted_until END
            ELSE least(
                CASE WHEN sums.idle_at > $4 THEN sums.idle_at END,
                CASE WHEN sums.heartbeat_at > $4 THEN sums.heartbeat_at END,
                CASE WHEN sums.forgotten_at > $4 THEN sums.forgotten_at END,
                CASE WHEN sums.overdue_at > $4 THEN sums.overdue_at END
            )
        END AS next_deadline_at
    FROM sums
),

-- Each step carries all columns on: a join of two of them would be a nested loop, quadratic in the
-- agents, for the planner expects few.
levels AS MATERIALIZED (
    SELECT
        parts.*,
        div(2 * (6 * parts.success_ppb + 4 * parts.adherence_ppb) + 10, 20) AS level_ppb,
        CASE WHEN parts.state = 'silent' THEN 500000000 ELSE 1000000000 END AS cap
    FROM parts
),

results AS (
    SELECT
        levels.tenant_id,
        levels.agent_id,
        levels.rank,
        levels.state,
        levels.success_ppb,
        levels.adherence_ppb,
        levels.level_ppb,
        levels.in_fleet,
        levels.next_deadline_at,
        levels.criticality,
        levels.window_end,
        levels.operations,
        levels.errors,
        levels.violations,
        levels.blocked_violations,
        levels.latency_us,
        levels.latency_operations,
        levels.cost_nano_usd,
        levels.input_tokens,
        levels.output_tokens,
        levels.recent_operations,
        levels.recent_errors,
        levels.last_operation_at,
        levels.last_counted_at,
        levels.last_seen_at,
        -- least() skips NULL, so an unmeasured value must be kept out of it.
        CASE WHEN levels.success_ppb IS NOT NULL THEN least(levels.success_ppb, levels.cap) END AS counted_success_ppb,
        CASE
            WHEN levels.adherence_ppb IS NOT NULL THEN least(levels.adherence_ppb, levels.cap)
        END AS counted_adherence_ppb,
        CASE WHEN levels.level_ppb IS NOT NULL THEN least(levels.level_ppb, levels.cap) END AS counted_level_ppb,
        CASE
            WHEN levels.latency_us <= levels.latency_limit_us * levels.latency_operations THEN 1000000000
            ELSE greatest(
                500000000,
                div(
                    2 * levels.latency_limit_us * levels.latency_operations * 1000000000 + levels.latency_us,
                    2 * levels.latency_us
                )
            )
        END AS latency_factor
    FROM levels
),

compared AS (
    SELECT
        results.*,
        -- Recorded when the level moved by 0.005 or band or state changed.
        old.recorded_at IS NULL
        OR coalesce(old.recorded_state <> results.state
        OR (old.recorded_ppb IS NULL) <> (results.counted_level_ppb IS NULL)
        OR abs(old.recorded_ppb - results.counted_level_ppb) >= 5000000
        OR width_bucket(old.recorded_ppb, ARRAY[500000000, 700000000, 850000000])
        <> width_bucket(results.counted_level_ppb::integer, ARRAY[500000000, 700000000, 850000000]), false) AS moved,
        old.recorded_at IS NULL OR old.recorded_at <= $4 - interval '1 minute' AS may_record,
        CASE
            WHEN
                old.agent_id IS NOT NULL
                AND results.rank = 3
                AND old.state = results.state
                AND old.in_fleet = results.in_fleet
                THEN old.cause
            ELSE (ARRAY['facts', 'operator', 'deadline'])[results.rank]
        END AS cause,
        old.recorded_ppb,
        old.recorded_state,
        old.recorded_at
    FROM results
    LEFT JOIN agent_trust AS old ON old.tenant_id = results.tenant_id AND old.agent_id = results.agent_id
),

recorded AS (
    INSERT INTO agent_trust_history (tenant_id, agent_id, as_of, state, counted_level_ppb, cause)
    SELECT tenant_id, agent_id, $4, state, counted_level_ppb, cause
    FROM compared
    WHERE moved AND may_record
    ON CONFLICT DO NOTHING
),

written AS (
    INSERT INTO agent_trust AS kept (
        tenant_id, agent_id, state, success_ppb, adherence_ppb, level_ppb, counted_success_ppb,
        counted_adherence_ppb, counted_level_ppb, health_ppb, window_end, operations, errors, violations,
        blocked_violations, latency_us, latency_operations, cost_nano_usd, input_tokens, output_tokens,
        recent_operations, recent_errors, last_operation_at, last_counted_at, last_seen_at, in_fleet,
        criticality, next_deadline_at, cause, as_of, recorded_ppb, recorded_state, recorded_at
    )
    SELECT
        tenant_id, agent_id, state, success_ppb, adherence_ppb, level_ppb, counted_success_ppb,
        counted_adherence_ppb, counted_level_ppb,
        div(2 * counted_level_ppb * latency_factor + 1000000000, 2000000000),
        window_end, operations, errors, violations,
        blocked_violations, latency_us, latency_operations, cost_nano_usd, input_tokens, output_tokens,
        recent_operations, recent_errors, last_operation_at, last_counted_at, last_seen_at, in_fleet,
        criticality,
        -- A move that may not be recorded yet is looked at again when it may.
        least(next_deadline_at, CASE WHEN moved AND NOT may_record THEN recorded_at + interval '1 minute' END),
        cause,
        $4,
        CASE WHEN moved AND may_record THEN counted_level_ppb ELSE recorded_ppb END,
        CASE WHEN moved AND may_record THEN state ELSE recorded_state END,
        CASE WHEN moved AND may_record THEN $4 ELSE recorded_at END
    FROM compared
    ORDER BY tenant_id, agent_id
    ON CONFLICT (tenant_id, agent_id) DO UPDATE SET
        state = excluded.state,
        success_ppb = excluded.success_ppb,
        adherence_ppb = excluded.adherence_ppb,
        level_ppb = excluded.level_ppb,
        counted_success_ppb = excluded.counted_success_ppb,
        counted_adherence_ppb = excluded.counted_adherence_ppb,
        counted_level_ppb = excluded.counted_level_ppb,
        health_ppb = excluded.health_ppb,
        window_end = excluded.window_end,
        operations = excluded.operations,
        errors = excluded.errors,
        violations = excluded.violations,
        blocked_violations = excluded.blocked_violations,
        latency_us = excluded.latency_us,
        latency_operations = excluded.latency_operations,
        cost_nano_usd = excluded.cost_nano_usd,
        input_tokens = excluded.input_tokens,
        output_tokens = excluded.output_tokens,
        recent_operations = excluded.recent_operations,
        recent_errors = excluded.recent_errors,
        last_operation_at = excluded.last_operation_at,
        last_counted_at = excluded.last_counted_at,
        last_seen_at = excluded.last_seen_at,
        in_fleet = excluded.in_fleet,
        criticality = excluded.criticality,
        next_deadline_at = excluded.next_deadline_at,
        cause = excluded.cause,
        as_of = excluded.as_of,
        recorded_ppb = excluded.recorded_ppb,
        recorded_state = excluded.recorded_state,
        recorded_at = excluded.recorded_at
    RETURNING 1
)

SELECT count(*) FROM written;

-- name: sum_fleets
-- Sums over the agents that count, one row per tenant. Index: none, agent_trust is read whole.
SELECT
    tenant_id,
    count(*) AS agents,
    count(*) FILTER (WHERE state = 'measured') AS measured,
    count(*) FILTER (WHERE state = 'idle') AS idle,
    count(*) FILTER (WHERE state = 'silent') AS silent,
    coalesce(sum(counted_success_ppb::bigint), 0) AS success_ppb,
    coalesce(sum(counted_adherence_ppb::bigint), 0) AS adherence_ppb,
    coalesce(
        sum(CASE criticality WHEN 'low' THEN 1 WHEN 'normal' THEN 3 ELSE 9 END * counted_level_ppb::bigint), 0
    ) AS weighted_level_ppb,
    coalesce(
        sum(CASE criticality WHEN 'low' THEN 1 WHEN 'normal' THEN 3 ELSE 9 END)
            FILTER (WHERE counted_level_ppb IS NOT NULL), 0
    ) AS weights,
    count(*) FILTER (WHERE counted_level_ppb >= 850000000) AS excellent,
    count(*) FILTER (WHERE counted_level_ppb >= 700000000 AND counted_level_ppb < 850000000) AS good,
    count(*) FILTER (WHERE counted_level_ppb >= 500000000 AND counted_level_ppb < 700000000) AS moderate,
    count(*) FILTER (WHERE counted_level_ppb < 500000000) AS critical,
    coalesce(bool_or(criticality = 'critical' AND counted_level_ppb < 500000000), false) AS critical_agent,
    coalesce(sum(operations), 0) AS operations,
    coalesce(sum(violations), 0) AS violations,
    coalesce(sum(cost_nano_usd), 0) AS cost_nano_usd,
    coalesce(sum(input_tokens), 0) AS input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens,
    count(drifted) AS baselines,
    count(*) FILTER (WHERE drifted) AS drifted
FROM agent_trust
WHERE in_fleet
GROUP BY tenant_id;

-- name: list_worst_agents
-- The ten agents with the lowest trust of each tenant. $1: tenants. Index: none, agent_trust is
-- read whole per tenant; agents_pkey.
SELECT worst.tenant_id, worst.agent_id, agents.type, agents.name, worst.state, worst.counted_level_ppb
FROM unnest($1::uuid[]) AS tenant (id)
CROSS JOIN LATERAL (
    SELECT tenant_id, agent_id, state, counted_level_ppb
    FROM agent_trust
    WHERE tenant_id = tenant.id AND in_fleet AND counted_level_ppb IS NOT NULL
    ORDER BY counted_level_ppb, agent_id
    LIMIT 10
) AS worst
INNER JOIN agents ON agents.tenant_id = worst.tenant_id AND agents.id = worst.agent_id
ORDER BY worst.tenant_id, worst.counted_level_ppb, worst.agent_id;

-- name: read_trust_heads
-- What the tick must know of the last one, one row per tenant. Index: none, one row per tenant.
SELECT tenant_id, summary, digest, recorded_at, recorded_digest
FROM trust_current;

-- name: touch_trust
-- Nothing changed: the scores of all tenants hold for a newer instant. $1: as_of; $2: seconds
-- between ticks; $3: seconds this one took. Index: none, one row per tenant.
UPDATE trust_current SET
    as_of = $1, interval_seconds = $2, duration_seconds = $3
WHERE tenant_id IS NOT NULL;

-- name: write_trust
-- Writes the scores of all tenants and, where `record` says so, a row of their history.
-- $1: tenants; $2: ppb; $3: bands; $4: capped_by, comma-separated; $5: summaries; $6: digests;
-- $7: record; $8: as_of; $9: seconds between ticks; $10: seconds this one took.
-- Index: trust_current_pkey, trust_snapshots_pkey.
WITH scores AS (
    SELECT tenant_id, ppb, band, string_to_array(capped_by, ',') AS capped_by, summary, digest, record
    FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::jsonb[], $6::text[], $7::boolean[])
        AS score (tenant_id, ppb, band, capped_by, summary, digest, record)
),

recorded AS (
    INSERT INTO trust_snapshots (tenant_id, as_of, trust_ppb, band, capped_by, summary)
    SELECT tenant_id, $8, ppb, band, capped_by, summary
    FROM scores
    WHERE record
    ON CONFLICT DO NOTHING
)

INSERT INTO trust_current AS kept (
    tenant_id, as_of, interval_seconds, duration_seconds, trust_ppb, band, capped_by, summary, digest,
    recorded_at, recorded_digest
)
SELECT
    tenant_id, $8, $9, $10, ppb, band, capped_by, summary, digest, CASE WHEN record THEN $8 END,
    CASE WHEN record THEN digest ELSE '' END
FROM scores
ORDER BY tenant_id
ON CONFLICT (tenant_id) DO UPDATE SET
    as_of = excluded.as_of,
    interval_seconds = excluded.interval_seconds,
    duration_seconds = excluded.duration_seconds,
    trust_ppb = excluded.trust_ppb,
    band = excluded.band,
    capped_by = excluded.capped_by,
    summary = excluded.summary,
    digest = excluded.digest,
    recorded_at = coalesce(excluded.recorded_at, kept.recorded_at),
    recorded_digest = CASE WHEN excluded.recorded_at IS NULL THEN kept.recorded_digest ELSE excluded.recorded_digest END;

-- name: get_trust
-- The fleet's score. $1: tenant. Index: trust_current_pkey.
SELECT
    as_of, trust_ppb, band, capped_by, summary, interval_seconds, duration_seconds,
    extract(EPOCH FROM clock_timestamp() - as_of)::double precision > 3 * interval_seconds AS stale
FROM trust_current
WHERE tenant_id = $1;

-- name: get_agent_trust
-- One agent's trust. $1: tenant; $2: agent. Index: agents_pkey, agent_trust_pkey, trust_current_pkey.
SELECT
    agents.type, agents.name, agents.state AS agent_state, agents.left_at,
    agent_trust.state, agent_trust.success_ppb, agent_trust.adherence_ppb, agent_trust.level_ppb,
    agent_trust.counted_level_ppb, agent_trust.window_end, agent_trust.operations, agent_trust.errors,
    agent_trust.violations, agent_trust.blocked_violations, agent_trust.latency_us,
    agent_trust.latency_operations, agent_trust.recent_operations, agent_trust.recent_errors,
    agent_trust.last_operation_at, agent_trust.last_counted_at, agent_trust.next_deadline_at,
    agent_trust.cause, agents.heartbeat_interval_seconds, trust_current.as_of,
    coalesce(
        extract(EPOCH FROM clock_timestamp() - trust_current.as_of)::double precision > 3 * trust_current.interval_seconds,
        false
    ) AS stale
FROM agents
LEFT JOIN agent_trust ON agent_trust.tenant_id = agents.tenant_id AND agent_trust.agent_id = agents.id
LEFT JOIN trust_current ON trust_current.tenant_id = agents.tenant_id
WHERE agents.tenant_id = $1 AND agents.id = $2;

-- name: list_fleet_history
-- A page of the fleet's history, oldest first. $1: tenant; $2: as_of of the last row of the page
-- before, or -infinity; $3: start; $4: end; $5: page size. Index: trust_snapshots_pkey.
SELECT as_of, trust_ppb, band, summary
FROM trust_snapshots
WHERE tenant_id = $1 AND as_of > $2 AND as_of >= $3 AND as_of < $4
ORDER BY as_of
LIMIT $5;

-- name: count_fleet_history
-- Rows of the fleet's history. $1: tenant; $2: start; $3: end. Index: trust_snapshots_pkey.
SELECT count(*)
FROM trust_snapshots
WHERE tenant_id = $1 AND as_of >= $2 AND as_of < $3;

-- name: list_agent_history
-- A page of an agent's history, oldest first. $1: tenant; $2: agent; $3: as_of of the last row of
-- the page before, or -infinity; $4: start; $5: end; $6: page size. Index: agent_trust_history_pkey.
SELECT as_of, counted_level_ppb, state, cause
FROM agent_trust_history
WHERE tenant_id = $1 AND agent_id = $2 AND as_of > $3 AND as_of >= $4 AND as_of < $5
ORDER BY as_of
LIMIT $6;

-- name: count_agent_history
-- Rows of an agent's history. $1: tenant; $2: agent; $3: start; $4: end.
-- Index: agent_trust_history_pkey.
SELECT count(*)
FROM agent_trust_history
WHERE tenant_id = $1 AND agent_id = $2 AND as_of >= $3 AND as_of < $4;

-- name: agent_exists
-- Whether there is such an agent. $1: tenant; $2: agent. Index: agents_pkey.
SELECT EXISTS (SELECT 1 FROM agents WHERE tenant_id = $1 AND id = $2);

-- name: sum_window_days
-- Operations, errors and violations of each of the 7 days of each agent's window, with what weighs
-- it; day 0 is the newest. $1: tenant. Index: agent_hours_pkey, agent_trust_pkey.
SELECT
    agent_trust.agent_id,
    agent_trust.criticality,
    agent_trust.state,
    agent_trust.recent_operations::double precision AS recent_operations,
    agent_trust.recent_errors::double precision AS recent_errors,
    (extract(EPOCH FROM agent_trust.window_end - hours.hour)::bigint - 3600) / 86400 AS day,
    sum(hours.operations)::double precision AS operations,
    sum(hours.errors)::double precision AS errors,
    sum(10::numeric * hours.violations + hours.blocked_violations)::double precision AS violation_tenths
FROM agent_trust
INNER JOIN agent_hours AS hours
    ON
        hours.tenant_id = agent_trust.tenant_id
        AND hours.agent_id = agent_trust.agent_id
        AND hours.hour >= agent_trust.window_end - interval '168 hours'
        AND hours.hour < agent_trust.window_end
WHERE agent_trust.tenant_id = $1 AND agent_trust.in_fleet
GROUP BY
    agent_trust.agent_id, agent_trust.criticality, agent_trust.state, agent_trust.recent_operations,
    agent_trust.recent_errors, 6;

-- name: roll_up_hours
-- Moves old hours into days, of all tenants, and keeps those that a score may still need: each
-- agent's window and its newest hour. $1: hours before this are old; $2: most rows.
-- Index: agent_hours_pkey, agent_trust_pkey.
WITH old AS (
    DELETE FROM agent_hours
    WHERE (tenant_id, agent_id, hour) IN (
        SELECT h.tenant_id, h.agent_id, h.hour
        FROM agent_hours AS h
        INNER JOIN agent_trust AS t ON t.tenant_id = h.tenant_id AND t.agent_id = h.agent_id
        WHERE
            h.hour < $1
            AND h.hour < coalesce(t.window_end - interval '168 hours', $1)
            AND h.hour < date_trunc('hour', t.last_seen_at, 'UTC')
            AND h.hour < coalesce(date_trunc('hour', t.last_counted_at, 'UTC'), $1)
        LIMIT $2
    )
    RETURNING
        tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens
),

days AS (
    INSERT INTO agent_days AS kept (
        tenant_id, agent_id, day, operations, errors, violations, blocked_violations, latency_us,
        latency_operations, cost_nano_usd, input_tokens, output_tokens
    )
    SELECT
        tenant_id, agent_id, (hour AT TIME ZONE 'UTC')::date, sum(operations), sum(errors), sum(violations),
        sum(blocked_violations), sum(latency_us), sum(latency_operations), sum(cost_nano_usd),
        sum(input_tokens), sum(output_tokens)
    FROM old
    GROUP BY tenant_id, agent_id, (hour AT TIME ZONE 'UTC')::date
    ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, agent_id, day) DO UPDATE SET
        operations = kept.operations + excluded.operations,
        errors = kept.errors + excluded.errors,
        violations = kept.violations + excluded.violations,
        blocked_violations = kept.blocked_violations + excluded.blocked_violations,
        latency_us = kept.latency_us + excluded.latency_us,
        latency_operations = kept.latency_operations + excluded.latency_operations,
        cost_nano_usd = kept.cost_nano_usd + excluded.cost_nano_usd,
        input_tokens = kept.input_tokens + excluded.input_tokens,
        output_tokens = kept.output_tokens + excluded.output_tokens
)

SELECT count(*) FROM old;
