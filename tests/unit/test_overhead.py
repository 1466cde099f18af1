"""What the gateway itself adds to an exchange: its own time, and nothing of what it waits for."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.downstream import Client
from gateway.policy import Policy
from gateway.recording import Recording, TeeBudget
from gateway.relay import Relay
from gateway.upstream import Connection, Pool
from shadow.dialects import dialect_of
from tests.support.live import settings_for

if TYPE_CHECKING:
    from gateway.policy import Origin
    from gateway.upstream import Waiter

BODY = b'{"model":"m","messages":[]}'
HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % len(BODY)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
UP_S, DOWN_S, WAIT_S = 0.003, 0.004, 1.0


class Clock:
    """Stands still but where something takes time."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


class Wire(asyncio.Transport):
    """A transport whose writes take a while."""

    def __init__(self, clock: Clock, write_s: float) -> None:
        super().__init__()
        self._clock = clock
        self._write_s = write_s
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._clock.now += self._write_s
        self.written += data

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """Nothing is open."""


class Dialling(Pool):
    """Connects when it is told to."""

    waiter: Waiter | None = None

    def dial(self, origin: Origin, waiter: Waiter) -> Any:
        self.origin, self.waiter = origin, waiter
        return None

    def connect(self, transport: Wire) -> Connection:
        assert self.waiter is not None
        connection = Connection(self)
        connection.connection_made(transport)
        self._origins[connection] = self.origin
        self.waiter.connected(connection)
        return connection


class Kept:
    """Keeps what ended."""

    def __init__(self) -> None:
        self.ended: list[Recording] = []

    def submit(self, recording: Recording) -> None:
        self.ended.append(recording)


class Site:
    """A relay between two wires."""

    def __init__(self, **settings: Any) -> None:
        self.clock, self.kept = Clock(), Kept()
        policy = Policy(settings_for("http://a.example", Path("unused.db"), **settings), dialect_of=dialect_of)
        self.relay = Relay(policy, recorder=self.kept, budget=TeeBudget(limit=1 << 20), clock=self.clock)
        self.pool = self.relay.pool = Dialling(self.relay.pool.dial_settings, crashed=self.relay.crashed)
        config = uvicorn.Config(cast("Any", self.relay), http=Client, ws="none", lifespan="off", log_config=None)
        self.client = Client(config, ServerState(), {})
        self.client.connection_made(Wire(self.clock, DOWN_S))

    def connect(self) -> Connection:
        return self.pool.connect(Wire(self.clock, UP_S))

    def wait(self) -> None:
        self.clock.now += WAIT_S

    @property
    def overheads_us(self) -> list[int | None]:
        assert not self.relay.counters["internal_error"]
        return [recording.overhead_us for recording in self.kept.ended]


OWN_US = round((UP_S + DOWN_S) * 1e6)


async def test_the_overhead_is_our_own_time_with_a_new_connection_and_with_a_kept_one() -> None:
    site = Site()

    site.client.data_received(HEAD + BODY)
    site.wait()  # for the connection
    connection = site.connect()
    site.wait()  # for the answer
    connection.data_received(ANSWER)
    site.wait()
    site.client.data_received(HEAD + BODY)
    site.wait()
    connection.data_received(ANSWER[:20])
    site.wait()  # for the rest of the answer's head
    connection.data_received(ANSWER[20:])

    assert site.overheads_us == pytest.approx([OWN_US, OWN_US], abs=1)


async def test_waiting_for_the_body_is_not_our_time_when_the_model_is_replaced() -> None:
    site = Site(primary_model="other")

    site.client.data_received(HEAD + BODY[:5])
    site.wait()
    site.client.data_received(BODY[5:])
    site.wait()
    site.connect().data_received(ANSWER)

    assert site.overheads_us == pytest.approx([OWN_US], abs=1)


async def test_an_answer_of_our_own_has_no_overhead() -> None:
    site = Site()

    site.client.data_received(HEAD + BODY)
    assert site.pool.waiter is not None
    site.pool.waiter.connect_failed("no connection to the upstream")

    assert site.overheads_us == [None]


async def test_an_answer_that_never_came_has_no_overhead() -> None:
    site = Site()

    site.client.data_received(HEAD + BODY)
    site.connect()
    site.client.eof_received()

    assert site.overheads_us == [None]
