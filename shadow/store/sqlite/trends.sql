-- name: weekly_runs
-- Weekly runs that have ended, newest first.
SELECT id, period, state, reason, started_at, finished_at, models, "primary", note, spent_nano_usd, max_cost_nano_usd,
    evaluators
FROM run WHERE kind = 'weekly' AND state IN ('done', 'stopped') ORDER BY started_at DESC, id DESC LIMIT :limit;

-- name: answers_of_run
-- Answers of one run, without content.
SELECT run_answer.case_id, run_case.prompt_hash, run_case.task, run_case.cluster, run_case.source,
    run_answer.model, run_answer.repeat, run_answer.outcome, run_answer.model_answered, run_answer.latency_ms,
    run_answer.ttft_ms, run_answer.cost_uncached_usd, run_answer.reserved_nano_usd,
    run_answer.output IS NOT NULL AS kept
FROM run_answer JOIN run_case USING (run_id, case_id)
WHERE run_id = :id AND run_answer.state = 'done'
ORDER BY run_case.position, run_answer.model, run_answer.repeat;

-- name: scores_of_run
-- Scores of one run.
SELECT case_id, model, repeat, evaluator, version, quality, role, status, value, cost_usd
FROM run_score WHERE run_id = :id ORDER BY case_id, model, repeat, evaluator, version;

-- name: looks_of_run
-- What was said of a run's answers beside earlier ones of the same model, without content: of a ruling no reason.
SELECT run_case.task, run_case.prompt_hash, run_case.cluster, run_look.case_id, run_look.model, run_look.repeat,
    run_look.before_run_id, run_look.before_case_id, run_look.before_repeat, run_look.evaluator, run_look.version,
    run_look.status, run_look.value, CASE WHEN run_look.status = 'scored' THEN '' ELSE run_look.reason END AS reason
FROM run_look JOIN run_case USING (run_id, case_id)
WHERE run_look.run_id = :id
ORDER BY run_case.position, run_look.model, run_look.repeat, run_look.before_run_id, run_look.before_repeat;

-- name: look_reason
-- Why a judge ruled so.
SELECT reason FROM run_look
WHERE run_id = :run_id AND case_id = :case_id AND model = :model AND repeat = :repeat
    AND before_run_id = :before_run_id AND before_repeat = :before_repeat AND evaluator = :evaluator
    AND version = :version;

-- name: judged_of_run
-- What each judge that decides did in one run: pairs ruled, identical, failed, flipped and tied; tests; calls and cost.
-- Tests are those for which a good answer was chosen, one a prompt: beside a bad primary a test says nothing.
-- Of a trial that was taken again the first ruling counts: another try must not help a judge that failed.
WITH call AS (
    SELECT *, row_number() OVER (
        PARTITION BY case_id, model, repeat, beside, evaluator, version, judge, control, judge_order
        ORDER BY winner IS NULL, number
    ) = 1 AS counts
    FROM run_judgement WHERE run_id = :id AND quality
), trial AS (
    SELECT
        run_case.task, call.case_id, call.evaluator, call.version, call.judge,
        control, beside, beside = 'a control' AS is_control,
        -- A control of a judge that grades has one call, which says who won.
        max(CASE WHEN counts AND (judge_order = 'primary_first' OR (judge_order = 'single' AND control IS NOT NULL))
            THEN winner END) AS first,
        max(CASE WHEN counts AND (judge_order = 'candidate_first' OR (judge_order = 'single' AND control IS NOT NULL))
            THEN winner END) AS second,
        max(judge_order = 'single') AS is_single, max(grade) AS grade,
        max(judge_order = 'none') AS is_identical,
        max(primary_chars) AS primary_chars, max(candidate_chars) AS candidate_chars,
        sum(judge_order <> 'none') AS calls,
        sum(status NOT IN ('ruled', 'identical')) AS failed_calls,
        sum(status IN ('unreadable', 'refused')) AS unreadable_calls,
        sum(cost_usd) AS cost_usd, sum(cost_usd IS NULL) AS unpriced_calls
    FROM call JOIN run_case USING (run_id, case_id)
    GROUP BY run_case.task, call.case_id, call.model, call.repeat, beside, call.evaluator, call.version, call.judge,
        control
)
SELECT
    task, evaluator, version, judge, max(is_single) AS grades,
    sum(control IS NULL AND beside <> 'a control'
        AND ((first IS NOT NULL AND second IS NOT NULL) OR grade IS NOT NULL)) AS ruled,
    sum(control IS NULL AND is_identical) AS identical,
    sum(control IS NULL AND beside <> 'a control' AND NOT is_identical AND grade IS NULL
        AND (first IS NULL OR second IS NULL)) AS failed,
    sum(control IS NULL AND first IS NOT NULL AND second IS NOT NULL AND first <> second) AS flips,
    sum(control IS NULL AND first IS NOT NULL AND second IS NOT NULL AND (first <> second OR first = 'tie')) AS ties,
    sum(is_control AND control IS NOT NULL AND first IS NOT NULL AND second IS NOT NULL) AS controls,
    sum(is_control AND control IS NOT NULL AND first = 'primary' AND second = 'primary') AS controls_passed,
    sum(is_control AND control IS NOT NULL AND (first IS NULL OR second IS NULL)) AS controls_failed_to_rule,
    coalesce(sum(CASE WHEN control IS NULL AND first IS NOT NULL AND second IS NOT NULL THEN primary_chars END), 0)
        AS primary_chars,
    coalesce(sum(CASE WHEN control IS NULL AND first IS NOT NULL AND second IS NOT NULL THEN candidate_chars END), 0)
        AS candidate_chars,
    sum(calls) AS calls, sum(failed_calls) AS failed_calls, sum(unreadable_calls) AS unreadable_calls,
    coalesce(sum(cost_usd), 0.0) AS cost_usd,
    coalesce(sum(CASE WHEN control IS NOT NULL THEN cost_usd END), 0.0) AS control_cost_usd,
    sum(unpriced_calls) AS unpriced_calls
