"""The whole gateway under loads that would make it grow, and by how much it grew: a function a load, a figure a bound.

`make soak` runs them at full size, the tests in short form.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from tests.support import memory, probe
from tests.support.memory import MIB, Rise
from tests.support.serving import Serve, ask, plain_environment
from tests.support.swarm import MOMENTS, WAYS, Asker, BrokenAnswerError, leave, post, post_head, question
from tests.support.waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from types import TracebackType
    from typing import Self

    from tests.support.heavy import Heavy

TEE_MB = 256
CAP_BYTES = 4 * MIB
"""`shadow.max_body_bytes` of these gateways, the default."""
_MOST_UNWRITTEN = 500
_MODULES = {"live": "gateway.live", "scribe": "gateway.scribe", "measuring": "gateway.measuring"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number and the bound it must keep."""

    what: str
    measured: float
    bound: float
    unit: str = "MiB"

    @property
    def ok(self) -> bool:
        """Whether the bound holds."""
        return self.measured <= self.bound

    def __str__(self) -> str:
        return f"{self.what}: {self.measured:.4g} {self.unit}, at most {self.bound:.4g}"


class Rig:
    """One `serve` with all its processes before an upstream; `shadow` and `top` change its configuration."""

    def __init__(self, folder: Path, heavy: Heavy, *, shadow: dict[str, Any] | None = None, **top: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.heavy = folder, heavy
        self.census_folder = folder / "census"
        config: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0"},
            "shadow": {
                "sample_rate": 1.0,
                "noise_floor_rate": 0,
                "conversation": {"key": "request"},
                "candidates": [{"model": "rival", "base_url": f"{heavy.base_url}/candidate"}],
                "budget_usd_per_day": 1_000_000.0,
                "tee_memory_mb": TEE_MB,
            }
            | (shadow or {}),
            "evaluators": [{"type": "icontains", "value": "four"}],
            "prices": {model: {"input": 1.0, "output": 1.0} for model in ("primary", "rival")},
            "store": f"sqlite:///{folder}/shadow.db",
        } | top
        config["upstream"] = {"base_url": heavy.base_url, "api_key": "sk-rig-0123456789"} | top.get("upstream", {})
        environ = plain_environment(**memory.census_environment(self.census_folder))
        self.serve = Serve(folder, json.dumps(config), environ=environ)

    def __enter__(self) -> Self:
        try:
            self.serve.__enter__()
            self.address = (self.serve.listen.host, self.serve.listen.port)
            self.pids: dict[str, int] = eventually(self._find, within_s=20, what="the three processes")
            self.run(self._warm_up)
            self._come_to_rest()
        except BaseException:
            self.serve.__exit__(None, None, None)
            raise
        self.fresh = {name: memory.rss_bytes(pid) for name, pid in self.pids.items()}
        self.fresh_files = memory.open_files(self.pids["live"]) - self.heavy.counts()["connections"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.serve.__exit__(kind, error, trace)

    def _find(self) -> dict[str, int] | None:
        below = memory.children(self.serve.process.pid)
        found = {name: pid for name, module in _MODULES.items() for pid, line in below.items() if module in line}
        return found if len(found) == len(_MODULES) else None

    async def _warm_up(self) -> None:
        """Each way once: what is imported or opened at first use is no growth."""
        for shape in (
            "small",
            "events:5:1",
            "small!bomb:70000",
            "bomb:70000!events:5:1",
            "giant:70000",
            "giant:5000000",
        ):
            await one(self.address, post(question(500, stream=shape.startswith(("events", "giant"))), shape=shape))
        # A request too large to read names no model: its price is looked for in the list, which is loaded for that.
        await one(self.address, post(question(CAP_BYTES + 1000), shape="small"))
        await asyncio.to_thread(eventually, self.has_records, within_s=60, what="the first records")
        await self.settled()

    def _come_to_rest(self, *, for_s: float = 3.0, within_s: float = 40.0) -> None:
        """Wait until no process grows any more: the measuring side looks at what was recorded every few seconds."""
        highest, since = 0.0, time.monotonic()
        deadline = since + within_s
        while time.monotonic() < min(since + for_s, deadline):
            time.sleep(0.1)
            size = sum(memory.rss_bytes(pid) for pid in self.pids.values()) / MIB
            if size > highest + 0.25:
                highest, since = size, time.monotonic()

    def has_records(self) -> bool:
        """Whether the store is there and has any."""
        try:
            return self.recorded() > 0
        except sqlite3.OperationalError:
            return False

    def run(self, load: Callable[[], Awaitable[None]]) -> None:
        """Run clients until they are done."""

        async def main() -> None:
            await load()

        uvloop.run(main())

    def rises(
        self, what: str, load: Callable[[], Awaitable[None]], *, bound_mib: float, since_now: bool = False
    ) -> list[Figure]:
        """By how much every process grew while the clients ran and until nothing waited any more.

        Counted from when it was fresh, so that what an earlier load left behind hides nothing; or `since_now`.
        """
        before = {name: memory.rss_bytes(pid) for name, pid in self.pids.items()} if since_now else self.fresh
        with Rise(self.pids, before=before) as rise:

            async def main() -> None:
                await load()
                await self.settled()

            uvloop.run(main())
        return [
            Figure(what=f"{what}: {name}", measured=size / MIB, bound=bound_mib) for name, size in rise.bytes.items()
        ]

    async def settled(self) -> None:
        """Wait until every exchange is recorded and every job has ended."""
        await self.written()

        async def ended() -> bool:
            await asyncio.sleep(0.1)
            return not self.open_jobs()

        await eventually_async(ended, within_s=120, what="the end of all jobs")

    async def written(self) -> None:
        """Wait until no more records come."""
        before = -1
        while before != (before := self.recorded()):  # noqa: ASYNC110  (no event tells it)
            await asyncio.sleep(0.6)  # longer than the recorder keeps records back

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the store itself."""
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/shadow.db?mode=ro", uri=True, timeout=30)) as file:
            return file.execute(sql).fetchall()

    def recorded(self) -> int:
        """How many exchanges are in the store."""
        ((count,),) = self.rows("SELECT count(*) FROM exchange")
        return int(count)

    def open_jobs(self) -> int:
        """How many jobs have not ended."""
        ((count,),) = self.rows("SELECT count(*) FROM shadow_job WHERE state IN ('pending', 'leased', 'sent')")
        return int(count)

    def jobs(self) -> dict[str, int]:
        """How many jobs are in which state."""
        return dict(self.rows("SELECT state || coalesce(':' || reason, ''), count(*) FROM shadow_job GROUP BY 1"))

    def census(self, name: str) -> dict[str, Any]:
        """The tasks and objects of one process (see `memory.census`)."""
        return memory.census(self.pids[name], self.census_folder)

    def stats(self, *, newest_s: float | None = None) -> Any:
        """Ask for the stats, as a dashboard does: over everything, or over the newest seconds only."""
        since = datetime.now(UTC) - timedelta(seconds=newest_s or 0)
        query = "" if newest_s is None else f"?since={since:%Y-%m-%dT%H:%M:%SZ}"
        status, body = ask(self.serve.admin, "GET", f"/stats{query}")
        return json.loads(body) if status == 200 else None


async def one(address: tuple[str, int], wire: bytes) -> tuple[int, int]:
    """One request on a connection of its own: status and bytes of the body."""
    asker = await Asker.connect(address)
    try:
        return await asker.ask(wire), asker.body_bytes
    finally:
        asker.close()


async def together(loads: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Run clients at the same time; the first error ends all."""
    async with asyncio.TaskGroup() as group:
        for load in loads:
            group.create_task(load)


# Large things.


def upload(rig: Rig, *, size: int = 100_000_000, chunked: bool = False) -> list[Figure]:
    """A request that is much larger than the bound of a copy."""
    block = question(1_000_000)

    async def load() -> None:
        asker = await Asker.connect(rig.address)
        asker.begin(post_head(None if chunked else size // len(block) * len(block)))
        for _ in range(size // len(block)):
            await asker.send(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
        if chunked:
            await asker.send(b"0\r\n\r\n")
        assert await asker.answered() == 200
        asker.close()

    kind = "chunked" if chunked else "with length"
    return rig.rises(f"upload of {size / 1e6:.0f} MB {kind}", load, bound_mib=20)


def giant_event(rig: Rig, *, size: int = 50_000_000) -> list[Figure]:
    """One event without an end in sight."""

    async def load() -> None:
        status, length = await one(rig.address, post(question(500, stream=True), shape=f"giant:{size}"))
        assert (status, length > size * 0.99) == (200, True)

    return rig.rises(f"one event of {size / 1e6:.0f} MB", load, bound_mib=2 * CAP_BYTES / MIB)


def bomb(rig: Rig, *, size: int = 200_000_000) -> list[Figure]:
    """Answers of 1/1000 of the size they unpack to: the primary's, and a candidate's."""

    async def load() -> None:
        for shape in (f"bomb:{size}", f"small!bomb:{size}"):
            status, length = await one(rig.address, post(question(500), shape=shape))
            assert (status, length < size / 100) == (200, True)

    return rig.rises(f"gzip bombs of {size / 1e6:.0f} MB", load, bound_mib=64)


def slow_giant(rig: Rig, *, size: int = 500_000_000, bytes_per_s: int = 100_000_000) -> list[Figure]:
    """A large answer to a client that takes its time."""

    async def load() -> None:
        asker = await Asker.connect(rig.address, receive_buffer=65_536)
        asker.begin(post(question(500), shape=f"blob:{size}"))
        started = time.monotonic()
        while asker.body_bytes < size:
            if asker.body_bytes > (time.monotonic() - started) * bytes_per_s:
                asker.transport.pause_reading()
                await asyncio.sleep(0.005)
                asker.transport.resume_reading()
            else:
                asker.moved.clear()
                await asker.moved.wait()
            if asker.closed.is_set():
                raise BrokenAnswerError(f"closed after {asker.body_bytes} bytes")
        assert await asker.answered() == 200
        asker.close()

    return rig.rises(f"answer of {size / 1e6:.0f} MB to a slow reader", load, bound_mib=20)


# Many things.


def many_streams(rig: Rig, *, streams: int = 1000, request_bytes: int = 200_000) -> list[Figure]:
    """Streams at the same time, each with a large request."""
    body = question(request_bytes, stream=True)

    async def load() -> None:
        async def stream() -> None:
            status, _ = await one(rig.address, post(body, shape="events:40:100"))
            assert status == 200

        await together([stream() for _ in range(streams)])

    what = f"{streams} streams with requests of {request_bytes // 1000} KB"
    return rig.rises(what, load, bound_mib=TEE_MB + 100)


def ceiling(rig: Rig, *, streams: int = 200, events: int = 250) -> list[Figure]:
    """What everything together takes at its worst, at 50 events a second and stream."""
    for pid in rig.pids.values():
        memory.reset_peak(pid)

    async def load() -> None:
        async def stream() -> None:
            status, _ = await one(rig.address, post(question(2000, stream=True), shape=f"events:{events}:20"))
            assert status == 200

        await together([stream() for _ in range(streams)])
        await rig.settled()

    rig.run(load)
    peaks = {name: memory.peak_bytes(pid) / MIB for name, pid in rig.pids.items()}
    parts = ", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items())
    return [Figure(what=f"all processes at {streams} streams ({parts})", measured=sum(peaks.values()), bound=512)]


def drip(rig: Rig, *, tee_mb: int, streams: int = 200, size: int = 3000, piece: int = 2) -> list[Figure]:
    """Answers in pieces of two bytes: what one costs beside its bytes counts too. `rig` has this `tee_memory_mb`."""

    async def load() -> None:
        async def stream() -> None:
            status, length = await one(rig.address, post(question(500, stream=True), shape=f"drip:{size}:{piece}"))
            assert (status, length) == (200, size)

        await together([stream() for _ in range(streams)])

    what = f"{streams} answers of {size // 1000} KB in pieces of {piece} bytes, tee_memory_mb {tee_mb}"
    return rig.rises(what, load, bound_mib=tee_mb + 24)


def slow_readers(rig: Rig, *, readers: int = 200, size: int = 20_000_000) -> list[Figure]:
    """Clients that ask for much and read nothing; then they leave."""

    async def load() -> None:
        askers = [await Asker.connect(rig.address, reading=False, receive_buffer=4096) for _ in range(readers)]
        for asker in askers:
            asker.begin(post(question(500), shape=f"blob:{size}", path="/v1/files"))
        sent = -MIB
        while sent + MIB < (sent := _bytes_written(rig.pids["live"])):  # noqa: ASYNC110  (no event tells it)
            await asyncio.sleep(0.5)
        for asker in askers:
            await asker.hang_up("fin")

    return [
        Figure(what=f"{figure.what}, a reader", measured=figure.measured / readers, bound=1)
        for figure in rig.rises(f"{readers} clients that do not read", load, bound_mib=0, since_now=True)
        if figure.what.endswith("live")
    ]


def idle_clients(rig: Rig, *, clients: int = 5000, bound_kib: float = 16) -> list[Figure]:
    """Keep-alive connections that wait; one more than `max_connections` (which is `clients`) is refused."""
    refused: list[int] = []

    async def load() -> None:
        askers = [await Asker.connect(rig.address) for _ in range(clients)]
        wire = post(question(500), path="/v1/files")
        for at in range(0, clients, 100):
            statuses = await asyncio.gather(*(asker.ask(wire) for asker in askers[at : at + 100]))
            assert set(statuses) == {200}
        status, _ = await one(rig.address, wire)
        refused.append(status)
        for asker in askers:
            asker.close()
        again: Counter[int] = Counter()
        while not again[200]:
            status, _ = await one(rig.address, wire)
            again[status] += 1

    figures = rig.rises(f"{clients} idle clients", load, bound_mib=0, since_now=True)
    per_client = [
        Figure(
            what=f"{figure.what}, a client",
            measured=figure.measured * 1024 / clients,
            bound=bound_kib,
            unit="KiB",
        )
        for figure in figures
        if figure.what.endswith("live")
    ]
    return [
        *per_client,
        Figure(
            what=f"clients beyond max_connections {clients} that were not refused with 503",
            measured=sum(status != 503 for status in refused),
            bound=0,
            unit="",
        ),
    ]


# Leaving.


def aborts(rig: Rig, *, count: int = 10_000, at_once: int = 50, seed: int = 1, rounds: int = 4) -> list[Figure]:
    """Clients that hang up at every moment and in every way, in equal rounds; what is left over after each."""
    chance = random.Random(seed)
    cases = [(moment, way) for moment in MOMENTS for way in WAYS]
    held: list[dict[str, int]] = []
    slowest_s = 0.0

    async def wave(number: int) -> None:
        async def clients(which: int) -> None:
            for turn in range(number // at_once):
                moment, way = cases[(which + turn) % len(cases)]
                await leave(rig.address, moment, way, chance)

        await together([clients(which) for which in range(at_once)])

    async def next_request() -> None:
        nonlocal slowest_s
        started = time.monotonic()
        status, _ = await one(rig.address, post(question(500)))
        assert status == 200
        slowest_s = max(slowest_s, time.monotonic() - started)

    for _ in range(rounds):

        async def main() -> None:
            await wave(count // rounds)
            await next_request()
            await rig.settled()

        if not held:
            held.append(_held(rig))
        uvloop.run(main())
        held.append(_held(rig))
    first, rest = held[0], held[1:]
    figures = [
        Figure(
            what=f"{name} left over after {count} aborted requests",
            measured=min(row[name] for row in rest) - first[name],  # a leak would be in every round's rest
            bound=0,
            unit="",
        )
        for name in first
        if name != "rss"
    ]
    return [
        *figures,
        Figure(
            what="growth of live over the rounds",
            measured=(rest[-1]["rss"] / rest[0]["rss"] - 1) * 100,
            bound=5,
            unit="%",
        ),
        Figure(what="longest wait of the request after them", measured=slowest_s, bound=1, unit="s"),
    ]


def _held(rig: Rig) -> dict[str, int]:
    """What the live process holds once the idle upstream connections are counted out, which are no leak."""
    live = rig.pids["live"]

    def look() -> dict[str, int] | None:
        upstream = rig.heavy.counts()["connections"]
        counted = rig.census("live")
        row = {
            "file descriptors": memory.open_files(live) - upstream,
            "tasks": int(counted["tasks"]),
            "rss": memory.rss_bytes(live),
        }
        objects = counted["objects"]
        row |= {f"{name} objects": objects.get(name, 0) for name in ("Exchange", "Client")}
        row["upstream connections neither idle nor at work"] = objects["upstream connections neither idle nor at work"]
        row["upstream connections known to one side only"] = abs(objects.get("Connection", 0) - upstream)
        return row if not row["Client objects"] and upstream == rig.heavy.counts()["connections"] else None

    try:
        return eventually(look, within_s=10, what="the end of the last clients")
    except AssertionError:
        counted = rig.census("live")
        raise AssertionError(f"the live process still holds {counted}") from None


def _bytes_written(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text("utf-8").split("wchar: ")[1].split()[0])


# Long.


def soak(
    rig: Rig,
    *,
    requests: int = 200_000,
    at_once: int = 48,
    seed: int = 1,
    aborted: float = 0.2,
    warm_up: float = 0.25,
    within_s: float = 360.0,
    tell: Callable[[str], None] = lambda _line: None,
) -> list[Figure]:
    """Mixed traffic with a share of clients that hang up; how memory moved after the warm-up, and what was recorded."""
    done = Counter[str]()
    in_pace = asyncio.Event()
    recorded = rig.recorded()
    warm_at = 0.0
    ends_at = time.monotonic() + within_s
    kinds = [("small", 600), ("small", 4000), ("small", 20_000), ("events:20:1", 2000), ("lastbyte:1", 600)]
    wires = [post(question(size, stream=shape.startswith("events")), shape=shape) for shape, size in kinds]

    async def client(which: int) -> None:
        nonlocal warm_at
        chance = random.Random(f"{seed}-{which}")
        asker: Asker | None = None
        while done["all"] < requests and time.monotonic() < ends_at:
            await in_pace.wait()
            done["all"] += 1
            if not warm_at and done["all"] >= requests * warm_up:
                warm_at = time.monotonic()
            if chance.random() < aborted:
                await leave(rig.address, chance.choice(MOMENTS), chance.choice(WAYS), chance)
                done["aborted"] += 1
                continue
            if asker is None or asker.closed.is_set() or chance.random() < 0.02:
                if asker is not None:
                    asker.close()
                asker = await Asker.connect(rig.address)
            status = await asker.ask(chance.choices(wires, weights=(50, 20, 5, 5, 5))[0])
            done["answered" if status == 200 else f"status {status}"] += 1
        if asker is not None:
            asker.close()

    async def keep_pace() -> None:
        """Where the machine is too busy for the store to follow, records would wait in memory, which is no leak."""
        while True:
            await asyncio.sleep(0.1)
            ended = done["answered"] + done["aborted"]
            unwritten = ended - (await asyncio.to_thread(rig.recorded) - recorded)
            if unwritten > _MOST_UNWRITTEN:
                in_pace.clear()
            else:
                in_pace.set()

    async def look_on() -> None:
        while True:
            await asyncio.sleep(10)
            await asyncio.to_thread(rig.stats, newest_s=10)
            tell(f"{done['all']} of {requests} requests, MiB: {_sizes(rig)}")

    started = time.monotonic()
    with memory.Watch(rig.pids) as watch:

        async def main() -> None:
            in_pace.set()
            beside = [asyncio.create_task(keep_pace()), asyncio.create_task(look_on())]
            try:
                await together([client(which) for which in range(at_once)])
            finally:
                for task in beside:
                    task.cancel()

        uvloop.run(main())
        ended = time.monotonic()
    uvloop.run(rig.written())
    figures = [
        Figure(
            what=f"growth of {name} after the warm-up ({_first_last(watch.series(name, since=warm_at, until=ended))})",
            measured=memory.growth(watch.series(name, since=warm_at, until=ended)) * 100,
            bound=5,
            unit="%",
        )
        for name in rig.pids
    ]
    wanted = done["answered"]
    found = rig.recorded() - recorded
    memory.reset_peak(rig.pids["measuring"])
    assert rig.stats() is not None
    return [
        *figures,
        Figure(what=f"requests missing of {requests}", measured=requests - done["all"], bound=0, unit=""),
        Figure(
            what="answers other than 200",
            measured=done["all"] - done["aborted"] - done["answered"],
            bound=0,
            unit="",
        ),
        Figure(
            what=f"answered requests without a record ({found} records, {done['aborted']} aborted)",
            measured=max(0, wanted - found),
            bound=0,
            unit="",
        ),
        Figure(
            what=f"measuring, once /stats is asked over all {found} records",
            measured=memory.peak_bytes(rig.pids["measuring"]) / MIB,
            bound=512,
        ),
        Figure(
            what=f"seconds for {requests} requests ({done['all'] / (ended - started):.0f}/s)",
            measured=ended - started,
            bound=within_s,
            unit="s",
        ),
    ]


def _sizes(rig: Rig) -> str:
    return ", ".join(f"{name} {memory.rss_bytes(pid) / MIB:.1f}" for name, pid in rig.pids.items())


def _first_last(series: Sequence[int]) -> str:
    return f"{series[0] / MIB:.1f} to {series[-1] / MIB:.1f} MiB" if series else "not seen"


def idle_again(rig: Rig, *, within_s: float = 40.0) -> list[Figure]:
    """Once nobody asks any more, the idle upstream connections go too: every file as before the first client."""
    deadline = time.monotonic() + within_s
    while (left := rig.heavy.counts()["connections"]) and time.monotonic() < deadline:
        time.sleep(0.25)
    files = memory.open_files(rig.pids["live"])
    return [
        Figure(what="upstream connections open after 15 s without a request", measured=left, bound=0, unit=""),
        Figure(what="file descriptors more than when fresh", measured=files - rig.fresh_files, bound=0, unit=""),
    ]


def chaos(rig: Rig, *, seconds: float = 60.0, seed: int = 1) -> list[Figure]:
    """Large, broken and left requests at random, at the same time, and how late the event loop is meanwhile.

    The probe is `/healthz`, which the live process answers itself, on a connection and from a process of its own; on a
    busy machine it tells more of the machine, so what the loop computes in one go is looked at too.
    """
    chance = random.Random(seed)
    ends_at = time.monotonic() + seconds
    address = rig.address

    async def misbehave(which: int) -> None:
        shapes = ["small", "events:50:5", "giant:2000000", "bomb:20000000", "small!bomb:20000000", "blob:3000000"]
        while time.monotonic() < ends_at:
            with contextlib.suppress(BrokenAnswerError, ConnectionError):
                if chance.random() < 0.5:
                    await leave(address, chance.choice(MOMENTS), chance.choice(WAYS), chance)
                else:
                    size = chance.choice((500, 500, 20_000, 200_000, 1_000_000))
                    shape = chance.choice(shapes)
                    await one(address, post(question(size, stream=shape.startswith(("events", "giant"))), shape=shape))
            await asyncio.sleep(chance.uniform(0, 0.3 if which else 1))

    async def main() -> None:
        await together([misbehave(which) for which in range(12)])

    idle = type(rig.heavy)()
    with idle:
        probes = [
            probe.start(port, path, seconds=seconds - 2)
            for port, path in ((address[1], "/healthz"), (idle.port, "/counts"))
        ]
        memory.start_lag(rig.pids["live"])
        uvloop.run(main())
        computing = memory.lag_ms(rig.pids["live"], rig.census_folder)
        gateway, control = (_at(probe.ended(each), 0.999) for each in probes)
    uvloop.run(rig.written())
    return [
        Figure(
            what=f"event-loop lag p99.9 under chaos, as computing time between ticks ({len(computing)} ticks)",
            measured=_at(computing, 0.999),
            bound=50,
            unit="ms",
        ),
        Figure(
            what=f"the same by the clock, probed at 100/s (an idle server beside it: {control:.1f} ms, allowed on top)",
            measured=gateway,
            bound=50 + control,
            unit="ms",
        ),
    ]


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
