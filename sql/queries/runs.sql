-- Runs, and what follows from them: written by the tick, read by GetRun, ListRuns and all that shows
-- workflows. The formulas are those of orca_server.domain.runs, to which a property test holds this file.

-- name: merge_workflow_inbox
-- Takes the events that this snapshot sees in the inbox, of all tenants, into workflow_runs, and moves
-- runs whose outcome or duration changed between hours and buckets. Events of a transaction that is
-- still open stay for a later tick. Returns the workflows to compute, each with its newest event.
-- Index: workflow_events_pkey, workflow_runs_pkey, workflow_hours_pkey, workflow_durations_pkey; the
-- inbox is read whole.
WITH taken AS (
    DELETE FROM workflow_inbox
    RETURNING tenant_id, workflow_id, key
),

news AS (
    SELECT
        e.tenant_id, e.workflow_id, e.run_id, e.key, e.attempt, e.kind, e.occurred_at, e.trigger, e.url,
        e.error_type, e.error_message, e.duration_us
    FROM taken
    INNER JOIN workflow_events AS e
        ON e.tenant_id = taken.tenant_id AND e.workflow_id = taken.workflow_id AND e.key = taken.key
),

ends AS (
    SELECT DISTINCT ON (tenant_id, workflow_id, run_id)
        tenant_id, workflow_id, run_id, attempt, kind, occurred_at, key, duration_us, error_type, error_message
    FROM news
    WHERE kind IN ('succeeded', 'failed', 'cancelled')
    ORDER BY tenant_id, workflow_id, run_id, attempt DESC, occurred_at DESC, key DESC
),

triggers AS (
    SELECT DISTINCT ON (tenant_id, workflow_id, run_id) tenant_id, workflow_id, run_id, trigger, key
    FROM news
    WHERE trigger <> ''
    ORDER BY tenant_id, workflow_id, run_id, key
),

urls AS (
    SELECT DISTINCT ON (tenant_id, workflow_id, run_id) tenant_id, workflow_id, run_id, url, key
    FROM news
    WHERE url <> ''
    ORDER BY tenant_id, workflow_id, run_id, key DESC
),

spans AS (
    SELECT
        tenant_id,
        workflow_id,
        run_id,
        max(attempt) AS attempts,
        min(occurred_at) AS first_event_at,
        max(occurred_at) AS last_event_at
    FROM news
    GROUP BY tenant_id, workflow_id, run_id
),

before AS (
    SELECT r.tenant_id, r.workflow_id, r.state, r.ended_at, r.duration_us
    FROM spans
    INNER JOIN workflow_runs AS r
        ON r.tenant_id = spans.tenant_id AND r.workflow_id = spans.workflow_id AND r.run_id = spans.run_id
),

written AS (
    INSERT INTO workflow_runs AS kept (
        tenant_id, workflow_id, run_id, attempts, first_event_at, last_event_at, end_attempt, end_kind, end_at,
        end_key, end_duration_us, error_type, error_message, trigger, trigger_key, url, url_key
    )
    SELECT
        spans.tenant_id, spans.workflow_id, spans.run_id, spans.attempts, spans.first_event_at,
        spans.last_event_at, ends.attempt, ends.kind, ends.occurred_at, ends.key, ends.duration_us,
        ends.error_type, ends.error_message, coalesce(triggers.trigger, ''), triggers.key,
        coalesce(urls.url, ''), urls.key
    FROM spans
    LEFT JOIN ends USING (tenant_id, workflow_id, run_id)
    LEFT JOIN triggers USING (tenant_id, workflow_id, run_id)
    LEFT JOIN urls USING (tenant_id, workflow_id, run_id)
    ON CONFLICT (tenant_id, workflow_id, run_id) DO UPDATE SET
        attempts = greatest(kept.attempts, excluded.attempts),
        first_event_at = least(kept.first_event_at, excluded.first_event_at),
        last_event_at = greatest(kept.last_event_at, excluded.last_event_at),
        (end_attempt, end_kind, end_at, end_key, end_duration_us, error_type, error_message) = (
            SELECT best.attempt, best.kind, best.at, best.key, best.duration_us, best.error_type, best.error_message
            FROM (
                VALUES
                (
                    kept.end_attempt, kept.end_kind, kept.end_at, kept.end_key, kept.end_duration_us,
                    kept.error_type, kept.error_message
                ),
                (
                    excluded.end_attempt, excluded.end_kind, excluded.end_at, excluded.end_key,
                    excluded.end_duration_us, excluded.error_type, excluded.error_message
                )
            ) AS best (attempt, kind, at, key, duration_us, error_type, error_message)
            ORDER BY best.attempt DESC NULLS LAST, best.at DESC, best.key DESC
            LIMIT 1
        ),
        trigger = CASE WHEN excluded.trigger_key < kept.trigger_key OR kept.trigger_key IS NULL THEN excluded.trigger ELSE kept.trigger END,
        trigger_key = least(kept.trigger_key, excluded.trigger_key),
        url = CASE WHEN excluded.url_key > kept.url_key OR kept.url_key IS NULL THEN excluded.url ELSE kept.url END,
        url_key = greatest(kept.url_key, excluded.url_key)
    RETURNING tenant_id, workflow_id, state, ended_at, duration_us
),

