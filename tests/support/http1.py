"""HTTP/1.1 messages read strictly from raw bytes, slice by slice: what the test client and the test upstream share.

Nothing is forgiven here (bare LF, folded fields, odd chunk sizes raise WireError), so that a sloppy relay is found out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Generator

Headers = list[tuple[bytes, bytes]]
Framing = Literal["none", "length", "chunked", "close"]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    },
)
"""Fields that concern one connection only, so a gateway decides about them itself (RFC 9110 7.6.1)."""

_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(;.*)?", re.DOTALL)


class WireError(Exception):
    """The bytes on the wire are not HTTP/1.1; the message shows them."""


@dataclass(slots=True, kw_only=True)
class Message:
    """One request or answer, filled while its bytes arrive."""

    start: bytes
    """The first line, without its line end."""
    headers: Headers
    framing: Framing = "none"
    body: bytearray = field(default_factory=bytearray)
    trailers: Headers = field(default_factory=list)
    complete: bool = False

    @property
    def words(self) -> list[bytes]:
        """The three parts of the first line; a missing reason phrase is empty."""
        return [*self.start.split(b" ", 2), b""][:3]

    @property
    def method(self) -> bytes:
        """First word of a request line."""
        return self.words[0]

    @property
    def target(self) -> bytes:
        """Second word of a request line."""
        return self.words[1]

    @property
    def status(self) -> int:
        """Second word of a status line."""
        return int(self.words[1])

    def values(self, name: bytes) -> list[bytes]:
        """All values of one field, in order."""
        return [value for key, value in self.headers if key.lower() == name]


class MessageReader:
    """Cuts one direction of a connection into messages; `head_only` says that the next answer has no body (HEAD)."""

    def __init__(self, kind: Literal["request", "answer"]) -> None:
        self.messages: list[Message] = []
        """Every message whose head has arrived, the unfinished last one included."""
        self.head_only = False
        self.ended = False
        self._kind = kind
        self._buffer = bytearray()
        self._steps = self._read()
        next(self._steps)

    @property
    def rest(self) -> bytes:
        """Bytes that arrived and belong to no message yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take the next slice."""
        self._buffer += data
        next(self._steps)

    def end(self) -> None:
        """The peer closed its direction cleanly: this completes a message without a length."""
        self.ended = True
        next(self._steps)

    def _read(self) -> Generator[None, None, None]:
        while True:
            yield from self._message()

    def _message(self) -> Generator[None, None, None]:
        head = yield from self._until(b"\r\n\r\n")
        start, *lines = head.split(b"\r\n")
        message = Message(start=start, headers=[_field(line) for line in lines])
        if b"\n" in start or b"\r" in start or len(start.split(b" ")) < 2:
            raise WireError(f"bad first line {start!r}")
        message.framing, length = self._framing(message)
        self.messages.append(message)
        if message.framing == "length":
            yield from self._exactly(length, message.body)
        elif message.framing == "chunked":
            yield from self._chunks(message)
        elif message.framing == "close":
            while not self.ended:
                message.body += self._take(len(self._buffer))
                yield
            message.body += self._take(len(self._buffer))
        message.complete = True

    def _framing(self, message: Message) -> tuple[Framing, int]:
        if self._kind == "answer" and (
            self.head_only or message.status in (204, 304) or 100 <= message.status < 200  # RFC 9112 6.3
        ):
            return "none", 0
        codings = message.values(b"transfer-encoding")
        lengths = message.values(b"content-length")
        if codings and lengths:
            raise WireError(f"both a length and a transfer coding: {message.headers}")
        if codings:
            if [coding.lower() for coding in codings] != [b"chunked"]:
                raise WireError(f"transfer coding {codings}")
            return "chunked", 0
        if lengths:
            if len(lengths) != 1 or not re.fullmatch(rb"[0-9]+", lengths[0]):
                raise WireError(f"lengths {lengths}")
            return "length", int(lengths[0])
        return ("close" if self._kind == "answer" else "none"), 0

    def _chunks(self, message: Message) -> Generator[None, None, None]:
        while True:
            line = yield from self._until(b"\r\n")
            match = _CHUNK_SIZE.fullmatch(line)
            if not match:
                raise WireError(f"chunk size {line!r}")
            size = int(match[1], 16)
            if size == 0:
                break
            yield from self._exactly(size, message.body)
            end = bytearray()
            yield from self._exactly(2, end)
            if end != b"\r\n":
                raise WireError(f"a chunk of {size} bytes ends with {bytes(end)!r}")
        while line := (yield from self._until(b"\r\n")):
            message.trailers.append(_field(line))

    def _until(self, mark: bytes) -> Generator[None, None, bytes]:
        start = 0
        while (found := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark) + 1)
            yield
        data = self._take(found)
        self._take(len(mark))
        return data

    def _exactly(self, size: int, into: bytearray) -> Generator[None, None, None]:
        while size:
            piece = self._take(min(size, len(self._buffer)))
            into += piece
            size -= len(piece)
            if size:
                yield

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if not match or b"\n" in line or b"\r" in line or b"\0" in line:
        raise WireError(f"bad field line {line!r}")
    return match[1], match[2]


def chunked(body: bytes, sizes: list[int], *, trailers: bytes = b"", extension: bytes = b"") -> bytes:
    """Frame `body` in chunks of the given sizes (the last one repeats); `trailers` are whole field lines."""
    out = bytearray()
    position = index = 0
    while position < len(body):
        piece = body[position : position + sizes[min(index, len(sizes) - 1)]]
        out += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
        position += len(piece)
        index += 1
    return bytes(out) + b"0\r\n" + trailers + b"\r\n"


def slices(data: bytes, size: int) -> tuple[bytes, ...]:
    """Cut `data` into pieces of `size` bytes."""
    return tuple(data[at : at + size] for at in range(0, len(data), size))
