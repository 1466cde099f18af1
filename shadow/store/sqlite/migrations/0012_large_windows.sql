-- The rollups also tell what judges, people and the primary's second answers said (details "judge", "label", "feedback"
-- and "noise"). Where there is any of it already, the leader makes the rollups anew, the newest hours first.
INSERT INTO meta (key, value)
SELECT 'rollups_due_before', CAST((SELECT max(started_at) FROM exchange) / 3600000000 * 3600 + 3600 AS TEXT)
WHERE EXISTS (SELECT 1 FROM exchange) AND (
    EXISTS (SELECT 1 FROM judgement) OR EXISTS (SELECT 1 FROM label)
    OR EXISTS (SELECT 1 FROM feedback) OR EXISTS (SELECT 1 FROM noise_floor)
)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- What judges cost on a day is asked with every look at the budget: out of the index alone.
DROP INDEX judgement_by_start;

CREATE INDEX judgement_by_start ON judgement (started_at, cost_usd);

-- Whether one of both sides gave no answer: a list of such pairs must not look at all others.
ALTER TABLE shadow_answer ADD COLUMN unanswered INTEGER NOT NULL DEFAULT 0;

UPDATE shadow_answer SET unanswered = 1
WHERE outcome NOT IN ('ok', 'refusal', 'truncated') OR EXISTS (
    SELECT 1 FROM exchange
    WHERE exchange.id = shadow_answer.exchange_id AND exchange.outcome NOT IN ('ok', 'refusal', 'truncated')
);

-- Every filter of a list of pairs is looked at in the index alone, in the order of the list.
DROP INDEX shadow_answer_by_start;

CREATE INDEX shadow_answer_by_start ON shadow_answer (
    exchange_started_at, exchange_id, candidate, task, unanswered, quality_diff
);

DROP INDEX shadow_answer_by_loss;

CREATE INDEX shadow_answer_by_loss ON shadow_answer (
    coalesce(quality_diff, 2.0), exchange_id, candidate, task, unanswered, quality_diff, exchange_started_at
);
