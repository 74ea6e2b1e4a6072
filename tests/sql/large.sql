-- Statements that load a fleet for tests, in this order. Each may use $1: tenant; $2: agents; $3:
-- workflows; $4: busy agents, of which it takes what it names.

-- name: load_agents
INSERT INTO agents (tenant_id, id, type, name, display_name, description, state, source, owner,
    labels, capabilities)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, 'mcp', 'agent-' || n, 'Agent ' || n,
    (ARRAY['Reads issues', 'Files invoices', 'Sends mail', 'Books rooms', 'Watches logs'])[1 + n % 5]
    || ' for team ' || n % 400,
    CASE WHEN n > $2::integer THEN 'CATALOG' ELSE 'ACTIVE' END, 'api', 'team-' || n % 400,
    jsonb_build_object('region', (ARRAY['eu', 'us', 'ap'])[1 + n % 3]), ARRAY['read']
FROM generate_series(1, $2::integer + $2::integer / 10) AS n;

-- name: load_agent_trust
INSERT INTO agent_trust (tenant_id, agent_id, state, success_ppb, adherence_ppb, level_ppb,
    counted_level_ppb, health_ppb, window_end, operations, errors, violations, blocked_violations,
    latency_us, latency_operations, cost_nano_usd, input_tokens, output_tokens, recent_operations,
    recent_errors, last_operation_at, last_counted_at, last_seen_at, in_fleet, criticality, cause, as_of)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, 'measured', 900000000, 900000000, 900000000 - n,
    900000000 - n, 900000000, date_trunc('hour', now()), 1000, n % 40, 0, 0, 0, 0, n * 1000, n, n,
    10, 0, now(), now(), now(), true, 'normal', 'facts', now()
FROM generate_series(1, $2::integer) AS n;

-- name: load_agent_hours
INSERT INTO agent_hours (tenant_id, agent_id, hour, operations, errors, violations,
    blocked_violations, latency_us, latency_operations, cost_nano_usd, input_tokens, output_tokens)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, date_trunc('hour', now()) - h * interval '1 hour', 10, 0,
    0, 0, 0, 0, 0, 0, 0
FROM generate_series(1, $4::integer) AS n CROSS JOIN generate_series(1, 168) AS h;

-- name: load_telemetry
INSERT INTO telemetry (tenant_id, agent_id, key, observed_at, operations, errors, violations, counted)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid,
    (lpad(to_hex(floor(extract(EPOCH FROM at) * 1000)::bigint), 12, '0') || '70008'
    || lpad(to_hex(n * 1000 + h), 15, '0'))::uuid, at, 1, 0, 0, true
FROM generate_series(1, $4::integer) AS n CROSS JOIN generate_series(1, 168) AS h
CROSS JOIN LATERAL (SELECT now() - h * interval '1 hour' AS at) AS instant;

-- name: load_agent_trust_history
INSERT INTO agent_trust_history (tenant_id, agent_id, as_of, state, counted_level_ppb, cause)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, now() - h * interval '1 hour', 'measured', 800000000,
    'facts'
FROM generate_series(1, $4::integer) AS n CROSS JOIN generate_series(1, 50) AS h;

-- name: load_workflows
INSERT INTO workflows (tenant_id, id, provider, name, state, owner, labels)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, 'n8n', 'workflow-' || n, 'ACTIVE', 'team-' || n % 400,
    jsonb_build_object('region', (ARRAY['eu', 'us', 'ap'])[1 + n % 3])
FROM generate_series(1, $3::integer) AS n;

-- name: load_workflow_status
INSERT INTO workflow_status (tenant_id, workflow_id, last_event_at, last_run_at, last_success_at,
    last_outcome, succeeded, failed, cancelled, timed_runs, freshness, counted, as_of)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, now(), now(), now() - n * interval '1 second', 'succeeded',
    7, 0, 0, 0, CASE WHEN n % 100 = 0 THEN 'stale' ELSE 'fresh' END, 'counted', now()
FROM generate_series(1, $3::integer) AS n;

-- name: load_workflow_events
INSERT INTO workflow_events (tenant_id, workflow_id, key, run_id, attempt, kind, occurred_at)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid,
    (lpad(to_hex(floor(extract(EPOCH FROM at) * 1000)::bigint), 12, '0') || '70008'
    || lpad(to_hex(n * 100 + d), 15, '0'))::uuid, 'run-' || d, 1, 'succeeded', at
FROM generate_series(1, $3::integer) AS n CROSS JOIN generate_series(1, 7) AS d
CROSS JOIN LATERAL (SELECT now() - d * interval '23 hours' AS at) AS instant;

-- name: load_workflow_runs
INSERT INTO workflow_runs (tenant_id, workflow_id, run_id, attempts, first_event_at, last_event_at,
    end_attempt, end_kind, end_at)
SELECT tenant_id, workflow_id, run_id, 1, occurred_at, occurred_at, 1, kind, occurred_at
FROM workflow_events;

-- name: load_violations
-- Two of each tenth agent, one of them resolved.
INSERT INTO policy_violations (tenant_id, id, entity_type, entity_id, rule, violations, blocked_violations,
    first_seen_at, last_seen_at, resolved, resolution, resolved_at, covered_until, created_at)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, 'agent', lpad(to_hex(1 + n % $2::integer), 32, '0')::uuid,
    'rule-' || n, 1, 0, now(), now(), n % 2 = 0, CASE WHEN n % 2 = 0 THEN 'clean' END,
    CASE WHEN n % 2 = 0 THEN now() END, CASE WHEN n % 2 = 0 THEN now() END, now() - n * interval '1 second'
FROM generate_series(1, $2::integer / 5) AS n;

-- name: load_observations
INSERT INTO agent_observations (tenant_id, agent_id, rule, value, observed_at, observed_by)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, 'version', '"1"', now(), 'probe'
FROM generate_series(1, $2::integer) AS n;

-- name: load_drift
INSERT INTO drift_detections (tenant_id, id, entity_type, entity_id, rule, differences, difference_count,
    observed_digest, observations, first_seen_at, last_seen_at, resolved, resolution, resolved_at)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, 'agent', lpad(to_hex(n), 32, '0')::uuid, 'version', '[]', 0,
    '', 1, now(), now() - n * interval '1 second', n % 2 = 0, CASE WHEN n % 2 = 0 THEN 'gone' END,
    CASE WHEN n % 2 = 0 THEN now() END
FROM generate_series(1, $2::integer / 10) AS n;

-- name: mark_drift
INSERT INTO drift_inbox (tenant_id, agent_id)
SELECT tenant_id, agent_id
FROM agent_observations;

-- name: drop_vectors_index
DROP INDEX agent_embeddings_embedding_idx;

-- name: load_agent_embeddings
WITH vectors AS MATERIALIZED (
    SELECT v, array_agg(sin(v * 7.3 + d * d * 0.37 + v * d * 0.11))::halfvec AS embedding
    FROM generate_series(0, 499) AS v
    CROSS JOIN generate_series(1, 256) AS d
    GROUP BY v
)
INSERT INTO agent_embeddings (tenant_id, agent_id, revision, model, embedding)
SELECT $1::uuid, lpad(to_hex(n), 32, '0')::uuid, 1, 'wordllama l2_supercat 256', embedding
FROM generate_series(1, $2::integer + $2::integer / 10) AS n
INNER JOIN vectors ON v = n % 500;

-- name: create_vectors_index
-- As the product's, but sparser: how good it finds is not what it is here for.
CREATE INDEX agent_embeddings_embedding_idx ON agent_embeddings USING hnsw (embedding halfvec_cosine_ops) WITH (m = 4, ef_construction = 8);
