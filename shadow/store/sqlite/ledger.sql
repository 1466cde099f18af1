-- name: any_work
-- Whether anything waits to be looked at; asked first, because an idle bookkeeper must not take the write lock.
SELECT 1 WHERE EXISTS (SELECT 1 FROM ledger_inbox)
    OR EXISTS (SELECT 1 FROM ledger_conversation WHERE due_at <= :now);

-- name: version
-- How many changes the ledger has seen; asked before anything a change is worked out from.
SELECT coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'ledger_version'), 0) AS version;

-- name: move_on
-- Count one more change, if none has come since `seen`; without a row somebody else was first.
INSERT INTO meta (key, value) SELECT 'ledger_version', '1'
WHERE :seen = 0 OR EXISTS (SELECT 1 FROM meta WHERE key = 'ledger_version')
ON CONFLICT (key) DO UPDATE SET value = CAST(:seen + 1 AS TEXT) WHERE CAST(value AS INTEGER) = :seen
RETURNING 1;

-- name: inbox
-- The jobs that were made or ended since the last look, oldest first; a job that is gone has nulls.
SELECT
    ledger_inbox.id, ledger_inbox.exchange_id, ledger_inbox.candidate, ledger_inbox.made,
    shadow_job.conversation, shadow_job.task, shadow_job."primary", shadow_job.state,
    exchange.started_at, exchange.version
FROM ledger_inbox
LEFT JOIN shadow_job USING (exchange_id, candidate)
LEFT JOIN exchange ON exchange.id = ledger_inbox.exchange_id
ORDER BY ledger_inbox.id LIMIT :limit;

-- name: forget
-- Delete what was looked at.
DELETE FROM ledger_inbox WHERE id IN (SELECT value FROM json_each(:ids));

-- name: epochs
-- Every epoch, oldest first.
SELECT * FROM epoch ORDER BY task, "primary", number;

-- name: open_epoch
-- Begin an epoch.
INSERT INTO epoch (id, task, "primary", version, number, started_at, last_started_at, because, alpha, evaluators)
VALUES (:id, :task, :primary, :version, :number, :started_at, :last_started_at, :because, :alpha, :evaluators);

-- name: touch_epoch
-- Remember the latest conversation of an epoch, and the earliest, whose record may come later than that of another.
UPDATE epoch SET last_started_at = max(last_started_at, :last), started_at = min(started_at, :first) WHERE id = :epoch;

-- name: ledgers
-- Every candidate of every epoch, without what is known about it.
SELECT id, epoch, candidate, definition, batch, alpha, joined_at FROM ledger ORDER BY epoch, batch, id;

-- name: open_ledger
-- A candidate joins an epoch.
INSERT INTO ledger (id, epoch, candidate, definition, batch, alpha, joined_at)
VALUES (:id, :epoch, :candidate, :definition, :batch, :alpha, :joined_at);

-- name: ledger
-- One candidate of one epoch.
SELECT * FROM ledger WHERE id = :ledger;

-- name: save
-- Keep what is known about a candidate now.
UPDATE ledger SET
    state = :state, facts = :facts, verdict = :verdict, entered = :entered, entered_until = :entered_until,
    entered_last = :entered_last, stopped_because = :stopped_because, stopped_at = :stopped_at
WHERE id = :ledger;

-- name: change
-- Remember that a verdict changed.
INSERT INTO verdict_change (ledger, changed_at, verdict_before, verdict, why)
VALUES (:ledger, :changed_at, :verdict_before, :verdict, :why);

-- name: changes
-- How the verdicts of one candidate in one epoch changed, oldest first.
SELECT changed_at, verdict_before, verdict, why FROM verdict_change WHERE ledger = :ledger ORDER BY id;

-- name: conversations_of
-- What is known of one conversation in some ledgers, latest first.
SELECT * FROM ledger_conversation
WHERE conversation = :conversation AND ledger IN (SELECT value FROM json_each(:ledgers))
ORDER BY first_started_at DESC;

-- name: put_conversation
-- Keep what is known of a conversation.
INSERT INTO ledger_conversation (
    ledger, conversation, first_started_at, last_started_at, turns, state, due_at, entry, entered_at, outcome, prompt
) VALUES (
    :ledger, :conversation, :first_started_at, :last_started_at, :turns, :state, :due_at, :entry, :entered_at, :outcome,
    :prompt
)
ON CONFLICT (ledger, conversation) DO UPDATE SET
    first_started_at = excluded.first_started_at, last_started_at = excluded.last_started_at, turns = excluded.turns,
    state = excluded.state, due_at = excluded.due_at, entry = excluded.entry, entered_at = excluded.entered_at,
    outcome = excluded.outcome, prompt = excluded.prompt;

