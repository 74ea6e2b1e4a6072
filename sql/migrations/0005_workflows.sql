-- Workflows, what happens to them, the runs that follow from it, and how fresh they are.
-- Live: new tables only. Partitions of workflow_events are made by the server, at start and hourly.

CREATE TABLE workflows (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    provider text NOT NULL,
    name text NOT NULL,
    display_name text NOT NULL DEFAULT '',
    external_id text NOT NULL DEFAULT '',
    url text NOT NULL DEFAULT '',
    owner text NOT NULL DEFAULT '',
    state text NOT NULL,
    schedule jsonb NOT NULL DEFAULT '{}',
    freshness_slo_seconds integer,
    labels jsonb NOT NULL DEFAULT '{}',
    counted_until timestamptz,
    create_request_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT workflows_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT workflows_tenant_id_provider_name_key UNIQUE (tenant_id, provider, name),
    CONSTRAINT workflows_tenant_id_create_request_id_key UNIQUE (tenant_id, create_request_id),
    CONSTRAINT workflows_state_check CHECK (state IN ('ACTIVE', 'PAUSED', 'RETIRED')),
    CONSTRAINT workflows_freshness_slo_seconds_check CHECK (freshness_slo_seconds BETWEEN 1 AND 31622400),
    CONSTRAINT workflows_counted_until_check CHECK ((counted_until IS NULL) = (state <> 'RETIRED'))
);

CREATE INDEX workflows_tenant_id_name_id_idx ON workflows (tenant_id, name, id);

CREATE INDEX workflows_tenant_id_updated_at_id_idx ON workflows (tenant_id, updated_at, id);

COMMENT ON TABLE workflows IS 'What is said of workflows. Ingest never writes here; what follows from events lives in workflow_status.';
COMMENT ON COLUMN workflows.schedule IS 'As declared: {}, {"cron", "timezone"} or {"interval_seconds"}.';
COMMENT ON COLUMN workflows.freshness_slo_seconds IS 'It must succeed at least this often; NULL means SYNC_FRESHNESS_SLO_HOURS.';
COMMENT ON COLUMN workflows.counted_until IS 'End of its stay in sync_freshness after it was retired; NULL while it is not.';
COMMENT ON COLUMN workflows.revision IS 'Grows by one with each write; the etag is made of it.';

CREATE TABLE workflow_events (
    tenant_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    key uuid NOT NULL,
    run_id text NOT NULL,
    attempt integer NOT NULL,
    kind text NOT NULL,
    occurred_at timestamptz NOT NULL,
    trigger text NOT NULL DEFAULT '',
    url text NOT NULL DEFAULT '',
    error_type text,
    error_message text,
    duration_us bigint,
    attributes text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflow_events_pkey PRIMARY KEY (tenant_id, workflow_id, key),
    CONSTRAINT workflow_events_kind_check CHECK (kind IN ('started', 'succeeded', 'failed', 'cancelled', 'heartbeat'))
) PARTITION BY RANGE (key);

COMMENT ON TABLE workflow_events IS 'Events as they were acknowledged: the evidence behind workflow_runs. No foreign keys: ingest answers per event.';
COMMENT ON COLUMN workflow_events.key IS 'UUIDv7 shape: milliseconds of occurred_at, then bits of SHA-256 over workflow and id or content.';
COMMENT ON COLUMN workflow_events.error_type IS 'NULL, as error_message, if the event names no error.';
COMMENT ON COLUMN workflow_events.duration_us IS 'Duration of the run in microseconds as the event says; NULL if it does not.';
COMMENT ON COLUMN workflow_events.attributes IS 'JSON object as text, written canonically; NULL if empty.';

CREATE TABLE workflow_inbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    key uuid,
    CONSTRAINT workflow_inbox_pkey PRIMARY KEY (tenant_id, id)
);

COMMENT ON TABLE workflow_inbox IS 'Events that the next tick takes into workflow_runs, written by the transaction that stores them. Append-only for writers; what a tick sees it deletes.';
COMMENT ON COLUMN workflow_inbox.key IS 'The event; NULL: none, only compute this workflow anew (an operator changed it).';

