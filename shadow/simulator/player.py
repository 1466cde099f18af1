"""The player: it carries a plan out on one connection, and notices when the client leaves."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from shadow.simulator.steps import Cut, Data, Finish, Head, Pause, Reset, Stall, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

    from shadow.simulator.log import Ending, LogEntry

TRANSPORT_EXTENSION = "shadow.simulator.transport"
"""Where the server puts the connection's transport, so that a fault can break it."""


class Player:
    """Carries out one plan on one connection, and notices when the client leaves."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, entry: LogEntry, closing: asyncio.Event) -> None:
        self._transport = scope.get("extensions", {}).get(TRANSPORT_EXTENSION)
        self._receive = receive
        self._send = send
        self._entry = entry
        self._closing = closing

    async def read_body(self) -> bool:
        """Read the request body; False when the client left before its end."""
        parts = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._end("cancelled")
                return False
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self._entry.body = b"".join(parts)
                self._entry.body_at = time.monotonic()
                return True

    async def play(self, steps: Iterator[Step]) -> None:
        """Carry the steps out until one ends the exchange, the client leaves or the server stops."""
        gone = asyncio.ensure_future(self._until_gone())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            for step in steps:
                if await self._waited(step, gone, closing):
                    continue
                if gone.done():
                    self._end("cancelled")
                    return
                if closing.done() or isinstance(step, Cut | Reset):
                    self._end("broken")
                    await self._break_off(gone, reset=isinstance(step, Reset))
                    return
                await self._do(step)
        finally:
            gone.cancel()
            closing.cancel()
            await asyncio.gather(gone, closing, return_exceptions=True)

    async def _waited(self, step: Step, gone: asyncio.Future[None], closing: asyncio.Future[Any]) -> bool:
        """Sit a pause or a stall out; True when it went by undisturbed."""
        if not isinstance(step, Pause | Stall):
            return False
        if isinstance(step, Pause) and step.seconds <= 0:
            return True
        timeout = step.seconds if isinstance(step, Pause) else None
        done, _ = await asyncio.wait({gone, closing}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return not done

    async def _do(self, step: Step) -> None:
        entry = self._entry
        if isinstance(step, Head):
            entry.status, entry.first_byte_at = step.status, time.monotonic()
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in step.headers]
            await self._send({"type": "http.response.start", "status": step.status, "headers": headers})
        elif isinstance(step, Data):
            entry.bytes_out += len(step.data)
            await self._send({"type": "http.response.body", "body": step.data, "more_body": True})
        elif isinstance(step, Finish):
            self._end("completed")
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _break_off(self, gone: asyncio.Future[None], *, reset: bool) -> None:
        """Close the connection without ending the answer. A server that hides its transport closes it on our return."""
        transport: asyncio.Transport | None = self._transport
        if transport is None:
            return
        if reset:
            # A lingering time of 0 makes the kernel send RST instead of FIN, whatever is still buffered.
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        await gone

    def _end(self, ending: Ending) -> None:
        if self._entry.ending == "open":
            self._entry.ending = ending
            self._entry.ended_at = time.monotonic()
