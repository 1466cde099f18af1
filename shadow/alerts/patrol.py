"""Looks at everything that is watched, again and again, and puts what changed into the store's outbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shadow.alerts.watch import changes
from shadow.repeat import repeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from shadow.notices import Alert, AlertTarget, Observation
    from shadow.store.base import Watching

DUTY = "alerts"
EVERY_S = 60.0
KEPT = timedelta(days=180)
"""How long alerts can be looked up."""


class Patrol:
    """One process of several does it; the others wait until that one falls silent.

    Each of `looks` gives what it sees, told what was told last (subject -> state); their order is the alerts' order.
    """

    def __init__(
        self,
        *,
        holder: str,
        watching: Watching,
        targets: Sequence[AlertTarget],
        looks: Sequence[Callable[[Mapping[str, str]], Awaitable[Sequence[Observation]]]],
        every_s: float = EVERY_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._holder = holder
        self._watching = watching
        self._targets = tuple(targets)
        self._looks = tuple(looks)
        self._every_s = every_s
        self._now = now

    async def run(self) -> None:
        """Repeat until cancelled; a store that is away is tried again, told once."""
        await repeat(self.look, every_s=self._every_s, what="look for changes to tell")

    async def look(self) -> Sequence[Alert]:
        """Look once; returns what is told, nothing when another process has this duty."""
        now = self._now()
        if not await self._watching.take_duty(DUTY, holder=self._holder, lease_s=3 * self._every_s, now=now):
            return ()
        watched = await self._watching.watched()
        told = {subject: each.told for subject, each in watched.items()}
        seen = [observation for look in self._looks for observation in await look(told)]
        mutes = await self._watching.mutes(now=now)
        batch = f"{now:%Y%m%dT%H%M%S%f}"
        remembered, alerts = changes(seen, watched, mutes, now=now, batch=batch)
        if remembered or alerts:
            await self._watching.record(remembered, alerts, deliveries=deliveries_of(alerts, self._targets))
        await self._watching.prune(before=now - KEPT)
        return alerts


def deliveries_of(alerts: Sequence[Alert], targets: Sequence[AlertTarget]) -> list[tuple[str, str]]:
    """Say which alert goes to which target: (alert id, target)."""
    return [
        (alert.id, key)
        for alert in alerts
        if not alert.muted
        for key in dict.fromkeys(target.key for target in targets if alert.kind == "test" or target.takes(alert.kind))
    ]
