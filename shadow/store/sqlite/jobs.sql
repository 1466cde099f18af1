-- name: any_pending
-- Whether any job waits; asked first, because an idle worker must not take the write lock ten times a second.
SELECT 1 FROM shadow_job WHERE state = 'pending' LIMIT 1;

-- name: lease
-- Take the oldest pending jobs, except those of resting candidates.
UPDATE shadow_job SET state = 'leased', worker = :worker, lease = :lease, lease_until = :lease_until
WHERE state = 'pending' AND (exchange_id, candidate) IN (
    SELECT exchange_id, candidate FROM shadow_job
    WHERE state = 'pending' AND candidate NOT IN (SELECT value FROM json_each(:without))
    ORDER BY created_at, exchange_id, candidate
    LIMIT :limit
)
RETURNING *;

-- name: leased_exchanges
-- The exchanges of the jobs of one lease.
SELECT exchange.* FROM exchange
WHERE id IN (SELECT value FROM json_each(:ids));

-- name: leased_bodies
-- The copies that the jobs of one lease need.
SELECT * FROM job_body WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: renew
-- A live worker keeps what it holds.
UPDATE shadow_job SET lease_until = :lease_until
WHERE state IN ('leased', 'sent') AND worker = :worker
RETURNING 1;

-- name: give_up_leases
-- Workers of one line that are known to be gone hold nothing any more.
UPDATE shadow_job SET lease_until = 0
WHERE state IN ('leased', 'sent')
    AND substr(worker, 1, length(:line)) = :line AND substr(worker, 1, length(:but)) <> :but
RETURNING 1;

-- name: release
-- Give an unsent job back.
UPDATE shadow_job SET state = 'pending', worker = NULL, lease = NULL, lease_until = NULL
WHERE exchange_id = :exchange_id AND candidate = :candidate AND lease = :lease AND state = 'leased'
RETURNING 1;

-- name: held
-- The job, if this lease still holds it.
SELECT state, budget_day, reserved_nano_usd FROM shadow_job
WHERE exchange_id = :exchange_id AND candidate = :candidate AND lease = :lease AND state IN ('leased', 'sent');

-- name: end
-- Move a held job to its final state.
UPDATE shadow_job SET state = :state, reason = :reason, finished_at = :now, lease_until = NULL
WHERE exchange_id = :exchange_id AND candidate = :candidate;

-- name: mark_sent
-- From here on the money counts as gone until it is settled, and the job is never sent again.
UPDATE shadow_job SET
    state = 'sent', sent_at = :now, budget_day = :day, reserved_nano_usd = :nano_usd, asking_nano_usd = :asking_nano_usd
WHERE exchange_id = :exchange_id AND candidate = :candidate;

-- name: delete_body_of
-- Delete the copy of one exchange when none of its jobs is unfinished.
DELETE FROM job_body WHERE exchange_id = :exchange_id AND NOT EXISTS (
    SELECT 1 FROM shadow_job WHERE exchange_id = :exchange_id AND state IN ('pending', 'leased', 'sent')
);

-- name: insert_answer
-- Keep what a candidate answered.
INSERT INTO shadow_answer (
    exchange_id, candidate, exchange_started_at, task, started_at, outcome, status, latency_ms, ttft_ms, first_text_ms,
    stop_reason, model_answered, streamed,
    input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    cost_billed_usd, cost_uncached_usd, price_source, error, redaction_changed,
    quality_primary, quality_candidate, quality_diff, unanswered
) VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
    ?, ?, ?,
    ?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?,
    ?, ?, ?, ?
) ON CONFLICT (exchange_id, candidate) DO NOTHING;

-- name: insert_score
-- Keep one score; the primary's own score is kept once, whichever candidate's job brings it first.
INSERT INTO score (
    exchange_id, candidate, evaluator, version, quality, role, status, value, reason, cost_usd, measures, absolute
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange_id, candidate, evaluator, version, role) DO NOTHING;

-- name: leased_expected
-- What was right, where users of the app have said so already.
SELECT exchange_id, expected FROM feedback
WHERE expected IS NOT NULL AND expected_changed = 0 AND exchange_id IN (SELECT value FROM json_each(:ids));

-- name: insert_noise
-- Keep what the primary, asked again, answered.
INSERT INTO noise_floor (
    exchange_id, exchange_started_at, task, "primary", conversation, outcome, identical, difference, evaluator, version,
    cost_billed_usd, scoring_usd
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange_id) DO NOTHING;

-- name: noise_floor_so_far
-- How many conversations (up to a limit) the primary was asked again about, and whether this is one of them.
SELECT
    (SELECT count(*) FROM (
        SELECT DISTINCT conversation FROM noise_floor WHERE task = :task AND "primary" = :primary LIMIT :limit
    )) AS conversations,
    EXISTS (
        SELECT 1 FROM noise_floor WHERE task = :task AND "primary" = :primary AND conversation = :conversation
    ) AS known;

