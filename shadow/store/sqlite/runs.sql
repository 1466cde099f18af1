-- name: insert_run
-- Begin a run; nothing happens when there is one of this kind and period, or with this id.
INSERT INTO run (
    id, kind, name, period, state, started_at, models, "primary", evaluators, repeats, seed, fingerprint, base_urls,
    note, max_cost_nano_usd, estimate_usd, cases, cells, worker, lease_until
) VALUES (
    :id, :kind, :name, :period, 'running', :now, :models, :primary, :evaluators, :repeats, :seed, :fingerprint,
    :base_urls, :note, :max_cost_nano_usd, :estimate_usd, :cases, :cells, :worker, :lease_until
) ON CONFLICT DO NOTHING
RETURNING id;

-- name: insert_case
-- Keep one question.
INSERT INTO run_case (
    run_id, case_id, position, prompt_hash, task, dialect, path, headers, cluster, source, expected, request
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: reopen
-- Take a run up again, with its new bound and evaluators, unless another process holds it.
UPDATE run SET
    state = 'running', reason = NULL, finished_at = NULL, max_cost_nano_usd = :max_cost_nano_usd,
    evaluators = :evaluators, worker = :worker, lease_until = :lease_until
WHERE id = :id AND (state <> 'running' OR lease_until IS NULL OR lease_until <= :now OR worker = :worker)
RETURNING id;

-- name: hold
-- Say that this process still works on it.
UPDATE run SET lease_until = :lease_until WHERE id = :id AND worker = :worker AND state = 'running' RETURNING id;

-- name: money
-- The run's money and who works on it.
SELECT state, worker, max_cost_nano_usd, spent_nano_usd, reserved_nano_usd FROM run WHERE id = :id;

-- name: reserve
-- Set money aside.
UPDATE run SET reserved_nano_usd = reserved_nano_usd + :nano_usd WHERE id = :id;

-- name: reserve_more
-- The same for an answer that is asked for again.
UPDATE run_answer SET reserved_nano_usd = reserved_nano_usd + :nano_usd
WHERE run_id = :id AND case_id = :case_id AND model = :model AND repeat = :repeat AND state = 'sent';

-- name: mark_sent
-- From here on the money counts as gone until it is settled; an answer that is there stays as it is.
INSERT INTO run_answer (run_id, case_id, model, repeat, state, sent_at, reserved_nano_usd)
VALUES (:id, :case_id, :model, :repeat, 'sent', :now, :nano_usd)
ON CONFLICT DO NOTHING
RETURNING case_id;

-- name: held
-- What was reserved for one answer that is under way.
SELECT reserved_nano_usd FROM run_answer
WHERE run_id = :id AND case_id = :case_id AND model = :model AND repeat = :repeat AND state = 'sent';

-- name: unsend
-- Give up one answer that was not sent after all.
DELETE FROM run_answer
WHERE run_id = :id AND case_id = :case_id AND model = :model AND repeat = :repeat AND state = 'sent';

-- name: settle
-- Turn what was reserved into what was spent.
UPDATE run SET
    reserved_nano_usd = reserved_nano_usd - :reserved_nano_usd, spent_nano_usd = spent_nano_usd + :spent_nano_usd
WHERE id = :id;

-- name: finish_answer
-- Keep one answer.
UPDATE run_answer SET
    state = 'done', attempts = :attempts, started_at = :started_at, outcome = :outcome, status = :status,
    latency_ms = :latency_ms, ttft_ms = :ttft_ms, first_text_ms = :first_text_ms, stop_reason = :stop_reason,
    model_answered = :model_answered, streamed = :streamed, input_tokens = :input_tokens,
    cache_read_tokens = :cache_read_tokens, cache_write_5m_tokens = :cache_write_5m_tokens,
    cache_write_1h_tokens = :cache_write_1h_tokens, output_tokens = :output_tokens,
    attempt_billed_usd = :attempt_billed_usd, attempt_uncached_usd = :attempt_uncached_usd,
    attempt_price_source = :attempt_price_source, cost_billed_usd = :cost_billed_usd,
    cost_uncached_usd = :cost_uncached_usd, price_source = :price_source, error = :error, output = :output,
    tool_calls = :tool_calls
WHERE run_id = :id AND case_id = :case_id AND model = :model AND repeat = :repeat;

-- name: insert_score
-- Keep one score; a later one by the same evaluator in the same version takes its place.
INSERT OR REPLACE INTO run_score (
    run_id, case_id, model, repeat, evaluator, version, quality, role, status, value, reason, cost_usd,
    measures
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: judgements_so_far
-- How many calls of a judge are kept of one answer beside another, so that later ones are numbered on.
SELECT coalesce(max(number) + 1, 0) AS next FROM run_judgement
WHERE run_id = :id AND case_id = :case_id AND model = :model AND repeat = :repeat AND beside = :beside
    AND evaluator = :evaluator AND version = :version;

-- name: insert_run_judgement
-- Keep one call of a judge.
INSERT INTO run_judgement (
    run_id, case_id, model, repeat, beside, evaluator, version, number, quality,
    judge, started_at, judge_order, status, control, winner, grade, reason, attempt,
    input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    cost_usd, latency_ms, primary_chars, candidate_chars
) VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?,
    ?, ?, ?, ?
);

-- name: controls
-- What judges ruled when they were tested in one run, call by call.
SELECT case_id, evaluator, version, judge_order, CASE WHEN control IS NOT NULL THEN winner END AS winner
FROM run_judgement
WHERE run_id = :id AND beside = 'a control' AND status = 'ruled'
ORDER BY case_id, evaluator, version, number;

-- name: insert_look
-- Keep what was said of an answer beside an earlier one; a later word of the same evaluator takes its place.
INSERT OR REPLACE INTO run_look (
    run_id, case_id, model, repeat, before_run_id, before_case_id, before_repeat, evaluator, version, status, value,
    reason, cost_usd
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: looks
-- What was said of a run's answers beside earlier ones.
SELECT * FROM run_look WHERE run_id = :id ORDER BY case_id, model, repeat, before_run_id, before_repeat;

-- name: delete_looks
-- Forget what was said of one answer that is asked for again, beside whichever other.
DELETE FROM run_look
WHERE run_id = :id AND model = :model
    AND ((case_id = :case_id AND repeat = :repeat)
        OR (before_run_id = :id AND before_case_id = :case_id AND before_repeat = :repeat));

-- name: delete_scores
-- Forget the scores of one answer.
DELETE FROM run_score WHERE run_id = :id AND case_id = :case_id AND model = :model AND repeat = :repeat;

-- name: delete_own_scores
-- Forget the scores of one answer by itself; comparisons stay.
DELETE FROM run_score
WHERE run_id = :id AND case_id = :case_id AND model = :model AND repeat = :repeat AND role <> 'pair';

-- name: delete_answer
-- Forget one answer, so that it is asked for again.
DELETE FROM run_answer WHERE run_id = :id AND case_id = :case_id AND model = :model AND repeat = :repeat;

-- name: lose
-- Forget what a process that ended had sent.
DELETE FROM run_answer WHERE run_id = :id AND state = 'sent' RETURNING case_id;

-- name: lose_reserves
-- It may have been billed, and so may judges: what was reserved stays spent.
UPDATE run SET spent_nano_usd = spent_nano_usd + reserved_nano_usd, reserved_nano_usd = 0 WHERE id = :id;

-- name: end
-- End a run, if this process works on it.
UPDATE run SET state = :state, reason = :reason, finished_at = :now, lease_until = NULL
WHERE id = :id AND worker = :worker
RETURNING id;

-- name: runs
-- Runs, newest first, one page.
SELECT run.*, (SELECT count(*) FROM run_answer WHERE run_id = run.id AND state = 'done') AS answered
FROM run
WHERE (:kind IS NULL OR kind = :kind) AND (:fingerprint IS NULL OR fingerprint = :fingerprint)
    AND (:key IS NULL OR (started_at, id) < (:key, :key_id))
ORDER BY started_at DESC, id DESC
LIMIT :limit;

-- name: named
-- Runs that a person may mean: by the id or its beginning, or by name; newest first.
SELECT run.*, (SELECT count(*) FROM run_answer WHERE run_id = run.id AND state = 'done') AS answered
FROM run
WHERE id = :text OR substr(id, 1, length(:text)) = :text OR name = :text
ORDER BY id = :text DESC, started_at DESC, id DESC
LIMIT 2;

-- name: cases
-- The questions of one run, in their order.
SELECT * FROM run_case WHERE run_id = :id ORDER BY position;

-- name: answers
-- The answers of one run that are there.
SELECT * FROM run_answer WHERE run_id = :id AND state = 'done' ORDER BY case_id, model, repeat;

-- name: scores
-- The scores of one run.
SELECT * FROM run_score WHERE run_id = :id ORDER BY case_id, model, repeat, evaluator, version, role;

-- name: prompts
-- Production prompts whose content is kept, one row an exchange, oldest first.
SELECT
    exchange.id AS exchange_id, exchange.started_at, exchange.task, exchange.dialect, exchange.model,
    exchange.conversation, exchange.path, exchange.first_turn
FROM exchange
WHERE exchange.started_at >= :since AND exchange.started_at < :until AND (:task IS NULL OR exchange.task = :task)
    AND exchange.dialect IS NOT NULL
    AND EXISTS (SELECT 1 FROM content WHERE content.exchange_id = exchange.id AND content.prompt IS NOT NULL)
ORDER BY exchange.started_at, exchange.id;

-- name: prompt_texts
-- The content of chosen production prompts.
SELECT exchange_id, prompt FROM content
WHERE exchange_id IN (SELECT value FROM json_each(:ids)) AND prompt IS NOT NULL
GROUP BY exchange_id;

-- name: costs_so_far
-- What answers of a model to these prompts cost before, in any run.
SELECT run_answer.model, run_case.prompt_hash, avg(run_answer.cost_billed_usd) AS billed_usd
FROM run_case
JOIN run_answer USING (run_id, case_id)
WHERE run_case.prompt_hash IN (SELECT value FROM json_each(:hashes)) AND run_answer.cost_billed_usd > 0
GROUP BY run_answer.model, run_case.prompt_hash;

-- name: forget_content
-- Delete prompts and answers of runs that ended before then; figures and scores stay.
UPDATE run_case SET request = NULL, expected = NULL
WHERE run_id IN (SELECT id FROM run WHERE finished_at < :before) AND (request IS NOT NULL OR expected IS NOT NULL)
RETURNING 1;

-- name: forget_answers
-- The answers' part of the same.
UPDATE run_answer SET output = NULL, tool_calls = NULL
WHERE run_id IN (SELECT id FROM run WHERE finished_at < :before) AND (output IS NOT NULL OR tool_calls IS NOT NULL)
RETURNING 1;

-- name: forget_reasons
-- The scores' part of the same: evaluators quote what they saw.
UPDATE run_score SET reason = ''
WHERE run_id IN (SELECT id FROM run WHERE finished_at < :before) AND reason <> '' AND status = 'scored'
RETURNING 1;

-- name: forget_look_reasons
-- What judges said of an answer beside an earlier one, too.
UPDATE run_look SET reason = ''
WHERE run_id IN (SELECT id FROM run WHERE finished_at < :before) AND reason <> '' AND status = 'scored'
RETURNING 1;

-- name: forget_judge_reasons
-- And in every single call; what is no ruling may quote as well.
UPDATE run_judgement SET reason = ''
WHERE run_id IN (SELECT id FROM run WHERE finished_at < :before) AND reason <> ''
RETURNING 1;
