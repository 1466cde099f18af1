"""Clients that send or read too slowly are let go in time, and nobody beside them feels it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from gateway.measuring import AdminServer, LateReader
from shadow.web import build_app
from tests.support.admin import settings as admin_settings
from tests.support.http1 import chunked, slices
from tests.support.inprocess import Bench
from tests.support.live import bound_socket, running, settings_for
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.client import Address
    from tests.support.http1 import Message

HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\n"
STREAM = chunked(b"data: {}\n\n" * 20, [10])
EVENTS = slices(STREAM, 40)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@contextlib.asynccontextmanager
async def admin_port() -> AsyncIterator[tuple[str, int]]:
    """The admin port as the measuring process serves it, in front of a store that is not there."""
    with bound_socket() as listener:
        server = AdminServer(build_app(reader=LateReader(), settings=admin_settings))  # type: ignore[arg-type]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await server.listening.wait()
            yield listener.getsockname()
        finally:
            server.should_exit = True
            await serving


async def slow_client(address: Address, sent: bytes, drip: bytes) -> float:
    """Send this, then one drip a second; seconds until the peer closed."""
    reader, writer = await asyncio.open_connection(*address)
    began = time.monotonic()
    writer.write(sent)
    closed = asyncio.create_task(reader.read())
    at = 0
    while not closed.done():
        if drip:
            writer.write(drip[at % len(drip) :][:1])
            at += 1
        await asyncio.wait({closed}, timeout=1)
    with contextlib.suppress(ConnectionError):
        await closed
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return time.monotonic() - began


async def good_client(address: Address, until: asyncio.Event) -> int:
    """One stream after the other, each compared byte by byte; how many there were."""
    streams = 0
    while not until.is_set():
        reader, writer = await asyncio.open_connection(*address)
        writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(len(STREAM)) == STREAM
        writer.close()
        streams += 1
    return streams


@pytest.mark.slow
async def test_a_hundred_slow_clients_are_gone_in_time_and_ten_good_ones_feel_nothing(
    upstream: Upstream, tmp_path: Path
) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    upstream.answer(Answer(parts=(head, *(part for event in EVENTS for part in (event, 0.02)))))
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db"), tmp_path) as live:
        async with admin_port() as admin:
            slow = [
                *(slow_client(live.address, HEAD + b"X-Slow: ", b"x") for _ in range(40)),
                *(slow_client(live.address, b"", b"") for _ in range(20)),
                *(slow_client(live.address, b"", b"\r\n") for _ in range(20)),
                *(slow_client(admin, b"GET /stats HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", b"x") for _ in range(10)),
                *(slow_client(admin, b"", b"") for _ in range(5)),
                *(slow_client(admin, RELOAD, b"x") for _ in range(5)),
            ]
            over = asyncio.Event()
            good = [asyncio.create_task(good_client(live.address, over)) for _ in range(10)]
            kept_s = await asyncio.gather(*slow)
            over.set()
            streams = await asyncio.gather(*good)
    assert max(kept_s) < 15
    assert min(kept_s[:40]) > 9  # not sooner either: a slow line is no attack
    assert min(streams) > 0


RELOAD = b"POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"


# With a clock that the test turns.


class Clock:
    """Seconds as the relay sees them."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead_s

    async def turn(self, bench: Bench, seconds: float) -> None:
        """Let this time pass, and the sweep come around."""
        self._ahead_s += seconds
        bench.relay.sweep()
        await asyncio.sleep(0.01)


async def status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(10):
        return int((await reader.readuntil(b"\r\n")).split(b" ")[1])


async def test_a_body_that_crawls_is_a_408_after_half_a_minute(upstream: Upstream) -> None:
    upstream.answer(Answer())
    async with Bench.over(upstream.base_url, clock := Clock()) as bench:
        connection, reader = await bench.connect()
        connection.data_received(HEAD + b"Content-Length: 10000\r\n\r\n")
        await asyncio.to_thread(upstream.wait_for_request)
        for _ in range(3):
            await clock.turn(bench, 9)
            connection.data_received(b"x")
        assert not reader.at_eof()
        await clock.turn(bench, 9)
        assert await status(reader) == 408
        await eventually_async(closed_by(upstream))
        assert not any(seen.complete for seen in upstream.requests)


