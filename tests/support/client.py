"""A client on a raw socket: sends exactly the bytes it is given, tells exactly what came back and how it ended."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.support.http1 import Headers, Message, MessageReader

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

Ended = Literal["kept", "fin", "reset"]
"""How it ended: `kept` (still open when the answer was whole), `fin` (closed cleanly), `reset` (RST, or over TLS an end
without close_notify)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One answer as it came over the wire."""

    version: bytes
    status: int
    reason: bytes
    headers: Headers
    """As sent: order, repeats and case."""
    body: bytes
    """Without chunk framing, still content-encoded."""
    trailers: Headers
    interim: list[tuple[int, Headers]]
    """1xx answers that came before."""
    framing: str
    complete: bool
    """By its own framing; an answer without a length is complete only when the connection was closed cleanly."""
    ended: Ended

    def header(self, name: bytes) -> bytes | None:
        """The only value of one field; None when it is missing."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) < 2, f"{name!r} came {len(values)} times"
        return values[0] if values else None

    @property
    def request_id(self) -> str:
        """The value of `x-shadow-request-id`."""
        value = self.header(b"x-shadow-request-id")
        assert value, f"no x-shadow-request-id in {self.headers}"
        return value.decode()


class NoAnswerError(Exception):
    """The connection ended before the head of an answer was there; `ended` tells how."""

    def __init__(self, ended: Ended, data: bytes) -> None:
        super().__init__(f"the connection ended ({ended}) after {data!r}")
        self.ended = ended
        self.data = data


Address = tuple[str, int] | str
"""(host, port), or the path of a unix socket."""


class Client:
    """One connection. Every wait has a time limit; running into it raises TimeoutError."""

    def __init__(
        self,
        address: Address,
        *,
        tls: ssl.SSLContext | None = None,
        name: str | None = None,
        receive_buffer: int | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        family = (
            socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        )
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._connect(address, tls=tls, name=name, receive_buffer=receive_buffer, timeout_s=timeout_s)
        except BaseException:
            self.socket.close()
            raise
        self.ended: Ended = "kept"
        self._reader = MessageReader("answer")
        self._read = 0

    def _connect(
        self,
        address: Address,
        *,
        tls: ssl.SSLContext | None,
        name: str | None,
        receive_buffer: int | None,
        timeout_s: float,
    ) -> None:
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect(address)
        if not isinstance(address, str):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=name, suppress_ragged_eofs=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes, *, size: int | None = None) -> None:
        """Send all of it, in pieces of `size` bytes when given."""
        if size is None:
            self.socket.sendall(data)
            return
        for at in range(0, len(data), size):
            self.socket.sendall(data[at : at + size])

    def ask(self, request: bytes, *, size: int | None = None) -> Received:
        """Send one request and read its answer; a peer that closes while we still send is no error in itself."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            self.send(request, size=size)
        return self.receive(method=request.split(b" ", 1)[0])

    def receive(self, *, method: bytes = b"GET") -> Received:
        """Read the next answer whole, or as far as it comes. Raises NoAnswerError when no head came."""
        self._reader.head_only = method == b"HEAD"
        interim: list[tuple[int, Headers]] = []
        while (message := self._next()).status < 200 and message.status != 101:
            interim.append((message.status, message.headers))
        while not message.complete and self.ended == "kept":
            self._more()
        if message.complete and _says_close(message):
            self.wait_for_end()
        version, _, reason = message.words
        return Received(
            version=version,
            status=message.status,
            reason=reason,
            headers=message.headers,
            body=bytes(message.body),
            trailers=message.trailers,
            interim=interim,
            framing=message.framing,
            complete=message.complete,
            ended=self.ended,
        )

    def receive_until(self, mark: bytes) -> bytes:
        """Read until the body of the current answer holds `mark`; returns that body so far."""
        while not (self._reader.messages and mark in self._reader.messages[-1].body):
            assert self.ended == "kept", f"the connection ended ({self.ended}) before {mark!r}"
            self._more()
        return bytes(self._reader.messages[-1].body)

    def receive_head(self) -> Message:
        """Read until the head of the current answer is there; the answer may be read on with `receive`."""
        while len(self._reader.messages) <= self._read:
            self._more()
            if self.ended != "kept":
                raise NoAnswerError(self.ended, self._reader.rest)
        return self._reader.messages[self._read]

    def read_some(self) -> None:
        """Read what is there, at most 256 KiB."""
        self._more()

    def receive_tunnelled(self, size: int) -> bytes:
        """Read `size` bytes that follow a 101; they belong to no message."""
        while len(self._reader.rest) < size:
            assert self.ended == "kept", f"the connection ended ({self.ended}) after {self._reader.rest!r}"
            self._more()
        return self._reader.rest

    def wait_for_end(self) -> Ended:
        """Wait until the peer closes; anything it still sends is an error."""
        rest = len(self._reader.rest)
        while self.ended == "kept":
            self._more()
        assert len(self._reader.rest) == rest, f"bytes after the end: {self._reader.rest!r}"
        return self.ended

    def closes_within(self, seconds: float) -> bool:
        """Whether the peer closes within the time; bytes that arrive meanwhile are read and kept."""
        deadline = time.monotonic() + seconds
        patience = self.socket.gettimeout()
        try:
            while self.ended == "kept" and (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                self._more()
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(patience)
        return self.ended != "kept"

    def close(self) -> None:
        """Close cleanly (FIN); idempotent."""
        self.socket.close()

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _next(self) -> Message:
        message = self.receive_head()
        self._read += 1
        return message

    def _more(self) -> None:
        if self.ended != "kept":
            return
        try:
            data = self.socket.recv(262_144)
        except (ConnectionResetError, ssl.SSLEOFError):
            self.ended = "reset"
            return
        if data:
            self._reader.feed(data)
        else:
            self.ended = "fin"
            self._reader.end()


def _says_close(message: Message) -> bool:
    tokens = b",".join(message.values(b"connection")).lower()
    return b"close" in tokens or (message.start.startswith(b"HTTP/1.0") and b"keep-alive" not in tokens)


def ask(address: Address, request: bytes, *, size: int | None = None) -> Received:
    """One request over a connection of its own."""
    with Client(address) as client:
        return client.ask(request, size=size)
