-- Statements of the bench: fills and one ceiling. All rows belong to the tenant given.

-- name: insert_record
-- One record, as the simplest server would store it. $1: tenant; $2 to $15: a row of ingest.
INSERT INTO telemetry (
    tenant_id, agent_id, key, observed_at, operations, errors, violations, attempts, blocked_violations,
    latency_us, latency_max_us, cost_nano_usd, input_tokens, output_tokens, attributes, counted
)
VALUES (
    $1, $2, $3, 'epoch'::timestamptz + $4::bigint * interval '1 microsecond', $5, $6, $7, $8, $9, $10, $11,
    $12, $13, $14, $15, true
);

-- name: fill_agents
-- Agents number 1 to $2 of the fleet; their ids grow with their number. $1: tenant.
INSERT INTO agents (
    tenant_id, id, type, name, display_name, description, state, source, owner, version, endpoint,
    capabilities, labels, criticality
)
SELECT
    $1,
    ('0190' || lpad(to_hex(number), 8, '0') || '7' || substr(md5('a' || number), 1, 3) || '8'
    || substr(md5('b' || number), 1, 15))::uuid,
    'mcp',
    'agent-' || lpad(number::text, 6, '0'),
    'Agent ' || number,
    'An agent that answers questions about orders and files what it did.',
    'ACTIVE',
    'api',
    'team-' || number % 40,
    '1.' || number % 20 || '.0',
    '{"url": "https://agents.example.com/mcp"}',
    ARRAY['search', 'orders'],
    jsonb_build_object('region', (ARRAY['eu', 'us', 'ap'])[1 + number % 3]),
    (ARRAY['normal', 'low', 'critical'])[CASE WHEN number % 10 = 0 THEN 3 WHEN number % 3 = 0 THEN 2 ELSE 1 END]
FROM generate_series(1, $2::integer) AS number;

-- name: fill_described_agents
-- Agents 1 to $2, each of which does something else: their texts are made of verbs $3, things $4 and
-- systems $5. $1: tenant.
INSERT INTO agents (tenant_id, id, type, name, display_name, description, state, source, owner, tools)
SELECT
    $1,
    ('0190' || lpad(to_hex(number), 8, '0') || '7' || substr(md5('a' || number), 1, 3) || '8'
    || substr(md5('b' || number), 1, 15))::uuid,
    'mcp',
    system || '-' || verb || '-' || replace(thing, ' ', '-') || '-' || number,
    initcap(system || ' ' || thing),
    'Can ' || verb || ' ' || thing || ' in ' || system || ', and ' || other_verb || ' ' || other_thing
    || ' for the teams that work with them.',
    'ACTIVE',
    'api',
    'team-' || number % 40,
    jsonb_build_array(
        jsonb_build_object('name', verb || '_' || replace(thing, ' ', '_'), 'description', verb || ' the ' || thing),
        jsonb_build_object('name', other_verb || '_' || replace(other_thing, ' ', '_'), 'description', 'of ' || system)
    )
FROM (
    SELECT
        number,
        ($3::text[])[1 + number % cardinality($3)] AS verb,
        ($4::text[])[1 + number / 3 % cardinality($4)] AS thing,
        ($5::text[])[1 + number / 7 % cardinality($5)] AS system,
        ($3::text[])[1 + number / 11 % cardinality($3)] AS other_verb,
        ($4::text[])[1 + number / 13 % cardinality($4)] AS other_thing
    FROM generate_series(1, $2::integer) AS number
) AS drawn;

-- name: tell_of_agents
-- Says to the log of changes that all agents are new. $1: tenant.
INSERT INTO change_outbox (tenant_id, entity_type, entity_id, kind)
SELECT
    tenant_id,
    'agent',
    id,
    'created'
FROM agents
WHERE tenant_id = $1;

-- name: list_agent_ids
-- Ids of the fleet. $1: tenant.
SELECT id
FROM agents
WHERE tenant_id = $1
ORDER BY id;

