-- One call of a judge: about a pair, or a control that tests the judge. Deleted with its exchange.
CREATE TABLE judgement (
    exchange_id TEXT NOT NULL,
    candidate TEXT NOT NULL,
    evaluator TEXT NOT NULL,
    version TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('primary', 'candidate', 'pair')),
    number INTEGER NOT NULL,
    quality INTEGER NOT NULL,
    model TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    judge_order TEXT NOT NULL CHECK (judge_order IN ('primary_first', 'candidate_first', 'single', 'none')),
    status TEXT NOT NULL CHECK (status IN ('ruled', 'identical', 'unreadable', 'refused', 'timeout', 'error')),
    control TEXT CHECK (control IN ('other_prompt', 'half')),
    winner TEXT CHECK (winner IN ('primary', 'candidate', 'tie')),
    grade INTEGER CHECK (grade BETWEEN 1 AND 5),
    reason TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    input_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    output_tokens INTEGER,
    cost_usd REAL,
    latency_ms REAL NOT NULL,
    primary_chars INTEGER NOT NULL,
    candidate_chars INTEGER NOT NULL,
    PRIMARY KEY (exchange_id, candidate, evaluator, version, role, number),
    CHECK (status IN ('ruled', 'identical') OR (winner IS NULL AND grade IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX judgement_by_start ON judgement (started_at);

-- What a person said about a pair, blind: `side_a` is the answer that was shown as A. One word a person and pair.
CREATE TABLE label (
    exchange_id TEXT NOT NULL,
    candidate TEXT NOT NULL,
    labeller TEXT NOT NULL,
    winner TEXT NOT NULL CHECK (winner IN ('primary', 'candidate', 'tie')),
    choice TEXT NOT NULL,
    side_a TEXT CHECK (side_a IN ('primary', 'candidate')),
    seed TEXT,
    source TEXT NOT NULL,
    labelled_at INTEGER NOT NULL,
    PRIMARY KEY (exchange_id, candidate, labeller)
) STRICT, WITHOUT ROWID;

CREATE INDEX label_by_time ON label (labelled_at);
