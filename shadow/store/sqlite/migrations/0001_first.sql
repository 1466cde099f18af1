-- The first schema. Times are microseconds since 1970-01-01T00:00:00Z, money of the budget is whole nano-dollars
-- (sums stay exact), truth values are 0 or 1. Column names are the field names of `shadow.records`.

-- Facts about the file itself, such as when it was made.
CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One live request with its answer.
CREATE TABLE exchange (
    id TEXT NOT NULL PRIMARY KEY,
    started_at INTEGER NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    status INTEGER,
    outcome TEXT NOT NULL,
    latency_ms REAL NOT NULL,
    dialect TEXT,
    task TEXT NOT NULL,
    conversation TEXT,
    model TEXT,
    model_answered TEXT,
    streamed INTEGER NOT NULL,
    stop_reason TEXT,
    ttft_ms REAL,
    first_text_ms REAL,
    input_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    output_tokens INTEGER,
    cost_billed_usd REAL,
    cost_uncached_usd REAL,
    price_source TEXT,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    first_turn INTEGER NOT NULL,
    has_tools INTEGER NOT NULL,
    client_retry INTEGER NOT NULL,
    version TEXT,
    eligible INTEGER NOT NULL,
    error TEXT,
    gateway_error TEXT
) STRICT;

CREATE INDEX exchange_by_start ON exchange (started_at);

-- Only what still waits for its price; an exchange without token counts is decided when it is written.
CREATE INDEX exchange_unpriced ON exchange (started_at) WHERE price_source IS NULL;

-- One candidate to be asked what one exchange asked: pending -> leased -> sent -> done, or skipped/dropped.
CREATE TABLE shadow_job (
    exchange_id TEXT NOT NULL,
    candidate TEXT NOT NULL,
    conversation TEXT NOT NULL,
    task TEXT NOT NULL,
    "primary" TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'leased', 'sent', 'done', 'skipped', 'dropped')),
    reason TEXT,
    counted INTEGER NOT NULL,
    worker TEXT,
    lease TEXT,
    lease_until INTEGER,
    sent_at INTEGER,
    finished_at INTEGER,
    budget_day TEXT,
    reserved_nano_usd INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (exchange_id, candidate)
) STRICT, WITHOUT ROWID;

CREATE INDEX shadow_job_pending ON shadow_job (created_at) WHERE state = 'pending';

CREATE INDEX shadow_job_held ON shadow_job (worker, lease_until) WHERE state IN ('leased', 'sent');

-- The raw copy that the jobs of one exchange share; deleted with the last of them.
CREATE TABLE job_body (
    exchange_id TEXT NOT NULL PRIMARY KEY,
    dialect TEXT NOT NULL,
    path TEXT NOT NULL,
    query TEXT NOT NULL,
    request_headers TEXT NOT NULL,
    request BLOB NOT NULL,
    response BLOB NOT NULL,
    response_status INTEGER NOT NULL,
    response_streamed INTEGER NOT NULL
) STRICT;

-- What a candidate answered. The last three columns are the quality scores of the pair, for sorting.
CREATE TABLE shadow_answer (
    exchange_id TEXT NOT NULL,
    candidate TEXT NOT NULL,
    exchange_started_at INTEGER NOT NULL,
    task TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    latency_ms REAL NOT NULL,
    ttft_ms REAL,
    first_text_ms REAL,
    stop_reason TEXT,
    model_answered TEXT,
    streamed INTEGER NOT NULL,
    input_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    output_tokens INTEGER,
    cost_billed_usd REAL,
    cost_uncached_usd REAL,
    price_source TEXT NOT NULL,
    error TEXT,
    redaction_changed INTEGER NOT NULL,
    quality_primary REAL,
    quality_candidate REAL,
    quality_diff REAL,
    PRIMARY KEY (exchange_id, candidate)
) STRICT, WITHOUT ROWID;

CREATE INDEX shadow_answer_by_start ON shadow_answer (exchange_started_at, exchange_id, candidate);

-- A pair without a quality difference sorts after every pair that has one (differences lie in [-1, 1]).
CREATE INDEX shadow_answer_by_loss ON shadow_answer (coalesce(quality_diff, 2.0), exchange_id, candidate);

-- What an evaluator said; candidate '' is the primary's own score.
CREATE TABLE score (
    exchange_id TEXT NOT NULL,
    candidate TEXT NOT NULL,
    evaluator TEXT NOT NULL,
    version TEXT NOT NULL,
    quality INTEGER NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('primary', 'candidate', 'pair')),
    status TEXT NOT NULL CHECK (status IN ('scored', 'not_applicable', 'failed')),
    value REAL,
    reason TEXT NOT NULL,
    cost_usd REAL NOT NULL,
    PRIMARY KEY (exchange_id, candidate, evaluator, version, role),
    CHECK ((status = 'scored') = (value IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- What is kept of prompt and answers after scoring; no row when nothing is kept.
CREATE TABLE content (
    exchange_id TEXT NOT NULL,
    candidate TEXT NOT NULL,
    prompt TEXT,
    primary_output TEXT,
    primary_tool_calls TEXT,
    candidate_output TEXT,
    candidate_tool_calls TEXT,
    PRIMARY KEY (exchange_id, candidate)
) STRICT;

-- The money of one UTC day. `closed_for_nano_usd`: admission is closed until that much headroom is back.
CREATE TABLE budget_day (
    day TEXT NOT NULL PRIMARY KEY,
    spent_nano_usd INTEGER NOT NULL DEFAULT 0,
    reserved_nano_usd INTEGER NOT NULL DEFAULT 0 CHECK (reserved_nano_usd >= 0),
    closed_for_nano_usd INTEGER
) STRICT, WITHOUT ROWID;

-- Whether a conversation is shadowed, decided at its first job; every later turn and candidate follows.
CREATE TABLE admission (
    conversation TEXT NOT NULL PRIMARY KEY,
    admitted INTEGER NOT NULL,
    decided_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX admission_by_time ON admission (decided_at);

-- Origins that answered 429 or 529 and are left alone until then.
CREATE TABLE origin_rest (
    origin TEXT NOT NULL PRIMARY KEY,
    rest_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Copies and records lost, by reason, since the file was made.
CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