-- name: fill_telemetry
-- $2 records of each agent, spread evenly over the $3 hours before now. $1: tenant.
INSERT INTO telemetry (
    tenant_id, agent_id, key, observed_at, operations, errors, violations, latency_us, latency_max_us,
    cost_nano_usd, input_tokens, output_tokens, counted
)
SELECT
    $1,
    agents.id,
    (lpad(to_hex(floor(extract(EPOCH FROM observed_at) * 1000)::bigint), 12, '0') || '7'
    || substr(digest, 1, 3) || '8' || substr(digest, 4, 15))::uuid,
    observed_at,
    1,
    (number % 50 = 0)::integer,
    0,
    180000 + number % 1000 * 1000,
    180000 + number % 1000 * 1000,
    2100000,
    700 + number % 300,
    150 + number % 90,
    true
FROM
    generate_series(1, $2::integer) AS number
CROSS JOIN agents
CROSS JOIN LATERAL (
    SELECT
        now() - number * $3::integer * interval '1 hour' / $2::integer AS observed_at,
        md5(agents.id::text || number) AS digest
) AS drawn
WHERE agents.tenant_id = $1;

-- name: drop_hours_key
-- Lets fill_hours write a heap without the key.
ALTER TABLE agent_hours DROP CONSTRAINT agent_hours_pkey;

-- name: fill_hours
-- An hour of facts for each agent, for hours $2 to $3 before this one, oldest first: the order in
-- which time would have written them, so an agent's rows lie far apart. $1: tenant.
INSERT INTO agent_hours (
    tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
    latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at, last_counted_at,
    last_seen_at
)
SELECT
    $1,
    agents.id,
    started_at,
    60,
    age % 3,
    (age % 41 = 0)::integer,
    0,
    60 * 250000,
    60,
    60 * 2100000,
    60 * 800,
    60 * 200,
    started_at + interval '59 minutes',
    started_at + interval '59 minutes',
    started_at + interval '59 minutes'
FROM generate_series($2::integer, $3::integer, -1) AS age
CROSS JOIN LATERAL (
    SELECT date_trunc('hour', now(), 'UTC') - age * interval '1 hour' AS started_at
) AS hours
CROSS JOIN (SELECT id FROM agents WHERE tenant_id = $1 ORDER BY id) AS agents;

-- name: add_hours_key
-- The key that the migration made.
ALTER TABLE agent_hours ADD CONSTRAINT agent_hours_pkey PRIMARY KEY (tenant_id, agent_id, hour);

-- name: mark_agents
-- Puts all agents up for computing. $1: tenant.
INSERT INTO trust_inbox (tenant_id, agent_id)
SELECT
    tenant_id,
    id
FROM agents
WHERE tenant_id = $1;

-- name: report_agents
-- What ingest leaves in the inbox when these agents report a few operations in this hour.
-- $1: tenant; $2: agents.
INSERT INTO trust_inbox (
    tenant_id, agent_id, hour, operations, errors, violations, blocked_violations, latency_us,
    latency_operations, cost_nano_usd, input_tokens, output_tokens, last_operation_at, last_counted_at,
    last_seen_at
)
SELECT
    $1, agent_id, date_trunc('hour', now(), 'UTC'), 3, 1, 0, 0, 750000, 3, 6300000, 2400, 600, now(), now(), now()
FROM unnest($2::uuid[]) AS reported (agent_id);

-- name: drop_vectors_index
-- Lets fill_embeddings write a heap: nobody searches there.
DROP INDEX agent_embeddings_embedding_idx;

-- name: fill_embeddings
-- A vector for each agent, so that a server has none to compute while it is measured. $1: tenant;
-- $2: model; $3: the vector as text.
INSERT INTO agent_embeddings (tenant_id, agent_id, revision, model, embedding)
SELECT
    tenant_id,
    id,
    revision,
    $2,
    ($3::text)::halfvec
FROM agents
WHERE tenant_id = $1;

-- name: count_embeddings
SELECT count(*) FROM agent_embeddings;
