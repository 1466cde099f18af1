-- What a score speaks about (whether the answer is right, or whether it has the right shape), and whether about one answer
-- alone or about two.
ALTER TABLE score ADD COLUMN measures TEXT NOT NULL DEFAULT 'content' CHECK (measures IN ('content', 'format'));

ALTER TABLE score ADD COLUMN absolute INTEGER NOT NULL DEFAULT 1;

-- What users of the app said later about the primary's answer to one exchange. `expected` is kept as the content rules
-- allow; where these changed it, it is shown and never used. `rescored_at`: what was scored before it came is scored again.
CREATE TABLE feedback (
    exchange_id TEXT NOT NULL PRIMARY KEY,
    given_at INTEGER NOT NULL,
    score REAL CHECK (score BETWEEN 0 AND 1),
    expected TEXT,
    expected_changed INTEGER NOT NULL DEFAULT 0,
    rescored_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX feedback_to_rescore ON feedback (given_at)
WHERE expected IS NOT NULL AND expected_changed = 0 AND rescored_at IS NULL;

-- The primary asked once more what it was asked live. `difference`: quality of the second answer minus that of the first.
CREATE TABLE noise_floor (
    exchange_id TEXT NOT NULL PRIMARY KEY,
    exchange_started_at INTEGER NOT NULL,
    task TEXT NOT NULL,
    "primary" TEXT NOT NULL,
    conversation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    identical INTEGER,
    difference REAL CHECK (difference BETWEEN -1 AND 1),
    evaluator TEXT,
    version TEXT,
    cost_billed_usd REAL,
    scoring_usd REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX noise_floor_by_conversation ON noise_floor (task, "primary", conversation);

CREATE INDEX noise_floor_by_start ON noise_floor (exchange_started_at);
