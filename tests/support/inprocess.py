"""The relay in the test's own process: pieces are handed to it exactly as they are cut, and its clock can be turned."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.server import ServerState

from gateway.downstream import Client as Downstream
from gateway.policy import Policy
from gateway.recording import TeeBudget
from gateway.relay import Relay
from shadow.dialects import dialect_of
from tests.support.live import settings_for
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from gateway.recording import Recording


class Bench:
    """One relay, and connections to it."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self._config = uvicorn.Config(cast("Any", relay), http=Downstream, ws="none", lifespan="off", log_config=None)
        self._state = ServerState()
        self._writers: list[asyncio.StreamWriter] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def over(cls, base_url: str, clock: Callable[[], float] = time.monotonic) -> AsyncIterator[Self]:
        """A relay to this upstream that records nothing."""
        settings = settings_for(base_url, Path("unused.db"))
        relay = Relay(
            Policy(settings, dialect_of=dialect_of), recorder=Forgetful(), budget=TeeBudget(limit=1 << 20), clock=clock
        )
        bench = cls(relay)
        try:
            yield bench
            assert not relay.counters["internal_error"]
        finally:
            for client in list(relay.clients):
                client.reset()
            relay.pool.close()
            for writer in bench._writers:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            await eventually_async(partial(nothing_open, relay))

    async def connect(self) -> tuple[Downstream, asyncio.StreamReader]:
        """One client connection: the relay's end, and what we read."""
        inner, outer = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, connection = await loop.connect_accepted_socket(
            lambda: Downstream(self._config, self._state, {}, loop), inner
        )
        reader, writer = await asyncio.open_unix_connection(sock=outer)
        self._writers.append(writer)
        return connection, reader


class Forgetful:
    """Keeps no record."""

    def submit(self, recording: Recording) -> None:
        recording.free()


async def nothing_open(relay: Relay) -> bool:
    return relay.pool.open_connections == 0 and not relay.clients
