"""Faults under load: models that count, apps that remember every request, and what must hold afterwards.

`run_mix` runs it all by itself: a seeded schedule of kills, restarts, locks, a full disk, dead candidates and reloads
under mixed traffic. What was seen goes into a `Report`, whose `violations` must be empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from tests.support.http1 import Message, MessageReader, WireError, chunked
from tests.support.serving import Serve, ask, is_alive
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import Self

Kind = Literal["unary", "stream", "large", "error", "broken", "abort", "early abort"]
"""What becomes of a request: answered at once, streamed, 60 KB long, an HTTP error, broken off by the model in the
middle, left by the app in the middle, left by the app before the answer."""

KINDS: tuple[Kind, ...] = ("unary",) * 4 + ("stream",) * 4 + ("large", "error", "broken", "abort", "early abort")

Role = Literal["live", "scribe", "measuring", "supervisor", "all"]
ROLES: tuple[Role, ...] = ("live", "scribe", "measuring", "supervisor", "all")

LOSS_S = 0.5
"""How far back a kill -9 may reach: requests that ended earlier are in the store."""
PRICE = {"input": 1000.0, "output": 5000.0}
"""USD per million tokens: a call costs 0.11 USD."""
USED = {"input_tokens": 10, "output_tokens": 20}
PAID_USD = (USED["input_tokens"] * PRICE["input"] + USED["output_tokens"] * PRICE["output"]) / 1e6
_EVENTS = 25
_LARGE = 60_000
_PATIENCE_S = 40.0
_NEWEST = "SELECT path FROM exchange ORDER BY started_at DESC LIMIT 100"


# --- what a model answers ---


def events_of(number: int) -> list[bytes]:
    """The stream that belongs to a request's number, event by event."""
    start = {"type": "message_start", "message": {**_message(number, ""), "content": [], "usage": USED}}
    opening = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"{number}.{at} "}}
        for at in range(_EVENTS)
    ]
    end = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ]
    return [
        b"event: %s\ndata: %s\n\n" % (str(each["type"]).encode(), json.dumps(each).encode())
        for each in (start, opening, *deltas, *end)
    ]


def body_of(number: int, kind: Kind) -> bytes:
    """The whole body of the answer to a request."""
    if kind in {"stream", "broken", "abort"}:
        return b"".join(events_of(number))
    if kind == "error":
        return json.dumps({"type": "error", "error": {"type": "api_error", "message": f"no {number}"}}).encode()
    text = f"answer {number} " + "x" * (_LARGE if kind == "large" else 0)
    return json.dumps(_message(number, text)).encode()


def _message(number: int, text: str) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "primary",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USED,
    }


def _identity(target: bytes) -> tuple[int, Kind]:
    """Number and kind of the request with this path."""
    _, number, kind, *_ = target.decode().split("/")
    return int(number), cast("Kind", kind.replace("_", " "))


