"""Opening a connection to a host with several addresses, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway import race
from gateway.race import interleaved, open_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUR, SIX = socket.AF_INET, socket.AF_INET6


@contextmanager
def listening(host: str = "127.0.0.1", *, port: int = 0) -> Iterator[int]:
    with socket.create_server((host, port), family=SIX if ":" in host else FOUR) as server:
        yield server.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    """A port whose queue is full: the kernel answers no further connection."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for filler in fillers:
                filler.close()


def test_the_families_take_turns_beginning_with_the_resolvers_first_choice() -> None:
    one, two, three = (SIX, ("::1", 1)), (SIX, ("::2", 1)), (FOUR, ("127.0.0.1", 1))
    assert interleaved([one, two, three]) == [one, three, two]
    assert interleaved([three, one, two]) == [three, one, two]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_connected_socket_without_nagles_delay_comes_back(host: str) -> None:
    with listening() as port:
        sock = await open_socket(host, port)
        with sock:
            assert sock.getpeername()[1] == port
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not sock.getblocking()


async def test_a_refused_address_is_an_os_error() -> None:
    with listening() as port:
        pass
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await open_socket("127.0.0.1", port)


async def test_a_silent_address_is_overtaken_by_the_next_one() -> None:
    with silent() as dead, listening() as alive:
        sock = await asyncio.wait_for(race._first([(FOUR, ("127.0.0.1", dead)), (FOUR, ("127.0.0.1", alive))]), 5)
        with sock:
            assert sock.getpeername()[1] == alive


async def test_a_refused_address_gives_way_at_once_and_all_refused_is_the_first_error() -> None:
    with listening() as refused:
        pass
    with listening() as alive:
        sock = await race._first([(FOUR, ("127.0.0.1", refused)), (FOUR, ("127.0.0.1", alive))])
        with sock:
            assert sock.getpeername()[1] == alive
    with pytest.raises(OSError, match=str(refused)):
        await race._first([(FOUR, ("127.0.0.1", refused)), (FOUR, ("127.0.0.1", refused))])


async def test_giving_up_closes_what_was_being_opened() -> None:
    with silent() as dead:
        opening = asyncio.create_task(race._first([(FOUR, ("127.0.0.1", dead)), (FOUR, ("127.0.0.1", dead))]))
        await asyncio.sleep(0.3)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