-- name: asked_before
-- Which of these prompts began a conversation that has entered.
SELECT DISTINCT prompt FROM ledger_conversation
WHERE ledger = :ledger AND state = 'entered' AND prompt IN (SELECT value FROM json_each(:prompts));

-- name: due
-- The conversations that must be looked at now.
SELECT * FROM ledger_conversation WHERE due_at <= :now ORDER BY due_at LIMIT :limit;

-- name: turns
-- The turns of one conversation from its start, as one candidate was asked them, each beside what the primary did.
SELECT
    shadow_job.state, shadow_job.reason, shadow_job.asking_nano_usd, shadow_job.counted,
    exchange.*, shadow_answer.candidate, shadow_answer.redaction_changed,
    shadow_answer.started_at AS asked_at,
    shadow_answer.outcome AS candidate_outcome, shadow_answer.latency_ms AS candidate_latency_ms,
    shadow_answer.ttft_ms AS candidate_ttft_ms, shadow_answer.streamed AS candidate_streamed,
    shadow_answer.input_tokens AS candidate_input_tokens,
    shadow_answer.cost_billed_usd AS candidate_cost_billed_usd,
    shadow_answer.cost_uncached_usd AS candidate_cost_uncached_usd
FROM shadow_job
JOIN exchange ON exchange.id = shadow_job.exchange_id
LEFT JOIN shadow_answer USING (exchange_id, candidate)
WHERE shadow_job.conversation = :conversation AND shadow_job.candidate = :candidate
    AND shadow_job.task = :task AND shadow_job."primary" = :primary
    AND shadow_job.counted AND exchange.started_at >= :since
ORDER BY exchange.started_at, exchange.id
LIMIT :limit;

-- name: scores
-- The scores of one candidate's answers to these exchanges, and the primary's own.
SELECT * FROM score WHERE exchange_id IN (SELECT value FROM json_each(:ids)) AND candidate IN (:candidate, '')
ORDER BY exchange_id, candidate, evaluator;

-- name: frontier
-- The last of one candidate's conversations, in the order of starts, that has entered and began by then.
SELECT first_started_at AS entered_until, conversation AS entered_last FROM ledger_conversation
WHERE ledger = :ledger AND state IN ('entered', 'passed') AND first_started_at <= :now
ORDER BY first_started_at DESC, conversation DESC LIMIT 1;

-- name: heads
-- The first conversations of one candidate that have not entered, in order of their start.
SELECT * FROM ledger_conversation WHERE ledger = :ledger AND state IN ('open', 'pending', 'settled', 'left_out')
ORDER BY first_started_at, conversation LIMIT :limit;

-- name: views
-- Candidates with their epochs; counts of conversations by state come apart.
SELECT
    ledger.id, ledger.candidate, ledger.batch, ledger.alpha, ledger.joined_at, ledger.entered, ledger.entered_until,
    ledger.state, ledger.facts, ledger.verdict, ledger.stopped_because, ledger.stopped_at,
    epoch.id AS epoch, epoch.task, epoch."primary", epoch.version, epoch.number, epoch.started_at,
    epoch.last_started_at, epoch.because, epoch.alpha AS epoch_alpha, epoch.evaluators
FROM ledger JOIN epoch ON epoch.id = ledger.epoch
WHERE (:task IS NULL OR task = :task)
ORDER BY task, "primary", number, batch, candidate;

-- name: waiting
-- How many conversations of each candidate have not entered, by state.
SELECT ledger, state, count(*) AS count FROM ledger_conversation
WHERE state IN ('open', 'pending', 'settled', 'left_out') GROUP BY ledger, state;

-- name: prune
-- Delete conversations that entered so long ago that their prompts are gone too.
DELETE FROM ledger_conversation WHERE (ledger, conversation) IN (
    SELECT ledger, conversation FROM ledger_conversation
    WHERE entered_at IS NOT NULL AND entered_at < :before LIMIT :limit
)
RETURNING 1;

-- name: stopped
-- Candidates that are decided in the newest epoch of what they are compared in, so that nobody need ask them.
SELECT epoch.task, epoch."primary", epoch.version, ledger.candidate, ledger.stopped_because
FROM epoch JOIN ledger ON ledger.epoch = epoch.id
WHERE ledger.stopped_at IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM epoch AS later
    WHERE later.task = epoch.task AND later."primary" = epoch."primary" AND later.version = epoch.version
        AND later.number > epoch.number
);

-- name: current
-- Every candidate in the newest epoch of what it is compared in, with what it was last decided by.
SELECT
    ledger.id, epoch.task, epoch."primary", ledger.candidate, ledger.facts, ledger.entered_until, epoch.last_started_at
FROM epoch JOIN ledger ON ledger.epoch = epoch.id
WHERE NOT EXISTS (
    SELECT 1 FROM epoch AS later
    WHERE later.task = epoch.task AND later."primary" = epoch."primary" AND later.version = epoch.version
        AND later.number > epoch.number
);
