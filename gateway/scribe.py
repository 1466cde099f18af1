"""The scribe: reads the exchanges of one live process and writes them to the store, in a process of its own.

It ends when its live process does: after the end frame, or at the end of the stream, when the live process was killed;
either way everything that came is written first. Signals that end a live process are ignored here.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from gateway import logs
from gateway.handover import Frames, Kind, read_exchange, read_lost, read_settings
from gateway.recorder import StoreRecorder
from gateway.recording import TeeBudget
from shadow.redaction import Scrubber

if TYPE_CHECKING:
    from gateway.settings import RecordingSettings

_log = logging.getLogger("gateway.scribe")

_NICENESS = 5
"""The live process goes first when they share a core."""
_READ_BYTES = 256 << 10
_MOST_UNREAD = 500
_MOST_UNWRITTEN = 5000
_PAUSE_S = 0.002
_ACKNOWLEDGE_S = 0.1


class Scribe:
    """One scribe from its first frame to its exit."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._frames = Frames()
        self._budget = TeeBudget(limit=0)
        self._recorder: StoreRecorder | None = None
        self._open = True

    async def run(self) -> None:
        """Read frames until the end; then write what waits, and say what was written."""
        gc.collect()
        gc.freeze()  # what lives from the start on need not be looked at again
        loop = asyncio.get_running_loop()
        acknowledging = asyncio.create_task(self._acknowledge())
        while self._open:
            try:
                data = await loop.sock_recv(self._channel, _READ_BYTES)
            except ConnectionResetError:  # killed with an acknowledgement unread; all it sent came before this
                break
            if not data:
                break
            for kind, body in self._frames.feed(data):
                await self._take(kind, body)
            await self._keep_pace()
        counters = {} if self._recorder is None else await self._recorder.close()
        acknowledging.cancel()
        try:
            await loop.sock_sendall(self._channel, json.dumps(counters).encode())
        except OSError:
            _log.info("the live process is gone; its last records are written")

    async def _acknowledge(self) -> None:
        """Tell how many exchanges are written (or lost, and counted): the live process need not keep them any more.

        The first line, 0, says that from here on what comes is read. A live process that is gone is no error.
        """
        loop = asyncio.get_running_loop()
        told = -1
        with contextlib.suppress(OSError):
            while True:
                settled = 0 if self._recorder is None else self._recorder.settled
                if settled != told:
                    await loop.sock_sendall(self._channel, b"%d\n" % settled)
                    told = settled
                await asyncio.sleep(_ACKNOWLEDGE_S)

    async def _take(self, kind: Kind, body: memoryview) -> None:
        if kind is Kind.SETTINGS:
            await self._follow(read_settings(body))
        elif self._recorder is None:
            _log.error("a frame came before the settings and is lost")
        elif kind is Kind.EXCHANGE:
            self._recorder.submit(read_exchange(body, budget=self._budget))
        elif kind is Kind.LOST:
            for reason, count in read_lost(body).items():
                self._recorder.lose(reason, count)
        else:
            self._open = False

    async def _follow(self, settings: RecordingSettings) -> None:
        self._budget.limit = settings.tee_memory_bytes
        logs.configure(process="scribe", scrub=Scrubber(settings.secrets).scrub, level=logging.WARNING)
        if self._recorder is None:
            self._recorder = StoreRecorder(settings)
            await self._recorder.start()
        else:
            self._recorder.replace(settings)

    async def _keep_pace(self) -> None:
        """Read on only when what came is nearly read: what waits longer waits in the live process, within its bound."""
        await asyncio.sleep(0)
        while self._is_behind():  # noqa: ASYNC110  (a pace, no event)
            await asyncio.sleep(_PAUSE_S)

    def _is_behind(self) -> bool:
        recorder = self._recorder
        return recorder is not None and (recorder.unread > _MOST_UNREAD or recorder.unwritten > _MOST_UNWRITTEN)


def main() -> int:
    """Run one scribe on the socket whose number is the only argument; returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(_NICENESS)
    logs.configure(process="scribe", level=logging.WARNING)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.setblocking(False)
        asyncio.run(Scribe(channel).run())
    return 0


if __name__ == "__main__":
    code = 1
    try:
        code = main()
    except Exception as error:  # noqa: BLE001  (told by its kind alone: its message may quote a prompt)
        _log.error("the scribe ends by a fault of ours (%s)", type(error).__name__)
    finally:
        # All is written. A thread of a store that could not be closed must not keep a process nobody watches any more.
        os._exit(code)
