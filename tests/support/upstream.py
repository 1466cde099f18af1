"""An upstream that sends exactly the bytes a test hands in, and remembers exactly the bytes it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from tests.support.http1 import Message, MessageReader, WireError
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Gate:
    """Holds an answer back until the test opens it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = asyncio.Event()

    def open(self) -> None:
        """Let everything that waits here go on; may be called from the test's thread."""
        self._loop.call_soon_threadsafe(self._open.set)

    async def passed(self) -> None:
        """Wait until the gate is open."""
        await self._open.wait()


Part = bytes | float | Gate
"""Bytes: one write. A number: a pause in seconds. A gate: wait for the test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the upstream does with one request."""

    parts: Iterable[Part] = (OK,)
    """Sent once the whole request has arrived."""
    on_head: Iterable[Part] = ()
    """Sent as soon as the request's head has arrived (100 Continue, an early answer)."""
    read_body: bool = True
    """False: the body is left unread and `end` follows right after `on_head`."""
    read_after: Gate | None = None
    """Read nothing more after the head until this gate opens (a slow upstream)."""
    end: Literal["keep", "fin", "reset", "stall"] = "keep"
    """keep: wait for the next request. fin: close cleanly. reset: RST. stall: say nothing more and stay open."""


Handler = Callable[[Message], Answer]


@dataclass(slots=True, kw_only=True)
class ConnectionLog:
    """One connection the upstream was given."""

    received: bytearray = field(default_factory=bytearray)
    reader: MessageReader = field(default_factory=lambda: MessageReader("request"))
    error: str | None = None
    """Set when the bytes received were not HTTP/1.1."""
    sent: int = 0
    """Bytes the connection accepted from us."""
    closed_at: float | None = None
    """time.monotonic() of the peer's FIN or RST."""
    closed_how: Literal["fin", "reset"] | None = None

    forgotten: int = 0

    @property
    def requests(self) -> list[Message]:
        """Every request whose head has arrived since the upstream was last told to forget."""
        return self.reader.messages[self.forgotten :]

    def forget(self) -> None:
        """What was received so far belongs to an earlier step of the test."""
        self.forgotten = len(self.reader.messages)
        self.received.clear()


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._log = ConnectionLog()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=1, low=0)
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._upstream.connections.append(self._log)
        self._upstream.open[self._transport] = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._log.received += data
        try:
            self._log.reader.feed(data)
        except (WireError, StopIteration) as error:
            self._log.error = self._log.error or repr(error)
            self._transport.abort()
        self._news.set()

    def eof_received(self) -> None:
        self._closed("fin")

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed("reset" if exc else "fin")
        self._upstream.open.pop(self._transport).set()
        self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _closed(self, how: Literal["fin", "reset"]) -> None:
        if self._log.closed_at is None:
            self._log.closed_at = time.monotonic()
            self._log.closed_how = how

    async def _serve(self) -> None:
        served = 0
        messages = self._log.reader.messages
        while True:
            await self._until(lambda: len(messages) > served)  # noqa: B023  (awaited before the next round)
            request = messages[served]
            if self._upstream.picks_by_body:
                await self._until(lambda: request.complete)  # noqa: B023
            answer = self._upstream.handler(request)
            if answer.read_after:
                self._transport.pause_reading()
            await self._play(answer.on_head)
            if answer.read_after:
                await answer.read_after.passed()
                self._transport.resume_reading()
            if answer.read_body:
                await self._until(lambda: request.complete)  # noqa: B023
                await self._play(answer.parts)
            if answer.end == "reset":
                await self._delivered()
                reset(self._transport)
            elif answer.end == "fin":
                self._transport.close()
            if answer.end != "keep":
                return
            served += 1

    async def _until(self, arrived: Callable[[], bool]) -> None:
        while not arrived():
            self._news.clear()
            await self._news.wait()

    async def _play(self, parts: Iterable[Part]) -> None:
        for part in parts:
            if isinstance(part, bytes):
                self._transport.write(part)
                await asyncio.sleep(0)
                await self._writable.wait()
                self._log.sent += len(part)
            elif isinstance(part, Gate):
                await part.passed()
            else:
                await asyncio.sleep(part)

    async def _delivered(self) -> None:
        """Wait until the peer's kernel has every byte; a RST would take back those that are still on their way."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        while descriptor >= 0 and any(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))):  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.001)


def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST (SO_LINGER 0)."""
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class Upstream:
    """The server, in a thread of its own; give it an `Answer`, or a function that picks one for each request."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._tls = tls
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.connections: list[ConnectionLog] = []
        self.open: dict[asyncio.Transport, asyncio.Event] = {}
        self.handler: Handler = lambda _request: Answer()
        self.picks_by_body = False
        self.address: tuple[str, int] = (host, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def base_url(self) -> str:
        """Where it listens, as a URL without a path."""
        return f"{'https' if self._tls else 'http'}://{self.address[0]}:{self.address[1]}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.address[1]

    @property
    def requests(self) -> list[Message]:
        """Every request whose head has arrived, connection by connection."""
        return [request for connection in self.connections for request in connection.requests]

    def gate(self) -> Gate:
        """A closed gate for one of this upstream's answers."""
        return Gate(self._loop)

    def answer(self, with_: Answer | Handler, *, by_body: bool = False) -> None:
        """Forget what was seen, and answer like this from now on.

        A function is asked as soon as a request's head has arrived, with `by_body` once the whole request has.
        """
        self.connections = [log for log in self.connections if log.closed_at is None]
        for log in self.connections:
            log.forget()
        self.picks_by_body = by_body
        self.handler = with_ if callable(with_) else lambda _request: with_

    def start_over(self) -> None:
        """Close every open connection, forget what was seen, answer `200 ok` again."""
        asyncio.run_coroutine_threadsafe(self._close_connections(), self._loop).result()
        self.connections = []
        self.answer(Answer())

    def has_seen(self, count: int) -> bool:
        """Whether more than `count` requests have come."""
        return len(self.requests) > count

    def wait_for_request(self, *, within_s: float = 5.0) -> tuple[ConnectionLog, Message]:
        """The first request's connection and the request, as soon as its head has arrived."""
        eventually(lambda: self.requests, within_s=within_s, what="a request upstream")
        connection = next(log for log in self.connections if log.requests)
        return connection, connection.requests[0]

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(
            lambda: _Connection(self),
            self._host,
            0,
            ssl=self._tls,
            backlog=1024,
        )

    async def _close_connections(self) -> None:
        for transport in list(self.open):
            transport.abort()
        await asyncio.gather(*(lost.wait() for lost in list(self.open.values())))

    async def _close(self) -> None:
        self._server.close()
        await self._close_connections()
