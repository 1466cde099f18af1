-- name: insert_exchange
-- Keep one exchange; a batch that arrives twice changes nothing.
INSERT INTO exchange (
    id, started_at, method, path, status, outcome, latency_ms, dialect, task, conversation, model, model_answered,
    streamed, stop_reason, ttft_ms, first_text_ms,
    input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    price_source, request_bytes, response_bytes, first_turn, has_tools, client_retry, version, eligible,
    error, gateway_error, prompt, overhead_us
) VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
    ?, ?, ?, ?,
    ?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?, ?, ?, ?,
    ?, ?, ?, ?
) ON CONFLICT (id) DO NOTHING;

-- name: insert_job
-- Queue one candidate for one exchange; a job that is already there keeps its state.
INSERT INTO shadow_job (
    exchange_id, candidate, conversation, task, "primary", created_at, state, reason, counted
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange_id, candidate) DO NOTHING;

-- name: insert_body
-- Keep the copy that the jobs of one exchange share, unless none of them waits (any more).
INSERT INTO job_body (
    exchange_id, dialect, path, query, request_headers, request, response, response_status, response_streamed,
    origin
)
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
WHERE EXISTS (SELECT 1 FROM shadow_job WHERE exchange_id = ? AND state IN ('pending', 'leased'))
ON CONFLICT (exchange_id) DO NOTHING;

-- name: count_dropped
-- Add to the count of one reason.
INSERT INTO counter (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = value + excluded.value;

-- name: rest_origin
-- Leave an origin alone until then, or longer when that was known already.
INSERT INTO origin_rest (origin, rest_until) VALUES (?, ?)
ON CONFLICT (origin) DO UPDATE SET rest_until = max(rest_until, excluded.rest_until);

-- name: expire_pending
-- Drop the jobs that waited too long, also when no worker runs.
UPDATE shadow_job SET state = 'dropped', reason = 'too_old', finished_at = :now
WHERE state = 'pending' AND created_at < :before
RETURNING exchange_id, candidate, counted;

-- name: delete_unneeded_bodies
-- Delete every copy that no unfinished and recent enough job needs.
DELETE FROM job_body WHERE NOT EXISTS (
    SELECT 1 FROM shadow_job
    WHERE shadow_job.exchange_id = job_body.exchange_id
        AND shadow_job.state IN ('pending', 'leased', 'sent')
        AND shadow_job.created_at >= :before
);
