"""What asyncio's transports leave to the socket: a reset, an unseen hang-up, and what the peer has not taken."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PROGRESS_BYTES = 1 << 10
_HUNG_UP = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def reset(transport: asyncio.Transport | None) -> None:
    """Cut the peer off with RST: a plain abort sends FIN, and an answer without a length would look whole.

    A unix socket knows no RST; there, and in the bytes of TLS, the end without a last word has to do.
    """
    if transport is None:
        return
    sock = _socket_of(transport)
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def hung_up(transport: asyncio.Transport | None) -> bool:
    """Whether a peer we do not read from at present has hung up: the paused reader would not see it."""
    if transport is None or transport.is_closing() or transport.is_reading():
        return False
    sock = _socket_of(transport)
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), _HUNG_UP)
    return bool(poll.poll(0))


def untaken_bytes(transport: asyncio.Transport | None) -> int:
    """Bytes written that the peer's system has not taken yet, in our buffer and in the kernel's."""
    if transport is None:
        return 0
    sock = _socket_of(transport)
    if sock is None:
        return transport.get_write_buffer_size()
    (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return transport.get_write_buffer_size() + int(queued)


class Stall:
    """How long a peer has taken next to nothing, while its buffer is full."""

    __slots__ = ("_since", "_transport", "_untaken")

    def __init__(self, transport: asyncio.Transport | None, now: float) -> None:
        self._transport = transport
        self._since = now
        self._untaken = untaken_bytes(transport)

    def lasts(self, now: float) -> float:
        """Seconds without progress; a KiB taken starts the time anew, a byte now and then does not."""
        untaken = untaken_bytes(self._transport)
        if self._untaken - untaken >= _PROGRESS_BYTES:
            self._untaken = untaken
            self._since = now
        elif untaken > self._untaken:  # we wrote more
            self._untaken = untaken
        return now - self._since


def _socket_of(transport: asyncio.Transport) -> socket.socket | None:
    sock = transport.get_extra_info("socket")
    return sock if sock is not None and sock.fileno() >= 0 else None
