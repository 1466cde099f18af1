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
