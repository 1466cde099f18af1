-- name: append_delta
-- Append what one write added to one series in one minute.
INSERT INTO rollup_delta (bucket, task, "primary", candidate, detail, numbers, histograms) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: bundle_exchanges
-- Exchanges by id, as far as rollups look at them.
SELECT
    id, started_at, task, model, dialect, eligible, outcome, latency_ms, ttft_ms, streamed, client_retry, first_turn,
    has_tools, gateway_error, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    output_tokens, cost_billed_usd, cost_uncached_usd, price_source, overhead_us
FROM exchange WHERE id IN (SELECT value FROM json_each(:ids));

-- name: bundle_jobs
-- Their jobs.
SELECT exchange_id, candidate, state, reason, counted FROM shadow_job
WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: bundle_answers
-- What candidates answered to them.
SELECT
    exchange_id, candidate, outcome, latency_ms, ttft_ms, streamed, redaction_changed,
    input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    cost_billed_usd, cost_uncached_usd
FROM shadow_answer WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: bundle_scores
-- Their scores.
SELECT exchange_id, candidate, evaluator, version, quality, role, status, value, cost_usd FROM score
WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: bundle_judgements
-- What judges said about them.
SELECT
    exchange_id, candidate, evaluator, version, role, quality, model, judge_order, status, control, winner, grade,
    cost_usd, primary_chars, candidate_chars
FROM judgement WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: bundle_labels
-- What people said about their pairs.
SELECT exchange_id, candidate, winner FROM label WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: bundle_feedback
-- What users of the app said about them.
SELECT exchange_id, score FROM feedback WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: asked_again
-- About which of them the primary was asked again.
SELECT exchange_id FROM noise_floor WHERE exchange_id IN (SELECT value FROM json_each(:ids));

-- name: second_answers
-- All second answers of the primary in the conversations of these exchanges.
SELECT noise_floor.* FROM (
    SELECT DISTINCT task, "primary", conversation FROM noise_floor
    WHERE exchange_id IN (SELECT value FROM json_each(:ids))
)
JOIN noise_floor USING (task, "primary", conversation);

-- name: newest_judges
-- Which judges gave the newest rulings about a window, by comparison, and when the last one.
SELECT
    exchange.task, exchange.model AS "primary", newest.candidate, newest.evaluator, newest.version, newest.model,
    max(newest.started_at) AS latest
FROM (
    SELECT exchange_id, candidate, evaluator, version, model, started_at FROM judgement
    WHERE started_at >= :since AND started_at < :until AND quality ORDER BY started_at DESC LIMIT :limit
) AS newest
CROSS JOIN exchange ON exchange.id = newest.exchange_id
WHERE exchange.started_at >= :since
GROUP BY 1, 2, 3, 4, 5, 6;

-- name: known_exchanges
-- Which of these exchanges are stored already.
SELECT id FROM exchange WHERE id IN (SELECT value FROM json_each(:ids));

-- name: unpriced_of
-- Which of these exchanges still wait for a price decision.
SELECT id FROM exchange WHERE id IN (SELECT value FROM json_each(:ids)) AND price_source IS NULL;

-- name: series_of
-- Where the jobs of these exchanges are counted.
SELECT id, started_at, task, model FROM exchange WHERE id IN (SELECT value FROM json_each(:ids));

-- name: oldest_deltas
-- The next deltas to fold.
SELECT id, bucket, task, "primary", candidate, detail, numbers, histograms FROM rollup_delta ORDER BY id LIMIT :limit;

-- name: delete_deltas
-- Folded deltas go, in the transaction that folds them.
DELETE FROM rollup_delta WHERE id <= :last;

-- name: folded
-- The sums into which deltas are folded, one a row of `keys`: [grain, bucket, task, primary, candidate, detail].
SELECT rollup.rowid AS id, rollup.* FROM json_each(:keys) AS wanted
JOIN rollup ON
    grain = wanted.value ->> 0 AND bucket = wanted.value ->> 1 AND task = wanted.value ->> 2
    AND candidate = wanted.value ->> 4 AND detail = wanted.value ->> 5
    AND coalesce("primary", 0) = coalesce(wanted.value ->> 3, 0);

