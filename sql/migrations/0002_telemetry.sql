-- Telemetry by day, the inbox of the trust tick, and the hours that trust is made of.
-- Live: new tables only. Partitions of telemetry are made by the server, at start and hourly.

CREATE TABLE telemetry (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    key uuid NOT NULL,
    observed_at timestamptz NOT NULL,
    operations integer NOT NULL,
    errors integer NOT NULL,
    violations integer NOT NULL,
    attempts integer,
    blocked_violations integer,
    latency_us bigint,
    latency_max_us bigint,
    cost_nano_usd bigint,
    input_tokens integer,
    output_tokens integer,
    counted boolean NOT NULL,
    attributes text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT telemetry_pkey PRIMARY KEY (tenant_id, agent_id, key)
) PARTITION BY RANGE (key);

COMMENT ON TABLE telemetry IS 'Records as they were acknowledged: the evidence behind agent_hours. No foreign keys: ingest answers per record.';
COMMENT ON COLUMN telemetry.key IS 'UUIDv7 shape: milliseconds of observed_at, then bits of SHA-256 over agent and id or content.';
COMMENT ON COLUMN telemetry.latency_us IS 'Mean latency of the operations in microseconds; NULL if not reported.';
COMMENT ON COLUMN telemetry.cost_nano_usd IS 'Cost of the operations together in 10^-9 US dollars; NULL if not reported.';
COMMENT ON COLUMN telemetry.counted IS 'False if the agent was suspended when the record was acknowledged.';
COMMENT ON COLUMN telemetry.attributes IS 'JSON object as text, written canonically; NULL if empty.';

CREATE TABLE trust_inbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    hour timestamptz,
    operations bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    violations bigint NOT NULL DEFAULT 0,
    blocked_violations bigint NOT NULL DEFAULT 0,
    latency_us bigint NOT NULL DEFAULT 0,
    latency_operations bigint NOT NULL DEFAULT 0,
    cost_nano_usd bigint NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    last_operation_at timestamptz,
    last_counted_at timestamptz,
    last_seen_at timestamptz,
    CONSTRAINT trust_inbox_pkey PRIMARY KEY (tenant_id, id)
);

COMMENT ON TABLE trust_inbox IS 'Sums that the next tick adds to agent_hours, written by the transaction that stores the telemetry. Append-only for writers, so replicas never wait for each other; what a tick sees it deletes, so a transaction that was open is taken by a later tick.';
COMMENT ON COLUMN trust_inbox.hour IS 'Start of the hour; NULL: no facts, only compute this agent anew (an operator changed it).';

CREATE TABLE agent_hours (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    operations bigint NOT NULL,
    errors bigint NOT NULL,
    violations bigint NOT NULL,
    blocked_violations bigint NOT NULL,
    latency_us bigint NOT NULL,
    latency_operations bigint NOT NULL,
    cost_nano_usd bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    last_operation_at timestamptz,
    last_counted_at timestamptz,
    last_seen_at timestamptz,
    CONSTRAINT agent_hours_pkey PRIMARY KEY (tenant_id, agent_id, hour)
) WITH (fillfactor = 70);

COMMENT ON TABLE agent_hours IS 'The facts of trust: sums per agent and hour, each at most 2^61 (larger sums stay there). Only the tick writes it.';
COMMENT ON COLUMN agent_hours.latency_us IS 'Sum of mean latency times operations, microseconds.';
COMMENT ON COLUMN agent_hours.latency_operations IS 'Operations whose latency was reported.';
COMMENT ON COLUMN agent_hours.last_operation_at IS 'Newest counted record with operations; NULL if none.';
COMMENT ON COLUMN agent_hours.last_counted_at IS 'Newest counted record, heartbeats included; NULL if none.';
COMMENT ON COLUMN agent_hours.last_seen_at IS 'Newest record, those of a suspended agent included.';

CREATE TABLE agent_days (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    day date NOT NULL,
    operations numeric NOT NULL,
    errors numeric NOT NULL,
    violations numeric NOT NULL,
    blocked_violations numeric NOT NULL,
    latency_us numeric NOT NULL,
    latency_operations numeric NOT NULL,
    cost_nano_usd numeric NOT NULL,
    input_tokens numeric NOT NULL,
    output_tokens numeric NOT NULL,
    CONSTRAINT agent_days_pkey PRIMARY KEY (tenant_id, agent_id, day)
);

COMMENT ON TABLE agent_days IS 'Hours older than their retention, rolled up for charts; no score reads them.';
