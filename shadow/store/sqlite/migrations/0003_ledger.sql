-- The ledger of verdicts: what each conversation taught about a candidate, in which epoch, and in which order it entered.

-- Jobs that were made (or ended) and that the ledger has not looked at yet: written with the job itself, deleted with the entry, so that none is lost and
-- none is read twice. Opted-in exchanges never come here.
CREATE TABLE ledger_inbox (
    id INTEGER NOT NULL PRIMARY KEY,
    exchange_id TEXT NOT NULL,
    candidate TEXT NOT NULL,
    made INTEGER NOT NULL
) STRICT;

CREATE TRIGGER ledger_job_made AFTER INSERT ON shadow_job WHEN new.counted
BEGIN
    INSERT INTO ledger_inbox (exchange_id, candidate, made) VALUES (new.exchange_id, new.candidate, 1);
END;

CREATE TRIGGER ledger_job_ended AFTER UPDATE OF state ON shadow_job
WHEN new.counted AND new.state IN ('done', 'skipped', 'dropped') AND old.state NOT IN ('done', 'skipped', 'dropped')
BEGIN
    INSERT INTO ledger_inbox (exchange_id, candidate, made) VALUES (new.exchange_id, new.candidate, 0);
END;

-- The turns of one conversation, of which the ledger reads all when it closes.
CREATE INDEX shadow_job_by_conversation ON shadow_job (conversation, candidate);

-- A stretch in which primary, candidates, evaluators and the declared version stand still. `number` counts within task
-- and primary; `version` is '' where the app declares none. `evaluators` says what decides and what guards, as JSON.
CREATE TABLE epoch (
    id INTEGER NOT NULL PRIMARY KEY,
    task TEXT NOT NULL,
    "primary" TEXT NOT NULL,
    version TEXT NOT NULL,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    last_started_at INTEGER NOT NULL,
    because TEXT NOT NULL,
    alpha REAL NOT NULL,
    evaluators TEXT NOT NULL,
    UNIQUE (task, "primary", number)
) STRICT;

-- One candidate in one epoch: its share of alpha, the small state all evidence is in, and the verdict on it.
CREATE TABLE ledger (
    id INTEGER NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL REFERENCES epoch (id),
    candidate TEXT NOT NULL,
    definition TEXT NOT NULL,
    batch INTEGER NOT NULL,
    alpha REAL NOT NULL,
    joined_at INTEGER NOT NULL,
    entered INTEGER NOT NULL DEFAULT 0,
    entered_until INTEGER,
    entered_last TEXT,
    state TEXT NOT NULL DEFAULT '{}',
    facts TEXT NOT NULL DEFAULT '',
    verdict TEXT NOT NULL DEFAULT '{}',
    stopped_because TEXT,
    stopped_at INTEGER,
    UNIQUE (epoch, candidate)
) STRICT;

-- One conversation as one candidate was asked it: open, then pending (an answer is still to come), then settled (or
-- left_out, where nothing of it counts), then entered (or passed, where it was left out; late, where one that began
-- after it had entered before).
-- `due_at` is when it must be looked at again; `outcome` is what it taught, as JSON.
CREATE TABLE ledger_conversation (
    ledger INTEGER NOT NULL REFERENCES ledger (id),
    conversation TEXT NOT NULL,
    first_started_at INTEGER NOT NULL,
    last_started_at INTEGER NOT NULL,
    turns INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'pending', 'settled', 'left_out', 'entered', 'passed', 'late')),
    due_at INTEGER,
    entry INTEGER,
    entered_at INTEGER,
    outcome TEXT,
    PRIMARY KEY (ledger, conversation)
) STRICT, WITHOUT ROWID;

CREATE INDEX ledger_conversation_due ON ledger_conversation (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX ledger_conversation_order ON ledger_conversation (ledger, first_started_at, conversation)
WHERE state IN ('open', 'pending', 'settled', 'left_out');

CREATE INDEX ledger_conversation_entered ON ledger_conversation (entered_at) WHERE entered_at IS NOT NULL;

CREATE INDEX ledger_conversation_by_key ON ledger_conversation (conversation);

-- Every change of a verdict, oldest first.
CREATE TABLE verdict_change (
    id INTEGER NOT NULL PRIMARY KEY,
    ledger INTEGER NOT NULL REFERENCES ledger (id),
    changed_at INTEGER NOT NULL,
    verdict_before TEXT,
    verdict TEXT NOT NULL,
    why TEXT NOT NULL
) STRICT;

-- What was set aside for the candidate's answer alone, without its scoring: the scale of the cost test.
ALTER TABLE shadow_job ADD COLUMN asking_nano_usd INTEGER NOT NULL DEFAULT 0;
