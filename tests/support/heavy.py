"""An upstream in a process of its own whose answers are too large, too small or too slow, chosen by `?shape=`.

    python -m tests.support.heavy        prints its port, serves 127.0.0.1, ends with its standard input

`shape` is one word with arguments, `:` between them; what follows a `!` is for calls below /candidate:

    small             a Messages answer of some hundred bytes            delay:MS     the same, later
    never             nothing at all                                     lastbyte:MS  the last byte comes later
    events:N:GAP_MS   N streamed events                                  giant:BYTES  one event of that size
    bomb:BYTES        JSON of that size, gzipped                         blob:BYTES   a body of that size
    drip:BYTES:SIZE   a stream whose pieces have SIZE bytes, one at each turn of the event loop

`GET /counts` tells how many connections and requests there are, without the candidates'; request bodies are read and
dropped.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    Reading = Callable[[bytes], bytes]

_BLOCK = b"a" * 65_536
_JSON, _SSE = b"application/json", b"text/event-stream"


def message(text: str) -> bytes:
    """A whole Messages answer."""
    return json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "primary",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 12, "output_tokens": 6},
        }
    ).encode()


SMALL = message("Four, and a few words more, so that this is about as long as a short answer is: the quick brown fox.")


def _event(name: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps({"type": name} | fields).encode())


_OPENING = _event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "primary",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 1},
    },
) + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
_DELTA = _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a few words "})
_CLOSING = (
    _event("content_block_stop", index=0)
    + _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 6})
    + _event("message_stop")
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _head(kind: bytes, length: int | None, *, coding: bytes = b"") -> bytes:
    framing = b"content-length: %d" % length if length is not None else b"transfer-encoding: chunked"
    coded = b"content-encoding: %s\r\n" % coding if coding else b""
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s%s\r\n\r\n" % (kind, coded, framing)


@lru_cache(maxsize=4)
def _bomb(size: int) -> bytes:
    """A gzipped answer that is `size` bytes long once it is unpacked."""
    before, after = message("@").split(b"@")
    packed = bytearray()
    sink = _Sink(packed)
    with gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=9) as file:  # type: ignore[call-overload]  # it only writes
        file.write(before)
        for _ in range(size // len(_BLOCK)):
            file.write(_BLOCK)
        file.write(after)
    return bytes(packed)


class _Sink:
    def __init__(self, packed: bytearray) -> None:
        self._packed = packed

    def write(self, data: bytes) -> int:
        self._packed += data
        return len(data)

    def flush(self) -> None:
        """Nothing to do; gzip asks for it."""


_SMALL_ANSWER = _head(_JSON, len(SMALL)) + SMALL


class _Server(asyncio.Protocol):
    """One connection; answers one request after the other."""

    connections: ClassVar[set[_Server]] = set()
    requests = 0

    def __init__(self) -> None:
        self._is_app = True
        self._reading: Reading = self._read_head
        self._buffer = b""
        self._left = 0
        self._target = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None
        self._steps: Iterator[bytes] = iter(())
        self._gone = False
        self._pause_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        _Server.connections.add(self)
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        _Server.connections.discard(self)
        self._gone = True
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        while data:
            data = self._reading(data)

    def _read_head(self, data: bytes) -> bytes:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return b""
        head, rest = self._buffer[:end].lower() + b"\r\n", self._buffer[end + 4 :]
        self._target = self._buffer.split(b" ", 2)[1]
        self._buffer = b""
        at = head.find(b"\r\ncontent-length:")
        self._left = int(head[at + 17 : head.index(b"\r\n", at + 2)]) if at >= 0 else 0
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            self._reading = self._read_chunked
        elif self._left:
            self._reading = self._read_body
        else:
            self._answer()
        return rest

    def _read_body(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left <= 0:
            self._reading = self._read_head
            self._answer()
            return data[len(data) + self._left :] if self._left < 0 else b""
        return b""

    def _read_chunked(self, data: bytes) -> bytes:
        """Good enough for the bodies of these tests, which hold no empty lines of their own."""
        self._buffer = (self._buffer + data)[-7:]
        if self._buffer.endswith(b"\r\n0\r\n\r\n") or self._buffer == b"0\r\n\r\n":
            self._buffer = b""
            self._reading = self._read_head
            self._answer()
        return b""

    def _answer(self) -> None:
        path, _, query = self._target.partition(b"?")
        self._is_app = not path.startswith((b"/candidate", b"/counts"))
        _Server.requests += self._is_app
        if path == b"/counts":
            connections = sum(one._is_app for one in _Server.connections)
            counts = json.dumps({"connections": connections, "requests": _Server.requests}).encode()
            self._transport.write(_head(_JSON, len(counts)) + counts)
            return
        shape = unquote(query.partition(b"shape=")[2].partition(b"&")[0].decode()) or "small"
        live, _, candidate = shape.partition("!")
        words = (live if self._is_app else candidate or "small").split(":")
        if words[0] == "small":
            self._transport.write(_SMALL_ANSWER)
        elif words[0] != "never":
            make = getattr(self, f"_play_{words[0]}")
            self._task = asyncio.get_running_loop().create_task(make(*map(int, words[1:])))

    async def _write(self, data: bytes) -> None:
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    async def _play_delay(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)
        self._transport.write(_SMALL_ANSWER)

    async def _play_lastbyte(self, ms: int) -> None:
        self._transport.write(_SMALL_ANSWER[:-1])
        await asyncio.sleep(ms / 1000)
        self._transport.write(_SMALL_ANSWER[-1:])

    async def _play_events(self, count: int, gap_ms: int) -> None:
        await self._write(_head(_SSE, None) + _chunk(_OPENING))
        chunk = _chunk(_DELTA)
        for _ in range(count):
            await asyncio.sleep(gap_ms / 1000)
            await self._write(chunk)
        await self._write(_chunk(_CLOSING) + b"0\r\n\r\n")

    async def _play_giant(self, size: int) -> None:
        await self._write(_head(_SSE, None) + _chunk(_OPENING))
        before, after = _DELTA.split(b"a few words ")
        await self._write(_chunk(before))
        for _ in range(size // len(_BLOCK)):
            await self._write(_chunk(_BLOCK))
        await self._write(_chunk(after) + _chunk(_CLOSING) + b"0\r\n\r\n")

    async def _play_bomb(self, size: int) -> None:
        packed = _bomb(size)
        await self._write(_head(_JSON, len(packed), coding=b"gzip"))
        await self._write(packed)

    async def _play_blob(self, size: int) -> None:
        await self._write(_head(b"application/octet-stream", size))
        for at in range(0, size, len(_BLOCK)):
            await self._write(_BLOCK[: min(len(_BLOCK), size - at)])

    async def _play_drip(self, size: int, piece: int) -> None:
        await self._write(_head(_SSE, size))
        data = b"z" * piece
        for _ in range(size // piece):
            await self._write(data)
            await asyncio.sleep(0)


class Heavy:
    """The upstream's process: `with Heavy() as heavy: … heavy.base_url`."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.heavy"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> dict[str, int]:
        """How many connections are open, and how many requests have come, without this one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/counts")
            counted: dict[str, int] = json.loads(connection.getresponse().read())
            return counted
        finally:
            connection.close()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  (the parent reads it)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve())
