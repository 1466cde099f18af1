"""The measuring process: asks candidates, scores, keeps the store in order, and answers on the admin port.

`python -P -m gateway.measuring`, started by the supervisor, is where the measuring side is put together. It runs at a
lower priority than the live processes: shadow work may wait, an app's answer may not.

A reload (`Replace`) is applied in place: calls under way end with the settings they began with, new ones follow the
new settings. A setting that cannot be applied (an evaluator that does not load, another store) changes nothing and is
reported as `reload_failed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from gateway import control, logs
from gateway.adminport import AdminConnection
from gateway.settings import MeasuringSettings
from gateway.verdictplan import OutsideFacts, verdict_plan
from gateway.weekly import Bench, courier_of, golden_cases, patrol_of, weekly_runs_of
from shadow.bookkeeper import Bookkeeper, Routine
from shadow.candidates import CallLimits, CandidateClient
from shadow.compare import Comparer, Keeper
from shadow.evaluators import EvaluatorConfigError, EvaluatorSet, Services, build_evaluators
from shadow.evaluators.llm_judges import LlmJudges
from shadow.golden import NOTHING, Golden, GoldenError, load_golden
from shadow.judge.client import Network
from shadow.judge.hire import Agency, Home
from shadow.ledger import Plan
from shadow.pricing import PriceBook
from shadow.redaction import Redactor, Scrubber
from shadow.rescoring import Rescorer
from shadow.stats import ConversationRules
from shadow.store import open_store
from shadow.store.base import StoreError
from shadow.storekeeper import StoreKeeper
from shadow.switch import SwitchAdvisor
from shadow.web import AdminSettings, VerdictApi, WeeklyApi, build_app
from shadow.worker import Decided, Lineage, NoiseFloor, Upkeep, Worker, WorkerLimits, utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from starlette.applications import Starlette

    from shadow.rebenchmark import WeeklyRuns
    from shadow.store import Store
    from shadow.store.base import FeedbackDoor, Ledger, Reader, Rollups, Runs, Trends, Watching

_log = logging.getLogger("gateway.measuring")

NICENESS = 10
"""Well below the live processes (on a full core about a tenth of their share), yet never starved by them."""

SWITCH_S = 0.0005
"""How long a thread keeps the interpreter: an evaluator that only computes must not make the admin port wait."""

COLLECT_AFTER = 100_000
"""So many objects more than before, and garbage is looked for; one answer of `/stats` makes tens of thousands."""

STANDSTILL_S = 30.0
"""How long the event loop may stand still before the process ends itself, to be replaced."""

CONTROL_LINE_BYTES = 16 << 20
STORE_RETRY_MAX_S = 5.0
ADMIN_DRAIN_S = 5
MAX_HEAD_BYTES = 64 << 10

_QUIET = ("httpx2", "httpcore2", "uvicorn", "aiosqlite")
"""Libraries whose INFO lines name addresses with their query, or statements with their values."""


def main() -> None:
    """Run the measuring process until the parent says so, is gone, or SIGTERM comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()  # if C code of an evaluator crashes, standard error tells where; files and lines, no values
    with contextlib.suppress(OSError):  # already at the lowest priority, or not allowed: it then runs as it is
        os.nice(NICENESS)
    sys.setswitchinterval(SWITCH_S)
    spare_the_collector()
    asyncio.run(_run())


