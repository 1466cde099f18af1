"""Keeps the store quick, small and writable: folds its rollups, makes those of older files, deletes what is too old."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shadow.repeat import in_chunks, paced, repeat
from shadow.rollups import DAY, HOUR, MINUTE
from shadow.store.base import FullStoreError
from shadow.worker import utc_now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shadow.store.base import Reader, Rollups, Room

_log = logging.getLogger(__name__)

LEASE = "rollups"
MINUTES_KEPT = timedelta(days=2)
HOURS_KEPT = timedelta(days=90)
"""Sums by hour are kept for so long at least, and as long as raw rows; sums by day for ever."""
LOW_BYTES = 16 << 20
"""With less than this left on the disk, retention does not wait for its hour."""
_LEASE_S = 30.0
_FOLD_CHUNK = 200


class StoreKeeper:
    """One of several processes does this at a time: the one who holds the lease."""

    def __init__(
        self,
        *,
        rollups: Rollups,
        reader: Reader,
        room: Room,
        holder: str,
        retention_days: float,
        every_s: float = 2.0,
        prune_every_s: float = 3600.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._rollups = rollups
        self._reader = reader
        self._room = room
        self._holder = holder
        self._retention = timedelta(days=retention_days)
        self._every_s = every_s
        self._prune_every_s = prune_every_s
        self._now = now
        self._told_full = False

    async def run(self) -> None:
        """Repeat until cancelled; a store that is away is tried again, told once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat(self.fold, every_s=self._every_s, what="fold rollups"))
            group.create_task(repeat(self.prune, every_s=self._prune_every_s, what="delete old rollups"))
            group.create_task(repeat(self.make_room, every_s=self._every_s, what="look after the disk"))

    async def fold(self) -> int:
        """Fold what was appended, then make a day of an older file's rollups; returns how many deltas were folded."""
        if not await self._leads():
            return 0
        folded = await in_chunks(lambda: self._rollups.fold(limit=_FOLD_CHUNK, holder=self._holder), chunk=_FOLD_CHUNK)
        await self._make_due()
        return folded

    async def prune(self) -> int:
        """Delete minutes and hours that are not kept any more; returns how many rows went."""
        if not await self._leads():
            return 0
        now, gone = self._now(), 0
        for grain, kept in ((MINUTE, MINUTES_KEPT), (HOUR, max(HOURS_KEPT, self._retention + timedelta(days=1)))):
            coarser = HOUR if grain == MINUTE else DAY
            before = int((now - kept).timestamp()) // coarser * coarser
            gone += await paced(self._deleting(grain, before))
        return gone

    def _deleting(self, grain: int, before: int) -> Callable[[int], Awaitable[int]]:
        return lambda limit: self._rollups.prune(grain=grain, before=before, limit=limit)

    async def make_room(self) -> bool:
        """Keep the log short, and delete what is old at once when the disk is nearly full; true when there is room."""
        await self._room.tend_log()
        if await self._room.free_bytes() >= LOW_BYTES:
            self._told_full = False
            await self._room.keep_reserve()
            return True
        try:
            await self._delete_old()
        except FullStoreError:
            if not self._told_full:
                self._told_full = True
                _log.warning("the disk of the store is full: its reserve is given up, so that old rows can be deleted")
            await self._room.give_up_reserve()
            await self._room.empty_log()
            await self._delete_old()
        return False

    async def _delete_old(self) -> None:
        before = self._now() - self._retention
        await paced(lambda limit: self._reader.prune(before=before, limit=limit))
        await self.prune()
        await self._room.shrink()

    async def _leads(self) -> bool:
        return await self._rollups.lead(LEASE, holder=self._holder, now=self._now(), lease_s=_LEASE_S)

    async def _make_due(self) -> None:
        """Make one day of what an older version left without rollups, the newest first."""
        before = await self._rollups.due()
        if before is None:
            return
        span = await self._rollups.raw_span()
        if span is None or span[0] >= before:
            await self._rollups.set_due(None)
            _log.info("the rollups of this store are complete")
            return
        day = (before - 1) // DAY * DAY
        read = await self._rollups.rebuild_day(day, since=span[0], until=before, holder=self._holder)
        _log.info("made the rollups of %s from %d exchanges", datetime.fromtimestamp(day, UTC).date(), read)
        await self._rollups.set_due(day)


async def rebuild(
    rollups: Rollups, *, holder: str, since: datetime | None, until: datetime | None, told: Callable[[int, int], None]
) -> int:
    """Make all rollups of [since, until) anew that raw rows are whole for, whoever folds meanwhile; returns how many.

    `told` hears of each day (seconds since the epoch) and its number of exchanges. Raises StoreError.
    """
    span = await rollups.raw_span()
    if span is None:
        return 0
    start = span[0] if since is None else max(span[0], int(since.timestamp()) // HOUR * HOUR)
    end = span[1] if until is None else min(span[1], -(-int(until.timestamp()) // HOUR) * HOUR)
    total = 0
    try:
        for day in range(start // DAY * DAY, end, DAY):
            await rollups.lead(LEASE, holder=holder, now=utc_now(), lease_s=600.0, by_force=True)
            read = await rollups.rebuild_day(day, since=start, until=end, holder=holder)
            told(day, read)
            total += read
        if since is None and until is None:
            await rollups.set_due(None)
    finally:
        await rollups.resign(LEASE, holder=holder)
    return total
