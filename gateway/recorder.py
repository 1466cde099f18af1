"""Exchanges on their way to the store: read at the end, kept in bounds, written in batches; the live path never waits.

Two tasks on the event loop. One reads ended exchanges a few milliseconds at a time (large bodies in a thread) and frees
their copies; one writes what was read every 150 ms or 500 records. When the store fails, records stay in memory up to
the bounds of `gateway.outbox` and are written when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from gateway.outbox import Outbox
from gateway.reading import ExchangeReader, ReadExchange, bare_record
from shadow.store import open_intake
from shadow.store.base import StoreError, UnstorableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.outbox import Parcel
    from gateway.recording import Recording
    from gateway.settings import RecordingSettings
    from shadow.store.base import IntakeDoor

LOG = logging.getLogger(__name__)

_READ_SLICE_S = 0.002
"""How long exchanges are read before the event loop gets its turn."""
_LARGE_BYTES = 256 << 10
"""Copies above this size are read in a thread."""
_LARGE_CODED_BYTES = 16 << 10
"""The same for encoded copies, which may be much larger once decoded."""

Verdict = Literal["taken", "failed", "refused"]
"""`failed`: the store cannot be used now, try again. `refused`: something in the parcel can never be stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderLimits:
    """Bounds of one recorder: durations in seconds, sizes in bytes, the rest are counts."""

    flush_interval_s: float = 0.15
    batch_records: int = 500
    batch_body_bytes: int = 16 << 20
    max_unread: int = 10_000
    max_records: int = 20_000
    max_body_bytes: int | None = None
    """All bodies that wait for the store together; None: a quarter of the settings' `tee_memory_bytes`."""
    close_timeout_s: float = 5.0
    expire_interval_s: float = 60.0


