"""Opens a connection to a host by whichever of its addresses answers first (RFC 8305, happy eyeballs)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

DELAY_S = 0.25
"""How long an address may stay silent before the next one is tried beside it."""

Address = tuple[socket.AddressFamily, Any]
"""A family and a socket address of it."""


async def open_socket(host: str, port: int) -> socket.socket:
    """Return a connected, non-blocking socket without Nagle's delay; raises the OSError of the first that failed."""
    addresses = await _addresses(host, port)
    if len(addresses) == 1:
        return await _connect(addresses[0])
    return await _first(addresses)


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Order addresses so that the two families take turns, beginning with the resolver's first choice."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain(*zip_longest(first, others)) if address is not None]


async def _addresses(host: str, port: int) -> list[Address]:
    with contextlib.suppress(ValueError):
        literal = ipaddress.ip_address(host)
        family = socket.AF_INET if literal.version == 4 else socket.AF_INET6  # noqa: PLR2004  (the IP version)
        return [(family, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return interleaved([(entry[0], entry[4]) for entry in found])


async def _first(addresses: Sequence[Address]) -> socket.socket:
    waiting = list(addresses)
    tries: set[asyncio.Task[socket.socket]] = set()
    failures: list[OSError] = []
    try:
        while waiting or tries:
            if waiting:
                tries.add(asyncio.create_task(_connect(waiting.pop(0))))
            done, tries = await asyncio.wait(
                tries, timeout=DELAY_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            winner = _winner(done, failures)
            if winner is not None:
                return winner
    finally:
        for late in tries:
            late.cancel()
            late.add_done_callback(_close_late)
    raise failures[0]


def _winner(done: set[asyncio.Task[socket.socket]], failures: list[OSError]) -> socket.socket | None:
    """Return one opened socket, close any other of the same moment, and keep the failures."""
    opened: list[socket.socket] = []
    for one in done:
        try:
            opened.append(one.result())
        except OSError as error:
            failures.append(error)
    for spare in opened[1:]:
        spare.close()
    return opened[0] if opened else None


def _close_late(late: asyncio.Task[socket.socket]) -> None:
    if not late.cancelled() and late.exception() is None:
        late.result().close()


async def _connect(address: Address) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock
