-- name: exchanges
-- A page of exchanges, oldest first.
SELECT * FROM exchange
WHERE (started_at, id) > (:after, :after_id) AND started_at < :until AND (:task IS NULL OR task = :task)
ORDER BY started_at, id LIMIT :limit;

-- name: pairs
-- A page of pairs with what is kept of their content, oldest exchange first.
SELECT
    shadow_answer.*,
    exchange.model AS "primary", exchange.conversation, exchange.first_turn, exchange.has_tools, exchange.version,
    exchange.outcome AS primary_outcome, exchange.latency_ms AS primary_latency_ms,
    exchange.ttft_ms AS primary_ttft_ms, exchange.cost_billed_usd AS primary_cost_billed_usd,
    exchange.cost_uncached_usd AS primary_cost_uncached_usd,
    content.prompt, content.primary_output, content.primary_tool_calls,
    content.candidate_output, content.candidate_tool_calls
FROM shadow_answer
JOIN exchange ON exchange.id = shadow_answer.exchange_id
LEFT JOIN content ON content.exchange_id = shadow_answer.exchange_id AND content.candidate = shadow_answer.candidate
WHERE (exchange_started_at, shadow_answer.exchange_id, shadow_answer.candidate) > (:after, :after_id, :after_candidate)
    AND exchange_started_at < :until AND (:task IS NULL OR shadow_answer.task = :task)
    AND (:candidate IS NULL OR shadow_answer.candidate = :candidate)
ORDER BY exchange_started_at, shadow_answer.exchange_id, shadow_answer.candidate LIMIT :limit;

-- name: scores
-- The scores of the exchanges of one page.
SELECT exchange_id, candidate, evaluator, version, quality, role, status, value, reason, cost_usd FROM score
WHERE exchange_id IN (SELECT value FROM json_each(:ids))
ORDER BY exchange_id, candidate, evaluator, version, role;

-- name: has_runs
-- Whether benchmark runs can be stored here.
SELECT 1 FROM sqlite_master WHERE name = 'run_answer';

-- name: runs
-- A page of the answers of benchmark runs, run by run.
SELECT
    run_answer.*, run.kind, run.name, run.state AS run_state, run.started_at AS run_started_at, run."primary",
    run_case.position, run_case.prompt_hash, run_case.task, run_case.dialect, run_case.expected,
    (
        SELECT json_group_array(json_object(
            'evaluator', evaluator, 'version', version, 'quality', quality, 'role', role, 'status', status,
            'value', value, 'reason', reason, 'cost_usd', cost_usd
        ))
        FROM run_score
        WHERE run_score.run_id = run_answer.run_id AND run_score.case_id = run_answer.case_id
            AND run_score.model = run_answer.model AND run_score.repeat = run_answer.repeat
    ) AS scores
FROM run_answer
JOIN run ON run.id = run_answer.run_id
JOIN run_case ON run_case.run_id = run_answer.run_id AND run_case.case_id = run_answer.case_id
WHERE run.started_at >= :since AND run.started_at < :until AND (:task IS NULL OR run_case.task = :task)
    AND (:candidate IS NULL OR run_answer.model = :candidate)
    AND (run_answer.run_id, run_answer.case_id, run_answer.model, run_answer.repeat)
        > (:after_run, :after_case, :after_model, :after_repeat)
ORDER BY run_answer.run_id, run_answer.case_id, run_answer.model, run_answer.repeat LIMIT :limit;
