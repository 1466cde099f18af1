-- name: exchanges
-- Recognised exchanges of the window.
SELECT * FROM exchange
WHERE started_at >= :since AND started_at < :until AND dialect IS NOT NULL AND (:task IS NULL OR task = :task)
ORDER BY started_at, id;

-- name: answers
-- Candidate answers whose exchange lies in the window, beside what the primary did.
SELECT
    shadow_answer.*,
    exchange.model AS "primary", exchange.conversation, exchange.first_turn, exchange.has_tools, exchange.version,
    exchange.latency_ms AS primary_latency_ms, exchange.ttft_ms AS primary_ttft_ms,
    exchange.outcome AS primary_outcome, exchange.streamed AS primary_streamed,
    exchange.cost_billed_usd AS primary_cost_billed_usd, exchange.cost_uncached_usd AS primary_cost_uncached_usd,
    exchange.price_source AS primary_price_source,
    shadow_job.counted
FROM shadow_answer
JOIN exchange ON exchange.id = shadow_answer.exchange_id
JOIN shadow_job USING (exchange_id, candidate)
WHERE exchange_started_at >= :since AND exchange_started_at < :until
    AND (:task IS NULL OR shadow_answer.task = :task)
ORDER BY exchange_started_at, exchange_id, candidate;

-- name: scores
-- Scores of the window.
SELECT score.*, exchange.task, exchange.model AS "primary", exchange.conversation
FROM exchange
JOIN score ON score.exchange_id = exchange.id
WHERE exchange.started_at >= :since AND exchange.started_at < :until AND (:task IS NULL OR exchange.task = :task)
ORDER BY exchange.started_at, score.exchange_id, score.candidate, score.evaluator;

-- name: coverage
-- Jobs that count by candidate, state and reason, beside the eligible exchanges: one statement, so one moment.
SELECT
    exchange.task, exchange.model AS "primary", NULL AS candidate, 'eligible' AS state, NULL AS reason, count(*) AS count
FROM exchange
WHERE exchange.started_at >= :since AND exchange.started_at < :until AND exchange.eligible
    AND (:task IS NULL OR exchange.task = :task)
GROUP BY exchange.task, exchange.model
UNION ALL
SELECT exchange.task, exchange.model, shadow_job.candidate, shadow_job.state, shadow_job.reason, count(*)
FROM exchange
JOIN shadow_job ON shadow_job.exchange_id = exchange.id
WHERE exchange.started_at >= :since AND exchange.started_at < :until AND shadow_job.counted
    AND (:task IS NULL OR exchange.task = :task)
GROUP BY exchange.task, exchange.model, shadow_job.candidate, shadow_job.state, shadow_job.reason;

-- name: holds_more_than
-- Whether more exchanges than these lie in the window, or lay there before they were deleted; stops counting there.
SELECT
    count(*) > :limit OR EXISTS (
        SELECT 1 FROM meta WHERE key = 'raw_complete_from' AND CAST(value AS INTEGER) > :since
    ) AS more
FROM (SELECT 1 FROM exchange WHERE started_at >= :since AND started_at < :until LIMIT :limit + 1);

-- name: eligible_sample
-- The first eligible exchanges of a window.
SELECT model, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens, eligible
FROM exchange WHERE started_at >= :since AND started_at < :until AND eligible ORDER BY started_at LIMIT :limit;

-- name: dropped
-- What was lost since the file was made, by reason.
SELECT name, value FROM counter ORDER BY name;

-- name: budget
-- The money of one day.
SELECT spent_nano_usd, reserved_nano_usd, closed_for_nano_usd FROM budget_day WHERE day = :day;

-- name: exchange
-- One exchange.
SELECT * FROM exchange WHERE id = :id;

-- name: exchange_jobs
-- The jobs of one exchange.
SELECT candidate, state, reason, counted, created_at, sent_at, finished_at FROM shadow_job
WHERE exchange_id = :id ORDER BY candidate;

-- name: exchange_answers
-- The answers to one exchange.
SELECT * FROM shadow_answer WHERE exchange_id = :id ORDER BY candidate;

-- name: exchange_scores
-- The scores of one exchange.
SELECT * FROM score WHERE exchange_id = :id ORDER BY candidate, evaluator, role;

-- name: exchange_feedback
-- What users of the app said about one exchange.
SELECT given_at, score, expected, expected_changed, rescored_at FROM feedback WHERE exchange_id = :id;

