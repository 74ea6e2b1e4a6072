-- What was observed of agents, and where that is not what was accepted.

-- name: list_observations
-- What was observed last of agents. $1: tenant; $2: agents. Index: agent_observations_pkey.
SELECT agent_id, rule, value::text AS value, observed_at, observed_by
FROM agent_observations
WHERE tenant_id = $1 AND agent_id = ANY($2::uuid[]);

-- name: save_observations
-- Writes what was observed of an agent, field by field, unless something newer is known; the
-- caller holds the agent's lock. $1: tenant; $2: agent; $3: rules; $4: values, JSON; $5: when;
-- $6: who. Index: agent_observations_pkey.
INSERT INTO agent_observations AS kept (tenant_id, agent_id, rule, value, observed_at, observed_by)
SELECT $1, $2, seen.rule, seen.value::jsonb, $5, $6
FROM unnest($3::text[], $4::text[]) AS seen (rule, value)
ON CONFLICT (tenant_id, agent_id, rule) DO UPDATE SET
    value = excluded.value, observed_at = excluded.observed_at, observed_by = excluded.observed_by
WHERE kept.observed_at < excluded.observed_at;

-- name: save_drift
-- Writes the drift of agents whose locks the caller holds: opens what differs and has no open row,
-- counts an observation of what has one, and resolves what agrees. $1: tenant; then one entry per
-- agent and rule: $2: agents; $3: rules; $4: differences, JSON, NULL where they agree; $5: how many;
-- $6: digests of what was observed; $7: when; $8: whether that is an observation of now; $9: who.
-- Returns the agents of which a row was opened or resolved.
-- Index: drift_detections_open_idx.
WITH judged AS (
    SELECT agent_id, rule, differences, difference_count, digest, observed_at, seen
    FROM unnest(
        $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::timestamptz[], $8::boolean[]
    ) AS entry (agent_id, rule, differences, difference_count, digest, observed_at, seen)
),

gone AS (
    UPDATE drift_detections AS d SET
        resolved = true, resolution = 'gone', resolved_at = now(), resolved_by = $9
    FROM judged
    WHERE
        d.tenant_id = $1
        AND d.entity_type = 'agent'
        AND d.entity_id = judged.agent_id
        AND d.rule = judged.rule
        AND NOT d.resolved
        AND judged.differences IS NULL
    RETURNING d.entity_id
),

written AS (
    INSERT INTO drift_detections AS kept (
        tenant_id, id, entity_type, entity_id, rule, differences, difference_count, observed_digest,
        observations, first_seen_at, last_seen_at
    )
    SELECT
        $1, new_uuid7(now()), 'agent', agent_id, rule, differences::jsonb, difference_count, digest, 1, observed_at, observed_at
    FROM judged
    WHERE differences IS NOT NULL
    ORDER BY agent_id, rule
    ON CONFLICT (tenant_id, entity_type, entity_id, rule) WHERE NOT resolved DO UPDATE SET
        differences = excluded.differences,
        difference_count = excluded.difference_count,
        observed_digest = excluded.observed_digest,
        last_seen_at = excluded.last_seen_at,
        observations = kept.observations
        + (SELECT judged.seen::integer FROM judged WHERE judged.agent_id = kept.entity_id AND judged.rule = kept.rule)
    RETURNING entity_id, xmax = 0 AS opened
)

SELECT entity_id FROM gone
UNION
SELECT entity_id FROM written WHERE opened;

-- name: mark_drift
-- Makes the next tick take the drift of agents into agent_trust. $1: tenant; $2: agents.
-- Index: none, inserts only.
INSERT INTO drift_inbox (tenant_id, agent_id)
SELECT $1, unnest($2::uuid[]);

-- name: merge_drift_inbox
-- Takes whether agents have a baseline and an open drift into agent_trust, of all tenants; what has
-- no trust yet waits for it. Returns how many it was.
-- Index: agent_trust_pkey, agent_observations_pkey, drift_detections_open_idx; the inbox is read whole.
WITH taken AS (
    DELETE FROM drift_inbox
    USING agent_trust
    WHERE agent_trust.tenant_id = drift_inbox.tenant_id AND agent_trust.agent_id = drift_inbox.agent_id
    RETURNING drift_inbox.tenant_id, drift_inbox.agent_id
),

moved AS (
    UPDATE agent_trust AS t SET
        drifted = CASE
            WHEN EXISTS (
                SELECT FROM agent_observations AS o WHERE o.tenant_id = t.tenant_id AND o.agent_id = t.agent_id
            )
                THEN EXISTS (
                    SELECT FROM drift_detections AS d
                    WHERE
                        d.tenant_id = t.tenant_id
                        AND d.entity_type = 'agent'
                        AND d.entity_id = t.agent_id
                        AND NOT d.resolved
                )
        END
    FROM (SELECT DISTINCT tenant_id, agent_id FROM taken) AS dirty
    WHERE t.tenant_id = dirty.tenant_id AND t.agent_id = dirty.agent_id
    RETURNING 1
)

SELECT count(*) FROM moved;

-- name: list_open_drift
-- The open drift of an agent. $1: tenant; $2: agent. Index: drift_detections_open_idx.
SELECT id
FROM drift_detections
WHERE tenant_id = $1 AND entity_type = 'agent' AND entity_id = $2 AND NOT resolved;

-- name: find_drift_agent
-- The agent of a drift. $1: tenant; $2: id. Index: drift_detections_pkey.
SELECT entity_id
FROM drift_detections
WHERE tenant_id = $1 AND id = $2;

-- name: accept_drift
-- Resolves an open drift as accepted. $1: tenant; $2: id; $3: who; $4: why.
-- Index: drift_detections_pkey.
UPDATE drift_detections SET
    resolved = true, resolution = 'accepted', resolved_at = now(), resolved_by = $3, reason = $4
WHERE tenant_id = $1 AND id = $2 AND NOT resolved;

-- name: list_drift
-- Drift with its agents: the head of every read; store/filter_sql.py appends conditions, order and
-- limit. $1: tenant. Index: drift_detections_pkey, agents_pkey, or that of the order.
SELECT
    drift_detections.id,
    drift_detections.entity_type,
    drift_detections.entity_id,
    agents.type,
    agents.name,
    drift_detections.rule,
    drift_detections.differences::text AS differences,
    drift_detections.difference_count,
    drift_detections.observed_digest,
    drift_detections.observations,
    drift_detections.first_seen_at,
    drift_detections.last_seen_at,
    drift_detections.resolved,
    drift_detections.resolution,
    drift_detections.resolved_at,
    drift_detections.resolved_by,
    drift_detections.reason,
    drift_detections.created_at
FROM drift_detections
INNER JOIN agents
    ON agents.tenant_id = drift_detections.tenant_id
    AND agents.id = drift_detections.entity_id
WHERE drift_detections.tenant_id = $1;

-- name: count_drift
-- Head of that list's total; store/filter_sql.py appends conditions. $1: tenant.
-- Index: drift_detections_pkey, agents_pkey.
SELECT count(*)
FROM drift_detections
INNER JOIN agents
    ON agents.tenant_id = drift_detections.tenant_id
    AND agents.id = drift_detections.entity_id
WHERE drift_detections.tenant_id = $1;
