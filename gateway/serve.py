"""Starts and watches the processes: binds the sockets, hands them down, restarts what dies, ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gateway import config as configuration
from gateway import control, logs, sockets
from gateway.announce import banner, doubled_paths, shadow_lines
from gateway.control import Event, Replace, Start
from gateway.settings import LiveSettings, MeasuringSettings
from shadow.redaction import Scrubber
from shadow.store import StoreError, check_store_modes, prepare_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.addresses import ListenAddress
    from gateway.config import Config

Role = Literal["all", "gateway", "shadow"]

_log = logging.getLogger("gateway.serve")

_STEADY_S = 30.0
"""A child that lived this long is restarted without delay; one that died sooner waits longer each time."""
_LIVE_DELAYS_S = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
_MEASURING_DELAYS_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_MEASURING_READY_S = 15.0
"""How long the start waits for the measuring process; live traffic does not wait for it at all."""
_GRACE_S = 10.0
"""What a child gets beyond `drain_timeout_s` to flush, before it is killed."""
_FORWARD_DELAY_S = 0.1
"""How long the first SIGTERM waits before it is forwarded: a service manager may have told the children itself, and a
second SIGTERM would make them skip the drain."""
_STORE_LOOK_S = 3.0
"""How long what is told at the start waits for the store to open; nothing else waits for it."""
_MIN_SECRET = 8
"""A shorter key is no key that an environment would carry inside another value."""


class StartError(Exception):
    """A live process did not come up; the message says what happened."""


@dataclass(slots=True, kw_only=True)
class _Child:
    """One process under watch, over all its restarts."""

    name: str
    module: Literal["gateway.live", "gateway.measuring"]
    worker: int
    sockets: Sequence[socket.socket]
    delays_s: Sequence[float]
    settings: LiveSettings | MeasuringSettings
    process: asyncio.subprocess.Process | None = None
    down: int | None = None
    """Write end of the pipe that is the child's standard input; closing it tells the child that we are gone."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    draining: bool = False
    started_at: float = 0.0
    failures: int = 0
    """Early deaths in a row."""
    line: str = field(default_factory=lambda: token_hex(8))
    """What tells each next process that what the last one held is free: it has ended."""
    task: asyncio.Task[None] | None = None


