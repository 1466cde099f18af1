"""Duties, schedules and alerts in the store: a change of state and its alert are one transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.notices import Alert, Delivery, Mute, Watched
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import micros, moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shadow.notices import DeliveryState
    from shadow.store.sqlite.connection import Connection, Row


class SqliteWatching:
    """`shadow.store.base.Watching` on one reading and one writing connection."""

    def __init__(self, reader: Connection, writer: Connection) -> None:
        self._reader = reader
        self._writer = writer
        self._sql = load_queries("watching.sql")

    async def take_duty(self, name: str, *, holder: str, lease_s: float, now: datetime) -> bool:
        """Take or keep a duty that only one process may do."""
        until = now + timedelta(seconds=lease_s)
        row = {
            "name": name,
            "holder": holder,
            "until": micros(until),
            "now": micros(now),
            # A holder that is further ahead than any lease reaches is left over from a clock that went back.
            "furthest": micros(until + timedelta(seconds=lease_s)),
        }
        return bool(await self._writer.fetch(self._sql["take_duty"], row))

    async def schedule_since(self, *, cron: str, timezone: str, now: datetime) -> datetime:
        """Say since when this schedule is known, from now on if it is new; others are forgotten."""
        row = {"cron": cron, "timezone": timezone}
        found = await self._reader.fetch(self._sql["schedule_since"], row)
        if not found:
            async with self._writer.transaction() as transaction:
                await transaction.run(self._sql["forget_schedules"], row)
                await transaction.run(self._sql["see_schedule"], {**row, "now": micros(now)})
                found = await transaction.run(self._sql["schedule_since"], row)
        return moment(found[0]["since_us"])

    async def watched(self) -> dict[str, Watched]:
        """All that is watched, by subject."""
        rows = await self._reader.fetch(self._sql["watched"])
        return {
            row["subject"]: Watched(
                subject=row["subject"],
                told=row["told"],
                told_at=moment(row["told_at_us"]),
                seen=row["seen"],
                looks=row["looks"],
            )
            for row in rows
        }

    async def record(
        self, watched: Sequence[Watched], alerts: Sequence[Alert], *, deliveries: Sequence[tuple[str, str]]
    ) -> None:
        """Keep what was seen, the alerts, and which of them go where (alert id, target): all or nothing."""
        due_at = {alert.id: micros(alert.created_at) for alert in alerts}
        seen = [(each.subject, each.told, micros(each.told_at), each.seen, each.looks) for each in watched]
        async with self._writer.transaction() as transaction:
            await transaction.run_many(self._sql["watch"], seen)
            await transaction.run_many(self._sql["insert_alert"], [_alert_row(alert) for alert in alerts])
            rows = [(alert_id, target, due_at[alert_id]) for alert_id, target in deliveries]
            await transaction.run_many(self._sql["insert_delivery"], rows)

    async def take_due(self, *, limit: int, lease_s: float, now: datetime) -> list[Delivery]:
        """Take deliveries that are due; one whose process died while sending is due again after `lease_s`."""
        if not await self._reader.fetch(self._sql["any_due"], {"now": micros(now)}):
            return []
        row = {"now": micros(now), "until": micros(now + timedelta(seconds=lease_s)), "limit": limit}
        async with self._writer.transaction() as transaction:
            taken = await transaction.run(self._sql["take_due"], row)
            ids = msgspec.json.encode([each["alert_id"] for each in taken]).decode()
            found = await transaction.run(self._sql["alerts_of"], {"ids": ids})
        alerts = {row["id"]: _alert_of(row) for row in found}
        return [
            Delivery(alert=alerts[each["alert_id"]], target=each["target"], attempts=each["attempts"]) for each in taken
        ]

    async def settle(
        self, delivery: Delivery, *, state: DeliveryState, error: str | None, due_at: datetime | None, now: datetime
    ) -> None:
        """Note how a try ended: `sent`, `failed` for good, or `pending` until `due_at`."""
        row = {
            "alert_id": delivery.alert.id,
            "target": delivery.target,
            "attempts": delivery.attempts,
            "state": state,
            "error": error,
            "due_at": micros(due_at or now),
            "ended_at": None if state == "pending" else micros(now),
        }
        await self._writer.fetch(self._sql["settle"], row)

    async def alerts(self, *, limit: int) -> list[dict[str, Any]]:
        """List the newest alerts with how each of them travelled."""
        alerts = [_plain(_alert_of(row)) for row in await self._reader.fetch(self._sql["recent"], {"limit": limit})]
        ids = msgspec.json.encode([alert["id"] for alert in alerts]).decode()
        travelled: dict[str, list[dict[str, Any]]] = {alert["id"]: [] for alert in alerts}
        for row in await self._reader.fetch(self._sql["deliveries_of"], {"ids": ids}):
            travelled[row["alert_id"]].append(
                {
                    "target": row["target"],
                    "state": row["state"],
                    "attempts": row["attempts"],
                    "ended_at": None if row["ended_at_us"] is None else moment(row["ended_at_us"]),
                    "error": row["error"],
                }
            )
        return [{**alert, "deliveries": travelled[alert["id"]]} for alert in alerts]

    async def mute(self, scope: str, *, until: datetime) -> None:
        """Have alerts of this scope recorded and not sent until then."""
        await self._writer.fetch(self._sql["mute"], {"scope": scope, "until": micros(until)})

    async def unmute(self, scope: str) -> bool:
        """End a mute; False when there was none."""
        return bool(await self._writer.fetch(self._sql["unmute"], {"scope": scope}))

    async def mutes(self, *, now: datetime) -> list[Mute]:
        """List the mutes in force."""
        rows = await self._reader.fetch(self._sql["mutes"], {"now": micros(now)})
        return [Mute(scope=row["scope"], until=moment(row["until_us"])) for row in rows]

    async def prune(self, *, before: datetime) -> None:
        """Delete alerts that are older and wait for nobody."""
        async with self._writer.transaction() as transaction:
            await transaction.run(self._sql["prune_alerts"], {"before": micros(before)})
            await transaction.run(self._sql["prune_deliveries"])


def _alert_row(alert: Alert) -> tuple[Any, ...]:
    return (
        alert.id,
        alert.kind,
        alert.subject,
        alert.state,
        alert.previous,
        micros(alert.created_at),
        alert.task,
        alert.primary,
        alert.candidate,
        alert.title,
        alert.sentence,
        msgspec.json.encode(alert.details).decode(),
        msgspec.json.encode(alert.facts).decode(),
        alert.muted,
    )


def _alert_of(row: Row) -> Alert:
    return Alert(
        id=row["id"],
        kind=row["kind"],
        subject=row["subject"],
        state=row["state"],
        previous=row["previous"],
        created_at=moment(row["created_at_us"]),
        task=row["task"],
        primary=row["primary"],
        candidate=row["candidate"],
        title=row["title"],
        sentence=row["sentence"],
        details=msgspec.json.decode(row["details"], type=tuple[tuple[str, str], ...]),
        facts=msgspec.json.decode(row["facts"], type=dict[str, Any]),
        muted=bool(row["muted"]),
    )


def _plain(alert: Alert) -> dict[str, Any]:
    """Give an alert as it is listed."""
    return {name: getattr(alert, name) for name in Alert.__dataclass_fields__}
