"""A fault of our own ends one exchange, is counted and told without what it was about; the next one works."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.downstream import Client
from gateway.policy import Policy
from gateway.recording import TeeBudget
from gateway.relay import Relay
from gateway.settings import LiveSettings, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.recording import Recording
    from shadow.records import Dialect

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Recorder:
    """Keeps what it is given; raises for the path /recorder."""

    def __init__(self) -> None:
        self.endings: list[tuple[str, str | None]] = []

    def submit(self, recording: Recording) -> None:
        self.endings.append((recording.path, recording.ending))
        if recording.path == "/recorder":
            raise ValueError("secret-of-the-client")


def dialect_of(method: str, path: str) -> Dialect | None:
    if path == "/head":
        raise ValueError(f"secret-of-the-client in {method}")
    return None


class BrokenClock:
    """A clock that fails when it is told to, like any callee deep in a callback might."""

    def __init__(self) -> None:
        self.broken = False

    def __call__(self) -> float:
        if self.broken:
            self.broken = False
            raise ValueError("secret-of-the-client")
        return asyncio.get_running_loop().time()


class Gateway:
    """A relay with its clients on a real socket, in this process."""

    def __init__(self, upstream_port: int) -> None:
        settings = LiveSettings(deployment_id="me", upstream=Upstream(base_url=f"http://127.0.0.1:{upstream_port}"))
        self.recorder = Recorder()
        self.clock = BrokenClock()
        self.relay = Relay(
            Policy(settings, dialect_of=dialect_of),
            recorder=self.recorder,
            budget=TeeBudget(limit=1 << 20),
            clock=self.clock,
        )
        self.port = 0

    def client(self) -> Client:
        config: Any = SimpleNamespace(app=self.relay)
        state: Any = SimpleNamespace(connections=set())
        return Client(config, state, {})

    async def ask(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Api-Key: secret-of-the-client\r\n\r\n".encode())
        try:
            return await asyncio.wait_for(reader.readuntil(b"ok"), 5)
        finally:
            writer.close()


class UpstreamServer:
    """Answers each request with 200, when told so after the head only."""

    def __init__(self) -> None:
        self.before_answer = lambda: None
        self.connections = 0
        self.closed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.before_answer()
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed += 1
            writer.close()


@pytest.fixture
async def upstream() -> UpstreamServer:
    return UpstreamServer()


@pytest.fixture
async def gateway(upstream: UpstreamServer) -> AsyncIterator[Gateway]:
    listening = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    one = Gateway(listening.sockets[0].getsockname()[1])
    server = await asyncio.get_running_loop().create_server(one.client, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    async with listening, server:
        yield one
        for client in list(one.relay.clients):
            client.reset()
        one.relay.pool.close()
        await asyncio.sleep(0.02)


async def test_a_fault_while_a_request_is_read_resets_that_client_only(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await gateway.ask("/head")
    assert gateway.relay.counters["internal_error"] == 1
    assert "ValueError at" in caplog.text
    assert "secret-of-the-client" not in caplog.text
    assert (await gateway.ask("/")).endswith(b"ok")


async def test_a_fault_while_an_answer_is_read_closes_both_sides(gateway: Gateway, upstream: UpstreamServer) -> None:
    def break_the_clock() -> None:
        gateway.clock.broken = True

    upstream.before_answer = break_the_clock
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await gateway.ask("/slow")
    upstream.before_answer = lambda: None
    assert gateway.relay.counters["internal_error"] == 1
    assert (await gateway.ask("/")).endswith(b"ok")
    assert upstream.closed == 1
    assert [path for path, _ in gateway.recorder.endings] == ["/slow", "/"]


async def test_a_recorder_that_fails_is_not_felt(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    assert (await gateway.ask("/recorder")).endswith(b"ok")
    await asyncio.sleep(0.01)
    assert gateway.relay.counters["internal_error"] == 1
    assert "secret-of-the-client" not in caplog.text
    assert gateway.recorder.endings == [("/recorder", "complete")]


async def test_a_fault_in_the_sweep_of_one_client_leaves_the_others_alone(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(100):
        if len(gateway.relay.clients) == 2:
            break
        await asyncio.sleep(0.005)
    broken, other = list(gateway.relay.clients)
    broken._deadline = "not a time"  # type: ignore[assignment]
    other._deadline = 0.0
    gateway.relay.sweep()
    assert gateway.relay.counters["internal_error"] == 1
    for stream in (reader, other_reader):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(stream.readexactly(1), 5)
    writer.close()
    other_writer.close()