CREATE TABLE workflow_runs (
    tenant_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    run_id text NOT NULL,
    attempts integer NOT NULL,
    first_event_at timestamptz NOT NULL,
    last_event_at timestamptz NOT NULL,
    end_attempt integer,
    end_kind text,
    end_at timestamptz,
    end_key uuid,
    end_duration_us bigint,
    error_type text,
    error_message text,
    trigger text NOT NULL DEFAULT '',
    trigger_key uuid,
    url text NOT NULL DEFAULT '',
    url_key uuid,
    state text GENERATED ALWAYS AS (CASE WHEN end_attempt >= attempts THEN end_kind ELSE 'running' END) STORED,
    ended_at timestamptz GENERATED ALWAYS AS (CASE WHEN end_attempt >= attempts THEN end_at END) STORED,
    duration_us bigint GENERATED ALWAYS AS (
        CASE
            WHEN end_attempt < attempts THEN NULL
            WHEN end_duration_us IS NOT NULL THEN end_duration_us
            WHEN end_at > first_event_at THEN (extract(EPOCH FROM end_at - first_event_at) * 1000000)::bigint
        END
    ) STORED,
    CONSTRAINT workflow_runs_pkey PRIMARY KEY (tenant_id, workflow_id, run_id),
    CONSTRAINT workflow_runs_end_kind_check CHECK (end_kind IN ('succeeded', 'failed', 'cancelled'))
) WITH (fillfactor = 70);

CREATE INDEX workflow_runs_tenant_id_workflow_id_first_event_at_run_id_idx
ON workflow_runs (tenant_id, workflow_id, first_event_at, run_id);

CREATE INDEX workflow_runs_ended_idx ON workflow_runs (tenant_id, workflow_id, ended_at, run_id) WHERE ended_at IS NOT NULL;

CREATE INDEX workflow_runs_succeeded_idx ON workflow_runs (tenant_id, workflow_id, ended_at) WHERE state = 'succeeded';

COMMENT ON TABLE workflow_runs IS 'Runs as they follow from their events, in any order: each column is a maximum or minimum over events. Only the tick writes it.';
COMMENT ON COLUMN workflow_runs.attempts IS 'Largest attempt of its events.';
COMMENT ON COLUMN workflow_runs.end_attempt IS 'Of the end that counts: the greatest by attempt, time and key; NULL while none is known.';
COMMENT ON COLUMN workflow_runs.trigger_key IS 'Smallest key of an event that names a trigger.';
COMMENT ON COLUMN workflow_runs.url_key IS 'Largest key of an event that names an address.';

CREATE TABLE workflow_hours (
    tenant_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    CONSTRAINT workflow_hours_pkey PRIMARY KEY (tenant_id, workflow_id, hour)
) WITH (fillfactor = 70);

COMMENT ON TABLE workflow_hours IS 'Runs by the hour of their end and by outcome. Only the tick writes it: a run that turns out to have ended otherwise moves.';

CREATE TABLE workflow_durations (
    tenant_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    day date NOT NULL,
    bucket integer NOT NULL,
    runs bigint NOT NULL,
    CONSTRAINT workflow_durations_pkey PRIMARY KEY (tenant_id, workflow_id, day, bucket)
) WITH (fillfactor = 70);

COMMENT ON TABLE workflow_durations IS 'Sketch of durations of runs that succeeded or failed, by day (UTC) of their end: DDSketch buckets of microseconds at 1 % relative accuracy, which merge by adding.';

CREATE TABLE workflow_status (
    tenant_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    first_event_at timestamptz,
    last_event_at timestamptz,
    last_run_at timestamptz,
    last_end_at timestamptz,
    last_outcome text,
    last_success_at timestamptz,
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    p50_us bigint,
    p95_us bigint,
    p99_us bigint,
    timed_runs bigint NOT NULL,
    freshness text NOT NULL,
    counted text NOT NULL,
    next_deadline_at timestamptz,
    as_of timestamptz NOT NULL,
    CONSTRAINT workflow_status_pkey PRIMARY KEY (tenant_id, workflow_id),
    CONSTRAINT workflow_status_last_outcome_check CHECK (last_outcome IN ('succeeded', 'failed', 'cancelled')),
    CONSTRAINT workflow_status_freshness_check CHECK (freshness IN ('fresh', 'stale', 'unmeasured')),
    CONSTRAINT workflow_status_counted_check CHECK (counted IN ('counted', 'paused', 'gone'))
) WITH (fillfactor = 70);

CREATE INDEX workflow_status_freshness_idx ON workflow_status (tenant_id, freshness, workflow_id);

CREATE INDEX workflow_status_next_deadline_at_idx ON workflow_status (next_deadline_at) WHERE next_deadline_at IS NOT NULL;

COMMENT ON TABLE workflow_status IS 'What follows from the runs of a workflow, as the last tick that touched it computed it.';
COMMENT ON COLUMN workflow_status.succeeded IS 'Runs that ended so in the 168 hours that end with the hour of last_end_at; as failed, cancelled.';
COMMENT ON COLUMN workflow_status.timed_runs IS 'Runs behind the percentiles: of the 8 days (UTC) that end with the day of last_end_at.';
COMMENT ON COLUMN workflow_status.counted IS 'Whether its freshness counts: paused is shown apart, gone (retired for 7 days) nowhere.';
COMMENT ON COLUMN workflow_status.next_deadline_at IS 'Instant at which time alone changes its freshness or whether it counts; NULL if none.';
