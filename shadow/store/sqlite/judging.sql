-- name: judge_tallies
-- What each judge did, by comparison: pairs ruled, identical, failed, flipped and tied; controls; calls and their cost.
WITH trial AS (
    SELECT
        exchange.task, exchange.model AS "primary", judgement.candidate, judgement.exchange_id,
        judgement.evaluator, judgement.version, judgement.model, judgement.control,
        -- A control of a judge that grades has one call, which says who won; `none` with a grade: graded before.
        max(CASE WHEN judge_order = 'primary_first' OR (judge_order = 'single' AND control IS NOT NULL)
            THEN judgement.winner END) AS first,
        max(CASE WHEN judge_order = 'candidate_first' OR (judge_order = 'single' AND control IS NOT NULL)
            THEN judgement.winner END) AS second,
        max(CASE WHEN judgement.role = 'primary' THEN grade END) AS primary_grade,
        max(CASE WHEN judgement.role = 'candidate' THEN grade END) AS candidate_grade,
        max(judge_order = 'single') AS is_single,
        max(judge_order = 'none' AND grade IS NULL) AS is_identical,
        max(primary_chars) AS primary_chars, max(candidate_chars) AS candidate_chars,
        min(shadow_job.counted AND NOT shadow_answer.redaction_changed) AS counts,
        sum(judge_order <> 'none') AS calls,
        sum(judgement.status NOT IN ('ruled', 'identical')) AS failed_calls,
        sum(judgement.status IN ('unreadable', 'refused')) AS unreadable_calls,
        sum(judgement.cost_usd) AS cost_usd,
        sum(judgement.cost_usd IS NULL) AS unpriced_calls,
        max(judgement.started_at) AS latest
    FROM judgement -- a judgement begins after its exchange, and there are far fewer of them: CROSS keeps this order
    CROSS JOIN exchange ON exchange.id = judgement.exchange_id
    JOIN shadow_job ON shadow_job.exchange_id = exchange.id AND shadow_job.candidate = judgement.candidate
    JOIN shadow_answer ON shadow_answer.exchange_id = exchange.id AND shadow_answer.candidate = judgement.candidate
    WHERE exchange.started_at >= :since AND exchange.started_at < :until AND (:task IS NULL OR exchange.task = :task)
        AND judgement.quality AND judgement.started_at >= :since
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), told AS (
    -- Beside one live answer several candidates may come with a control; they put the same question and count as one.
    SELECT
        trial.*,
        control IS NOT NULL AND row_number() OVER (
            PARTITION BY exchange_id, evaluator, version, model, control IS NOT NULL ORDER BY candidate
        ) = 1 AS is_control
    FROM trial
)
SELECT
    task, "primary", candidate, evaluator, version, model,
    max(is_single) AS is_single,
    max(latest) AS latest,
    sum(counts AND control IS NULL AND (
        (first IS NOT NULL AND second IS NOT NULL) OR (primary_grade IS NOT NULL AND candidate_grade IS NOT NULL)
    )) AS ruled,
    sum(counts AND control IS NULL AND is_identical) AS identical_pairs,
    sum(counts AND control IS NULL AND NOT is_identical AND (
        (NOT is_single AND (first IS NULL OR second IS NULL))
        OR (is_single AND (primary_grade IS NULL OR candidate_grade IS NULL))
    )) AS failed,
    sum(counts AND control IS NULL AND first IS NOT NULL AND second IS NOT NULL AND first <> second) AS flips,
    sum(counts AND control IS NULL AND first IS NOT NULL AND second IS NOT NULL
        AND (first <> second OR first = 'tie')) AS ties,
    sum(is_control AND first IS NOT NULL AND second IS NOT NULL) AS controls,
    sum(is_control AND first IS NOT NULL AND second IS NOT NULL AND first = 'primary' AND second = 'primary')
        AS controls_passed,
    sum(is_control AND (first IS NULL OR second IS NULL)) AS controls_failed_to_rule,
    coalesce(sum(CASE WHEN counts AND control IS NULL AND first IS NOT NULL AND second IS NOT NULL
        THEN primary_chars END), 0) AS primary_chars,
    coalesce(sum(CASE WHEN counts AND control IS NULL AND first IS NOT NULL AND second IS NOT NULL
        THEN candidate_chars END), 0) AS candidate_chars,
    sum(calls) AS calls, sum(failed_calls) AS failed_calls, sum(unreadable_calls) AS unreadable_calls,
    coalesce(sum(cost_usd), 0.0) AS cost_usd,
    coalesce(sum(CASE WHEN control IS NOT NULL THEN cost_usd END), 0.0) AS control_cost_usd,
    sum(unpriced_calls) AS unpriced_calls
FROM told
GROUP BY task, "primary", candidate, evaluator, version, model
ORDER BY task, "primary", candidate, latest;