class Model:
    """A server for one model that counts what it is asked, by the number of the request. It can die and come back."""

    def __init__(self, *, pace_s: float = 0.008, think_s: Callable[[int], float] = lambda _: 0.0) -> None:
        self.asked: Counter[int] = Counter()
        self.under_way: set[int] = set()
        self.answered = 0
        self.port = 0
        self._pace_s = pace_s
        self._think_s = think_s
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()

    async def start(self) -> None:
        """Listen, after a death on the same port as before."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Answering(self), "127.0.0.1", self.port or free_port(), backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def die(self) -> None:
        """Break everything off and refuse connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in list(self._open):
            transport.abort()

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def connected(self, transport: asyncio.Transport) -> None:
        """Note a connection."""
        self._open.add(transport)

    def disconnected(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._open.discard(transport)

    async def answer(self, request: Message, write: Callable[[bytes], None]) -> bool:
        """Answer one request; False: the connection is to be reset now."""
        number, kind = _identity(request.target)
        self.under_way.add(number)
        try:
            return await self._play(number, kind, write)
        finally:
            self.under_way.discard(number)

    async def _play(self, number: int, kind: Kind, write: Callable[[bytes], None]) -> bool:
        await asyncio.sleep(self._think_s(number))
        body = body_of(number, kind)
        if kind not in {"stream", "broken", "abort"}:
            status = b"500 Internal Server Error" if kind == "error" else b"200 OK"
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
            write(head + body)
            self.answered += 1
            return True
        write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for at, event in enumerate(events_of(number)):
            await asyncio.sleep(self._pace_s)
            if kind == "broken" and at == _EVENTS // 2:
                return False
            write(chunked(event, [len(event)])[:-5])
        write(b"0\r\n\r\n")
        self.answered += 1
        return True


class _Answering(asyncio.Protocol):
    """One connection to a model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._reader = MessageReader("request")
        self._counted = 0
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._model.connected(self._transport)
        self._task = asyncio.ensure_future(self._serve())

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except WireError:
            self._transport.abort()
        for request in self._reader.messages[self._counted :]:
            self._model.asked[_identity(request.target)[0]] += 1
            self._counted += 1
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self._model.disconnected(self._transport)
        self._task.cancel()

    async def _serve(self) -> None:
        served = 0
        while True:
            while not (len(self._reader.messages) > served and self._reader.messages[served].complete):
                self._news.clear()
                await self._news.wait()
            if not await self._model.answer(self._reader.messages[served], self._transport.write):
                await asyncio.sleep(0.02)  # a RST takes back what the peer has not read
                linger = b"\1\0\0\0\0\0\0\0"
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self._transport.abort()
                return
            served += 1


def free_port() -> int:
    """A port that is free and that the system gives to nobody by itself, so that it can be taken again and again."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


# --- what apps ask ---


@dataclass(slots=True, kw_only=True)
class Call:
    """One request as the app saw it. Times are `time.monotonic()` seconds, which all processes share."""

    number: int
    kind: Kind
    began_at: float
    """Before the connection was made, or taken from those kept alive."""
    line_since: float = 0.0
    """When its connection was made."""
    ended_at: float = 0.0
    status: int | None = None
    request_id: str | None = None
    body: bytes = b""
    complete: bool = False
    problem: str = ""
    """Why there is no whole answer; empty when there is one or the app left."""

    @property
    def is_as_expected(self) -> bool:
        """Whether it went as it goes without any fault of ours."""
        if self.kind == "abort":
            return self.status == 200 and not self.problem
        if self.kind == "early abort":
            return not self.problem
        if self.kind == "broken":
            return self.status == 200 and not self.complete
        return self.complete and self.status == (500 if self.kind == "error" else 200)

    @property
    def is_true(self) -> bool:
        """Whether what arrived is what the model said: the whole of it, or visibly a part."""
        whole = body_of(self.number, self.kind)
        return self.body == whole if self.complete else whole.startswith(self.body)


class _Line:
    """One kept-alive connection of an app."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], *, since: float) -> None:
        """`since` is when it was asked for: the other side may have taken it long before a busy machine tells us."""
        self.incoming, self.outgoing = streams
        self.reader = MessageReader("answer")
        self.answers = 0
        self.since = since

    @property
    def is_usable(self) -> bool:
        return not self.incoming.at_eof() and not self.outgoing.is_closing()

    def close(self) -> None:
        self.outgoing.transport.abort()


class Load:
    """Apps that ask one question after the other until they are stopped, and remember how each went."""

    def __init__(
        self, *, port: int, seed: int, apps: int = 8, kinds: Sequence[Kind] = KINDS, pause_s: float = 0.05
    ) -> None:
        self.calls: list[Call] = []
        self._port = port
        self._chance = random.Random(seed)
        self._apps = apps
        self._kinds = kinds
        self._pause_s = pause_s
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(self._apps)]
        return self

    @property
    def is_running(self) -> bool:
        """Whether there are apps that ask."""
        return bool(self._tasks) and not self._stopping.is_set()

    async def __aexit__(self, *_: object) -> None:
        """Let the calls under way end, and no others begin."""
        self.stop()
        await asyncio.gather(*self._tasks)

    def stop(self) -> None:
        """Let no more calls begin."""
        self._stopping.set()

    async def _ask_on(self) -> None:
        line: _Line | None = None
        while not self._stopping.is_set():
            call = Call(number=len(self.calls), kind=self._chance.choice(self._kinds), began_at=time.monotonic())
            self.calls.append(call)
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    if line is None or not line.is_usable:
                        if line is not None:
                            line.close()
                            line = None
                        since = time.monotonic()
                        line = _Line(await asyncio.open_connection("127.0.0.1", self._port), since=since)
                    call.line_since = line.since
                    kept = await self._ask(call, line)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                kept, call.problem = False, f"{type(error).__name__}: {error}"
            call.ended_at = time.monotonic()
            if line is not None and (not kept or self._chance.random() < 0.3):
                line.close()
                line = None
            await asyncio.sleep(self._pause_s * 2 * self._chance.random() + (0.0 if call.status else 0.02))
        if line is not None:
            line.close()

    async def _ask(self, call: Call, line: _Line) -> bool:
        """Send one request and read its answer; False: the connection is of no use any more."""
        line.outgoing.write(_request(call))
        if call.kind == "early abort":
            await asyncio.sleep(self._chance.random() * 0.02)
            return False
        while True:
            data = await line.incoming.read(1 << 16)
            if data:
                line.reader.feed(data)
            else:
                line.reader.end()
            if len(line.reader.messages) > line.answers:
                answer = line.reader.messages[line.answers]
                _take(answer, into=call)
                if answer.complete:
                    line.answers += 1
                    return bool(data)
                if call.kind == "abort" and answer.body:
                    return False
            if not data:
                call.problem = "cut off" if call.status else "closed without an answer"
                return False


def _request(call: Call) -> bytes:
    asked = {
        "model": "primary",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": f"Question {call.number}"}],
        **({"stream": True} if call.kind in {"stream", "broken", "abort"} else {}),
    }
    body = json.dumps(asked).encode()
    head = (
        f"POST /{call.number}/{call.kind.replace(' ', '_')}/v1/messages HTTP/1.1\r\nHost: gateway\r\n"
        f"content-type: application/json\r\nanthropic-version: 2023-06-01\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _take(answer: Message, *, into: Call) -> None:
    into.status, into.body, into.complete = answer.status, bytes(answer.body), answer.complete
    ids = answer.values(b"x-shadow-request-id")
    into.request_id = ids[0].decode() if len(ids) == 1 else None


# --- what happens meanwhile ---


@dataclass(slots=True, kw_only=True)
class Fault:
    """Something that was done to the gateway, from its begin until everything was in place again."""

    what: str
    begin: float
    dead_at: float = 0.0
    """When the killed processes were gone."""
    starved_s: float = 0.0
    """How long the writing processes had been kept from the processor just before by others on this machine."""
    end: float = float("inf")

    def meets(self, begin: float, end: float) -> bool:
        """Whether it overlaps a stretch of time."""
        return self.begin <= end and begin <= self.end


@dataclass(slots=True, kw_only=True)
class Report:
    """What was seen. `violations` are broken promises, in words."""

    seed: int
    seconds: float
    violations: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    """By how they went: `whole`, `left` (by the app), `broken by the model`, `cut` (with their live process, or while
    none was there), `refused` (between two runs of `serve`)."""
    faults: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    """Faults that this machine does not allow, with the reason."""
    recorded: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """Exchanges that are not in the store, by the fault that explains it."""
    loss_ms: dict[str, float] = field(default_factory=dict)
    """The longest time between the end of a lost exchange and the kill that lost it, by kind of kill."""
    jobs: Counter[str] = field(default_factory=Counter)
    candidate_calls: int = 0
    spent_usd: float = 0.0
    paid_usd: float = 0.0

    def lines(self) -> Iterator[str]:
        """A table for people."""
        yield f"seed {self.seed}, {self.seconds:.0f} s"
        for name in ("calls", "faults", "lost", "jobs"):
            counts = getattr(self, name)
            yield f"{name}: " + (", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or "none")
        yield "longest loss: " + (", ".join(f"{what} {ms:.0f} ms" for what, ms in self.loss_ms.items()) or "none")
        yield f"recorded {self.recorded}, candidate calls {self.candidate_calls}"
        yield f"spent {self.spent_usd:.2f} USD, paid {self.paid_usd:.2f} USD"
        yield from (f"left out: {why}" for why in self.left_out)
        yield from (f"VIOLATION: {what}" for what in self.violations)


class Site:
    """A gateway with its store, models and apps, over all its restarts."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        budget_usd: float = 1e6,
        apps: int = 8,
        kinds: Sequence[Kind] = KINDS,
        pause_s: float = 0.05,
        pace_s: float = 0.008,
        files: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.store = folder / "store" / "shadow.db"
        self.store.parent.mkdir(mode=0o700, exist_ok=True)
        self.seed = seed
        self.budget_usd = budget_usd
        self.port, self.admin_port = free_port(), free_port()
        self.upstreams = [Model(pace_s=pace_s), Model(pace_s=pace_s)]
        chance = random.Random(seed)
        salt = chance.random()
        self.candidates = {
            "quick": Model(think_s=lambda number: 0.05 * random.Random(number + salt).random()),
            "slow": Model(think_s=lambda number: 0.3 * random.Random(number + salt).random()),
        }
        self.load = Load(port=self.port, seed=chance.randrange(1 << 30), apps=apps, kinds=kinds, pause_s=pause_s)
        self.faults: list[Fault] = []
        self.most_committed_usd = 0.0
        self._settings = settings
        self._files = files or {}
        self._serving: Serve | None = None
        self._upstream = 0
        self._starts = 0
        self._waited: deque[tuple[float, dict[int, float]]] = deque(maxlen=40)
        self._workers_gone: list[int] = []

    async def __aenter__(self) -> Self:
        try:
            for model in (*self.upstreams, *self.candidates.values()):
                await model.start()
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._serving is not None:
            await asyncio.to_thread(self._serving.__exit__, None, None, None)
        for model in (*self.upstreams, *self.candidates.values()):
            await model.die()

    @property
    def serving(self) -> Serve:
        """The gateway that runs now."""
        assert self._serving is not None, "no gateway runs"
        return self._serving

    def config(self) -> str:
        """The configuration as it is now."""
        candidates = [
            {"model": name, "base_url": model.base_url, "api_key": f"key-of-{name}"}
            for name, model in self.candidates.items()
        ]
        whole: dict[str, Any] = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
            "upstream": {"base_url": self.upstreams[self._upstream].base_url},
            "shadow": {
                "sample_rate": 1,
                "noise_floor_rate": 0,
                "max_concurrency": 40,
                "budget_usd_per_day": self.budget_usd,
                "candidates": candidates,
                "content": "none",  # the store stays small, for the disk is
            },
            "prices": dict.fromkeys(("primary", *self.candidates), PRICE),
            "store": f"sqlite:///{self.store}",
        }
        return json.dumps(whole | self._settings)

    # starting and ending

    async def start(self) -> None:
        """Start `serve` in a folder of its own, on the store and the ports as before."""
        self._starts += 1
        folder = self.folder / f"run-{self._starts}"
        folder.mkdir()
        for name, text in self._files.items():
            (folder / name).write_text(text, encoding="utf-8")
        serving = Serve(folder, self.config())
        self._serving = serving
        await asyncio.to_thread(serving.__enter__)
        await self.recording()

    async def recording(self) -> None:
        """Wait until what is asked now is in the store: until its first batch is written, a scribe is only starting."""
        first = len(self.load.calls)

        def look() -> bool:
            if not self.load.is_running:
                return True
            with contextlib.suppress(sqlite3.OperationalError):
                return any(_identity(path.encode())[0] >= first for (path,) in self.rows(_NEWEST))
            return False

        await asyncio.to_thread(eventually, look, within_s=40, what="the first record")

    async def stop(self) -> int:
        """End it as a service manager does; the exit code."""
        self._workers_gone += self.serving.children("gateway.measuring")
        code = await asyncio.to_thread(self.serving.stop)
        self._serving = None
        return code

    async def restart(self) -> None:
        """SIGTERM, and a new start."""
        with self._fault("restart"):
            code = await self.stop()
            assert code == 0, f"exit code {code}"
            await self.start()

    # faults

    async def kill(self, role: Role) -> None:
        """End processes with SIGKILL, and return when others have taken their place."""
        serving = self.serving
        victims = self.processes(role)
        self._workers_gone += self.processes("measuring") if role not in {"live", "scribe"} else []
        family = self.processes("all")
        with self._fault(f"kill {role}") as fault:
            fault.starved_s = self._starved_s()
            fault.begin = time.monotonic()
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in victims:
                await self._gone(pid)
            fault.dead_at = time.monotonic()
            if role in {"supervisor", "all"}:
                await asyncio.to_thread(serving.wait)
                for pid in family:
                    await self._gone(pid)
                self._serving = None
                await self.start()
            else:
                await asyncio.to_thread(
                    eventually,
                    lambda: set(self.processes(role)) - set(victims),
                    within_s=40,
                    what=f"a new {role} process",
                )
                await self.recording()

    async def _gone(self, pid: int) -> None:
        await asyncio.to_thread(eventually, lambda: not is_alive(pid), within_s=60, what=f"the end of {pid}")

    def processes(self, role: Role) -> list[int]:
        """The process ids of one part of the running gateway."""
        serving = self.serving
        live = serving.children("gateway.live")
        found = {
            "supervisor": [serving.process.pid],
            "live": live,
            "scribe": [child for pid in live for child in _children(pid)],
            "measuring": serving.children("gateway.measuring"),
        }
        found["all"] = [pid for each in ("supervisor", "live", "scribe", "measuring") for pid in found[each]]
        return found[role]

    def crashed(self, workers: Sequence[int]) -> None:
        """Note that these measuring processes are gone: what they held counts as lost."""
        self._workers_gone += workers

    async def lock(self, seconds: float) -> None:
        """Hold the store as another program would."""
        with self._fault("lock"):
            await asyncio.to_thread(self._hold, seconds)

    def _hold(self, seconds: float) -> None:
        with closing(self._connect()) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            other.execute("ROLLBACK")

    async def fill_disk(self, seconds: float) -> None:
        """Leave no byte free on the store's file system for a while."""
        filler = self.store.parent / "filler"
        with self._fault("full disk"):
            try:
                with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(1 << 16))
                with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(512))
                await asyncio.sleep(seconds)
            finally:
                filler.unlink()

    async def lose_candidate(self, name: str, seconds: float) -> None:
        """A candidate is gone for a while."""
        with self._fault("dead candidate"):
            await self.candidates[name].die()
            await asyncio.sleep(seconds)
            await self.candidates[name].start()

    def reload(self, *, valid: bool) -> None:
        """Change the configuration (to the other upstream, or to something that is none) and send SIGHUP."""
        self.faults.append(Fault(what="reload" if valid else "bad reload", begin=time.monotonic()))
        self.faults[-1].end = time.monotonic()
        if valid:
            self._upstream = 1 - self._upstream
            self.serving.file.write_text(self.config(), encoding="utf-8")
        else:
            self.serving.file.write_text("shadow: {sample_rate: 7}\n", encoding="utf-8")
        self.serving.signal(signal.SIGHUP)

    @contextlib.contextmanager
    def _fault(self, what: str) -> Iterator[Fault]:
        fault = Fault(what=what, begin=time.monotonic())
        self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.end = time.monotonic()

    # looking

    def is_refusing(self) -> bool:
        """Whether nobody takes a connection."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    def _connect(self, *, timeout_s: float = 60) -> sqlite3.Connection:
        """Open the store's file, which must be there: made by us it would be open to others, and refused."""
        return sqlite3.connect(f"file:{self.store}?mode=rw", uri=True, isolation_level=None, timeout=timeout_s)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the store's file itself."""
        with closing(self._connect()) as connection:
            return connection.execute(sql, values).fetchall()

    def _starved_s(self) -> float:
        now = {pid: _waited_s(pid) for role in ("live", "scribe") for pid in self.processes(role)}
        _, before = self._waited[0] if self._waited else (0.0, {})
        return max((waited - before.get(pid, 0.0) for pid, waited in now.items()), default=0.0)

    async def watch(self) -> None:
        """Look at the day's money, and at how busy the machine is, as often as it can, until cancelled."""
        while True:
            if self._serving is not None:
                waited = {pid: _waited_s(pid) for role in ("live", "scribe") for pid in self.processes(role)}
                self._waited.append((time.monotonic(), waited))
            with contextlib.suppress(sqlite3.OperationalError), closing(self._connect(timeout_s=0)) as db:
                for (committed,) in db.execute("SELECT spent_nano_usd + reserved_nano_usd FROM budget_day").fetchall():
                    self.most_committed_usd = max(self.most_committed_usd, committed / 1e9)
            await asyncio.sleep(0.05)

    async def settle(self) -> None:
        """Wait until every job that a worker holds now has ended; dead workers' leases are taken to have run out."""
        held = "SELECT lease, state, worker FROM shadow_job WHERE state IN ('leased', 'sent')"
        now_held = {lease for lease, *_ in self.rows(held)}

        def left() -> list[tuple[Any, ...]]:
            with closing(self._connect()) as db:
                for pid in self._workers_gone:
                    db.execute(
                        "UPDATE shadow_job SET lease_until = 0 WHERE state IN ('leased', 'sent') AND worker LIKE ?",
                        (f"%:{pid}:%",),
                    )
            return [row for row in self.rows(held) if row[0] in now_held]

        await asyncio.to_thread(eventually, lambda: not left(), within_s=60, what="the end of the jobs held by workers")

    def stats(self) -> dict[str, Any]:
        """What `/stats` says."""
        status, body = ask(self.serving.admin, "GET", "/stats")
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text("utf-8").split()
        ]
    return []


