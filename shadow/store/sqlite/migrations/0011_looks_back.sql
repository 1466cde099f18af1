-- What judges say in benchmark runs, call by call, and what they say of a model's answer beside its own earlier one.

-- An answer beside an earlier one of the same model to the same prompt. `value`: positive, the later one is better.
-- Within one run (`before_run_id` is the run itself) nothing can have changed: that is the noise floor.
CREATE TABLE run_look (
    run_id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    model TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    before_run_id TEXT NOT NULL,
    before_case_id TEXT NOT NULL,
    before_repeat INTEGER NOT NULL,
    evaluator TEXT NOT NULL,
    version TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('scored', 'not_applicable', 'failed')),
    value REAL CHECK (value BETWEEN -1 AND 1),
    reason TEXT NOT NULL,
    cost_usd REAL NOT NULL,
    PRIMARY KEY (run_id, case_id, model, repeat, before_run_id, before_repeat, evaluator, version),
    CHECK ((status = 'scored') = (value IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- One call of a judge in a run. `beside`: the answer alone, the primary's answer, an earlier one of the same model, or
-- an answer that was made to lose, so that the judge is tested.
CREATE TABLE run_judgement (
    run_id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    model TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    beside TEXT NOT NULL,
    evaluator TEXT NOT NULL,
    version TEXT NOT NULL,
    number INTEGER NOT NULL,
    quality INTEGER NOT NULL,
    judge TEXT NOT NULL,
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
    PRIMARY KEY (run_id, case_id, model, repeat, beside, evaluator, version, number),
    CHECK (status IN ('ruled', 'identical') OR (winner IS NULL AND grade IS NULL))
) STRICT, WITHOUT ROWID;