moves AS (
    SELECT tenant_id, workflow_id, state, ended_at, duration_us, -1 AS runs
    FROM before
    WHERE ended_at IS NOT NULL
    UNION ALL
    SELECT tenant_id, workflow_id, state, ended_at, duration_us, 1 AS runs
    FROM written
    WHERE ended_at IS NOT NULL
),

hours AS (
    INSERT INTO workflow_hours AS kept (tenant_id, workflow_id, hour, succeeded, failed, cancelled)
    SELECT
        tenant_id,
        workflow_id,
        date_bin('1 hour', ended_at, 'epoch'),
        coalesce(sum(runs) FILTER (WHERE state = 'succeeded'), 0),
        coalesce(sum(runs) FILTER (WHERE state = 'failed'), 0),
        coalesce(sum(runs) FILTER (WHERE state = 'cancelled'), 0)
    FROM moves
    GROUP BY tenant_id, workflow_id, date_bin('1 hour', ended_at, 'epoch')
    ON CONFLICT (tenant_id, workflow_id, hour) DO UPDATE SET
        succeeded = kept.succeeded + excluded.succeeded,
        failed = kept.failed + excluded.failed,
        cancelled = kept.cancelled + excluded.cancelled
),

durations AS (
    INSERT INTO workflow_durations AS kept (tenant_id, workflow_id, day, bucket, runs)
    SELECT
        tenant_id,
        workflow_id,
        (ended_at AT TIME ZONE 'UTC')::date,
        CASE WHEN duration_us = 0 THEN -1 ELSE ceil(ln(duration_us::double precision) / 0.020000666706669435::double precision)::integer END,
        sum(runs)
    FROM moves
    WHERE duration_us IS NOT NULL AND state <> 'cancelled'
    GROUP BY 1, 2, 3, 4
    ON CONFLICT (tenant_id, workflow_id, day, bucket) DO UPDATE SET
        runs = kept.runs + excluded.runs
)

SELECT taken.tenant_id, taken.workflow_id, max(news.occurred_at) AS last_event_at
FROM taken
LEFT JOIN news ON news.tenant_id = taken.tenant_id AND news.workflow_id = taken.workflow_id AND news.key = taken.key
GROUP BY taken.tenant_id, taken.workflow_id;

-- name: mark_all_workflows
-- Puts every workflow up for computing, of all tenants; used when the settings of the score changed.
-- Index: workflows_pkey (read whole).
INSERT INTO workflow_inbox (tenant_id, workflow_id)
SELECT tenant_id, id
FROM workflows;

-- name: compute_workflow_status
-- Computes the status of the workflows given and of those whose deadline has passed, of all tenants.
-- $1: tenants; $2: workflows; $3: newest event of each, NULL if none is new; $4: as_of; $5: seconds
-- within which a workflow that declares nothing must succeed. Returns how many were computed.
-- Index: workflows_pkey, workflow_status_next_deadline_at_idx, workflow_runs_*, workflow_hours_pkey,
-- workflow_durations_pkey.
WITH due AS (
    SELECT tenant_id, workflow_id, max(last_event_at) AS last_event_at
    FROM (
        SELECT tenant_id, workflow_id, last_event_at
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS dirty (tenant_id, workflow_id, last_event_at)
        UNION ALL
        SELECT tenant_id, workflow_id, NULL AS last_event_at
        FROM workflow_status
        WHERE next_deadline_at <= $4
    ) AS causes
    GROUP BY tenant_id, workflow_id
),

