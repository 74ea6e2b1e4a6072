-- Policy violations that agents report, and drift of what they are from what was accepted.
-- Live: new tables, and columns without a default; a lock that telemetry's writers see for a moment.

CREATE FUNCTION new_uuid7(made_at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN overlay(
    overlay(gen_random_uuid()::text PLACING '7' FROM 15)
    PLACING overlay(
        lpad(to_hex((extract(EPOCH FROM made_at) * 1000)::bigint), 12, '0') PLACING '-' FROM 9 FOR 0
    ) FROM 1
)::uuid;

COMMENT ON FUNCTION new_uuid7 IS 'Id of a row that a set-based statement makes: UUID version 7 (RFC 9562), its time and random bits of a version 4. PostgreSQL has uuidv7() from 18 on.';

ALTER TABLE telemetry ADD COLUMN rule text;

COMMENT ON COLUMN telemetry.rule IS 'Policy rule that its violations broke; NULL: not named.';

CREATE TABLE violation_inbox (
    tenant_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    agent_id uuid NOT NULL,
    rule text NOT NULL,
    violations bigint NOT NULL,
    blocked_violations bigint NOT NULL,
    observed_at timestamptz NOT NULL,
    CONSTRAINT violation_inbox_pkey PRIMARY KEY (tenant_id, id)
);

COMMENT ON TABLE violation_inbox IS 'Violations that the next tick counts in policy_violations, written by the transaction that stores the telemetry: a row per record that has some.';

CREATE TABLE policy_violations (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    entity_type text NOT NULL,
    entity_id uuid NOT NULL,
    rule text NOT NULL,
    violations bigint NOT NULL,
    blocked_violations bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    resolved boolean NOT NULL DEFAULT false,
    resolution text,
    resolved_at timestamptz,
    resolved_by text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    covered_until timestamptz,
    created_at timestamptz NOT NULL,
    CONSTRAINT policy_violations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT policy_violations_entity_type_check CHECK (entity_type = 'agent'),
    CONSTRAINT policy_violations_resolution_check CHECK (resolution IN ('clean', 'operator')),
    CONSTRAINT policy_violations_resolved_check CHECK (
        resolved = (resolution IS NOT NULL) AND resolved = (resolved_at IS NOT NULL)
        AND resolved = (covered_until IS NOT NULL)
    )
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX policy_violations_open_idx
ON policy_violations (tenant_id, entity_type, entity_id, rule) WHERE NOT resolved;
CREATE INDEX policy_violations_resolved_idx
ON policy_violations (tenant_id, entity_type, entity_id, rule, covered_until) WHERE resolved;
CREATE INDEX policy_violations_entity_id_idx ON policy_violations (tenant_id, entity_id, id);
CREATE INDEX policy_violations_created_at_idx ON policy_violations (tenant_id, created_at, id);
CREATE INDEX policy_violations_last_seen_at_idx ON policy_violations (tenant_id, last_seen_at, id);

COMMENT ON TABLE policy_violations IS 'Violations of one rule by one entity, from the first until resolved; at most one open row of each. Written by the tick and by ResolveViolation.';
COMMENT ON COLUMN policy_violations.covered_until IS 'What was observed until then belongs to this row, however late it comes; NULL while it is open.';

CREATE TABLE agent_observations (
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    rule text NOT NULL,
    value jsonb NOT NULL,
    observed_at timestamptz NOT NULL,
    observed_by text NOT NULL,
    CONSTRAINT agent_observations_pkey PRIMARY KEY (tenant_id, agent_id, rule),
    CONSTRAINT agent_observations_rule_check CHECK (rule IN ('tools', 'version', 'command'))
);

COMMENT ON TABLE agent_observations IS 'What was seen last of an agent, field by field; what is accepted stands in agents.';

CREATE TABLE drift_detections (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    entity_type text NOT NULL,
    entity_id uuid NOT NULL,
    rule text NOT NULL,
    differences jsonb NOT NULL,
    difference_count integer NOT NULL,
    observed_digest text NOT NULL,
    observations bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    resolved boolean NOT NULL DEFAULT false,
    resolution text,
    resolved_at timestamptz,
    resolved_by text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT drift_detections_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT drift_detections_entity_type_check CHECK (entity_type = 'agent'),
    CONSTRAINT drift_detections_resolution_check CHECK (resolution IN ('accepted', 'gone')),
    CONSTRAINT drift_detections_resolved_check CHECK (
        resolved = (resolution IS NOT NULL) AND resolved = (resolved_at IS NOT NULL)
    )
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX drift_detections_open_idx
ON drift_detections (tenant_id, entity_type, entity_id, rule) WHERE NOT resolved;
CREATE INDEX drift_detections_entity_id_idx ON drift_detections (tenant_id, entity_id, id);
CREATE INDEX drift_detections_created_at_idx ON drift_detections (tenant_id, created_at, id);
CREATE INDEX drift_detections_last_seen_at_idx ON drift_detections (tenant_id, last_seen_at, id);

COMMENT ON TABLE drift_detections IS 'Fields of an entity that are not as they were accepted, until that is accepted or gone; at most one open row of each.';
COMMENT ON COLUMN drift_detections.differences IS 'JSON list of {path, accepted?, observed?}, the first hundred by path.';
COMMENT ON COLUMN drift_detections.observed_digest IS 'SHA-256 of what was observed, as canonical JSON (RFC 8785).';

CREATE TABLE drift_inbox (
    tenant_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    agent_id uuid NOT NULL,
    CONSTRAINT drift_inbox_pkey PRIMARY KEY (tenant_id, id)
);

COMMENT ON TABLE drift_inbox IS 'Agents whose baseline or drift changed; the next tick takes it into agent_trust.';

ALTER TABLE agent_trust ADD COLUMN drifted boolean;

COMMENT ON COLUMN agent_trust.drifted IS 'Whether a drift of it is open; NULL: nothing of it was ever observed.';