def _waited_s(pid: int) -> float:
    """How long a process was ready to run and did not, since its start: all its threads together."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (
            sum(
                int((thread / "schedstat").read_text("utf-8").split()[1])
                for thread in Path(f"/proc/{pid}/task").iterdir()
            )
            / 1e9
        )
    return 0.0


# --- what must hold afterwards ---

_CUTS = frozenset({"kill live", "kill all", "cut drain"})
_AWAY = frozenset({"restart", "kill supervisor", "kill all"})
_LOSES = frozenset({"kill live", "kill all"})
_CRASHES = frozenset({"kill measuring", "kill supervisor", "kill all", "bad evaluator"})
_STORE = frozenset({"lock", "full disk"})
_OUTCOMES: dict[Kind, frozenset[str]] = {
    "unary": frozenset({"ok"}),
    "stream": frozenset({"ok"}),
    "large": frozenset({"ok"}),
    "error": frozenset({"error_http"}),
    "broken": frozenset({"error_stream"}),
    "abort": frozenset({"aborted", "ok"}),
    "early abort": frozenset({"aborted", "ok"}),
}


class Audit:
    """Compares what the apps, the models and the store know. To be made when the gateway has ended."""

    def __init__(self, site: Site, *, seconds: float) -> None:
        self._site = site
        self._seen = site.upstreams[0].asked + site.upstreams[1].asked
        self.report = Report(seed=site.seed, seconds=seconds)
        self.report.faults = Counter(fault.what for fault in site.faults)

    def run(self) -> Report:
        """Check everything that can be checked without a running gateway."""
        for call in self._site.load.calls:
            self._check_answer(call)
        for what, models in (("upstream", [self._seen]), *self._candidate_counts()):
            for asked in models:
                twice = {number: count for number, count in asked.items() if count > 1}
                self._holds(not twice, f"{what} was asked twice: {twice}")
        self._check_records()
        self._check_jobs()
        self._check_money()
        self._check_file()
        return self.report

    def check_stats(self, stats: dict[str, Any]) -> None:
        """The coverage identity, as people read it."""
        comparisons = [each for task in stats["tasks"] for each in task["comparisons"]]
        self._holds(
            {each["candidate"] for each in comparisons} == set(self._site.candidates), f"comparisons {comparisons}"
        )
        for each in comparisons:
            coverage = each["coverage"]
            parts = (
                coverage["sent"],
                *coverage["skipped"].values(),
                *coverage["dropped"].values(),
                coverage["pending"],
            )
            self._holds(
                coverage["sampled"] == sum(parts)
                and coverage["eligible"] == coverage["sampled"] + coverage["not_sampled"]
                and coverage["not_sampled"] == 0,
                f"the coverage of {each['candidate']} does not add up: {coverage}",
            )

    def _holds(self, holds: bool, what: str) -> None:  # noqa: FBT001  (an assertion that goes on)
        if not holds:
            self.report.violations.append(what)

    def _candidate_counts(self) -> Iterator[tuple[str, list[Counter[int]]]]:
        return ((name, [model.asked]) for name, model in self._site.candidates.items())

    def _check_answer(self, call: Call) -> None:
        self._holds(
            call.is_true, f"request {call.number} ({call.kind}) got other bytes: {call.status} {call.body!r:.200}"
        )
        if call.is_as_expected:
            how = {"broken": "broken by the model", "abort": "left", "early abort": "left"}.get(call.kind, "whole")
            self.report.calls[how] += 1
        elif self._is_excused(call):
            self.report.calls["refused" if call.problem.startswith("ConnectionRefused") else "cut"] += 1
        else:
            since = [
                f"{fault.what} {fault.begin - call.began_at:.3f} to {fault.end - call.began_at:.3f} s"
                for fault in self._site.faults
                if fault.meets(call.line_since - 1, call.ended_at + 1)
            ]
            self._holds(
                False,
                f"request {call.number} ({call.kind}) failed: {call.status} {call.problem}, seen upstream "
                f"{self._seen[call.number]}, after {call.ended_at - call.began_at:.3f} s; {since}",
            )

    def _is_excused(self, call: Call) -> bool:
        """Whether its own live process was killed, or nobody was there to take it."""
        return any(
            (fault.what in _CUTS and call.line_since <= fault.dead_at and fault.begin <= call.ended_at)
            or (fault.what in _AWAY and not self._seen[call.number] and fault.meets(call.began_at, call.ended_at))
            for fault in self._site.faults
        )

    def _check_records(self) -> None:
        stored: dict[int, tuple[str, str]] = {}
        for exchange_id, path, outcome in self._site.rows("SELECT id, path, outcome FROM exchange"):
            number, _ = _identity(path.encode())
            self._holds(number not in stored, f"request {number} is in the store twice")
            stored[number] = (exchange_id, outcome)
        self.report.recorded = len(stored)
        for call in self._site.load.calls:
            if call.number not in stored:
                if call.request_id is not None or self._seen[call.number]:
                    self._explain_loss(call)
                continue
            exchange_id, outcome = stored[call.number]
            self._holds(
                call.request_id in {None, exchange_id}, f"request {call.number}: {call.request_id} is not {exchange_id}"
            )
            self._holds(
                not call.is_as_expected or outcome in _OUTCOMES[call.kind],
                f"request {call.number} ({call.kind}) is in the store as {outcome}",
            )

    def _explain_loss(self, call: Call) -> None:
        for fault in self._site.faults:
            loss_s = LOSS_S + fault.starved_s
            if fault.what not in _LOSES or call.began_at > fault.dead_at + loss_s:
                continue
            held_since = min(
                (each.begin for each in self._site.faults if each.what in _STORE and _holds_up(each, fault)),
                default=fault.begin,
            )
            if call.ended_at < held_since - loss_s:
                continue
            what = fault.what + (" while the store was away" if held_since < fault.begin else "")
            self.report.lost[what] += 1
            window_ms = 1000 * (fault.begin - call.ended_at)
            self.report.loss_ms[what] = max(window_ms, self.report.loss_ms.get(what, 0.0))
            return
        ago = [
            f"{fault.what} {fault.begin - call.ended_at:.3f} s later (starved {fault.starved_s:.3f})"
            for fault in self._site.faults
            if call.ended_at < fault.end
        ]
        self._holds(False, f"request {call.number} ({call.kind}, {call.status}) is not in the store; {ago}")

    def _check_jobs(self) -> None:
        asked = {name: model.asked for name, model in self._site.candidates.items()}
        jobs = self._site.rows(
            "SELECT exchange.path, candidate, state, reason FROM shadow_job JOIN exchange ON exchange.id = exchange_id"
        )
        (total,) = self._site.rows("SELECT count(*) FROM shadow_job")[0]
        self._holds(total == len(jobs), f"{total - len(jobs)} jobs belong to no exchange")
        for path, candidate, state, reason in jobs:
            number, _ = _identity(path.encode())
            self.report.jobs[state if reason is None else f"{state} ({reason})"] += 1
            count = asked[candidate][number]
            self._holds(
                count == 0 or state == "done" or reason == "lost_on_crash",
                f"{candidate} was asked {number}, whose job is {state} ({reason})",
            )
        eligible = self._site.rows("SELECT count(*) FROM exchange WHERE eligible AND dialect IS NOT NULL")[0][0]
        self._holds(len(jobs) == eligible * len(asked), f"{eligible} eligible exchanges have {len(jobs)} jobs")
        answers = self._site.rows("SELECT count(*) FROM shadow_answer")[0][0]
        self._holds(answers == self.report.jobs["done"], f"{answers} answers, {self.report.jobs['done']} jobs done")
        dropped = {what for what in self.report.jobs if what.startswith("dropped")}
        self._holds(dropped <= {"dropped (lost_on_crash)"}, f"dropped for other reasons: {self.report.jobs}")
        crashes = any(fault.what in _CRASHES for fault in self._site.faults)
        self._holds(crashes or not dropped, f"dropped without a crash: {self.report.jobs}")

    def _check_money(self) -> None:
        site, report = self._site, self.report
        days = site.rows("SELECT spent_nano_usd, reserved_nano_usd FROM budget_day")
        held = site.rows("SELECT coalesce(sum(reserved_nano_usd), 0) FROM shadow_job WHERE state = 'sent'")[0][0]
        report.candidate_calls = sum(sum(model.asked.values()) for model in site.candidates.values())
        report.paid_usd = PAID_USD * sum(model.answered for model in site.candidates.values())
        report.spent_usd = sum(spent for spent, _ in days) / 1e9
        committed_usd = max((sum(day) / 1e9 for day in days), default=0.0)
        most_usd = max(committed_usd, site.most_committed_usd)
        self._holds(most_usd <= site.budget_usd, f"{most_usd} USD were committed, the cap is {site.budget_usd}")
        dear = "SELECT count(*) FROM shadow_answer JOIN shadow_job USING (exchange_id, candidate) "
        (beyond,) = site.rows(f"{dear} WHERE cost_billed_usd * 1e9 > reserved_nano_usd + 1")[0]
        self._holds(beyond == 0, f"{beyond} answers cost more than was reserved for them")
        self._holds(sum(day[1] for day in days) == held, f"reserved {days}, held by jobs {held}")
        all_usd = report.spent_usd + held / 1e9
        self._holds(report.paid_usd <= all_usd + 1e-6, f"paid {report.paid_usd} USD, the books know {all_usd}")

    def _check_file(self) -> None:
        found = self._site.rows("PRAGMA integrity_check")
        self._holds(found == [("ok",)], f"the store's file is not whole: {found[:3]}")


def _holds_up(store: Fault, kill: Fault) -> bool:
    """Whether records waited for the store when the kill came: it was away, or had just come back."""
    return store.begin <= kill.begin <= store.end + 2


# --- the mix ---


@contextlib.asynccontextmanager
async def small_disk(folder: Path, *, megabytes: int = 48) -> AsyncIterator[str | None]:
    """Give `folder` a file system of its own that can be filled; yields why not, when the machine does not allow it."""
    await asyncio.to_thread(folder.mkdir, mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)]
    why_not: str | None = "mounting a small tmpfs needs root"
    if os.geteuid() == 0:
        mounted = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        why_not = f"a small tmpfs cannot be mounted: {mounted.stderr!r}" if mounted.returncode else None
    try:
        yield why_not
    finally:
        if why_not is None:
            await asyncio.to_thread(subprocess.run, ["umount", "-l", str(folder)], check=True)


class Mix:
    """A seeded schedule of faults: all of them in random order, again and again; some last while others happen."""

    def __init__(self, site: Site, *, full_disk: bool) -> None:
        self._site = site
        self._chance = random.Random(site.seed + 1)
        self._lasting: dict[str, asyncio.Task[None]] = {}
        self._events: list[str] = [
            *("restart", "lock", "dead candidate", "reload", "bad reload"),
            *(f"kill {role}" for role in ROLES),
            *(["full disk"] if full_disk else []),
        ]

    async def run(self, seconds: float) -> None:
        """Do it for so long, at least once each."""
        until = time.monotonic() + seconds
        order: list[str] = []
        first = True
        while first or time.monotonic() < until:
            if not order:
                order = self._chance.sample(self._events, len(self._events))
            await asyncio.sleep(0.1 + 0.8 * self._chance.random())
            await self._do(order.pop())
            first = first and bool(order)
        await asyncio.gather(*self._lasting.values())

    async def _do(self, what: str) -> None:
        site, seconds = self._site, 0.3 + 1.5 * self._chance.random()
        match what.split():
            case ["restart"]:
                await site.restart()
            case ["kill", role]:
                await site.kill(cast("Role", role))
            case ["lock"]:
                await self._begin(what, site.lock(seconds))
            case ["full", "disk"]:
                await self._begin(what, site.fill_disk(seconds))
            case ["dead", "candidate"]:
                await self._begin(what, site.lose_candidate("quick", seconds))
            case _:
                site.reload(valid=what == "reload")

    async def _begin(self, what: str, lasting: Awaitable[None]) -> None:
        if what in self._lasting:
            await self._lasting[what]
        self._lasting[what] = asyncio.ensure_future(lasting)


async def mixed(folder: Path, *, seconds: float, seed: int) -> Report:
    """Run the mix in a folder, and judge it."""
    async with small_disk(folder / "store") as why_not, Site(folder, seed=seed) as site:
        watching = asyncio.create_task(site.watch())
        async with site.load:
            await Mix(site, full_disk=why_not is None).run(seconds)
            await asyncio.sleep(0.3)
        await site.settle()
        stats = await asyncio.to_thread(site.stats)
        watching.cancel()
        code = await site.stop()
        audit = Audit(site, seconds=seconds)
        audit.check_stats(stats)
        report = audit.run()
        if code:
            report.violations.append(f"exit code {code}")
        if why_not is not None:
            report.left_out.append(f"full disk: {why_not}")
        return report


def run_mix(seconds: float, seed: int) -> Report:
    """Run the mix for so many seconds (and until every fault came once) in a folder of its own, and judge it."""
    with tempfile.TemporaryDirectory(prefix="shadow-mix-") as folder:
        return asyncio.run(mixed(Path(folder), seconds=seconds, seed=seed))