subjects AS (
    SELECT
        due.tenant_id,
        due.workflow_id,
        w.state,
        w.counted_until,
        coalesce(w.freshness_slo_seconds, $5::integer) * interval '1 second' AS slo,
        greatest(due.last_event_at, kept.last_event_at) AS last_event_at,
        oldest.first_event_at,
        newest.last_run_at,
        ended.last_end_at,
        ended.last_outcome,
        success.last_success_at
    FROM due
    INNER JOIN workflows AS w ON w.tenant_id = due.tenant_id AND w.id = due.workflow_id
    LEFT JOIN workflow_status AS kept ON kept.tenant_id = due.tenant_id AND kept.workflow_id = due.workflow_id
    LEFT JOIN LATERAL (
        SELECT r.first_event_at
        FROM workflow_runs AS r
        WHERE r.tenant_id = due.tenant_id AND r.workflow_id = due.workflow_id
        ORDER BY r.first_event_at
        LIMIT 1
    ) AS oldest ON true
    LEFT JOIN LATERAL (
        SELECT r.first_event_at AS last_run_at
        FROM workflow_runs AS r
        WHERE r.tenant_id = due.tenant_id AND r.workflow_id = due.workflow_id
        ORDER BY r.first_event_at DESC
        LIMIT 1
    ) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT r.ended_at AS last_end_at, r.state AS last_outcome
        FROM workflow_runs AS r
        WHERE r.tenant_id = due.tenant_id AND r.workflow_id = due.workflow_id AND r.ended_at IS NOT NULL
        ORDER BY r.ended_at DESC, r.run_id COLLATE "C" DESC
        LIMIT 1
    ) AS ended ON true
    LEFT JOIN LATERAL (
        SELECT r.ended_at AS last_success_at
        FROM workflow_runs AS r
        WHERE r.tenant_id = due.tenant_id AND r.workflow_id = due.workflow_id AND r.state = 'succeeded'
        ORDER BY r.ended_at DESC
        LIMIT 1
    ) AS success ON true
),

judged AS (
    SELECT
        subjects.*,
        CASE
            WHEN subjects.first_event_at IS NULL THEN 'unmeasured'
            WHEN subjects.last_outcome = 'failed' THEN 'stale'
            WHEN coalesce(subjects.last_success_at, subjects.first_event_at) + subjects.slo <= $4 THEN 'stale'
            WHEN subjects.last_success_at IS NULL THEN 'unmeasured'
            ELSE 'fresh'
        END AS freshness,
        CASE
            WHEN subjects.state = 'PAUSED' THEN 'paused'
            WHEN subjects.counted_until <= $4 THEN 'gone'
            ELSE 'counted'
        END AS counted,
        CASE
            WHEN subjects.last_outcome IS DISTINCT FROM 'failed'
                THEN coalesce(subjects.last_success_at, subjects.first_event_at) + subjects.slo
        END AS deadline
    FROM subjects
),

written AS (
    INSERT INTO workflow_status AS kept (
        tenant_id, workflow_id, first_event_at, last_event_at, last_run_at, last_end_at, last_outcome,
        last_success_at, succeeded, failed, cancelled, p50_us, p95_us, p99_us, timed_runs, freshness, counted,
        next_deadline_at, as_of
    )
    SELECT
        judged.tenant_id, judged.workflow_id, judged.first_event_at, judged.last_event_at, judged.last_run_at,
        judged.last_end_at, judged.last_outcome, judged.last_success_at, sums.succeeded, sums.failed,
        sums.cancelled, times.p50_us, times.p95_us, times.p99_us, times.timed_runs, judged.freshness,
        judged.counted,
        least(
            CASE WHEN judged.deadline > $4 THEN judged.deadline END,
            CASE WHEN judged.counted_until > $4 THEN judged.counted_until END
        ),
        $4
    FROM judged
    CROSS JOIN LATERAL (
        SELECT
            coalesce(sum(h.succeeded), 0) AS succeeded,
            coalesce(sum(h.failed), 0) AS failed,
            coalesce(sum(h.cancelled), 0) AS cancelled
        FROM workflow_hours AS h
        WHERE
            h.tenant_id = judged.tenant_id
            AND h.workflow_id = judged.workflow_id
            AND h.hour > date_bin('1 hour', judged.last_end_at, 'epoch') - interval '168 hours'
    ) AS sums
    CROSS JOIN LATERAL (
        SELECT
            min(below.us) FILTER (WHERE 100 * below.upto > 50 * (below.whole - 1)) AS p50_us,
            min(below.us) FILTER (WHERE 100 * below.upto > 95 * (below.whole - 1)) AS p95_us,
            min(below.us) FILTER (WHERE 100 * below.upto > 99 * (below.whole - 1)) AS p99_us,
            coalesce(max(below.whole), 0) AS timed_runs
        FROM (
            SELECT
                CASE
                    WHEN d.bucket = -1 THEN 0
                    ELSE round(exp(d.bucket * 0.020000666706669435::double precision) * 0.99::double precision)::bigint
                END AS us,
                sum(sum(d.runs)) OVER (ORDER BY d.bucket) AS upto,
                sum(sum(d.runs)) OVER () AS whole
            FROM workflow_durations AS d
            WHERE
                d.tenant_id = judged.tenant_id
                AND d.workflow_id = judged.workflow_id
                AND d.day > (judged.last_end_at AT TIME ZONE 'UTC')::date - 8
            GROUP BY d.bucket
            HAVING sum(d.runs) > 0
        ) AS below
    ) AS times
    ORDER BY judged.tenant_id, judged.workflow_id
    ON CONFLICT (tenant_id, workflow_id) DO UPDATE SET
        first_event_at = excluded.first_event_at,
        last_event_at = excluded.last_event_at,
        last_run_at = excluded.last_run_at,
        last_end_at = excluded.last_end_at,
        last_outcome = excluded.last_outcome,
        last_success_at = excluded.last_success_at,
        succeeded = excluded.succeeded,
        failed = excluded.failed,
        cancelled = excluded.cancelled,
        p50_us = excluded.p50_us,
        p95_us = excluded.p95_us,
        p99_us = excluded.p99_us,
        timed_runs = excluded.timed_runs,
        freshness = excluded.freshness,
        counted = excluded.counted,
        next_deadline_at = excluded.next_deadline_at,
        as_of = excluded.as_of
    RETURNING 1
)