async def test_a_slow_body_that_gets_on_is_waited_for(upstream: Upstream) -> None:
    upstream.answer(Answer())
    async with Bench.over(upstream.base_url, clock := Clock()) as bench:
        connection, reader = await bench.connect()
        connection.data_received(HEAD + b"Content-Length: 10240\r\n\r\n")
        await asyncio.to_thread(upstream.wait_for_request)
        for _ in range(10):
            await clock.turn(bench, 29)
            connection.data_received(bytes(1024))
        assert await status(reader) == 200


async def test_a_client_that_waits_for_leave_to_send_is_not_slow(upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.answer(Answer(on_head=(gate, b"HTTP/1.1 100 Continue\r\n\r\n")))
    async with Bench.over(upstream.base_url, clock := Clock()) as bench:
        connection, reader = await bench.connect()
        connection.data_received(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        await asyncio.to_thread(upstream.wait_for_request)
        for _ in range(5):
            await clock.turn(bench, 29)
        gate.open()
        assert await status(reader) == 100
        connection.data_received(b"hello")
        await reader.readuntil(b"\r\n")
        assert await status(reader) == 200


async def test_an_upload_that_upstream_does_not_read_is_not_the_clients_fault(upstream: Upstream) -> None:
    gate = upstream.gate()
    upstream.answer(Answer(read_after=gate))
    size = 30 << 20
    async with Bench.over(upstream.base_url, clock := Clock()) as bench:
        connection, reader = await bench.connect()
        connection.data_received(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        connection.data_received(bytes(size - 5))
        await asyncio.to_thread(upstream.wait_for_request)
        await clock.turn(bench, 1)
        await clock.turn(bench, 45)
        assert not reader.at_eof()
        gate.open()
        connection.data_received(b"hello")
        assert await status(reader) == 200


async def test_line_ends_byte_by_byte_keep_no_connection(upstream: Upstream) -> None:
    async with Bench.over(upstream.base_url, clock := Clock()) as bench:
        connection, reader = await bench.connect()
        for byte in (b"\r", b"\n", b"\r", b"\n"):
            connection.data_received(byte)
            await clock.turn(bench, 4)
        async with asyncio.timeout(10):
            assert (await reader.read()).count(b"HTTP/1.1 ") <= 1  # a 408, and the end


async def test_a_head_behind_half_an_empty_line_has_its_ten_seconds_and_no_more(upstream: Upstream) -> None:
    upstream.answer(Answer())
    async with Bench.over(upstream.base_url, clock := Clock()) as bench:
        connection, reader = await bench.connect()
        connection.data_received(HEAD + b"Content-Length: 0\r\n\r\n")
        assert await status(reader) == 200
        await reader.readuntil(b"\r\n\r\nok")
        await clock.turn(bench, 20)
        connection.data_received(b"\r")
        await clock.turn(bench, 20)
        for piece in (b"\nPOST", b" ", b"/", b"x"):
            assert not reader.at_eof()
            connection.data_received(piece)
            await clock.turn(bench, 3)
        assert await status(reader) == 408


async def test_a_client_that_reads_a_few_bytes_now_and_then_is_cut_off(upstream: Upstream) -> None:
    upstream.answer(big)
    async with Bench.over(upstream.base_url, clock := Clock()) as bench:
        connection, reader = await bench.connect()
        connection.data_received(HEAD + b"Content-Length: 0\r\n\r\n")
        await eventually_async(paused(connection))
        assert await status(reader) == 200
        for _ in range(4):
            await clock.turn(bench, 19)
            await reader.read(32)
        await eventually_async(closed_by(upstream))


def big(_request: Message) -> Answer:
    return Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n", *(bytes(1 << 16) for _ in range(400))))


def closed_by(upstream: Upstream):  # noqa: ANN201 (a question for eventually_async)
    async def look() -> bool:
        return all(log.closed_at for log in upstream.connections)

    return look


def paused(connection):  # noqa: ANN001, ANN201 (as above)
    async def look() -> bool:
        return bool(connection.paused)

    return look
