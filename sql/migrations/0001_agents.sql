-- What operators, registries and adapters say of agents, and who changed what.
-- Live: first migration, nothing is there to be locked.

CREATE TABLE agents (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    name text NOT NULL,
    display_name text NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    state text NOT NULL,
    source text NOT NULL,
    owner text NOT NULL DEFAULT '',
    version text NOT NULL DEFAULT '',
    endpoint jsonb NOT NULL DEFAULT '{}',
    capabilities text[] NOT NULL DEFAULT '{}',
    tools jsonb NOT NULL DEFAULT '[]',
    labels jsonb NOT NULL DEFAULT '{}',
    criticality text NOT NULL DEFAULT 'normal',
    heartbeat_interval_seconds integer,
    latency_limit_us bigint,
    left_at timestamptz,
    counted_until timestamptz,
    overdue_at timestamptz,
    create_request_id uuid,
    import_stamp text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT agents_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT agents_tenant_id_type_name_key UNIQUE (tenant_id, type, name),
    CONSTRAINT agents_tenant_id_create_request_id_key UNIQUE (tenant_id, create_request_id),
    CONSTRAINT agents_state_check CHECK (state IN ('CATALOG', 'ACTIVE', 'SUSPENDED', 'RETIRED')),
    CONSTRAINT agents_criticality_check CHECK (criticality IN ('low', 'normal', 'critical')),
    CONSTRAINT agents_source_check CHECK (source IN ('file', 'import', 'api', 'otlp', 'probe')),
    CONSTRAINT agents_heartbeat_interval_seconds_check CHECK (heartbeat_interval_seconds BETWEEN 10 AND 2592000),
    CONSTRAINT agents_latency_limit_us_check CHECK (latency_limit_us BETWEEN 1000 AND 3600000000),
    CONSTRAINT agents_left_at_check CHECK ((left_at IS NULL) = (state IN ('CATALOG', 'ACTIVE')))
);

COMMENT ON TABLE agents IS 'What is said of agents. Ingest never writes here; trust lives in agent_trust.';
COMMENT ON COLUMN agents.left_at IS 'When it was suspended or retired; NULL while it is neither.';
COMMENT ON COLUMN agents.counted_until IS 'End of its stay in the means after it left; NULL while it has not left.';
COMMENT ON COLUMN agents.overdue_at IS 'When its heartbeat was changed although it was past it: silent until a report that is newer; NULL if never.';
COMMENT ON COLUMN agents.latency_limit_us IS 'Mean latency limit in microseconds; NULL means 1,000,000.';
COMMENT ON COLUMN agents.import_stamp IS 'Orders versions of an imported entry; an older one does not replace a newer one.';
COMMENT ON COLUMN agents.revision IS 'Grows by one with each write; the etag is made of it.';

CREATE TABLE audit_entries (
    tenant_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    created_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    entity_type text NOT NULL,
    entity_id uuid,
    reason text NOT NULL DEFAULT '',
    details jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT audit_entries_pkey PRIMARY KEY (tenant_id, id)
);

COMMENT ON TABLE audit_entries IS 'Who changed what, and why. Written in the transaction of the change.';

CREATE TABLE tokens (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    subject text NOT NULL,
    role text NOT NULL,
    agents jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT tokens_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT tokens_role_check CHECK (role IN ('viewer', 'operator', 'admin', 'adapter'))
);

COMMENT ON TABLE tokens IS 'Tokens that were handed out; never the token itself. Revoked ones are kept until they expire.';