SELECT count(*) FROM written;

-- name: sum_workflows
-- How many workflows are fresh, stale, unmeasured or paused, one row per tenant. Index: none,
-- workflow_status is read whole.
SELECT
    tenant_id,
    count(*) FILTER (WHERE counted = 'counted' AND freshness = 'fresh') AS fresh,
    count(*) FILTER (WHERE counted = 'counted' AND freshness = 'stale') AS stale,
    count(*) FILTER (WHERE counted = 'counted' AND freshness = 'unmeasured') AS unmeasured,
    count(*) FILTER (WHERE counted = 'paused') AS paused
FROM workflow_status
GROUP BY tenant_id;

-- name: get_run
-- One run. $1: tenant; $2: workflow; $3: run id. Index: workflow_runs_pkey.
SELECT
    workflow_id, run_id, state, attempts, first_event_at, ended_at, last_event_at, duration_us, trigger, url,
    error_type, error_message
FROM workflow_runs
WHERE tenant_id = $1 AND workflow_id = $2 AND run_id = $3;

-- name: list_runs
-- A page of a workflow's runs, oldest first. $1: tenant; $2: workflow; $3: start of the last run of the
-- page before, or an instant before all; $4: its run id; $5: start; $6: end; $7: page size.
-- Index: workflow_runs_tenant_id_workflow_id_first_event_at_run_id_idx.
SELECT
    workflow_id, run_id, state, attempts, first_event_at, ended_at, last_event_at, duration_us, trigger, url,
    error_type, error_message
FROM workflow_runs
WHERE
    tenant_id = $1
    AND workflow_id = $2
    AND (first_event_at, run_id) > ($3, $4)
    AND first_event_at >= $5
    AND first_event_at < $6
ORDER BY first_event_at, run_id
LIMIT $7;

-- name: list_runs_newest_first
-- The same, newest first. $1: tenant; $2: workflow; $3: start of the last run of the page before, or
-- an instant after all; $4: its run id; $5: start; $6: end; $7: page size.
-- Index: workflow_runs_tenant_id_workflow_id_first_event_at_run_id_idx.
SELECT
    workflow_id, run_id, state, attempts, first_event_at, ended_at, last_event_at, duration_us, trigger, url,
    error_type, error_message
FROM workflow_runs
WHERE
    tenant_id = $1
    AND workflow_id = $2
    AND (first_event_at, run_id) < ($3, $4)
    AND first_event_at >= $5
    AND first_event_at < $6
ORDER BY first_event_at DESC, run_id DESC
LIMIT $7;

-- name: count_runs
-- How many runs of a workflow started in a span. $1: tenant; $2: workflow; $3: start; $4: end.
-- Index: workflow_runs_tenant_id_workflow_id_first_event_at_run_id_idx.
SELECT count(*)
FROM workflow_runs
WHERE tenant_id = $1 AND workflow_id = $2 AND first_event_at >= $3 AND first_event_at < $4;
