-- What the trust tick computes: per agent, the fleet's current score, and their history.
-- Live: new tables only.

CREATE TABLE agent_trust (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    state text NOT NULL,
    success_ppb integer,
    adherence_ppb integer,
    level_ppb integer,
    counted_success_ppb integer,
    counted_adherence_ppb integer,
    counted_level_ppb integer,
    health_ppb integer,
    window_end timestamptz,
    operations bigint NOT NULL,
    errors bigint NOT NULL,
    violations bigint NOT NULL,
    blocked_violations bigint NOT NULL,
    latency_us bigint NOT NULL,
    latency_operations bigint NOT NULL,
    cost_nano_usd bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    recent_operations bigint NOT NULL,
    recent_errors bigint NOT NULL,
    last_operation_at timestamptz,
    last_counted_at timestamptz,
    last_seen_at timestamptz,
    in_fleet boolean NOT NULL,
    criticality text NOT NULL,
    next_deadline_at timestamptz,
    deadline_hour timestamptz GENERATED ALWAYS AS (date_bin('1 hour', next_deadline_at, 'epoch')) STORED,
    cause text NOT NULL,
    as_of timestamptz NOT NULL,
    recorded_ppb integer,
    recorded_state text,
    recorded_at timestamptz,
    CONSTRAINT agent_trust_pkey PRIMARY KEY (tenant_id, agent_id),
    CONSTRAINT agent_trust_state_check CHECK (state IN ('measured', 'idle', 'silent', 'unmeasured')),
    CONSTRAINT agent_trust_cause_check CHECK (cause IN ('facts', 'deadline', 'operator')),
    CONSTRAINT agent_trust_level_ppb_check CHECK (level_ppb BETWEEN 0 AND 1000000000),
    CONSTRAINT agent_trust_counted_level_ppb_check CHECK (counted_level_ppb BETWEEN 0 AND level_ppb)
) WITH (fillfactor = 70);

-- Passed deadlines are found by an index comparison, never by a scan: by their hour, since every record
-- moves its agent's deadline, and an index on the instant would let no update be a HOT one (measured).
CREATE INDEX agent_trust_deadline_hour_idx ON agent_trust (deadline_hour) WHERE deadline_hour IS NOT NULL;

COMMENT ON TABLE agent_trust IS 'Trust per agent as the last tick that touched it computed it. Sums are over its 168-hour window, each at most 2^61.';
COMMENT ON COLUMN agent_trust.level_ppb IS 'Trust before silence, parts per billion; NULL while unmeasured.';
COMMENT ON COLUMN agent_trust.counted_level_ppb IS 'Trust as it counts: at most 0.5 while silent; NULL while unmeasured.';
COMMENT ON COLUMN agent_trust.window_end IS 'End (exclusive) of the window: one hour after its last hour with operations.';
COMMENT ON COLUMN agent_trust.in_fleet IS 'Whether it counts in means and totals: active, or left less than 7 days ago.';
COMMENT ON COLUMN agent_trust.next_deadline_at IS 'Instant at which time alone changes its state or its place in the fleet; NULL if none.';
COMMENT ON COLUMN agent_trust.deadline_hour IS 'Start of the hour of next_deadline_at, by which it is found.';
COMMENT ON COLUMN agent_trust.recorded_ppb IS 'Level of its newest history row.';

CREATE TABLE trust_current (
    tenant_id uuid NOT NULL,
    as_of timestamptz NOT NULL,
    interval_seconds double precision NOT NULL,
    duration_seconds double precision NOT NULL,
    trust_ppb integer,
    band text NOT NULL,
    capped_by text[] NOT NULL,
    summary jsonb NOT NULL,
    digest text NOT NULL,
    recorded_at timestamptz,
    recorded_digest text NOT NULL,
    CONSTRAINT trust_current_pkey PRIMARY KEY (tenant_id)
) WITH (fillfactor = 50);

COMMENT ON TABLE trust_current IS 'The fleet score of the last tick, one row per tenant: what GetTrust reads.';
COMMENT ON COLUMN trust_current.summary IS 'Components, counts, worst agents and totals, integers only.';
COMMENT ON COLUMN trust_current.digest IS 'Digest of the digits.';
COMMENT ON COLUMN trust_current.recorded_digest IS 'Digest of the newest history row, so that changes are recorded, and only they.';

CREATE TABLE trust_snapshots (
    tenant_id uuid NOT NULL,
    as_of timestamptz NOT NULL,
    trust_ppb integer,
    band text NOT NULL,
    capped_by text[] NOT NULL,
    summary jsonb NOT NULL,
    CONSTRAINT trust_snapshots_pkey PRIMARY KEY (tenant_id, as_of)
);

COMMENT ON TABLE trust_snapshots IS 'History of the fleet score: at most one row per minute, and only when it changed.';

CREATE TABLE agent_trust_history (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    as_of timestamptz NOT NULL,
    state text NOT NULL,
    counted_level_ppb integer,
    cause text NOT NULL,
    CONSTRAINT agent_trust_history_pkey PRIMARY KEY (tenant_id, agent_id, as_of)
);

COMMENT ON TABLE agent_trust_history IS 'History per agent: when the level moved by 0.005 or more or band or state changed, at most once a minute.';