-- name: insert_judgement
-- Keep one call of a judge, in the order the calls were made.
INSERT INTO judgement (
    exchange_id, candidate, evaluator, version, role, number, quality,
    model, started_at, judge_order, status, control, winner, grade, reason, attempt,
    input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    cost_usd, latency_ms, primary_chars, candidate_chars
) VALUES (
    ?, ?, ?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?,
    ?, ?, ?, ?
) ON CONFLICT DO NOTHING;

-- name: insert_content
-- Keep what the config allows to keep of prompt and answers.
INSERT INTO content (
    exchange_id, candidate, prompt, primary_output, primary_tool_calls, candidate_output, candidate_tool_calls
) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange_id, candidate) DO NOTHING;

-- name: price_primary
-- Keep the primary's costs when no price was decided yet.
UPDATE exchange SET cost_billed_usd = :billed_usd, cost_uncached_usd = :uncached_usd, price_source = :source
WHERE id = :exchange_id AND price_source IS NULL;

-- name: open_day
-- Begin a day's budget.
INSERT INTO budget_day (day) VALUES (:day) ON CONFLICT (day) DO NOTHING;

-- name: day
-- What one day has spent and reserved, and what admission waits for.
SELECT spent_nano_usd, reserved_nano_usd, closed_for_nano_usd FROM budget_day WHERE day = :day;

-- name: reserve
-- Put money aside before it is spent.
UPDATE budget_day SET reserved_nano_usd = reserved_nano_usd + :nano_usd WHERE day = :day;

-- name: settle
-- Replace a reserve by what was really spent.
UPDATE budget_day SET reserved_nano_usd = reserved_nano_usd - :reserved, spent_nano_usd = spent_nano_usd + :spent
WHERE day = :day;

-- name: close_admission
-- Admit no conversation until the headroom is back that was missing.
UPDATE budget_day SET closed_for_nano_usd = max(coalesce(closed_for_nano_usd, 0), :nano_usd) WHERE day = :day;

-- name: open_admission
-- The missing headroom is back.
UPDATE budget_day SET closed_for_nano_usd = NULL WHERE day = :day;

-- name: admission
-- What was decided about a conversation, unless it is so long ago that the same key means a new conversation.
SELECT admitted FROM admission WHERE conversation = :conversation AND decided_at > :since;

-- name: admit
-- Remember the decision for the conversation's later turns and other candidates.
INSERT INTO admission (conversation, admitted, decided_at) VALUES (:conversation, :admitted, :now)
ON CONFLICT (conversation) DO UPDATE SET admitted = excluded.admitted, decided_at = excluded.decided_at;

-- name: return_expired
-- Unsent jobs of a worker that is gone wait again.
UPDATE shadow_job SET state = 'pending', worker = NULL, lease = NULL, lease_until = NULL
WHERE state IN ('leased', 'sent') AND state = 'leased' AND lease_until < :now
RETURNING 1;

-- name: lose_expired
-- Sent jobs of a worker that is gone are lost: asking again would be paid twice.
UPDATE shadow_job SET state = 'dropped', reason = 'lost_on_crash', finished_at = :now, lease_until = NULL
WHERE state IN ('leased', 'sent') AND state = 'sent' AND lease_until < :now
RETURNING exchange_id, candidate, counted, budget_day, reserved_nano_usd;

-- name: overflow
-- Drop the oldest pending jobs beyond the queue's size.
UPDATE shadow_job SET state = 'dropped', reason = 'queue_full', finished_at = :now
WHERE state = 'pending' AND (exchange_id, candidate) IN (
    SELECT exchange_id, candidate FROM shadow_job WHERE state = 'pending'
    ORDER BY created_at DESC, exchange_id DESC, candidate DESC
    LIMIT -1 OFFSET :limit
)
RETURNING exchange_id, candidate, counted;

-- name: held_bytes
-- How large the copies that wait are, all together.
SELECT coalesce(sum(length(request) + length(response)), 0) AS bytes FROM job_body;

-- name: overflow_bytes
-- Drop the oldest pending jobs whose copies lie beyond the queue's size in bytes.
UPDATE shadow_job SET state = 'dropped', reason = 'queue_full', finished_at = :now
WHERE state = 'pending' AND exchange_id IN (
    SELECT exchange_id FROM (
        SELECT exchange_id, sum(length(request) + length(response)) OVER (ORDER BY started_at DESC, id DESC) AS held
        FROM job_body JOIN exchange ON id = exchange_id
    )
    WHERE held > :limit_bytes
)
RETURNING exchange_id, candidate, counted;

-- name: origin_rests
-- Origins that must not be asked yet.
SELECT origin, rest_until FROM origin_rest WHERE rest_until > :now;
