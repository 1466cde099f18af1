-- name: take_duty
-- Take or keep a duty: nobody has it, it is ours, or its holder fell silent.
INSERT INTO duty (name, holder, until) VALUES (:name, :holder, :until)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE duty.holder = excluded.holder OR duty.until <= :now OR duty.until > :furthest
RETURNING holder;

-- name: see_schedule
-- Remember when a schedule was first seen.
INSERT INTO schedule_seen (cron, timezone, since) VALUES (:cron, :timezone, :now) ON CONFLICT DO NOTHING;

-- name: schedule_since
-- When a schedule was first seen.
SELECT since AS since_us FROM schedule_seen WHERE cron = :cron AND timezone = :timezone;

-- name: forget_schedules
-- Another schedule is in force: one that comes back later is new again.
DELETE FROM schedule_seen WHERE cron <> :cron OR timezone <> :timezone;

-- name: watched
-- Everything that is watched.
SELECT subject, told, told_at AS told_at_us, seen, looks FROM watched;

-- name: watch
-- Remember what was seen and told.
INSERT INTO watched (subject, told, told_at, seen, looks) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (subject) DO UPDATE
SET told = excluded.told, told_at = excluded.told_at, seen = excluded.seen, looks = excluded.looks;

-- name: insert_alert
-- Keep one alert.
INSERT INTO alert (
    id, kind, subject, state, previous, created_at, task, "primary", candidate, title, sentence, details, facts, muted
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_delivery
-- Put one alert on its way to one target.
INSERT INTO alert_delivery (alert_id, target, state, due_at) VALUES (?, ?, 'pending', ?);

-- name: any_due
-- Whether anything waits; asked first, because the write lock is for those who write.
SELECT 1 FROM alert_delivery WHERE state IN ('pending', 'sending') AND due_at <= :now LIMIT 1;

-- name: take_due
-- Take what is due, oldest first; what was being sent when its process died is due again.
UPDATE alert_delivery SET state = 'sending', attempts = attempts + 1, due_at = :until
WHERE (alert_id, target) IN (
    SELECT alert_id, target FROM alert_delivery
    WHERE state IN ('pending', 'sending') AND due_at <= :now
    ORDER BY due_at, alert_id, target LIMIT :limit
)
RETURNING alert_id, target, attempts;

-- name: alerts_of
-- Alerts by id.
SELECT id, kind, subject, state, previous, created_at AS created_at_us, task, "primary", candidate, title, sentence,
    details, facts, muted
FROM alert WHERE id IN (SELECT value FROM json_each(:ids));

-- name: settle
-- Note how a try ended.
UPDATE alert_delivery SET state = :state, due_at = :due_at, ended_at = :ended_at, error = :error
WHERE alert_id = :alert_id AND target = :target AND state = 'sending' AND attempts = :attempts;

-- name: recent
-- The newest alerts.
SELECT id, kind, subject, state, previous, created_at AS created_at_us, task, "primary", candidate, title, sentence,
    details, facts, muted
FROM alert ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: deliveries_of
-- How some alerts travelled.
SELECT alert_id, target, state, attempts, due_at AS due_at_us, ended_at AS ended_at_us, error
FROM alert_delivery WHERE alert_id IN (SELECT value FROM json_each(:ids)) ORDER BY alert_id, target;

-- name: mute
-- Record a mute.
INSERT INTO alert_mute (scope, until) VALUES (:scope, :until)
ON CONFLICT (scope) DO UPDATE SET until = excluded.until;

-- name: unmute
-- End a mute.
DELETE FROM alert_mute WHERE scope = :scope RETURNING scope;

-- name: mutes
-- What is muted now.
SELECT scope, until AS until_us FROM alert_mute WHERE until > :now ORDER BY scope;

-- name: prune_alerts
-- Delete alerts that were told long ago and wait for nobody.
DELETE FROM alert WHERE created_at < :before AND id NOT IN (
    SELECT alert_id FROM alert_delivery WHERE state IN ('pending', 'sending')
);

-- name: prune_deliveries
-- Delete what is left of them.
DELETE FROM alert_delivery WHERE alert_id NOT IN (SELECT id FROM alert);
