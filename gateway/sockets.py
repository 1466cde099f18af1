"""Listening sockets as the supervisor makes them: bound once, inherited by children, kept open over restarts."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.addresses import ListenAddress

LIVE_SOCKET_MODE = 0o660
"""Apps of the same group may connect: what passes still needs the upstream's key, or one of `clients`."""
ADMIN_SOCKET_MODE = 0o600
"""The admin port may be open without a token; then the file's owner is the guard."""


class ListenError(Exception):
    """An address cannot be bound; the message names its key, the address and what to do."""


def bind(address: ListenAddress, *, count: int, key: str, mode: int) -> tuple[list[socket.socket], ListenAddress]:
    """Bind `count` sockets that share one address, not yet listening; returns them with the address in force.

    TCP: one SO_REUSEPORT socket for each process, because one shared socket spreads connections badly (44/19/1/0
    over four processes, measured). A unix path has no such option: its one socket is shared. Port 0 takes a free one.
    Raises ListenError, and then nothing stays bound.
    """
    try:
        if address.path is not None:
            one = _bind_unix(address.path, mode)
            return [one] * count, address
        return _bind_tcp(address, count)
    except OSError as error:
        raise ListenError(f"{key}: {address} {_advice(error, address)}") from None


def unlink(address: ListenAddress) -> None:
    """Remove the file of a unix socket when `serve` ends; a file that is gone already is no fault."""
    if address.path is not None:
        with contextlib.suppress(FileNotFoundError):
            Path(address.path).unlink()


def _bind_tcp(address: ListenAddress, count: int) -> tuple[list[socket.socket], ListenAddress]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, target = found[0]
    host, port = str(target[0]), int(target[1])
    # SO_REUSEPORT would let a second gateway of the same user take the same port unnoticed; a plain bind does not.
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.is_wildcard else 1)
            one.bind((host, port))
            port = one.getsockname()[1]
    except OSError:
        close(sockets)
        raise
    return sockets, replace(address, port=port)


def _bind_unix(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        one.bind(path)
    except OSError:
        one.close()
        raise
    finally:
        os.umask(before)
    return one


def _remove_stale(path: str) -> None:
    """Remove a socket file nobody answers on, left over from a crash; anything else is not ours to remove."""
    if not Path(path).exists():
        return
    if not Path(path).is_socket():
        raise FileExistsError(errno.EEXIST, "file exists")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise OSError(errno.EADDRINUSE, "in use")


def _advice(error: OSError, address: ListenAddress) -> str:
    if isinstance(error, socket.gaierror):
        return f"is no address of this machine: {error.strerror}"
    match error.errno:
        case errno.EADDRINUSE:
            return "is in use by another process; stop that one, or choose another address"
        case errno.EACCES if address.path is None:
            return "may not be bound by this user (ports below 1024 need the right to); choose a port above 1023"
        case errno.EADDRNOTAVAIL:
            return "is no address of this machine; use 127.0.0.1, 0.0.0.0 or an address `ip addr` shows"
        case errno.EEXIST:
            return "is a file that is no socket; choose another path"
        case _:
            return f"cannot be bound: {error.strerror}"


def close(sockets: Sequence[socket.socket]) -> None:
    """Close every socket; idempotent."""
    for one in sockets:
        one.close()


def reach(address: ListenAddress) -> ListenAddress:
    """Name the address a client on this machine connects to: loopback for a wildcard."""
    if address.is_wildcard:
        return replace(address, host="::1" if ":" in address.host else "127.0.0.1")
    return address
