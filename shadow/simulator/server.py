"""The simulator on a real socket: in a thread for tests and the demo, or alone in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shadow.simulator.app import build_app
from shadow.simulator.player import TRANSPORT_EXTENSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from starlette.applications import Starlette

    from shadow.simulator.log import RequestLog
    from shadow.simulator.plan import State
    from shadow.simulator.script import Script

_START_TIMEOUT_S = 30.0


class _Protocol(HttpToolsProtocol):
    """uvicorn's own, which also hands the application the transport, so that faults can break the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT_EXTENSION: self.transport}  # type: ignore[dict-item]


class _Server(uvicorn.Server):
    """Tells the application when it stops, so that no stalled answer holds it up."""

    def __init__(self, config: uvicorn.Config, state: State, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._state = state
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.closing.set()
        await super().shutdown(sockets=sockets)


class Simulator:
    """A running simulator: `with Simulator(script) as simulator: … simulator.base_url`; also `async with`.

    It lives in a thread of its own, so that blocking clients can be tested against it. Raises OSError when the
    address cannot be bound.
    """

    def __init__(self, script: Script | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.app: Starlette = build_app(script)
        self._state: State = self.app.state.simulator
        self._socket = _listen(host, port)
        self._started = threading.Event()
        self._server = _server(self.app, self._started.set)
        self._thread = threading.Thread(target=self._serve, name="simulator", daemon=True)

    @property
    def log(self) -> RequestLog:
        """Every request so far."""
        return self._state.log

    @property
    def script(self) -> Script:
        """What it plays."""
        return self._state.script

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        """Where it listens; the anthropic SDK's `base_url`, and with `/v1` behind it the openai SDK's."""
        return f"http://{self._socket.getsockname()[0]}:{self.port}"

    def start(self) -> Self:
        """Listen and answer, from the return of this call on."""
        self._thread.start()
        if not self._started.wait(_START_TIMEOUT_S):
            raise RuntimeError(f"the simulator did not start on {self.base_url} within {_START_TIMEOUT_S:.0f} s")
        return self

    def stop(self) -> None:
        """Break off what is under way and stop; idempotent."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def run(
    *, host: str = "127.0.0.1", port: int = 0, script: Script | None = None, announce: Callable[[str], None] = print
) -> None:
    """Serve in the foreground until Ctrl-C or SIGTERM; `announce` gets the lines a person wants to see.

    Raises OSError when the address cannot be bound.
    """
    listening = _listen(host, port)
    address, number = listening.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address

    def started() -> None:
        announce(f"simulator listening on http://{shown}:{number}")
        announce(f"  anthropic SDK: base_url=http://{shown}:{number}   openai SDK: base_url=http://{shown}:{number}/v1")
        announce(f"  requests so far: http://{shown}:{number}/_sim/log")

    with listening, contextlib.suppress(KeyboardInterrupt):
        _server(build_app(script), started).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Bind and listen."""
    made = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # create_server leaves the protocol number 0, and asyncio sets TCP_NODELAY only where it reads IPPROTO_TCP: without
    # it, an answer's body waits 40 ms for the acknowledgement of its head. Opened by descriptor, the number is right.
    return socket.socket(fileno=made.detach())


def _server(app: Any, on_started: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[("server", "simulator")],
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    return _Server(config, app.state.simulator, on_started)
