"""Many clients at once on one event loop, cheap enough for hundreds of thousands of requests; all ways to hang up."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import random

HangUp = Literal["fin", "reset", "double"]
"""double: FIN and a moment later RST, so that the gateway learns twice that the client is gone."""
Moment = Literal["connecting", "waiting", "uploading", "streaming", "last_byte"]
MOMENTS: tuple[Moment, ...] = ("connecting", "waiting", "uploading", "streaming", "last_byte")
WAYS: tuple[HangUp, ...] = ("fin", "reset", "double")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class BrokenAnswerError(Exception):
    """The connection ended before the answer was whole."""


def post(body: bytes, *, shape: str = "small", path: str = "/v1/messages", more: bytes = b"") -> bytes:
    """A whole request for an answer of this shape (see `tests.support.heavy`)."""
    return post_head(len(body), shape=shape, path=path, more=more) + body


def post_head(length: int | None, *, shape: str = "small", path: str = "/v1/messages", more: bytes = b"") -> bytes:
    """The head alone; `length` None: chunked."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    target = f"{path}?shape={shape}".encode()
    return (
        b"POST %s HTTP/1.1\r\nhost: gateway\r\nuser-agent: swarm/1\r\ncontent-type: application/json\r\n"
        b"x-api-key: sk-swarm-0123456789\r\nanthropic-version: 2023-06-01\r\n%s%s\r\n\r\n" % (target, more, framing)
    )


def question(size: int, *, stream: bool = False) -> bytes:
    """A Messages request body of about `size` bytes."""
    words = "The function reads a file and returns a dict of values. "
    text = (words * (size // len(words) + 1))[: max(0, size - 110)]
    streaming = b'"stream":true,' if stream else b""
    body = b'{"model":"primary","max_tokens":64,%s"messages":[{"role":"user","content":"%s"}]}'
    return body % (streaming, text.encode())


class Asker(asyncio.Protocol):
    """One keep-alive connection. Answers are counted, not kept."""

    def __init__(self, *, reading: bool = True) -> None:
        self._reading = reading
        self.closed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._whole: asyncio.Future[None] | None = None
        self.moved = asyncio.Event()
        """Set whenever bytes of an answer arrive."""
        self._reset_answer()

    @classmethod
    async def connect(cls, address: tuple[str, int], *, reading: bool = True, receive_buffer: int = 0) -> Asker:
        """Open a connection; with `reading` off nothing is read until `transport.resume_reading()`."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await loop.sock_connect(sock, address)
            _, asker = await loop.create_connection(lambda: cls(reading=reading), sock=sock)
        except BaseException:
            sock.close()
            raise
        return asker

    async def ask(self, wire: bytes) -> int:
        """Send a whole request and wait for its whole answer; gives the status."""
        self.begin(wire)
        return await self.answered()

    def begin(self, wire: bytes) -> None:
        """Send a request, or its beginning."""
        self._reset_answer()
        self._whole = asyncio.get_running_loop().create_future()
        if self.closed.is_set():
            self._whole.set_exception(BrokenAnswerError("the connection is closed"))
        self.transport.write(wire)

    async def send(self, data: bytes) -> None:
        """Send more of it, at the pace at which it is taken."""
        self.transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    async def answered(self) -> int:
        """Wait until the answer is whole; gives its status."""
        assert self._whole is not None
        await self._whole
        return self.status

    async def receives(self, size: int) -> None:
        """Wait until `size` bytes of the body are there, or the connection is closed."""
        while self.body_bytes < size and not self.closed.is_set():
            self.moved.clear()
            await self.moved.wait()

    async def hang_up(self, way: HangUp) -> None:
        """Leave without a word."""
        sock = self.transport.get_extra_info("socket")
        if self.closed.is_set():
            return
        if way == "double":
            self.transport.write_eof()
            await asyncio.sleep(0.001)
        if way != "fin" and not self.closed.is_set() and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()
        if self._whole is not None:
            self._whole.cancel()

    def close(self) -> None:
        """Close cleanly."""
        self.transport.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._reading:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set()
        self._writable.set()
        self.moved.set()
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(BrokenAnswerError(f"closed after {self.body_bytes} bytes of the body"))
            self._whole.exception()  # whoever left is not waiting for it

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if not self.status:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._read_head(self._head[:end].lower())
            data, self._head = self._head[end + 4 :], b""
        self.body_bytes += len(data)
        self._tail = (self._tail + data[-7:])[-7:]
        self.moved.set()
        if self._is_whole() and self._whole is not None and not self._whole.done():
            self._whole.set_result(None)

    def _is_whole(self) -> bool:
        if self._length is not None:
            return self.body_bytes >= self._length
        return self._tail.endswith(b"\r\n0\r\n\r\n")

    def _read_head(self, head: bytes) -> None:
        self.status = int(head.split(b" ", 2)[1])
        at = head.find(b"\r\ncontent-length:")
        self._length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else None

    def _reset_answer(self) -> None:
        self.status = 0
        self.body_bytes = 0
        self._head = self._tail = b""
        self._length: int | None = None


async def leave(address: tuple[str, int], moment: Moment, way: HangUp, chance: random.Random) -> None:
    """One client that hangs up at this moment, in this way."""
    asker = await Asker.connect(address)
    body = question(600, stream=moment == "streaming")
    if moment == "connecting":
        asker.begin(post(body, shape="never"))
    elif moment == "waiting":
        asker.begin(post(body, shape="never"))
        await asyncio.sleep(chance.uniform(0.001, 0.02))
    elif moment == "uploading":
        asker.begin(post_head(1_000_000) + question(chance.randrange(1000, 200_000)))
        await asyncio.sleep(chance.uniform(0, 0.01))
    elif moment == "streaming":
        asker.begin(post(body, shape="events:1000:2"))
        await asker.receives(1)
        await asyncio.sleep(chance.uniform(0, 0.01))
    else:
        asker.begin(post(body, shape="lastbyte:5"))
        await asker.receives(1)
        await asyncio.sleep(chance.uniform(0, 0.008))
    await asker.hang_up(way)
    await asker.closed.wait()
