"""The pool: which hosts bypass the proxy, what is kept, what is thrown away, over real sockets."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway.policy import Origin
from gateway.upstream import MAX_AGE_S, MAX_IDLE_S, Connection, DialSettings, Pool, bypasses_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "bypasses"),
    [
        ("api.example.com", 443, (), False),
        ("api.example.com", 443, ("",), False),
        ("api.example.com", 443, ("*",), True),
        ("api.example.com", 443, ("example.com",), True),
        ("api.example.com", 443, (".example.com",), True),
        ("api.example.com", 443, ("*.example.com",), True),
        ("API.Example.com.", 443, ("api.example.COM",), True),
        ("api.example.com", 443, ("ample.com",), False),
        ("api.example.com", 443, ("example.com:443",), True),
        ("api.example.com", 443, ("example.com:80",), False),
        ("api.example.com", 443, ("other.com", " example.com "), True),
        ("example.com", 443, (".",), False),
        ("10.1.2.3", 80, ("10.0.0.0/8",), True),
        ("10.1.2.3", 80, ("11.0.0.0/8", "nonsense/8"), False),
        ("10.1.2.3", 80, ("10.1.2.3:80",), True),
        ("10.1.2.3", 80, ("10.1.2.3:81",), False),
        ("10.1.2.3", 80, ("2.3",), False),
        ("::1", 80, ("::1",), True),
        ("::1", 80, ("[::1]:80",), True),
        ("::1", 80, ("fe80::/10",), False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(
    host: str, port: int, no_proxy: tuple[str, ...], *, bypasses: bool
) -> None:
    assert bypasses_proxy(host, port, no_proxy) is bypasses


class Exchange:
    """What the pool knows of an exchange: it waits for a connection and receives from it."""

    def __init__(self) -> None:
        self.came: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.data = b""
        self.ended: bool | None = None

    def connected(self, connection: Connection) -> None:
        self.came.set_result(connection)
        connection.receiver = self

    def connect_failed(self, why: str) -> None:
        self.came.set_exception(ConnectionError(why))

    def upstream_data(self, data: bytes) -> None:
        self.data += data
        if data == b"fault":
            raise RuntimeError("a fault of ours")

    def upstream_ended(self, *, clean: bool) -> None:
        if self.ended is None:
            self.ended = clean

    def failed(self) -> None:
        self.ended = False

    def upstream_paused(self) -> None:
        pass

    def upstream_resumed(self) -> None:
        pass


class Server:
    """Accepts connections and keeps their writers."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.origin = Origin("http", "", 0)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while await reader.read(1000):
            pass
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    listening = await asyncio.start_server(one.accept, "127.0.0.1", 0)
    one.origin = Origin("http", "127.0.0.1", listening.sockets[0].getsockname()[1])
    async with listening:
        yield one
        for writer in one.writers:
            writer.close()


@pytest.fixture
async def faults() -> list[Exception]:
    return []


@pytest.fixture
async def pool(faults: list[Exception]) -> AsyncIterator[Pool]:
    one = Pool(DialSettings(proxy=None, no_proxy=(), ca_file=None), crashed=faults.append)
    yield one
    one.close()
    await asyncio.sleep(0.01)


async def connect(pool: Pool, server: Server) -> tuple[Connection, Exchange]:
    exchange = Exchange()
    pool.dial(server.origin, exchange)
    connection = await exchange.came
    await until(lambda: len(server.writers) >= 1)
    return connection, exchange


async def until(done: object) -> None:
    for _ in range(500):
        if done():  # type: ignore[operator]
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not happen")


async def test_the_connection_used_last_is_taken_first(pool: Pool, server: Server) -> None:
    now = time.monotonic()
    one, _ = await connect(pool, server)
    two, _ = await connect(pool, server)
    pool.release(one, now)
    pool.release(two, now)
    assert pool.take(server.origin, now) is two
    assert pool.take(server.origin, now) is one
    assert pool.take(server.origin, now) is None
    assert pool.take(Origin("https", server.origin.host, server.origin.port), now) is None
    assert one.used
    assert pool.open_connections == 2
    one.abort()
    two.abort()


@pytest.mark.parametrize("later_s", [MAX_IDLE_S + 1, MAX_AGE_S + 1])
async def test_what_was_idle_for_too_long_is_not_taken(pool: Pool, server: Server, later_s: float) -> None:
    connection, _ = await connect(pool, server)
    pool.release(connection, time.monotonic())
    assert pool.take(server.origin, time.monotonic() + later_s) is None
    await until(lambda: pool.open_connections == 0)


async def test_an_old_connection_is_not_kept_and_the_sweep_closes_idle_ones(pool: Pool, server: Server) -> None:
    old, _ = await connect(pool, server)
    old.born -= MAX_AGE_S + 1
    pool.release(old, time.monotonic())
    idle, _ = await connect(pool, server)
    pool.release(idle, time.monotonic())
    pool.sweep(time.monotonic() + MAX_IDLE_S + 1)
    await until(lambda: pool.open_connections == 0)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"], ids=["FIN", "bytes"])
async def test_a_word_or_an_end_while_idle_discards_the_connection(pool: Pool, server: Server, said: bytes) -> None:
    connection, _ = await connect(pool, server)
    pool.release(connection, time.monotonic())
    server.writers[0].write(said) if said else server.writers[0].close()
    await until(lambda: pool.open_connections == 0)
    assert pool.take(server.origin, time.monotonic()) is None


async def test_a_closed_pool_keeps_nothing(pool: Pool, server: Server) -> None:
    idle, _ = await connect(pool, server)
    busy, _ = await connect(pool, server)
    pool.release(idle, time.monotonic())
    pool.close()
    pool.release(busy, time.monotonic())
    await until(lambda: pool.open_connections == 0)


async def test_an_orderly_end_is_told_from_a_reset(pool: Pool, server: Server) -> None:
    _, orderly = await connect(pool, server)
    server.writers[0].close()
    await until(lambda: orderly.ended is not None)
    assert orderly.ended is True
    _, broken = await connect(pool, server)
    await until(lambda: len(server.writers) == 2)
    sock = server.writers[1].get_extra_info("socket")
    sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SOL_SOCKET, SO_LINGER
    server.writers[1].transport.abort()
    await until(lambda: broken.ended is not None)
    assert broken.ended is False


async def test_a_fault_of_ours_ends_the_exchange_and_is_counted(
    pool: Pool, server: Server, faults: list[Exception]
) -> None:
    _, exchange = await connect(pool, server)
    server.writers[0].write(b"fault")
    await until(lambda: exchange.ended is not None)
    assert exchange.ended is False
    assert [str(error) for error in faults] == ["a fault of ours"]


async def test_a_fault_of_ours_while_connecting_does_not_leave_anybody_waiting(
    pool: Pool, server: Server, faults: list[Exception]
) -> None:
    exchange = Exchange()
    exchange.came.cancel()  # so that taking the connection raises
    pool.dial(server.origin, exchange)
    await until(lambda: exchange.ended is not None)
    assert len(faults) == 1


async def test_nobody_listens(pool: Pool, unused_tcp_port: int) -> None:
    exchange = Exchange()
    pool.dial(Origin("http", "127.0.0.1", unused_tcp_port), exchange)
    with pytest.raises(ConnectionError, match="no connection to the upstream"):
        await exchange.came


async def test_giving_up_while_connecting_leaves_nothing_behind(pool: Pool, server: Server) -> None:
    exchange = Exchange()
    task = pool.dial(server.origin, exchange)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not exchange.came.done()
    assert pool.open_connections == 0