-- name: insert_folded
-- Begin one bucket of one series.
INSERT INTO rollup (grain, bucket, task, "primary", candidate, detail, numbers, histograms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_folded
-- Replace the sums of one bucket of one series.
UPDATE rollup SET numbers = ?, histograms = ? WHERE rowid = ?;

-- name: fresh
-- What is not folded yet of one window, by its minute.
SELECT bucket, task, "primary", candidate, detail, numbers, histograms
FROM rollup_delta
WHERE bucket >= :since AND bucket < :until AND (:task IS NULL OR task = :task);

-- name: versions
-- How often each of these buckets was changed.
SELECT bucket, version FROM rollup_version
WHERE grain = :grain AND bucket >= :since AND bucket < :until ORDER BY bucket;

-- name: span
-- The sums of buckets of one grain.
SELECT bucket, task, "primary", candidate, detail, numbers, histograms FROM rollup
WHERE grain = :grain AND bucket >= :since AND bucket < :until AND (:task IS NULL OR task = :task);

-- name: touch
-- The sums of this bucket change.
INSERT INTO rollup_version (grain, bucket, version) VALUES (?, ?, 1)
ON CONFLICT (grain, bucket) DO UPDATE SET version = version + 1;

-- name: exchanges_between
-- A page of the exchanges that began in [since, until), for a rebuild.
SELECT
    id, started_at, task, model, dialect, eligible, outcome, latency_ms, ttft_ms, streamed, client_retry, first_turn,
    has_tools, gateway_error, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    output_tokens, cost_billed_usd, cost_uncached_usd, price_source, overhead_us
FROM exchange
WHERE (started_at, id) > (:after, :after_id) AND started_at < :until
ORDER BY started_at, id LIMIT :limit;

-- name: first_since
-- When the first exchange of a window began.
SELECT min(started_at) AS started_at FROM exchange WHERE started_at >= :since AND started_at < :until;

-- name: newest_conversations
-- The conversations of a task among the newest exchanges of a window; a rare task has few, and all are not looked at.
SELECT task, conversation FROM (
    SELECT task, coalesce(conversation, id) AS conversation, dialect FROM exchange
    WHERE started_at >= :since AND started_at < :until ORDER BY started_at DESC LIMIT :limit
)
WHERE dialect IS NOT NULL AND (:task IS NULL OR task = :task);

-- name: raw_span
-- When the oldest and the newest exchange began.
SELECT
    (SELECT min(started_at) FROM exchange) AS oldest,
    (SELECT max(started_at) FROM exchange) AS newest;

-- name: waiting
-- How many deltas are not folded yet.
SELECT count(*) AS count FROM rollup_delta;

-- name: last_delta
-- The newest delta there is; 0 when all are folded.
SELECT coalesce(max(id), 0) AS id FROM rollup_delta;

-- name: folded_between
-- The folded sums of one grain in [since, until).
SELECT bucket, task, "primary", candidate, detail, numbers, histograms FROM rollup
WHERE grain = :grain AND bucket >= :since AND bucket < :until;

-- name: delete_folded_between
-- Delete the folded sums of one grain in [since, until), all but what raw rows do not tell (copies lost).
DELETE FROM rollup WHERE grain = :grain AND bucket >= :since AND bucket < :until AND detail <> :dropped;

-- name: delete_deltas_between
-- Delete the deltas that a rebuild has seen in the raw rows.
DELETE FROM rollup_delta WHERE id <= :last AND bucket >= :since AND bucket < :until AND detail <> :dropped;

-- name: meta
-- One fact about the file.
SELECT value FROM meta WHERE key = :key;

-- name: set_meta
-- Keep one fact about the file.
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: raise_meta
-- Keep a number about the file that only ever grows.
INSERT INTO meta (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE CAST(value AS INTEGER) < CAST(excluded.value AS INTEGER);

-- name: delete_meta
-- Forget one fact about the file.
DELETE FROM meta WHERE key = :key;

-- name: take_lease
-- Become, or stay, the one who does this; no row when another one holds it.
INSERT INTO lease (name, holder, lease_until) VALUES (:name, :holder, :until)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
WHERE holder = excluded.holder OR lease_until < :now OR lease_until > :farthest
RETURNING 1;

-- name: prolong_lease
-- Stay the one who does this for longer.
UPDATE lease SET lease_until = max(lease_until, :until) WHERE name = :name AND holder = :holder;

-- name: seize_lease
-- Become the one who does this, whoever did it before.
INSERT INTO lease (name, holder, lease_until) VALUES (:name, :holder, :until)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
RETURNING 1;

-- name: holds_lease
-- Whether this one (still) does it.
SELECT 1 FROM lease WHERE name = :name AND holder = :holder;

-- name: give_lease
-- Let another one do it.
DELETE FROM lease WHERE name = :name AND holder = :holder;

-- name: prune_versions
-- Forget how often buckets were changed whose sums are no longer kept.
DELETE FROM rollup_version WHERE grain = :grain AND bucket < :before;

-- name: prune_rollups
-- Delete the oldest sums of one grain that are no longer kept, some at a time.
DELETE FROM rollup WHERE rowid IN (
    SELECT rowid FROM rollup WHERE grain = :grain AND bucket < :before ORDER BY bucket LIMIT :limit
)
RETURNING 1;