-- name: label_tallies
-- What people said about a pair beside what a judge ruled about it.
WITH trial AS (
    SELECT
        exchange.task, exchange.model AS "primary", judgement.candidate, judgement.exchange_id,
        judgement.version, judgement.model,
        max(CASE WHEN judge_order = 'primary_first' THEN judgement.winner END) AS first,
        max(CASE WHEN judge_order = 'candidate_first' THEN judgement.winner END) AS second,
        max(CASE WHEN judgement.role = 'primary' THEN grade END) AS primary_grade,
        max(CASE WHEN judgement.role = 'candidate' THEN grade END) AS candidate_grade
    FROM label -- CROSS keeps this order: there are far fewer labels than exchanges
    CROSS JOIN exchange ON exchange.id = label.exchange_id
    JOIN judgement ON judgement.exchange_id = exchange.id AND judgement.candidate = label.candidate
    WHERE exchange.started_at >= :since AND exchange.started_at < :until AND (:task IS NULL OR exchange.task = :task)
        AND judgement.quality AND judgement.control IS NULL AND (judgement.judge_order <> 'none' OR grade IS NOT NULL)
    GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT
    trial.task, trial."primary", trial.candidate, trial.version, trial.model, label.winner AS person,
    CASE
        WHEN primary_grade IS NOT NULL THEN CASE
            WHEN candidate_grade > primary_grade THEN 'candidate'
            WHEN candidate_grade < primary_grade THEN 'primary'
            ELSE 'tie'
        END
        WHEN first = second THEN first
        ELSE 'tie'
    END AS judge,
    count(*) AS count
FROM trial
JOIN label ON label.exchange_id = trial.exchange_id AND label.candidate = trial.candidate
WHERE (first IS NOT NULL AND second IS NOT NULL) OR (primary_grade IS NOT NULL AND candidate_grade IS NOT NULL)
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 5, 6, 7;

-- name: keep_label
-- Keep what a person said about a pair; the last word of each person counts.
INSERT INTO label (exchange_id, candidate, labeller, winner, choice, side_a, seed, source, labelled_at)
SELECT :exchange_id, :candidate, :labeller, :winner, :choice, :side_a, :seed, :source, :labelled_at
WHERE EXISTS (SELECT 1 FROM shadow_answer WHERE exchange_id = :exchange_id AND candidate = :candidate)
ON CONFLICT (exchange_id, candidate, labeller) DO UPDATE SET
    winner = excluded.winner, choice = excluded.choice, side_a = excluded.side_a, seed = excluded.seed,
    source = excluded.source, labelled_at = excluded.labelled_at
RETURNING 1;

-- name: remove_label
-- Take a person's word about a pair back.
DELETE FROM label WHERE exchange_id = :exchange_id AND candidate = :candidate AND labeller = :labeller RETURNING 1;

-- name: labels
-- Labels, oldest first, with what the judge and the comparison need.
SELECT label.*, exchange.task, exchange.model AS "primary"
FROM label JOIN exchange ON exchange.id = label.exchange_id
WHERE (:task IS NULL OR exchange.task = :task) AND (:candidate IS NULL OR label.candidate = :candidate)
ORDER BY labelled_at, label.exchange_id, label.candidate, labeller
LIMIT :limit;

-- name: to_label
-- Random pairs this person has not labelled, of the newest whose answers are kept and differ; judged ones first. What is
-- kept is read in that order until there are enough.
SELECT
    drawn.exchange_id, drawn.candidate, exchange.task, exchange.model AS "primary",
    content.prompt, content.primary_output, content.primary_tool_calls,
    content.candidate_output, content.candidate_tool_calls, judged
FROM (
    SELECT
        exchange_id, candidate,
        EXISTS (
            SELECT 1 FROM judgement
            WHERE judgement.exchange_id = recent.exchange_id AND judgement.candidate = recent.candidate
                AND judgement.status = 'ruled' AND judgement.control IS NULL
        ) AS judged
    FROM (
        SELECT exchange_id, candidate FROM shadow_answer
        WHERE (:task IS NULL OR task = :task) AND (:candidate IS NULL OR candidate = :candidate)
        ORDER BY exchange_started_at DESC, exchange_id DESC, candidate DESC
        LIMIT :newest
    ) AS recent
    WHERE NOT EXISTS (
        SELECT 1 FROM label
        WHERE label.exchange_id = recent.exchange_id AND label.candidate = recent.candidate
            AND label.labeller = :labeller
    )
    ORDER BY judged DESC, random()
    LIMIT :newest
) AS drawn
CROSS JOIN content ON content.exchange_id = drawn.exchange_id AND content.candidate = drawn.candidate
CROSS JOIN shadow_answer
    ON shadow_answer.exchange_id = drawn.exchange_id AND shadow_answer.candidate = drawn.candidate
CROSS JOIN exchange ON exchange.id = drawn.exchange_id
WHERE content.prompt IS NOT NULL
    AND shadow_answer.outcome IN ('ok', 'refusal', 'truncated') AND NOT shadow_answer.redaction_changed
    AND (content.primary_output, content.primary_tool_calls)
        IS NOT (content.candidate_output, content.candidate_tool_calls)
LIMIT :limit;

-- name: judge_spent
-- What judges cost on one UTC day, as far as their providers said.
SELECT coalesce(sum(cost_usd), 0.0) AS usd FROM judgement WHERE started_at >= :since AND started_at < :until;