class StoreRecorder:
    """`gateway.recording.Recorder` that writes to the store: `start`, `submit` from the event loop, `close`."""

    def __init__(
        self,
        settings: RecordingSettings,
        *,
        limits: RecorderLimits | None = None,
        connect: Callable[[str], Awaitable[IntakeDoor]] = open_intake,
    ) -> None:
        self._settings = settings
        self._limits = limits or RecorderLimits()
        self._reader = ExchangeReader(settings)
        self._outbox = Outbox(
            max_records=self._limits.max_records,
            max_body_bytes=self._limits.max_body_bytes or settings.tee_memory_bytes // 4,
        )
        self._post = _Post(settings.store, connect)
        self._unread: deque[Recording] = deque()
        self._submitted = asyncio.Event()
        self._all_read = asyncio.Event()
        self._all_read.set()
        self._flushing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._faults: set[str] = set()

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts since the start: `recorded`, `dropped_<reason>` (copies and records lost), `read_failed`."""
        return self._outbox.counters

    @property
    def unread(self) -> int:
        """How many submitted exchanges were not read yet."""
        return len(self._unread)

    @property
    def unwritten(self) -> int:
        """How many records wait for a store that takes them; 0 while it does not, for then waiting frees nothing."""
        return 0 if self._post.failing else len(self._outbox)

    @property
    def settled(self) -> int:
        """How many exchanges, in order of `submit`, are written or lost for good."""
        return self._outbox.settled

    def lose(self, reason: str, count: int) -> None:
        """Count copies or records that were lost on the way here."""
        self._outbox.lose(reason, count)

    async def start(self) -> None:
        """Begin to read and write. A store that cannot be opened is no error here: it is tried again at each flush."""
        self._tasks = [asyncio.create_task(self._read_forever()), asyncio.create_task(self._flush_forever())]

    def submit(self, recording: Recording) -> None:
        """Take one ended exchange; returns at once and never raises."""
        if self._closed or len(self._unread) >= self._limits.max_unread:
            self._outbox.lose("buffer_full")
            self._outbox.settled += 1
            recording.free()
            return
        self._unread.append(recording)
        self._all_read.clear()
        self._submitted.set()

    def replace(self, settings: RecordingSettings) -> None:
        """Read from now on by new settings. Raises ValueError for another store, which needs a restart."""
        if settings.store != self._settings.store:
            raise ValueError("another store needs a restart")
        self._settings = settings
        self._reader = ExchangeReader(settings)

    async def close(self) -> Mapping[str, int]:
        """Read and write everything that was submitted, for at most `close_timeout_s`; returns the counters.

        What could not be written in time is counted as `dropped_unflushed`.
        """
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.close_timeout_s if self._tasks else 0):
                await self._all_read.wait()
                await self._flush_until_empty()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._post.close()
        self._count_unflushed()
        return self.counters

    def _count_unflushed(self) -> None:
        left = len(self._outbox) + len(self._unread)
        while self._unread:
            self._unread.popleft().free()
        if left:
            self._outbox.lose("unflushed", left)
            LOG.error("records that could not be written before the end: %d", left)

    async def _read_forever(self) -> None:
        while True:
            await self._submitted.wait()
            self._submitted.clear()
            turn_ends = time.monotonic() + _READ_SLICE_S
            while self._unread:
                await self._read_next()
                if time.monotonic() >= turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = time.monotonic() + _READ_SLICE_S
            self._all_read.set()

    async def _read_next(self) -> None:
        """Read the oldest exchange and free its copy, whatever happens; it leaves the queue for the outbox."""
        recording = self._unread[0]
        try:
            if _is_large(recording):
                read = await asyncio.to_thread(self._reader.read, recording)
            else:
                read = self._reader.read(recording)
        except Exception as error:  # noqa: BLE001  (no copy may stop the recorder; told once a kind)
            self._tell_fault(error)
            read = ReadExchange(record=bare_record(recording))
        recording.free()
        self._unread.popleft()
        if recording.copy_lost == "tee_full":
            self._outbox.lose("tee_full")
        self._outbox.put(read, recording.budget)

    def _tell_fault(self, error: Exception) -> None:
        self._outbox.counters["read_failed"] += 1
        kind = type(error).__name__
        if kind not in self._faults:
            self._faults.add(kind)
            LOG.error("an exchange could not be read (%s) and is recorded by status and time only", kind)

    async def _flush_forever(self) -> None:
        expire_at = time.monotonic()
        while True:
            await self._outbox.wait_until_due(
                records=self._limits.batch_records, patience_s=self._limits.flush_interval_s
            )
            if not await self._flush():
                await asyncio.sleep(self._limits.flush_interval_s)
            elif time.monotonic() >= expire_at:
                expire_at = time.monotonic() + self._limits.expire_interval_s
                await self._post.expire(max_age_s=self._settings.max_job_age_s)

    async def _flush_until_empty(self) -> None:
        while not await self._flush():  # noqa: ASYNC110  (nothing tells when the store works again)
            await asyncio.sleep(self._limits.flush_interval_s)

    async def _flush(self) -> bool:
        """Write all that waits, batch by batch; False when the store failed and the rest waits on."""
        async with self._flushing:
            while not self._outbox.is_empty:
                if not await self._send_batch():
                    return False
        return True

    async def _send_batch(self) -> bool:
        """Write one batch; what the store will never take is found by halving and given up."""
        parcels = [self._outbox.take(records=self._limits.batch_records, body_bytes=self._limits.batch_body_bytes)]
        try:
            while parcels:
                verdict = await self._post.send(parcels[0])
                if verdict == "failed":
                    return False
                parcel = parcels.pop(0)
                if verdict == "refused" and parcel.is_mixed:
                    parcels[:0] = parcel.halves()
                else:
                    self._outbox.settle(parcel, refused=verdict == "refused")
        finally:
            for parcel in reversed(parcels):
                self._outbox.put_back(parcel)
        return True


class _Post:
    """The way to the store: opened when needed; its failure is told once, and its return."""

    def __init__(self, url: str, connect: Callable[[str], Awaitable[IntakeDoor]]) -> None:
        self._url = url
        self._connect = connect
        self._door: IntakeDoor | None = None
        self._failing = False

    @property
    def failing(self) -> bool:
        """True from a failure of the store until it takes records again."""
        return self._failing

    async def send(self, parcel: Parcel) -> Verdict:
        """Hand one parcel over in one transaction; never raises."""
        try:
            await (await self._open_door()).write(parcel.batch())
        except UnstorableError as error:
            # No trace: it would only show our own lines.
            LOG.error("%s (among %d records)", error, len(parcel.items))  # noqa: TRY400
            return "refused"
        except StoreError as error:
            self._tell_failure(error)
            return "failed"
        except Exception as error:  # noqa: BLE001  (a fault of ours in one record must not stop the others)
            kind = type(error).__name__
            # No trace: the message of such an error may quote a prompt.
            LOG.error("a batch cannot be written (%s, among %d records)", kind, len(parcel.items))  # noqa: TRY400
            return "refused"
        self._tell_return()
        return "taken"

    async def expire(self, *, max_age_s: float) -> None:
        """Drop jobs that waited too long and their copies, also where no worker runs; a failure waits for next time."""
        now = datetime.now(UTC)
        try:
            await (await self._open_door()).expire_jobs(before=now - timedelta(seconds=max_age_s), now=now)
        except StoreError as error:
            self._tell_failure(error)
        except Exception as error:  # noqa: BLE001  (a fault of ours here must not stop the writing)
            LOG.error("old jobs cannot be expired (%s)", type(error).__name__)  # noqa: TRY400  (see above)

    async def close(self) -> None:
        """Close what was opened; a store that cannot even be closed is told."""
        if self._door is not None:
            try:
                await self._door.close()
            except StoreError as error:
                self._tell_failure(error)

    async def _open_door(self) -> IntakeDoor:
        if self._door is None:
            self._door = await self._connect(self._url)
        return self._door

    def _tell_failure(self, error: StoreError) -> None:
        if not self._failing:
            LOG.error("records wait in memory: %s", error)
        self._failing = True

    def _tell_return(self) -> None:
        if self._failing:
            LOG.warning("the store takes records again")
        self._failing = False


def _is_large(recording: Recording) -> bool:
    size = recording.taken
    if size <= _LARGE_CODED_BYTES:
        return False
    is_coded = any(name.lower() == b"content-encoding" for name, _ in recording.response_headers)
    return is_coded or size > _LARGE_BYTES