-- name: feedback
-- What was said about the primary's answers of a window.
SELECT feedback.exchange_id, feedback.score, exchange.task, exchange.model AS "primary"
FROM feedback
CROSS JOIN exchange ON exchange.id = feedback.exchange_id -- in this order: there are far fewer of the former
WHERE exchange.started_at >= :since AND exchange.started_at < :until AND feedback.score IS NOT NULL
    AND (:task IS NULL OR exchange.task = :task)
ORDER BY exchange.started_at, exchange.id;

-- name: noise_floor
-- What the primary answered when it was asked again, in a window.
SELECT * FROM noise_floor
WHERE exchange_started_at >= :since AND exchange_started_at < :until AND (:task IS NULL OR task = :task)
ORDER BY exchange_started_at, exchange_id;

-- name: pairs_newest
-- One page of pairs, newest exchange first; chosen out of an index alone.
SELECT
    shadow_answer.*,
    exchange.model AS "primary", exchange.conversation, exchange.first_turn, exchange.outcome AS primary_outcome,
    exchange.latency_ms AS primary_latency_ms, exchange.ttft_ms AS primary_ttft_ms,
    exchange.cost_billed_usd AS primary_cost_billed_usd, exchange.cost_uncached_usd AS primary_cost_uncached_usd
FROM (
    SELECT exchange_id, candidate FROM shadow_answer AS listed INDEXED BY shadow_answer_by_start
    WHERE (:task IS NULL OR task = :task) AND (:candidate IS NULL OR candidate = :candidate)
        AND exchange_started_at >= coalesce(:since, -9223372036854775808)
        AND +exchange_started_at < coalesce(:until, 9223372036854775807) -- +: `key` finds the place in the index
        AND (:show = 'all'
            OR (:show = 'differs' AND abs(quality_diff) >= 0.005)
            OR (:show = 'regressed' AND quality_diff <= -0.005)
            OR (:show = 'errors' AND unanswered)
            OR (:show = 'unreviewed' AND NOT EXISTS (
                SELECT 1 FROM label WHERE label.exchange_id = listed.exchange_id AND label.candidate = listed.candidate
            )))
        AND (exchange_started_at, exchange_id, candidate)
            < (coalesce(:key, :until, 9223372036854775807), coalesce(:key_id, ''), coalesce(:key_candidate, ''))
    ORDER BY exchange_started_at DESC, exchange_id DESC, candidate DESC
    LIMIT :limit
) AS page
CROSS JOIN shadow_answer USING (exchange_id, candidate) -- in this order: the page is short
CROSS JOIN exchange ON exchange.id = shadow_answer.exchange_id
ORDER BY exchange_started_at DESC, exchange_id DESC, candidate DESC;

-- name: pairs_worst
-- One page of pairs: those without an answer, then the largest loss of the candidate first; what cannot be told last.
SELECT
    shadow_answer.*,
    exchange.model AS "primary", exchange.conversation, exchange.first_turn, exchange.outcome AS primary_outcome,
    exchange.latency_ms AS primary_latency_ms, exchange.ttft_ms AS primary_ttft_ms,
    exchange.cost_billed_usd AS primary_cost_billed_usd, exchange.cost_uncached_usd AS primary_cost_uncached_usd
FROM (
    SELECT exchange_id, candidate FROM shadow_answer AS listed INDEXED BY shadow_answer_by_loss
    WHERE (:task IS NULL OR task = :task) AND (:candidate IS NULL OR candidate = :candidate)
        AND exchange_started_at >= coalesce(:since, -9223372036854775808)
        AND exchange_started_at < coalesce(:until, 9223372036854775807)
        AND (:show = 'all'
            OR (:show = 'differs' AND abs(quality_diff) >= 0.005)
            OR (:show = 'regressed' AND quality_diff <= -0.005)
            OR (:show = 'errors' AND unanswered)
            OR (:show = 'unreviewed' AND NOT EXISTS (
                SELECT 1 FROM label WHERE label.exchange_id = listed.exchange_id AND label.candidate = listed.candidate
            )))
        -- the place in the index, ties are cut next; what must have a difference is not looked for before all of those
        AND coalesce(quality_diff, CASE WHEN unanswered THEN -2.0 ELSE 2.0 END)
            >= coalesce(:key, CASE WHEN :show IN ('differs', 'regressed') THEN -1.0 ELSE -9.0 END)
        AND (coalesce(quality_diff, CASE WHEN unanswered THEN -2.0 ELSE 2.0 END), exchange_id, candidate)
            > (coalesce(:key, -9.0), coalesce(:key_id, ''), coalesce(:key_candidate, ''))
    ORDER BY coalesce(quality_diff, CASE WHEN unanswered THEN -2.0 ELSE 2.0 END), exchange_id, candidate
    LIMIT :limit
) AS page
CROSS JOIN shadow_answer USING (exchange_id, candidate) -- in this order: the page is short
CROSS JOIN exchange ON exchange.id = shadow_answer.exchange_id
ORDER BY coalesce(quality_diff, CASE WHEN unanswered THEN -2.0 ELSE 2.0 END), exchange_id, candidate;

