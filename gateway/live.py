"""One live process: uvicorn around the relay, its settings from the supervisor, and the order in which it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
import uvloop

from gateway import control, logs
from gateway.control import Replace, Start
from gateway.courier import Courier
from gateway.downstream import Client
from gateway.policy import Policy
from gateway.recording import TeeBudget
from gateway.relay import Relay
from gateway.settings import LiveSettings
from shadow.dialects import dialect_of
from shadow.redaction import Scrubber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger("gateway.live")

_SWEEP_S = 0.25
_BACKLOG = 4096
_STDIN = 0
_READ_BYTES = 65_536


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which would end the process before the records are flushed."""

    def __init__(self, config: uvicorn.Config, *, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._tell_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `Live`."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting for real, then drain.

        The supervisor keeps each socket open, and closing ours alone would leave it listening: clients would wait in
        its queue. A TCP socket is ours alone and listens again after a restart; a unix socket is shared, and may not
        be shut down for the siblings.
        """
        await asyncio.sleep(0)  # connections that are waiting now are still accepted
        for one in sockets or []:
            if one.family != socket.AF_UNIX:
                one.shutdown(socket.SHUT_RD)
        await super().shutdown(sockets)


class _ParentLines:
    """Lines from the supervisor on standard input, without a buffer that could swallow a later one."""

    def __init__(self) -> None:
        self._rest = b""

    def first(self) -> bytes:
        """Wait for the first line; empty when the parent is gone."""
        while b"\n" not in self._rest:
            data = os.read(_STDIN, _READ_BYTES)
            if not data:
                return b""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def waiting(self) -> list[bytes] | None:
        """Take the whole lines that have arrived; None at the end of input."""
        data = os.read(_STDIN, _READ_BYTES)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


class Live:
    """A live process from its start message to its exit."""

    def __init__(self, start: Start, lines: _ParentLines) -> None:
        self._start = start
        self._lines = lines
        self._settings = control.settings_from(start.settings, LiveSettings)
        self._stops = 0
        self._configure_logs(self._settings)

    async def run(self) -> None:
        """Serve until told to stop, then end in order: readiness, accepting, drain, records."""
        settings = self._settings
        budget = TeeBudget(limit=settings.recording.tee_memory_bytes)
        self._recorder = recorder = Courier(settings.recording, budget=budget)
        await recorder.start()
        self._relay = Relay(Policy(settings, dialect_of=dialect_of), recorder=recorder, budget=budget)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_loop_error)
        self._server = _Server(self._uvicorn_config(), started=self._on_started)
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        self._listen_to_parent(loop)
        sweeper = asyncio.create_task(self._sweep())
        try:
            await self._server.serve(sockets=[socket.socket(fileno=fd) for fd in self._start.socket_fds])
        finally:
            sweeper.cancel()
            await self._end()

    def _uvicorn_config(self) -> uvicorn.Config:
        tls = self._start.tls
        return uvicorn.Config(
            self._relay,  # type: ignore[arg-type]  # our protocol class takes the relay where others take an ASGI app
            http=Client,
            ws="none",
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            ssl_certfile=tls.cert if tls is not None else None,
            ssl_keyfile=tls.key if tls is not None else None,
            timeout_graceful_shutdown=self._settings.drain_timeout_s,  # type: ignore[arg-type]  # seconds, any number
        )

    def _on_started(self) -> None:
        """Every socket listens now."""
        gc.collect()
        gc.freeze()  # what lives from the start on need not be looked at again
        control.report(self._start.status_fd, "ready")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._relay.sweep()

    def _stop(self) -> None:
        """First: drain and exit. Again: skip the drain, never the flush."""
        self._stops += 1
        self._relay.ready = False
        self._server.should_exit = True
        if self._stops == 1:
            control.report(self._start.status_fd, "draining")
        else:
            self._server.force_exit = True

    async def _end(self) -> None:
        for client in list(self._relay.clients):
            client.drain_is_over()
        self._relay.pool.close()
        await asyncio.sleep(0)
        counters = {**self._relay.counters, **await self._recorder.close()}
        control.report(self._start.status_fd, "flushed", json.dumps(counters))

    def _listen_to_parent(self, loop: asyncio.AbstractEventLoop) -> None:
        os.set_blocking(_STDIN, False)
        loop.add_reader(_STDIN, self._on_parent)

    def _on_parent(self) -> None:
        try:
            lines = self._lines.waiting()
        except BlockingIOError:
            return
        except OSError:
            lines = None
        if lines is None:
            asyncio.get_running_loop().remove_reader(_STDIN)
            self._stop()
            return
        for line in lines:
            self._replace(line)

    def _replace(self, line: bytes) -> None:
        """Take over new settings for new requests; broken ones change nothing."""
        try:
            settings = control.settings_from(control.decode(line, Replace).settings, LiveSettings)
            policy = Policy(settings, dialect_of=dialect_of)
            self._recorder.replace(settings.recording)
        except (msgspec.MsgspecError, ValueError) as error:
            control.report(self._start.status_fd, "reload_failed", type(error).__name__)
            return
        self._relay.replace(policy)
        self._configure_logs(settings)
        control.report(self._start.status_fd, "reloaded")

    def _configure_logs(self, settings: LiveSettings) -> None:
        scrub = Scrubber(settings.recording.secrets).scrub
        logs.configure(process=f"live-{self._start.worker}", scrub=scrub, level=logging.WARNING)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised: counted and told without what it was about; the loop goes on."""
        del loop
        error = context.get("exception")
        if isinstance(error, OSError):
            self._relay.counters["connection_error"] += 1
        elif error is not None:
            self._relay.crashed(error)
        else:
            _log.warning("event loop: %s", context.get("message", "unknown"))


def raise_open_files_limit() -> None:
    """Allow as many open files as the system lets us: an exchange holds two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Run one live process under a supervisor; returns its exit code."""
    logs.configure(process="live", level=logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_open_files_limit()
    lines = _ParentLines()
    first = lines.first()
    if not first:
        return 0
    start = control.decode(first, Start)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Live(start, lines).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
