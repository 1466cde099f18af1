-- What only one process may do at a time, when a schedule was first seen, and alerts on their way out.

-- Who holds a duty, until when; taken over once that has passed.
CREATE TABLE duty (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A schedule does not catch up on the time before it was first seen.
CREATE TABLE schedule_seen (
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (cron, timezone)
) STRICT, WITHOUT ROWID;

-- The last told state of everything that is watched, so that a change is told once.
CREATE TABLE watched (
    subject TEXT NOT NULL PRIMARY KEY,
    told TEXT NOT NULL,
    told_at INTEGER NOT NULL,
    seen TEXT NOT NULL,
    looks INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One change of state, as it was told. No prompt, no answer; `details` and `facts` are JSON.
CREATE TABLE alert (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    previous TEXT,
    created_at INTEGER NOT NULL,
    task TEXT,
    "primary" TEXT,
    candidate TEXT,
    title TEXT NOT NULL,
    sentence TEXT NOT NULL,
    details TEXT NOT NULL,
    facts TEXT NOT NULL,
    muted INTEGER NOT NULL
) STRICT;

CREATE INDEX alert_by_time ON alert (created_at, id);

-- One alert on its way to one target; `due_at`: not before then, or (while `sending`) when it counts as not sent.
CREATE TABLE alert_delivery (
    alert_id TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL,
    ended_at INTEGER,
    error TEXT,
    PRIMARY KEY (alert_id, target)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_delivery_due ON alert_delivery (due_at) WHERE state IN ('pending', 'sending');

-- Alerts that are recorded and not sent until then.
CREATE TABLE alert_mute (
    scope TEXT NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