class Supervisor:
    """The processes of one `serve`: `start`, then `wait` until a signal (or `ask_to_stop`), then `stop`.

    `environ` is what the children inherit; live processes get it without the configured secrets.
    """

    def __init__(self, config: Config, *, role: Role = "all", environ: Mapping[str, str]) -> None:
        self._config = config
        self._role = role
        self._environ = environ
        self._children: list[_Child] = []
        self._bound: list[tuple[ListenAddress, socket.socket]] = []
        self._reloading = asyncio.Lock()
        self._forwarding: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._died_at_start = asyncio.Event()
        self.listen: ListenAddress = config.listen
        self.admin_listen: ListenAddress = config.admin_listen
        self.failed_reloads = 0
        self.killed = 0
        """Children that did not end in time."""

    async def start(self) -> None:
        """Bind everything, start the children and wait until live traffic is served.

        Raises ListenError (then nothing is bound) or StartError.
        """
        self._bind()
        try:
            for child in self._children:
                child.task = asyncio.create_task(self._watch(child))
            await self._until_ready()
        except BaseException:
            await self.stop()
            raise

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was asked for: then nothing listens any more."""
        return self._stopping.is_set()

    async def wait(self) -> None:
        """Return when a stop was asked for."""
        await self._stopping.wait()

    async def stop(self) -> None:
        """End the children: SIGTERM, the drain, the flush, then force; idempotent."""
        if not self._stopping.is_set():
            self.ask_to_stop()
        tasks = {child.task for child in self._children if child.task is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._config.live.drain_timeout_s + _GRACE_S)
            self._kill(late)
            await asyncio.gather(*tasks)

    def ask_to_stop(self) -> None:
        """Begin the end; a second call makes the children skip the drain."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._close()  # else connections would queue here for processes that accept no more
            self._forwarding = asyncio.create_task(self._forward_stop())
            return
        for child in self._children:
            _signal(child, signal.SIGTERM)

    async def _forward_stop(self) -> None:
        await asyncio.sleep(_FORWARD_DELAY_S)
        for child in self._children:
            if not child.draining:
                _signal(child, signal.SIGTERM)

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._config

    async def reload(self, load: Callable[[str], Config]) -> bool:
        """Take over a new configuration, or none of it; `load` gets the deployment id. False: refused, and said why."""
        async with self._reloading:
            try:
                new = await asyncio.to_thread(load, self._config.live.deployment_id)
            except configuration.ConfigErrors as errors:
                return self._refuse(errors.lines)
            fixed = self._config.needs_restart(new)
            if fixed:
                return self._refuse(
                    [f"{', '.join(fixed)}: changes only with a restart of serve; nothing was taken over"]
                )
            self._config = new
            for child in self._children:
                child.settings = self._settings_of(child)
                await self._send(child, Replace(settings=control.plain(child.settings)))
            _log.info("configuration reloaded", extra={"file": new.file})
            return True

    # --- binding and starting ---

    def _bind(self) -> None:
        config = self._config
        try:
            if self._role != "shadow":
                live, self.listen = sockets.bind(
                    config.listen, count=config.workers, key="listen", mode=sockets.LIVE_SOCKET_MODE
                )
                self._bound += [(self.listen, one) for one in live]
                self._children += [self._live_child(number, one) for number, one in enumerate(live)]
            if self._role != "gateway":
                admin, self.admin_listen = sockets.bind(
                    config.admin_listen, count=1, key="admin.listen", mode=sockets.ADMIN_SOCKET_MODE
                )
                self._bound += [(self.admin_listen, one) for one in admin]
                self._children.append(self._measuring_child(admin))
        except sockets.ListenError:
            self._close()
            self._children = []
            raise

    def _close(self) -> None:
        for address, one in self._bound:
            one.close()
            sockets.unlink(address)
        self._bound = []

    def _live_child(self, number: int, one: socket.socket) -> _Child:
        return _Child(
            name=f"live-{number}",
            module="gateway.live",
            worker=number,
            sockets=[one],
            delays_s=_LIVE_DELAYS_S,
            settings=self._config.live,
        )

    def _measuring_child(self, admin: Sequence[socket.socket]) -> _Child:
        return _Child(
            name="measuring",
            module="gateway.measuring",
            worker=0,
            sockets=admin,
            delays_s=_MEASURING_DELAYS_S,
            settings=self._config.measuring,
        )

    def _settings_of(self, child: _Child) -> LiveSettings | MeasuringSettings:
        return self._config.live if child.module == "gateway.live" else self._config.measuring

    async def _until_ready(self) -> None:
        """Wait for every live process; for the measuring process only for a while, live traffic does not need it."""
        live = [child for child in self._children if child.module == "gateway.live"]
        if not await self._first_of(asyncio.create_task(_ready(live))):
            if self._stopping.is_set():
                return
            raise StartError("a live process ended before it was ready; its last lines are above")
        for child in self._children:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._first_of(asyncio.ensure_future(child.ready.wait())), _MEASURING_READY_S)

    async def _first_of(self, up: asyncio.Future[Any]) -> bool:
        """Tell whether `up` came before an early death or a stop."""
        others = [asyncio.create_task(event.wait()) for event in (self._died_at_start, self._stopping)]
        try:
            await asyncio.wait([up, *others], return_when=asyncio.FIRST_COMPLETED)
            return up.done()
        finally:
            for future in (up, *others):
                future.cancel()

    # --- one child ---

    async def _watch(self, child: _Child) -> None:
        """Keep the child running until the stop."""
        while not self._stopping.is_set():
            try:
                code = await self._run_once(child)
            except OSError as error:  # no process, memory or descriptor to be had: as transient as any death
                _log.warning("a process cannot be started: %s", error.strerror, extra={"child": child.name})
                code = 1
            if self._stopping.is_set():
                self._log_end(child, code)
                return
            if child.module == "gateway.live" and child.failures == 0 and not child.ready.is_set():
                self._died_at_start.set()
            await self._back_off(child, code)

    async def _run_once(self, child: _Child) -> int:
        """Start the process, tell it what to do, and return its exit code."""
        child.started_at, child.draining = time.monotonic(), False
        fds = tuple(one.fileno() for one in child.sockets)
        stdin_end, down = os.pipe()
        status_end, status_write = os.pipe()
        try:
            child.process = await self._spawn(child, stdin_end, (*fds, status_write))
        except OSError:
            os.close(down)
            os.close(status_end)
            raise
        finally:
            os.close(stdin_end)
            os.close(status_write)
        reading = asyncio.create_task(self._read_events(child, status_end))
        settings = child.settings
        start = Start(
            settings=control.plain(settings),
            socket_fds=fds,
            status_fd=status_write,
            tls=self._config.tls if child.module == "gateway.live" else None,
            worker=child.worker,
            line=child.line,
        )
        await asyncio.to_thread(_write_line, os.dup(down), control.encode(start))
        child.down = down
        if child.settings is not settings:  # reloaded while the first line was on its way
            await self._send(child, Replace(settings=control.plain(child.settings)))
        if self._stopping.is_set():
            _signal(child, signal.SIGTERM)
        try:
            code = await child.process.wait()
            await reading
        finally:
            os.close(down)
            child.down = child.process = None
        return code

    async def _spawn(self, child: _Child, stdin_end: int, inherited: Sequence[int]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder named gateway/ or shadow/ where `serve` was started is not ours
            "-m",
            child.module,
            stdin=stdin_end,
            pass_fds=inherited,
            start_new_session=True,  # Ctrl-C reaches the parent only
            env=self._environment(child),
        )

    def _environment(self, child: _Child) -> dict[str, str]:
        """Keep keys out of a live process's environment; a `python` evaluator of the user's may need them."""
        if child.module == "gateway.measuring":
            return dict(self._environ)
        secrets = self._config.measuring.secrets
        return {
            name: value
            for name, value in self._environ.items()
            if not any(value == secret or (len(secret) >= _MIN_SECRET and secret in value) for secret in secrets)
        }

    async def _read_events(self, child: _Child, status_end: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(status_end, "rb", buffering=0)
        )
        try:
            while line := await reader.readline():
                self._take_event(child, line)
        finally:
            transport.close()

    def _take_event(self, child: _Child, line: bytes) -> None:
        try:
            event = control.decode(line, Event)
        except msgspec.DecodeError:
            _log.warning("a child wrote an event nobody understands", extra={"child": child.name, "line": line})
            return
        if event.event == "ready":
            child.ready.set()
        elif event.event == "draining":
            child.draining = True
        elif event.event == "reload_failed":
            self.failed_reloads += 1
            _log.error(
                "a child refused the new configuration (failed reloads: %d)",
                self.failed_reloads,
                extra={"child": child.name, "detail": event.detail, "failed_reloads": self.failed_reloads},
            )
        _log.debug("event", extra={"child": child.name, "event": event.event, "detail": event.detail})

    async def _send(self, child: _Child, message: Start | Replace) -> None:
        """Write one line down; a child that is dead already gets everything anew with its next start."""
        if child.down is not None:
            await asyncio.to_thread(_write_line, os.dup(child.down), control.encode(message))

    async def _back_off(self, child: _Child, code: int) -> None:
        lived_s = time.monotonic() - child.started_at
        child.failures = 0 if lived_s >= _STEADY_S else child.failures + 1
        delay_s = child.delays_s[min(max(child.failures - 1, 0), len(child.delays_s) - 1)]
        _log.error(
            "a process ended by itself and is restarted: %s, %s, after %.1f s",
            child.name,
            _ending(code),
            lived_s,
            extra={"child": child.name, "exit_code": code, "lived_s": round(lived_s, 1), "delay_s": delay_s},
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay_s)

    def _log_end(self, child: _Child, code: int) -> None:
        if code not in (0, -signal.SIGTERM, -signal.SIGKILL):
            _log.warning("a process did not end cleanly", extra={"child": child.name, "exit_code": code})

    def _kill(self, late: set[asyncio.Task[None]]) -> None:
        for child in self._children:
            if child.task in late:
                self.killed += 1
                _log.error("a process did not end in time and is killed", extra={"child": child.name})
                _signal(child, signal.SIGKILL)

    def _refuse(self, lines: Sequence[str]) -> bool:
        self.failed_reloads += 1
        for line in lines:
            _log.error(
                "configuration not reloaded, the one before holds (failed reloads: %d)",
                self.failed_reloads,
                extra={"reason": line, "failed_reloads": self.failed_reloads},
            )
        return False