def spare_the_collector() -> None:
    """Keep the search for garbage in cycles from stopping every answer for tens of milliseconds.

    What was imported stays for ever, so it need not be looked at; and what a question makes is freed without a search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])


class LateReader:
    """A part of the store that may not be there yet: until `found`, every question is a StoreError (a 503 for people).

    The reader, the feedback door, or the benchmark runs.
    """

    def __init__(self) -> None:
        self._reader: Any = None
        self._reason = "the store is being opened"

    def found(self, reader: Reader | FeedbackDoor | Ledger | Runs | Trends | Watching) -> None:
        """Take the part of the store that is open now."""
        self._reader = reader

    def missing(self, reason: str) -> None:
        """Keep why the store cannot be opened; this is told meanwhile."""
        self._reason = reason

    @property
    def rollups(self) -> Rollups:
        """Show the sums."""
        if self._reader is None:
            raise StoreError(self._reason)
        rollups: Rollups = self._reader.rollups
        return rollups

    async def health(self) -> Mapping[str, Any]:
        """Tell the store's health, or why there is none; never raises."""
        if self._reader is None:
            return {"ok": False, "reason": self._reason, "schema": 0, "pending_jobs": 0}
        health: Mapping[str, Any] = await self._reader.health()
        return health

    def __getattr__(self, name: str) -> Any:
        if self._reader is None:
            return self._unavailable
        return getattr(self._reader, name)

    async def _unavailable(self, *_: object, **__: object) -> Any:
        raise StoreError(self._reason)


