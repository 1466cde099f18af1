"""Where a body ends: one small reader per kind of framing, without I/O.

`feed(data)` returns the plain bytes of a slice and how many of the slice's bytes belong to this body; what is left over
is the next request of a client, or a fault of an upstream.
"""

from __future__ import annotations

from typing import Protocol

import httptools

_MAX_OVERHEAD_BYTES = 64 << 10
_CHUNKED_HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"\r\n\r\n"
_CR = 13


class BrokenFramingError(Exception):
    """The bytes cannot be this body."""


class BodyReader(Protocol):
    """What the relay knows of a body: its plain bytes and its end."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """Read one slice: its plain bytes and the number of its bytes that belong to this body."""
        ...

    def close(self) -> None:
        """Let go of everything, at the end or before."""
        ...


class LengthBody:
    """A body of a known length, zero included."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """See BodyReader."""
        size = len(data)
        if size > self.left:
            size = self.left
            data = data[:size]
        self.left -= size
        self.done = self.left == 0
        return data, size

    def close(self) -> None:
        """See BodyReader."""


class UntilCloseBody:
    """A body that lasts until the connection ends."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """See BodyReader."""
        return data, len(data)

    def close(self) -> None:
        """See BodyReader."""


class ChunkedBody:
    """A chunked body, read by httptools without any leniency.

    httptools does not tell where in a slice a message ended. The end always follows an empty line, so slices are cut
    after each of these; most slices hold none.
    """

    __slots__ = ("_overhead", "_parser", "_pieces", "_tail", "done", "on_body", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        """Takes plain bytes (httptools), one call fewer at every event."""
        self._tail = b""
        self._overhead = 0
        self._parser: httptools.HttpRequestParser | None = None
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(_CHUNKED_HEAD)
        self.trailers.clear()  # the head above
        self._parser = parser

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """See BodyReader. Raises BrokenFramingError."""
        size = len(data)
        at = data.find(_END)
        if size >= len(_END) and data[0] > _CR and (at < 0 or at == size - len(_END)):
            # Most slices: no empty line lies in it but at its very end, or can end at its first bytes.
            self._tail = data[-3:]
            self._feed_parser(data)
        else:
            size = self._parse(data)
        pieces = self._pieces
        if len(pieces) == 1:
            self._overhead = 0
            return pieces.pop(), size
        plain = b"".join(pieces)
        pieces.clear()
        self._limit_overhead(len(data), len(plain))
        return plain, size

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one trailer field (httptools)."""
        self.trailers.append((name, value))

    def on_message_complete(self) -> None:
        """Note the end (httptools); lets go of the parser, which would hold us in a cycle."""
        self.done = True
        self._parser = None

    def close(self) -> None:
        """See BodyReader. The parser would hold us in a cycle."""
        self._parser = None

    def _parse(self, data: bytes) -> int:
        start = 0
        for stop in self._cuts(data):
            self._feed_parser(data[start:stop])
            start = stop
            if self.done:
                return stop
        if start < len(data):
            self._feed_parser(data[start:] if start else data)
        return len(data)

    def _cuts(self, data: bytes) -> list[int]:
        """Positions after each empty line, one that began in the slice before included."""
        cuts = []
        joint = self._tail + data[:3]
        at = joint.find(_END)
        while at >= 0:
            cuts.append(at + 4 - len(self._tail))
            at = joint.find(_END, at + 1)
        at = data.find(_END)
        while at >= 0:
            cuts.append(at + 4)
            at = data.find(_END, at + 1)
        self._tail = data[-3:] if len(data) >= len(_END) - 1 else joint[-3:]
        return cuts

    def _feed_parser(self, part: bytes) -> None:
        if self._parser is None:
            raise BrokenFramingError("bytes after the end of a chunked body")
        try:
            self._parser.feed_data(part)
        except httptools.HttpParserError as error:
            raise BrokenFramingError("a chunk is malformed") from error

    def _limit_overhead(self, size: int, plain: int) -> None:
        """A body may be endless, its chunk heads and trailers may not."""
        self._overhead = 0 if plain else self._overhead + size
        if self._overhead > _MAX_OVERHEAD_BYTES:
            self.done = False  # what is refused has no end, behind which another request could begin
            raise BrokenFramingError("chunk head or trailers are larger than 64 KiB")