def _write_line(pipe_end: int, line: bytes) -> None:
    """Write in a thread, since a child that is slow to read may fill the pipe; `pipe_end` is closed."""
    with contextlib.suppress(BrokenPipeError), os.fdopen(pipe_end, "wb", buffering=0) as pipe:
        rest = memoryview(line)
        while rest:
            rest = rest[pipe.write(rest) or 0 :]


def _ending(code: int) -> str:
    """Say how a process ended: its exit code, or the signal that killed it."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


async def _ready(children: Sequence[_Child]) -> None:
    for child in children:
        await child.ready.wait()


def _signal(child: _Child, number: signal.Signals) -> None:
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(number)


def serve(
    file: str | None, environ: Mapping[str, str], *, role: Role = "all", say: Callable[[str], None] = print
) -> int:
    """Run until a signal ends it; `say` gets the lines for people. Returns the exit code.

    Raises ConfigErrors (also for a store that others may read) before anything is bound, ListenError when an address
    is taken, StartError when a live process does not come up.
    """
    config = configuration.load(file, environ, load_python=True)
    refuse_open_store(config)
    _configure_logs(config)
    # A core file would hold every key and prompt that was in memory; the children inherit this.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    return asyncio.run(_serve(config, file, environ, role=role, say=say))


def refuse_open_store(config: Config) -> None:
    """Raise ConfigErrors when other users of this machine may read the store that is there.

    For a start, where somebody looks. While it runs, such a store is not used, and live traffic goes on.
    """
    try:
        check_store_modes(config.measuring.store)
    except StoreError as error:
        raise configuration.ConfigErrors([f"{config.file or 'environment'}: store: {error}"]) from None


async def _serve(
    config: Config, file: str | None, environ: Mapping[str, str], *, role: Role, say: Callable[[str], None]
) -> int:
    supervisor = Supervisor(config, role=role, environ=environ)
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def load_again(deployment_id: str) -> Config:
        new = configuration.load(file, environ, deployment_id=deployment_id, load_python=True)
        _configure_logs(new)
        return new

    async def reload_and_tell() -> None:
        if await supervisor.reload(load_again) and role != "gateway":
            for line in (*doubled_paths(supervisor.config), *shadow_lines(supervisor.config)):
                say(line)

    def reload() -> None:
        task = asyncio.create_task(reload_and_tell())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.ask_to_stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    makes_folder = not config.store_path.parent.exists()
    await supervisor.start()
    if not supervisor.is_stopping:
        fault = await _store_fault(config.measuring.store)
        listen, admin_listen = supervisor.listen, supervisor.admin_listen
        for line in banner(config, listen=listen, admin_listen=admin_listen, role=role, store_fault=fault):
            say(line)
        if makes_folder and fault is None:
            folder = config.store_path.parent
            say(f"the store's folder {folder} was not there; it is made for this user alone (mode 700)")
    await supervisor.wait()
    say(f"stopping: answers under way have {supervisor.config.live.drain_timeout_s:g} s; a second signal does not wait")
    await supervisor.stop()
    return 1 if supervisor.killed else 0


async def _store_fault(url: str) -> str | None:
    """Say why the store cannot be opened now; None when it can. The processes that use it find that out themselves."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str | None] = loop.create_future()

    def settle(fault: str | None) -> None:
        if not found.done():
            found.set_result(fault)

    def look() -> None:
        fault = None
        try:
            prepare_store(url)
        except StoreError as error:
            fault = str(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, fault)

    # Not in the loop's own threads: an exit waits for those, and a disk may hang.
    threading.Thread(target=look, name="store look", daemon=True).start()
    try:
        return await asyncio.wait_for(found, _STORE_LOOK_S)
    except TimeoutError:
        return f"it did not open within {_STORE_LOOK_S:g} s"


def _configure_logs(config: Config) -> None:
    logs.configure(process="serve", scrub=Scrubber(config.measuring.secrets).scrub)
