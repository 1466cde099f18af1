"""What was read and waits for the store, in bounds: the oldest bodies are given up first, then the oldest records."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import structs

from shadow.records import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.reading import ReadExchange
    from gateway.recording import TeeBudget


class Item:
    """One read exchange, with the memory its body holds of the process's budget for copies."""

    __slots__ = ("body_bytes", "budget", "read")

    def __init__(self, read: ReadExchange, budget: TeeBudget) -> None:
        self.read = read
        self.budget = budget
        self.body_bytes = 0

    def hold_body(self) -> bool:
        """Take the body's bytes from the budget; False when they do not fit."""
        body = self.read.body
        size = 0 if body is None else len(body.request) + len(body.response)
        if not self.budget.take(size):
            return False
        self.body_bytes = size
        return True

    def free(self) -> int:
        """Give the body's bytes back; returns how many they were. Idempotent."""
        freed, self.body_bytes = self.body_bytes, 0
        self.budget.give_back(freed)
        return freed

    def give_up_body(self, reason: str) -> None:
        """Go on without the copy: jobs that were pending are dropped for this reason."""
        dropped = {"state": "dropped", "reason": reason}
        jobs = tuple(structs.replace(job, **dropped) if job.state == "pending" else job for job in self.read.jobs)
        self.read = structs.replace(self.read, jobs=jobs, body=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What goes to the store in one transaction."""

    items: list[Item] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    rests: dict[str, datetime] = field(default_factory=dict)

    def batch(self) -> Batch:
        """Return the contents as the store takes them."""
        reads = [item.read for item in self.items]
        return Batch(
            exchanges=[read.record for read in reads],
            jobs=[job for read in reads for job in read.jobs],
            bodies=[read.body for read in reads if read.body is not None],
            dropped=self.dropped,
            origin_rests=self.rests,
        )

    @property
    def is_mixed(self) -> bool:
        """True when it can be split, to find what the store refuses."""
        return len(self.items) > 1 or bool(self.items and (self.dropped or self.rests))

    def halves(self) -> list[Parcel]:
        """Split the items in two; counts and rests become a parcel of their own."""
        middle = (len(self.items) + 1) // 2
        counts = Parcel(dropped=self.dropped, rests=self.rests)
        parts = [counts, Parcel(items=self.items[:middle]), Parcel(items=self.items[middle:])]
        return [part for part in parts if part.items or part.dropped or part.rests]


class Outbox:
    """Records in the order in which they were read. Sizes in bytes; used from one event loop only."""

    def __init__(self, *, max_records: int, max_body_bytes: int) -> None:
        self._max_records = max_records
        self._max_body_bytes = max_body_bytes
        self._items: deque[Item] = deque()
        self._with_body: deque[Item] = deque()
        """Items whose body may be given up: not the ones that are being written."""
        self._body_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._rests: dict[str, datetime] = {}
        self._news = asyncio.Event()
        self._enough = asyncio.Event()
        self._enough_records = max_records
        self.settled = 0
        """Exchanges that are written or lost for good."""
        self.counters: Counter[str] = Counter()
        """Since the start: `recorded`, and `dropped_<reason>` for copies and records that were lost."""

    def __len__(self) -> int:
        """Count the records that wait."""
        return len(self._items)

    @property
    def is_empty(self) -> bool:
        """True when nothing waits: no records, no counts, no rests."""
        return not (self._items or self._dropped or self._rests)

    def put(self, read: ReadExchange, budget: TeeBudget) -> None:
        """Add one exchange; an older one may have to give up its body, or go."""
        item = Item(read, budget)
        if read.rest is not None:
            self._rest(*read.rest)
        self._items.append(item)
        if read.body is not None:
            self._keep_body(item)
        self._forget_oldest()
        self._wake()

    def lose(self, reason: str, count: int = 1) -> None:
        """Count copies or records that are lost."""
        if count:
            self._dropped[reason] += count
            self.counters[f"dropped_{reason}"] += count
            self._wake()

    async def wait_until_due(self, *, records: int, patience_s: float) -> None:
        """Wait until something is there, and then until `records` are there or `patience_s` has passed."""
        await self._news.wait()
        self._enough_records = records
        self._enough.clear()
        self._wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._enough.wait()

    def take(self, *, records: int, body_bytes: int) -> Parcel:
        """Take out the oldest records, and all counts and rests; hand each parcel to `settle` or `put_back` later.

        `body_bytes` ends a parcel once its bodies are that large together.
        """
        items: list[Item] = []
        room = body_bytes
        while self._items and len(items) < records and room > 0:
            item = self._items.popleft()
            room -= item.body_bytes
            items.append(item)
            if self._with_body and self._with_body[0] is item:
                self._with_body.popleft()
        parcel = Parcel(items=items, dropped=self._dropped, rests=self._rests)
        self._dropped, self._rests = Counter(), {}
        if self.is_empty:
            self._news.clear()
        return parcel

    def settle(self, parcel: Parcel, *, refused: bool = False) -> None:
        """Let go of what the store has taken, or never will."""
        self._free(parcel.items)
        self.settled += len(parcel.items)
        if refused:
            self.lose("unstorable", len(parcel.items))
        else:
            self.counters["recorded"] += len(parcel.items)

    def put_back(self, parcel: Parcel) -> None:
        """Keep what the store did not take this time; meanwhile the bounds may have been reached."""
        self._items.extendleft(reversed(parcel.items))
        self._with_body.extendleft(item for item in reversed(parcel.items) if item.body_bytes)
        self._dropped.update(parcel.dropped)
        for origin, until in parcel.rests.items():
            self._rest(origin, until)
        self._give_up_oldest_bodies()
        self._forget_oldest()
        self._wake()

    def _wake(self) -> None:
        if not self.is_empty:
            self._news.set()
        if len(self._items) >= self._enough_records:
            self._enough.set()

    def _rest(self, origin: str, until: datetime) -> None:
        self._rests[origin] = max(until, self._rests.get(origin, until))

    def _keep_body(self, item: Item) -> None:
        if item.hold_body():
            self._body_bytes += item.body_bytes
            self._with_body.append(item)
            self._give_up_oldest_bodies()
        else:
            item.give_up_body("tee_full")
            self.lose("tee_full")

    def _give_up_oldest_bodies(self) -> None:
        while self._body_bytes > self._max_body_bytes and self._with_body:
            oldest = self._with_body.popleft()
            self._free([oldest])
            oldest.give_up_body("buffer_full")
            self.lose("buffer_full")

    def _forget_oldest(self) -> None:
        while len(self._items) > self._max_records:
            oldest = self._items.popleft()
            if self._with_body and self._with_body[0] is oldest:
                self._with_body.popleft()
            self._free([oldest])
            self.settled += 1
            self.lose("buffer_full")

    def _free(self, items: Iterable[Item]) -> None:
        self._body_bytes -= sum(item.free() for item in items)
