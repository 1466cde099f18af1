-- Benchmark runs: the same prompts asked of several models, from a file, from stored traffic, or by the schedule.

-- One run. `lease_until`: some process works on it until then; money is whole nano-dollars, kept apart from the day's.
CREATE TABLE run (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('bench', 'replay', 'weekly')),
    name TEXT NOT NULL,
    period TEXT,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'stopped', 'failed')),
    reason TEXT,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    models TEXT NOT NULL,
    "primary" TEXT,
    evaluators TEXT NOT NULL,
    repeats INTEGER NOT NULL,
    seed TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    base_urls TEXT NOT NULL,
    note TEXT NOT NULL,
    max_cost_nano_usd INTEGER,
    estimate_usd REAL,
    spent_nano_usd INTEGER NOT NULL DEFAULT 0,
    reserved_nano_usd INTEGER NOT NULL DEFAULT 0 CHECK (reserved_nano_usd >= 0),
    cases INTEGER NOT NULL,
    cells INTEGER NOT NULL,
    worker TEXT,
    lease_until INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX run_by_start ON run (started_at, id);

CREATE INDEX run_by_fingerprint ON run (fingerprint, started_at);

-- A scheduled run happens once a period, however many processes there are.
CREATE UNIQUE INDEX run_by_period ON run (kind, period) WHERE period IS NOT NULL;

-- One question of a run. `request` is null when nothing of the content is kept.
CREATE TABLE run_case (
    run_id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    prompt_hash TEXT NOT NULL,
    task TEXT NOT NULL,
    dialect TEXT NOT NULL,
    path TEXT,
    headers TEXT NOT NULL,
    cluster TEXT,
    source TEXT,
    expected TEXT,
    request BLOB,
    PRIMARY KEY (run_id, case_id)
) STRICT;

CREATE INDEX run_case_by_prompt ON run_case (prompt_hash, run_id);

-- One answer of a run: `sent` from the moment its money is reserved, `done` with everything known.
CREATE TABLE run_answer (
    run_id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    model TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sent', 'done')),
    sent_at INTEGER NOT NULL,
    reserved_nano_usd INTEGER NOT NULL,
    attempts INTEGER,
    started_at INTEGER,
    outcome TEXT,
    status INTEGER,
    latency_ms REAL,
    ttft_ms REAL,
    first_text_ms REAL,
    stop_reason TEXT,
    model_answered TEXT,
    streamed INTEGER,
    input_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    output_tokens INTEGER,
    attempt_billed_usd REAL,
    attempt_uncached_usd REAL,
    attempt_price_source TEXT,
    cost_billed_usd REAL,
    cost_uncached_usd REAL,
    price_source TEXT,
    error TEXT,
    output TEXT,
    tool_calls TEXT,
    PRIMARY KEY (run_id, case_id, model, repeat)
) STRICT;

-- What an evaluator said of an answer of a run; role `pair` compares it with the run's primary.
CREATE TABLE run_score (
    run_id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    model TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    evaluator TEXT NOT NULL,
    version TEXT NOT NULL,
    quality INTEGER NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('primary', 'candidate', 'pair')),
    status TEXT NOT NULL CHECK (status IN ('scored', 'not_applicable', 'failed')),
    value REAL,
    reason TEXT NOT NULL,
    cost_usd REAL NOT NULL,
    measures TEXT NOT NULL,
    PRIMARY KEY (run_id, case_id, model, repeat, evaluator, version, role),
    CHECK ((status = 'scored') = (value IS NOT NULL))
) STRICT, WITHOUT ROWID;
