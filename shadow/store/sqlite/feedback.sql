-- name: known_exchange
-- Whether there is such an exchange, and how it was.
SELECT * FROM exchange WHERE id = :exchange_id;

-- name: give
-- Keep what was said; what is not said this time stays as it was. A new expected text means scoring again.
INSERT INTO feedback (exchange_id, given_at, score, expected, expected_changed)
VALUES (:exchange_id, :given_at, :score, :expected, :expected_changed)
ON CONFLICT (exchange_id) DO UPDATE SET
    given_at = CASE
        WHEN coalesce(excluded.score, score) IS NOT score OR coalesce(excluded.expected, expected) IS NOT expected
        THEN excluded.given_at ELSE given_at
    END,
    rescored_at = CASE WHEN coalesce(excluded.expected, expected) IS NOT expected THEN NULL ELSE rescored_at END,
    expected_changed = CASE WHEN excluded.expected IS NULL THEN expected_changed ELSE excluded.expected_changed END,
    score = coalesce(excluded.score, score),
    expected = coalesce(excluded.expected, expected);

-- name: of_exchange
-- What was said about one exchange.
SELECT * FROM feedback WHERE exchange_id = :exchange_id;

-- name: to_rescore
-- Expected texts that came after the answers were scored, once all jobs of their exchange have ended.
SELECT exchange_id, expected FROM feedback
WHERE expected IS NOT NULL AND expected_changed = 0 AND rescored_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM shadow_job
    WHERE shadow_job.exchange_id = feedback.exchange_id AND state IN ('pending', 'leased', 'sent')
)
ORDER BY given_at LIMIT :limit;

-- name: kept_pairs
-- What is still kept of the answers to one exchange.
SELECT
    content.*, shadow_answer.outcome, shadow_answer.stop_reason, shadow_answer.latency_ms, shadow_answer.ttft_ms,
    shadow_answer.input_tokens, shadow_answer.cache_read_tokens, shadow_answer.cache_write_5m_tokens,
    shadow_answer.cache_write_1h_tokens, shadow_answer.output_tokens, shadow_answer.cost_billed_usd, shadow_answer.task
FROM content JOIN shadow_answer USING (exchange_id, candidate)
WHERE exchange_id = :exchange_id ORDER BY candidate;

-- name: forget_score
-- Make room for a new word of the same evaluator on the same answer, in whatever version it spoke before.
DELETE FROM score WHERE exchange_id = ? AND candidate = ? AND evaluator = ? AND role = ?;

-- name: refresh_quality
-- Bring the quality columns of an exchange's pairs in line with its scores.
UPDATE shadow_answer SET
    quality_primary = (SELECT value FROM score WHERE score.exchange_id = shadow_answer.exchange_id
        AND score.candidate = '' AND quality AND role = 'primary' LIMIT 1),
    quality_candidate = (SELECT value FROM score WHERE score.exchange_id = shadow_answer.exchange_id
        AND score.candidate = shadow_answer.candidate AND quality AND role = 'candidate' LIMIT 1),
    quality_diff = coalesce(
        (SELECT value FROM score WHERE score.exchange_id = shadow_answer.exchange_id
            AND score.candidate = shadow_answer.candidate AND quality AND role = 'pair' LIMIT 1),
        (SELECT value FROM score WHERE score.exchange_id = shadow_answer.exchange_id
            AND score.candidate = shadow_answer.candidate AND quality AND role = 'candidate' LIMIT 1)
        - (SELECT value FROM score WHERE score.exchange_id = shadow_answer.exchange_id
            AND score.candidate = '' AND quality AND role = 'primary' LIMIT 1))
WHERE exchange_id = :exchange_id;

-- name: rescored
-- Remember that it was done; unless another expected text came meanwhile.
UPDATE feedback SET rescored_at = :now WHERE exchange_id = :exchange_id AND expected = :expected;