FROM trial GROUP BY task, evaluator, version, judge ORDER BY task, evaluator, version, judge;

-- name: asked_cases
-- Every prompt that weekly runs asked since then: in how many runs, and whether its request is still kept.
SELECT run_case.case_id, run_case.prompt_hash, run_case.task, run_case.source, count(*) AS runs,
    max(run_case.request IS NOT NULL) AS kept, max(run.started_at) AS last_us
FROM run_case JOIN run ON run.id = run_case.run_id
WHERE run.kind = 'weekly' AND run.started_at >= :since
GROUP BY run_case.prompt_hash ORDER BY runs DESC, run_case.prompt_hash;

-- name: cases_of_run
-- The cases of one run whose request is kept.
SELECT case_id, prompt_hash, task, dialect, path, headers, cluster, source, expected, request
FROM run_case WHERE run_id = :id AND request IS NOT NULL ORDER BY position;

-- name: output
-- What is kept of one answer of a run.
SELECT output FROM run_answer
WHERE run_id = :run_id AND case_id = :case_id AND model = :model AND repeat = :repeat;

-- name: shadow_conversations
-- Shadowed pairs of live traffic, one row a week, task, model and conversation; weeks begin on Monday (1970-01-05 was one).
SELECT (shadow_answer.exchange_started_at - 345600000000) / 604800000000 AS week, shadow_answer.task,
    exchange.model AS "primary", shadow_answer.candidate, exchange.conversation, count(*) AS exchanges,
    avg(shadow_answer.quality_primary) AS quality_primary, avg(shadow_answer.quality_candidate) AS quality_candidate,
    sum(shadow_answer.quality_primary) AS sum_primary, sum(shadow_answer.quality_candidate) AS sum_candidate,
    count(shadow_answer.quality_primary) AS n_primary, count(shadow_answer.quality_candidate) AS n_candidate,
    sum(exchange.cost_uncached_usd) AS cost_primary, sum(shadow_answer.cost_uncached_usd) AS cost_candidate,
    count(exchange.cost_uncached_usd) AS priced_primary, count(shadow_answer.cost_uncached_usd) AS priced_candidate
FROM shadow_answer JOIN exchange ON exchange.id = shadow_answer.exchange_id
WHERE shadow_answer.exchange_started_at >= :since AND shadow_answer.exchange_started_at < :until
    AND shadow_answer.redaction_changed = 0 AND (:task IS NULL OR shadow_answer.task = :task)
GROUP BY week, shadow_answer.task, exchange.model, shadow_answer.candidate, exchange.conversation;

-- name: shadow_latencies
-- Latencies of the same pairs, all of one group in one text.
SELECT (shadow_answer.exchange_started_at - 345600000000) / 604800000000 AS week, shadow_answer.task,
    exchange.model AS "primary", shadow_answer.candidate,
    group_concat(exchange.latency_ms) AS latency_primary, group_concat(exchange.ttft_ms) AS ttft_primary,
    group_concat(shadow_answer.latency_ms) AS latency_candidate, group_concat(shadow_answer.ttft_ms) AS ttft_candidate
FROM shadow_answer JOIN exchange ON exchange.id = shadow_answer.exchange_id
WHERE shadow_answer.exchange_started_at >= :since AND shadow_answer.exchange_started_at < :until
    AND shadow_answer.redaction_changed = 0 AND (:task IS NULL OR shadow_answer.task = :task)
    AND shadow_answer.outcome IN ('ok', 'refusal', 'truncated')
GROUP BY week, shadow_answer.task, exchange.model, shadow_answer.candidate;
