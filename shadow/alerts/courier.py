"""Carries alerts out of the store: each to each of its targets once, tried again a bounded number of times."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shadow.repeat import Backoff
from shadow.store.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shadow.alerts.posting import Posted, Poster
    from shadow.notices import AlertTarget, Delivery
    from shadow.store.base import Watching

_log = logging.getLogger(__name__)

DELAYS_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0)
"""Pauses after a try that failed; after one more try than there are pauses it is given up."""

LEASE_S = 120.0
"""Longer than any try takes: what was being sent that long ago died with its process."""

POLL_S = 1.0
GRACE_S = 25.0
"""How long the end waits for a try under way, so that its outcome is known and nothing is sent twice."""
SETTLE_DELAYS_S = (0.1, 0.5, 2.0, 5.0)


class AlertCourier:
    """Sends what is due, one after another.

    An alert is marked as being sent before it is: after a crash in that very moment nobody knows whether it arrived,
    and it is sent again with the same id. Everything else, a stop or a restart, neither loses nor doubles one.
    """

    def __init__(
        self,
        *,
        watching: Watching,
        targets: Sequence[AlertTarget],
        poster: Poster,
        delays_s: Sequence[float] = DELAYS_S,
        poll_s: float = POLL_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._watching = watching
        self._targets = {target.key: target for target in targets}
        self._poster = poster
        self._delays_s = tuple(delays_s)
        self._poll_s = poll_s
        self._now = now

    async def run(self) -> None:
        """Work until cancelled; a try under way is then waited for."""
        backoff = Backoff("send alerts")
        while True:
            step = asyncio.create_task(backoff.attempt(self.send_one))
            try:
                sent = await asyncio.shield(step)
            except asyncio.CancelledError:
                await asyncio.wait({step}, timeout=GRACE_S)
                step.cancel()
                raise
            if not sent:
                await asyncio.sleep(backoff.pause_s or self._poll_s)

    async def send_one(self) -> int:
        """Send the next alert that is due; returns how many there were: 1 or 0."""
        taken = await self._watching.take_due(limit=1, lease_s=LEASE_S, now=self._now())
        for delivery in taken:
            await self._send(delivery)
        return len(taken)

    async def _send(self, delivery: Delivery) -> None:
        target = self._targets.get(delivery.target)
        if target is None:
            await self._settle(delivery, "failed", "this target is no longer configured", None)
            return
        posted = await self._poster.post(target, delivery.alert)
        if posted.ok:
            await self._settle(delivery, "sent", None, None)
        elif posted.again and delivery.attempts <= len(self._delays_s):
            await self._settle(delivery, "pending", posted.why, self._later(delivery, posted))
        else:
            _log.warning(
                "alert %s could not be delivered to %s after %d tries: %s",
                delivery.alert.id,
                target.name,
                delivery.attempts,
                posted.why,
            )
            await self._settle(delivery, "failed", posted.why, None)

    def _later(self, delivery: Delivery, posted: Posted) -> datetime:
        pause_s = max(self._delays_s[delivery.attempts - 1], posted.wait_s or 0.0)
        return self._now() + timedelta(seconds=pause_s)

    async def _settle(self, delivery: Delivery, state: str, error: str | None, due_at: datetime | None) -> None:
        """Note the outcome; tried again for a while, because what is not noted is sent again."""
        for delay_s in (*SETTLE_DELAYS_S, None):
            try:
                await self._watching.settle(delivery, state=state, error=error, due_at=due_at, now=self._now())  # type: ignore[arg-type]
            except StoreError:
                if delay_s is None:
                    raise
                await asyncio.sleep(delay_s)
            else:
                return
