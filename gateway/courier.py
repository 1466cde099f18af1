"""The live process's recorder: it hands ended exchanges to a scribe, a process of its own, and never waits for it.

Reading an exchange and writing it to the store costs more than relaying it. The scribe does both on another core; here
a recording is packed, and every few milliseconds a batch goes down a socket pair. What the scribe cannot take in time
waits, together with all other copies within `tee_memory_mb`; beyond that copies are given up, then records, counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
from collections import Counter, deque
from typing import TYPE_CHECKING, cast

from gateway.handover import end_frame, lost_frame, pack_exchange, settings_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.recording import Recording, TeeBudget
    from gateway.settings import RecordingSettings

_log = logging.getLogger(__name__)

_BATCH_S = 0.005
"""How long packed exchanges wait for company."""
_RECORDS_ROOM_BYTES = 8 << 20
"""Room for records without copies when the memory for copies is used up."""
_SOCKET_BYTES = 1 << 20
_LARGE_BYTES = 64 << 10
"""What holds larger copies than this is packed only when the scribe takes it: packed it is a second copy, which nobody
counts and which fills other holes of the memory than the first one leaves."""
_UNWRITTEN_SHARE = 16
"""The part of the memory for copies that what the scribe has not written yet may hold here, in case it dies."""
_MOST_FRUITLESS = 5
"""Scribes in succession that may die over the same exchanges before these are given up, or nothing would be written any
more."""
_CLOSE_TIMEOUT_S = 8.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class Courier(asyncio.Protocol):
    """`gateway.recording.Recorder`: `start`, `submit` from the event loop, `replace` on reload, `close`."""

    def __init__(self, settings: RecordingSettings, *, budget: TeeBudget) -> None:
        self._settings = settings
        self._budget = budget
        self._scribe: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._batch = bytearray()
        """Frames that wait for company."""
        self._batch_exchanges = 0
        self._packed: deque[tuple[int, bytes | bytearray]] = deque()
        """Batches the scribe was not sent yet, each with its count of exchanges."""
        self._packed_bytes = 0
        self._waiting: deque[Recording] = deque()
        """Large ones, while the scribe does not keep up; their copies count in the budget as before."""
        self._full = False
        self._due: asyncio.Handle | None = None
        self._lost: Counter[str] = Counter()
        self._answer = b""
        self._greeted = False
        """The scribe reads."""
        self._unwritten: deque[tuple[int, bytes | bytearray]] = deque()
        """Batches that the scribe has not written yet, for the next one if it dies, each with its count of exchanges.
        Bounded, the oldest go first; the store keeps an exchange once."""
        self._unwritten_bytes = 0
        self._written = 0
        """Exchanges of this scribe that left `_unwritten`."""
        self._restarting: asyncio.Future[None] | None = None
        self._ended = asyncio.Event()
        self._closing = False
        self._pause_s = _FIRST_PAUSE_S
        self._fruitless = 0
        """Scribes in succession that died reading and wrote nothing."""
        self.counters: Counter[str] = Counter()
        """Since the start: `handed_over`, `scribe_restarts`; after `close` also the scribe's, with all losses."""

    async def start(self) -> None:
        """Start the scribe. One that dies is started again; what waits here meanwhile is not lost."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        with theirs:
            command = [sys.executable, "-P", "-m", "gateway.scribe", str(theirs.fileno())]
            try:
                self._scribe = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)  # noqa: ASYNC220, S603  (a fixed command, once per start; fork and exec take about a millisecond)
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)

    def submit(self, recording: Recording) -> None:
        """Take one ended exchange; returns at once and never raises."""
        waiting = len(self._batch) + self._packed_bytes + self._unwritten_bytes
        if self._transport is not None:
            waiting += self._transport.get_write_buffer_size()
        if waiting + self._budget.used > self._budget.limit and recording.taken:
            recording.free()
            recording.copy_lost = "tee_full"
        if waiting > self._budget.limit + _RECORDS_ROOM_BYTES:
            self._lost["buffer_full"] += 1
            return
        if self._full and recording.taken > _LARGE_BYTES:
            self._waiting.append(recording)
        else:
            self._hand_over(recording)

    def _hand_over(self, recording: Recording) -> None:
        pack_exchange(recording, self._batch)
        recording.free()
        self.counters["handed_over"] += 1
        self._batch_exchanges += 1
        if len(self._batch) > _LARGE_BYTES:
            self._send()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(_BATCH_S, self._send)

    def replace(self, settings: RecordingSettings) -> None:
        """Record from now on by new settings. Raises ValueError for another store, which needs a restart."""
        if settings.store != self._settings.store:
            raise ValueError("another store needs a restart")
        self._settings = settings
        self._budget.limit = settings.tee_memory_bytes
        self._batch += settings_frame(settings)
        self._send()

    async def close(self) -> Mapping[str, int]:
        """Have everything written that was submitted; returns the counters, the scribe's among them.

        A scribe that does not answer in time is told as `scribe_unanswered`: nobody knows how much it had written.
        """
        self._closing = True
        if self._restarting is not None:
            await self._restarting
        if self._transport is None and self._scribe is not None:  # it has just died; what waits can still be written
            self._scribe.kill()
            await asyncio.to_thread(self._scribe.wait)
            self._ended.clear()
            await self._start_again()
        if self._transport is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    while self._waiting and self._transport is not None:  # noqa: ASYNC110  (a pace, no event)
                        await asyncio.sleep(_BATCH_S)
                    self._send()  # losses that were not told yet go before the end
                    self._batch += end_frame()
                    self._send()
                    await self._ended.wait()
        if self._waiting:
            self.counters["dropped_unflushed"] += len(self._waiting)
        self._read_answer()
        await self._dismiss()
        return self.counters

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The scribe is there: settings first, then what has waited."""
        self._transport = scribe = cast("asyncio.WriteTransport", transport)
        self._answer = b""  # half a line of one that died is no beginning of this one's
        scribe.write(settings_frame(self._settings))
        self.resume_writing()

    def pause_writing(self) -> None:
        """The scribe does not keep up."""
        self._full = True

    def resume_writing(self) -> None:
        """The scribe takes more."""
        self._full = False
        self._send()
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Take what the scribe tells: how many exchanges are written, line by line, and at its end its counters."""
        self._greeted = True
        *lines, self._answer = (self._answer + data).split(b"\n")
        while lines and self._unwritten and self._written + self._unwritten[0][0] <= int(lines[-1]):
            self._forget_oldest()
            self._fruitless = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """The scribe has ended; unasked, it is started again, and told anew what it had not written."""
        del exc
        self._transport = None
        self._fruitless += self._greeted and bool(self._unwritten)
        self._greeted = False
        if self._fruitless >= _MOST_FRUITLESS:
            self._give_up()
        self._packed.extendleft(reversed(self._unwritten))
        self._packed_bytes += self._unwritten_bytes
        self._unwritten.clear()
        self._unwritten_bytes = self._written = 0
        self._ended.set()
        if not self._closing:
            self.counters["scribe_restarts"] += 1
            _log.error("the scribe ended by itself and is started again; what it had not written is handed over again")
            self._restart_later()

    # The rest.

    def _restart(self) -> None:
        if self._closing:
            return
        if self._scribe is not None:
            self._scribe.poll()
        self._ended.clear()
        self._restarting = asyncio.ensure_future(self._start_again())

    def _restart_later(self) -> None:
        asyncio.get_running_loop().call_later(self._pause_s, self._restart)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _give_up(self) -> None:
        exchanges = sum(count for count, _ in self._unwritten)
        self._lost["unstorable"] += exchanges
        _log.error("%d scribes died over the same %d exchanges, which are given up", self._fruitless, exchanges)
        self._unwritten.clear()
        self._unwritten_bytes = self._fruitless = 0

    async def _start_again(self) -> None:
        """Start a scribe; where the system has no process or file left for it, what waits here waits on."""
        try:
            await self.start()
        except OSError as error:
            _log.error("a scribe cannot be started (%s)", error.strerror)
            if not self._closing:
                self._restart_later()

    def _go_on(self) -> None:
        """Hand over what has waited, one in each turn of the event loop, until the scribe has enough again."""
        if self._waiting and not self._full:
            self._hand_over(self._waiting.popleft())
            asyncio.get_running_loop().call_soon(self._go_on)

    def _close_batch(self) -> None:
        """Let what waits for company wait for the scribe; a new batch begins."""
        batch: bytes | bytearray = self._batch
        if len(batch) > 2 * _LARGE_BYTES:
            batch = bytes(batch)  # while it grew, half as much again was set aside for more
        self._packed.append((self._batch_exchanges, batch))
        self._packed_bytes += len(batch)
        self._batch, self._batch_exchanges = bytearray(), 0

    def _send(self) -> None:
        """Send one batch, and another in each turn of the event loop, as long as the scribe takes them."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._batch:
            self._close_batch()
        if self._transport is None or self._full:
            return
        if self._lost:
            self._transport.write(lost_frame(self._lost))
            self._lost.clear()
        if self._packed:
            exchanges, frames = self._packed.popleft()
            self._packed_bytes -= len(frames)
            self._transport.write(frames)
            self._unwritten.append((exchanges, frames))
            self._unwritten_bytes += len(frames)
            while self._greeted and self._unwritten_bytes > self._budget.limit // _UNWRITTEN_SHARE:
                self._forget_oldest()
        if self._packed:
            self._due = asyncio.get_running_loop().call_soon(self._send)

    def _forget_oldest(self) -> None:
        count, frames = self._unwritten.popleft()
        self._written += count
        self._unwritten_bytes -= len(frames)

    def _read_answer(self) -> None:
        try:
            self.counters.update(json.loads(self._answer))
        except ValueError:
            self.counters["scribe_unanswered"] += 1
            _log.error("the scribe did not say what it wrote")

    async def _dismiss(self) -> None:
        if self._transport is not None:
            self._transport.close()
        scribe = self._scribe
        if scribe is None:
            return
        try:
            await asyncio.to_thread(scribe.wait, 1.0)
        except subprocess.TimeoutExpired:
            scribe.kill()
            await asyncio.to_thread(scribe.wait)
