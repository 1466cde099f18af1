-- A pair without an answer is the worst there is: such pairs come before every loss, others without a quality
-- difference after every gain (differences lie in [-1, 1]). The list is in the order of the index.
DROP INDEX shadow_answer_by_loss;

CREATE INDEX shadow_answer_by_loss ON shadow_answer (
    coalesce(quality_diff, CASE WHEN unanswered THEN -2.0 ELSE 2.0 END), exchange_id, candidate, task, unanswered,
    quality_diff, exchange_started_at
);