-- name: pair
-- One pair with what is kept of its content.
SELECT
    shadow_answer.*,
    exchange.model AS "primary", exchange.conversation, exchange.first_turn, exchange.outcome AS primary_outcome,
    exchange.latency_ms AS primary_latency_ms, exchange.ttft_ms AS primary_ttft_ms,
    exchange.cost_billed_usd AS primary_cost_billed_usd, exchange.cost_uncached_usd AS primary_cost_uncached_usd,
    content.prompt, content.primary_output, content.primary_tool_calls,
    content.candidate_output, content.candidate_tool_calls
FROM shadow_answer
JOIN exchange ON exchange.id = shadow_answer.exchange_id
LEFT JOIN content USING (exchange_id, candidate)
WHERE exchange_id = :id AND candidate = :candidate;

-- name: pair_scores
-- The scores of one pair: of the candidate, of both together, and the primary's own.
SELECT * FROM score WHERE exchange_id = :id AND candidate IN (:candidate, '') ORDER BY evaluator, role;

-- name: pair_judgements
-- What a judge said about one pair, call by call.
SELECT * FROM judgement WHERE exchange_id = :id AND candidate = :candidate ORDER BY evaluator, version, role, number;

-- name: unpriced
-- Exchanges with token counts and no price decision.
SELECT * FROM exchange WHERE price_source IS NULL ORDER BY started_at LIMIT :limit;

-- name: set_price
-- Keep a price decision, once.
UPDATE exchange SET cost_billed_usd = ?, cost_uncached_usd = ?, price_source = ? WHERE id = ? AND price_source IS NULL;

-- name: prunable
-- The oldest exchanges before then whose jobs have all ended.
SELECT id FROM exchange
WHERE started_at < :before AND NOT EXISTS (
    SELECT 1 FROM shadow_job WHERE exchange_id = exchange.id AND state IN ('pending', 'leased', 'sent')
)
ORDER BY started_at LIMIT :limit;

-- name: kept_characters
-- How much is kept of their prompts and answers.
SELECT
    exchange_id,
    sum(
        coalesce(length(prompt), 0) + coalesce(length(primary_output), 0) + coalesce(length(primary_tool_calls), 0)
        + coalesce(length(candidate_output), 0) + coalesce(length(candidate_tool_calls), 0)
    ) AS characters
FROM content WHERE exchange_id IN (SELECT value FROM json_each(:ids)) GROUP BY exchange_id;

-- name: read_before
-- Read what is about to be deleted, so that it is in memory before others must wait for it.
SELECT
    (SELECT count(status) FROM exchange WHERE id IN (SELECT value FROM json_each(:ids)))
    + (SELECT count(status) FROM shadow_answer WHERE exchange_id IN (SELECT value FROM json_each(:ids)))
    + (SELECT count(status) FROM score WHERE exchange_id IN (SELECT value FROM json_each(:ids)))
    + (SELECT count(status) FROM judgement WHERE exchange_id IN (SELECT value FROM json_each(:ids))) AS count;

-- name: prune_content
-- Delete what was kept of prompts and answers.
DELETE FROM content WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_feedback
-- Delete what users said.
DELETE FROM feedback WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_noise_floor
-- Delete what the primary answered when it was asked again.
DELETE FROM noise_floor WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_labels
-- Delete what people said about pairs.
DELETE FROM label WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_judgements
-- Delete what judges said about pairs.
DELETE FROM judgement WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_scores
-- Delete scores.
DELETE FROM score WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_answers
-- Delete answers.
DELETE FROM shadow_answer WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_bodies
-- Delete copies.
DELETE FROM job_body WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_jobs
-- Delete jobs.
DELETE FROM shadow_job WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: prune_exchanges
-- Delete exchanges.
DELETE FROM exchange WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING 1;

-- name: prune_admissions
-- Delete old admission decisions.
DELETE FROM admission WHERE conversation IN (
    SELECT conversation FROM admission WHERE decided_at < :before ORDER BY decided_at LIMIT :limit
);

-- name: shrink
-- Give up to 256 free pages (1 MiB) back to the file system.
PRAGMA incremental_vacuum(256);

-- name: health
-- The schema's number and how many jobs wait.
SELECT (SELECT user_version FROM pragma_user_version) AS "schema",
    (SELECT count(*) FROM shadow_job WHERE state = 'pending') AS pending_jobs;