class AdminServer(uvicorn.Server):
    """uvicorn that leaves signals to this process and tells when it listens."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=AdminConnection,  # on h11: the other parser has no bound on a head, which comes before any token
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                lifespan="off",
                ws="none",
                proxy_headers=False,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=ADMIN_DRAIN_S,
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the handlers alone: the order of exit is decided in this module."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.listening.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """All that one set of settings needs, built whole before anything old is let go."""

    settings: MeasuringSettings
    prices: PriceBook
    scrubber: Scrubber
    redactor: Redactor
    services: Services
    evaluators: Mapping[str, EvaluatorSet]
    plan: Plan
    """How verdicts and leads are decided."""
    golden: Golden
    hired_at: datetime
    judges: Agency
    lineage: Lineage

    @classmethod
    def hire(cls, settings: MeasuringSettings, *, lineage: Lineage | None = None) -> Crew:
        """Build it. Raises EvaluatorConfigError or GoldenError with a sentence."""
        keys = {*settings.secrets, *(candidate.api_key for candidate in settings.candidates if candidate.api_key)}
        prices, redactor = PriceBook(settings.prices), Redactor(settings.redact, secrets=keys)
        judges = _judges(settings, prices=prices, redactor=redactor)
        services = Services(judges=LlmJudges(judges))
        evaluators = _evaluators(settings, services)
        return cls(
            settings=settings,
            hired_at=datetime.now(UTC),
            prices=prices,
            scrubber=Scrubber(keys),
            redactor=redactor,
            services=services,
            evaluators=evaluators,
            plan=verdict_plan(settings, evaluators),
            golden=NOTHING if settings.golden is None else load_golden(settings.golden),
            judges=judges,
            lineage=lineage or Lineage.of_process(token_hex(8)),
        )

    @property
    def conversations(self) -> ConversationRules:
        """When a conversation is over."""
        settings = self.settings
        return ConversationRules(
            idle_s=settings.conversation_idle_s,
            max_turns=settings.conversation_max_turns,
            max_age_s=settings.conversation_max_age_s,
        )

    def admin_settings(self) -> AdminSettings:
        """Give what the admin port shows of these settings."""
        settings = self.settings
        return AdminSettings(
            version=version("shadow-gateway"),
            prices=self.prices,
            token=settings.admin_token,
            hosts=settings.admin_hosts,
            tasks=("default", *(task.name for task in settings.tasks)),
            candidates=tuple(candidate.model for candidate in settings.candidates),
            conversations=self.conversations,
            budget_usd_per_day=settings.budget_usd_per_day,
            shadow_off_reason=settings.shadow_off_reason,
            keep_text=None if settings.content == "none" else self.keeper().reference,
            noise_floor_off_reason=settings.noise_floor_off_reason,
            demo=settings.demo,
            loaded_at=self.hired_at,
            config_version=settings.config_version,
            judges_unusable=self.judges_unusable(),
            max_missing=settings.verdict.max_missing,
        )

    def judges_unusable(self) -> Mapping[str, str]:
        """Say by task why its deciding judge cannot be asked; empty where every judge can, or none is asked."""
        reasons = {task: found.unusable.get(found.quality_name) for task, found in self.evaluators.items()}
        return {task: reason for task, reason in reasons.items() if reason is not None}

    def client(self) -> CandidateClient:
        """Make the connections to the candidates; whoever asks for them closes them."""
        settings = self.settings
        return CandidateClient(
            prices=self.prices,
            scrubber=self.scrubber,
            limits=_call_limits(settings),
            proxy=settings.proxy,
            no_proxy=settings.no_proxy,
            ca_file=settings.ca_file,
        )

    def worker(self, store: Store, client: CandidateClient) -> Worker:
        """Make the one who asks."""
        settings = self.settings
        return Worker(
            name=self.lineage.worker_name(),
            deployment_id=settings.deployment_id,
            jobs=store.jobs,
            client=client,
            candidates=settings.candidates,
            comparer=Comparer(evaluators=self.evaluators, prices=self.prices, keeper=self.keeper(), golden=self.golden),
            noise_floor=(
                None
                if settings.noise_floor is None
                else NoiseFloor(primary=settings.noise_floor, rate=settings.noise_floor_rate)
            ),
            prices=self.prices,
            redactor=self.redactor,
            decided=Decided(store.ledger),
            limits=WorkerLimits(
                budget_usd_per_day=settings.budget_usd_per_day,
                max_concurrency=settings.max_concurrency,
                max_job_age_s=settings.max_job_age_s,
            ),
        )

    def bookkeeper(self, store: Store) -> Bookkeeper:
        """Make the one who keeps the ledger of verdicts."""
        settings = self.settings
        rates = {
            candidate.model: settings.sample_rate if candidate.sample_rate is None else candidate.sample_rate
            for candidate in settings.candidates
        }
        if not settings.shadow_enabled:
            rates = dict.fromkeys(rates, 0.0)
        return Bookkeeper(
            ledger=store.ledger,
            plan=self.plan,
            routine=Routine(
                conversations=self.conversations,
                max_job_age_s=settings.max_job_age_s,
                retention_days=settings.retention_days,
                sample_rates=rates,
                budget_usd_per_day=settings.budget_usd_per_day,
            ),
            facts=OutsideFacts(
                self.prices,
                store.reader,
                plan=self.plan,
                judged=any(found.costs_money for found in self.evaluators.values()),
                unusable=self.judges_unusable(),
                now=utc_now,
            ),
        )

    def bench(self, client: CandidateClient) -> Bench:
        """Give what weekly runs ask and score with."""
        return Bench(
            client=client,
            prices=self.prices,
            redactor=self.redactor,
            scrubber=self.scrubber,
            evaluators=self.evaluators,
            golden=lambda: golden_cases(self.settings.golden),
        )

    def keeper(self) -> Keeper:
        """Make the one who decides what is kept of what people and models said."""
        return Keeper(mode=self.settings.content, redactor=self.redactor, scrubber=self.scrubber)

    def upkeep(self, store: Store) -> Upkeep:
        """Make the one who tidies up, shadowing or not."""
        settings = self.settings
        rescorer = Rescorer(feedback=store.feedback, evaluators=self.evaluators, keeper=self.keeper(), now=utc_now)
        return Upkeep(
            jobs=store.jobs,
            reader=store.reader,
            runs=store.runs,
            prices=self.prices,
            queue_size=settings.queue_size,
            max_job_age_s=settings.max_job_age_s,
            retention_days=settings.retention_days,
            rescore=rescorer.once,
            lineage=self.lineage,
        )

    def storekeeper(self, store: Store) -> StoreKeeper:
        """Make the one who keeps the store quick and small, shadowing or not."""
        return StoreKeeper(
            rollups=store.rollups,
            reader=store.reader,
            room=store.room,
            holder=f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}",
            retention_days=self.settings.retention_days,
        )


class Measuring:
    """The measuring side at work: one crew at a time, exchanged as a whole at a reload."""

    def __init__(
        self,
        crew: Crew,
        *,
        reader: LateReader,
        feedback: LateReader,
        ledger: LateReader,
        runs: LateReader,
        trends: LateReader,
        watching: LateReader,
    ) -> None:
        self._crew = crew
        self._reader = reader
        self._feedback = feedback
        self._ledger = ledger
        self._runs = runs
        self._trends = trends
        self._watching = watching
        self._weekly: WeeklyRuns | None = None
        self._name = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._worker: Worker | None = None
        self._bookkeeper: Bookkeeper | None = None

    def admin_settings(self) -> AdminSettings:
        """Give the settings in force, for the admin app."""
        breakers = {} if self._worker is None else self._worker.breakers()
        return replace(self._crew.admin_settings(), breakers=breakers)

    def plan(self) -> Plan:
        """Give how verdicts and leads are decided now."""
        return self._crew.plan

    def switch(self, verdict: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Say what to change for a verdict, by the settings in force."""
        settings = self._crew.settings
        return SwitchAdvisor(config_file=settings.config_file, several_tasks=bool(settings.tasks))(verdict)

    def timetable(self) -> WeeklyRuns | None:
        """Give the one who makes weekly runs now; None where none are made."""
        return self._weekly

    async def open_epochs(self, *, because: str, task: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Begin new epochs at somebody's word. Raises StoreError."""
        if self._bookkeeper is None:
            raise StoreError("the store is being opened")
        return await self._bookkeeper.open_epochs(because=because, task=task)

    def replace(self, settings: MeasuringSettings) -> None:
        """Work by new settings from now on. Raises EvaluatorConfigError or ValueError, and then nothing has changed."""
        if settings.store != self._crew.settings.store:
            raise ValueError("another store needs a restart")
        self._crew = Crew.hire(settings, lineage=self._crew.lineage)
        _configure_logs(self._crew)
        self._changed.set()

    def stop(self) -> None:
        """Begin no more work; `run` returns when what is under way has ended in time, or at once when asked twice."""
        if self._stopping.is_set() and self._worker is not None:
            self._worker.abandon()
        self._stopping.set()
        self._changed.set()

    async def run(self, store_url: str) -> None:
        """Open the store, however long that takes, and work until `stop`."""
        async with self._store(store_url) as store:
            if store is None:
                return
            self._reader.found(store.reader)
            self._feedback.found(store.feedback)
            self._ledger.found(store.ledger)
            self._runs.found(store.runs)
            self._trends.found(store.trends)
            self._watching.found(store.watching)
            while not self._stopping.is_set():
                self._changed.clear()
                await self._shift(self._crew, store)

    async def _shift(self, crew: Crew, store: Store) -> None:
        """Work by one crew until it is replaced or the end has come."""
        client = crew.client()
        worker = self._worker = crew.worker(store, client)
        tidying = asyncio.create_task(crew.upkeep(store).run())
        keeping = asyncio.create_task(crew.storekeeper(store).run())
        bookkeeper = self._bookkeeper = crew.bookkeeper(store)
        bookkeeping = asyncio.create_task(bookkeeper.run())
        asking = asyncio.create_task(worker.run() if crew.settings.shadow_enabled else self._changed.wait())
        watching = asyncio.create_task(self._watch(crew, store, client))
        changing = asyncio.create_task(self._changed.wait())
        tasks = (tidying, keeping, bookkeeping, asking, watching, changing)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if changing not in done:  # a fault that no loop caught: end, and be started again by the supervisor
                await asyncio.gather(*done)
            worker.stop()
            await asking
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.aclose()
            await crew.judges.aclose()
            await asyncio.to_thread(crew.services.close)

    async def _watch(self, crew: Crew, store: Store, client: CandidateClient) -> None:
        """Make weekly runs, look for changes and send alerts, until cancelled."""
        settings = crew.settings
        for line in settings.alerts_off:
            _log.warning("%s", line)
        weekly = self._weekly = weekly_runs_of(settings, crew.bench(client), store, holder=self._name)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(patrol_of(settings, store, holder=self._name, plan=crew.plan).run())
                group.create_task(courier_of(settings, store).run())
                if weekly is not None:
                    group.create_task(weekly.run())
        finally:
            self._weekly = None

    @contextlib.asynccontextmanager
    async def _store(self, url: str) -> AsyncIterator[Store | None]:
        """Open the store, trying again until it works; None when the end came first."""
        store = None
        pause_s = 0.1
        while store is None and not self._stopping.is_set():
            try:
                store = await open_store(url)
            except StoreError as error:
                if pause_s <= 0.1:  # noqa: PLR2004  (the first failure: told once)
                    _log.warning("the store cannot be opened, trying again: %s", error)
                self._reader.missing(str(error))
                self._feedback.missing(str(error))
                self._ledger.missing(str(error))
                self._runs.missing(str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(2 * pause_s, STORE_RETRY_MAX_S)
        try:
            yield store
        finally:
            if store is not None:
                await store.close()


async def _run() -> None:
    lines = await _stdin_lines()
    first = await lines.readline()
    if not first:
        return
    start = control.decode(first, control.Start)
    settings = control.settings_from(start.settings, MeasuringSettings)
    crew = _first_crew(settings, Lineage.of_process(start.line or token_hex(8)))
    _configure_logs(crew)
    for task, reason in crew.judges_unusable().items():
        _log.warning("task %s: no quality is measured: %s", task, reason)
    if crew.settings.shadow_off_reason is not None:
        _log.warning("nothing is shadowed: %s", crew.settings.shadow_off_reason)
    reader, feedback, ledger, runs = LateReader(), LateReader(), LateReader(), LateReader()
    trends, alerts = LateReader(), LateReader()
    measuring = Measuring(
        crew, reader=reader, feedback=feedback, ledger=ledger, runs=runs, trends=trends, watching=alerts
    )
    server = AdminServer(
        build_app(
            reader=cast("Reader", reader),  # it has the reader's methods, through __getattr__
            settings=measuring.admin_settings,
            verdicts=VerdictApi(
                cast("Ledger", ledger), measuring, measuring.switch, tasks=lambda: measuring.admin_settings().tasks
            ),
            reload=_reload_signal(),
            feedback=cast("FeedbackDoor", feedback),
            runs=cast("Runs", runs),  # likewise
            weekly=WeeklyApi(
                trends=cast("Trends", trends),
                outbox=cast("Watching", alerts),
                reader=cast("Reader", reader),
                plan=measuring.plan,
                verdicts=cast("Ledger", ledger),
                timetable=measuring.timetable,
            ),
        )
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, measuring.stop)
    watching = asyncio.create_task(end_at_a_standstill(STANDSTILL_S))
    try:
        await _until_stopped(start, measuring, server, lines)
    finally:
        watching.cancel()


async def end_at_a_standstill(limit_s: float) -> None:
    """End the process when the event loop gets no turn for so long; where each thread stood goes to standard error.

    C code of an evaluator that keeps the interpreter to itself stops every thread: only a timer outside of it is left.
    """
    try:
        while True:
            faulthandler.dump_traceback_later(limit_s, exit=True)
            await asyncio.sleep(limit_s / 10)
    finally:
        faulthandler.cancel_dump_traceback_later()


async def _until_stopped(
    start: control.Start, measuring: Measuring, server: AdminServer, lines: asyncio.StreamReader
) -> None:
    """Order of exit: no new work, calls under way end, the store is closed, then the admin port."""
    store_url = control.settings_from(start.settings, MeasuringSettings).store
    sockets = [socket.socket(fileno=fd) for fd in start.socket_fds]
    serving = asyncio.create_task(server.serve(sockets=sockets))
    serving.add_done_callback(lambda _: measuring.stop())
    listening = asyncio.create_task(_report_ready(server, start.status_fd))
    obeying = asyncio.create_task(_obey(lines, measuring, start.status_fd))
    obeying.add_done_callback(lambda _: measuring.stop())
    try:
        await measuring.run(store_url)
    finally:
        control.report(start.status_fd, "draining")
        server.should_exit = True
        obeying.cancel()
        listening.cancel()
        await asyncio.gather(obeying, listening, return_exceptions=True)
        await serving
        control.report(start.status_fd, "flushed")


async def _report_ready(server: AdminServer, status_fd: int) -> None:
    await server.listening.wait()
    control.report(status_fd, "ready")


async def _obey(lines: asyncio.StreamReader, measuring: Measuring, status_fd: int) -> None:
    """Follow the parent: each line is new settings, the end of input is the end."""
    while line := await lines.readline():
        try:
            message = control.decode(line, control.Replace)
            measuring.replace(control.settings_from(message.settings, MeasuringSettings))
        except (EvaluatorConfigError, ValueError) as error:
            _log.warning("the new settings were not applied: %s", error)
            control.report(status_fd, "reload_failed", str(error))
        else:
            control.report(status_fd, "reloaded")


async def _stdin_lines() -> asyncio.StreamReader:
    lines = asyncio.StreamReader(limit=CONTROL_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


def _first_crew(settings: MeasuringSettings, lineage: Lineage) -> Crew:
    """Build the crew of the start; with an evaluator that does not load nothing is shadowed, and the stats say why."""
    try:
        return Crew.hire(settings, lineage=lineage)
    except (EvaluatorConfigError, GoldenError) as error:
        tasks = tuple(replace(task, evaluators=None) for task in settings.tasks)
        off = replace(
            settings, shadow_enabled=False, shadow_off_reason=str(error), evaluators=None, tasks=tasks, golden=None
        )
        return Crew.hire(off, lineage=lineage)


def _call_limits(settings: MeasuringSettings) -> CallLimits:
    return CallLimits(
        connect_timeout_s=settings.connect_timeout_s,
        first_byte_timeout_s=settings.first_byte_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        total_s=settings.max_job_age_s,
        max_body_bytes=settings.max_body_bytes,
    )


def _judges(settings: MeasuringSettings, *, prices: PriceBook, redactor: Redactor) -> Agency:
    upstream = settings.upstream
    return Agency(
        home=Home(base_url=upstream.base_url, api_key=upstream.api_key, api_key_header=upstream.api_key_header),
        prices=prices,
        redactor=redactor,
        network=Network(
            limits=_call_limits(settings),
            proxy=settings.proxy,
            no_proxy=settings.no_proxy,
            ca_file=settings.ca_file,
            deployment_id=settings.deployment_id,
        ),
    )


def _evaluators(settings: MeasuringSettings, services: Services) -> dict[str, EvaluatorSet]:
    """Build the set of each task by name; a task that names none has the general ones."""
    specs = {"default": settings.evaluators}
    for task in settings.tasks:
        specs[task.name] = settings.evaluators if task.evaluators is None else task.evaluators
    return {
        name: build_evaluators(chosen, config_dir=settings.config_dir, services=services)
        for name, chosen in specs.items()
    }


def _configure_logs(crew: Crew) -> None:
    logs.configure(process="measuring", scrub=crew.scrubber.scrub)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _reload_signal() -> Callable[[], None]:
    """Give what `POST /reload` does: ask the supervisor, if it is still the process that started us."""
    parent = os.getppid()

    def ask() -> None:
        if os.getppid() == parent:
            os.kill(parent, signal.SIGHUP)

    return ask


if __name__ == "__main__":
    main()
