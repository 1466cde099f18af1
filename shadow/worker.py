"""Drains the shadow jobs: leases them, asks the candidates within the budget, hands the finished pairs to the store."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING

from shadow.breaker import Breaker
from shadow.budget import budget_day
from shadow.candidates import ShadowCopy, UnsendableError, bounded, copy_for, origin_of
from shadow.pricing import price_exchange
from shadow.records import NOISE_FLOOR, Candidate
from shadow.repeat import Backoff, in_chunks, paced, repeat, where
from shadow.retry_after import MAX_REST_S
from shadow.sampling import is_asked_again
from shadow.store.base import StoreError, UnstorableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from shadow.candidates import Asked, CandidateClient
    from shadow.compare import Comparer
    from shadow.pricing import PriceBook
    from shadow.records import JobBody, LeasedJob, PairResult
    from shadow.redaction import Redactor
    from shadow.store.base import Jobs, Ledger, Reader, Runs

_log = logging.getLogger(__name__)

POLL_S = 0.1
QUEUE_BYTES = 1 << 30
"""How large the copies of waiting jobs may be on disk, all together."""
RESTS_MAX_AGE_S = 0.25
DECIDED_MAX_AGE_S = 1.0
NEWCOMER_S = 10.0
"""So young a job for a candidate nobody here knows waits: at a reload the live process may know it first."""
_NEWCOMER_PAUSE_S = 0.5
_LONGEST_REST = timedelta(seconds=MAX_REST_S)
_PRICE_CHUNK = 5000


def utc_now() -> datetime:
    """Wall time, aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """Bounds of one worker. Sizes are counts, durations seconds, money USD."""

    budget_usd_per_day: float
    max_concurrency: int = 16
    max_job_age_s: float = 600
    lease_s: float = 60
    """Renewed four times as often while the worker lives: a lease that runs out means it is dead."""
    drain_s: float = 10
    """How long calls under way may still take after `stop`."""
    finish_delays_s: tuple[float, ...] = (0.1, 0.5, 2.0, 5.0)
    """Pauses between attempts to store a paid answer, beyond the store's own patience; the last one is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """How often the primary is asked once more what it was asked live, so that its own scatter is known."""

    primary: Candidate
    """Where and with which key; its model is that of each exchange."""
    rate: float
    """Share of the shadowed conversations."""
    first: int = 30
    """So many conversations of each task and primary come first, whatever the rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A job that may be sent: to whom, the copy and what it may cost at most."""

    candidate: Candidate
    copy: ShadowCopy
    list_usd: float
    """What it may cost at most where the candidate keeps to its limits."""
    worst_case_usd: float
    """What is reserved for the answer: more than that for a candidate that was seen to keep to none."""
    scoring_usd: float = 0.0
    """What scoring the pair may cost at most: a judge's calls, with their retries and a control."""

    @property
    def reserve_usd(self) -> float:
        """What is reserved: a pair is affordable as a whole, or it is not sent."""
        return self.worst_case_usd + self.scoring_usd


class _Desk:
    """One candidate as the worker sees it: how many calls are under way, and its circuit breaker."""

    def __init__(self, candidate: Candidate, *, bound: int) -> None:
        self.candidate = candidate
        self.origin = origin_of(candidate.base_url)
        self.breaker = Breaker()
        self.overrun = 1.0
        """How many times its reserve an answer may cost: 1 where the provider keeps to the limits it is given."""
        self._bound = bound
        self._running = 0

    def room(self, now_s: float) -> int:
        return min(self._bound - self._running, self.breaker.room(now_s, bound=self._bound))

    def begin(self) -> int:
        self._running += 1
        return self.breaker.begin()

    def end(self, ticket: int, *, healthy: bool | None) -> None:
        self._running -= 1
        was_closed = self.breaker.is_closed
        self.breaker.end(ticket, ok=healthy, now_s=time.monotonic())
        if was_closed != self.breaker.is_closed:
            state = "answers again" if self.breaker.is_closed else "keeps failing and is left alone for a while"
            _log.warning("candidate %s %s", self.candidate.model, state)


class Decided:
    """Which candidates the verdict is done with: nobody need ask them any more, and their money is free for others."""

    def __init__(self, ledger: Ledger, *, max_age_s: float = DECIDED_MAX_AGE_S) -> None:
        self._ledger = ledger
        self._max_age_s = max_age_s
        self._read_s = float("-inf")
        self._stopped: frozenset[tuple[str, str, str, str]] = frozenset()

    async def refresh(self) -> None:
        """Read it anew where it is older than a second. Raises StoreError."""
        if time.monotonic() - self._read_s < self._max_age_s:
            return
        rows = await self._ledger.stopped()
        self._stopped = frozenset((row["task"], row["primary"], row["version"], row["candidate"]) for row in rows)
        self._read_s = time.monotonic()

    def holds(self, leased: LeasedJob) -> bool:
        """Say whether this job would teach nothing any more."""
        job = leased.job
        return (job.task, job.primary, leased.exchange.version or "", job.candidate) in self._stopped


class Worker:
    """Asks candidates what the app asked, off the live path, until told to stop.

    A job that was sent is never sent again: it would be paid twice. What a crash leaves behind is settled by `Upkeep`.
    """

    def __init__(
        self,
        *,
        name: str,
        deployment_id: str,
        jobs: Jobs,
        client: CandidateClient,
        candidates: Sequence[Candidate],
        comparer: Comparer,
        prices: PriceBook,
        redactor: Redactor,
        limits: WorkerLimits,
        noise_floor: NoiseFloor | None = None,
        decided: Decided | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._name = name
        self._noise_floor = noise_floor
        self._decided = decided
        self._deployment_id = deployment_id
        self._jobs = jobs
        self._client = client
        self._comparer = comparer
        self._prices = prices
        self._redactor = redactor
        self._limits = limits
        self._now = now
        bound = max(1, limits.max_concurrency // max(1, len(candidates)))
        self._desks = {candidate.model: _Desk(candidate, bound=bound) for candidate in candidates}
        if noise_floor is not None:
            self._desks[NOISE_FLOOR] = _Desk(noise_floor.primary, bound=bound)
        self._running: set[asyncio.Task[bool | None]] = set()
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._rests: dict[str, datetime] = {}
        self._rests_read_s = float("-inf")
        self._newcomers: dict[str, float] = {}
        """Candidates nobody here knows, and until when their jobs are left alone."""
        self._renewed_s = float("-inf")
        self._told: set[str] = set()
        self._left: deque[LeasedJob] = deque()
        """Jobs given up because the store was away: they are settled first when it is back."""
        self.errors: Counter[str] = Counter()
        """Jobs that failed by a fault of ours, by kind of exception."""

    def breakers(self) -> dict[str, bool]:
        """Tell of each candidate whether its circuit breaker lets calls through."""
        return {model: desk.breaker.is_closed for model, desk in self._desks.items() if model != NOISE_FLOOR}

    def stop(self) -> None:
        """Lease nothing more; `run` returns when the calls under way have ended, at the latest after `drain_s`."""
        self._stopping.set()
        self._wake.set()

    def abandon(self) -> None:
        """Stop at once: calls under way are broken off, their jobs stay `sent` and count as lost."""
        self.stop()
        for task in self._running:
            task.cancel()

    async def run(self) -> None:
        """Work until `stop`. What is still under way at the end of the drain stays `sent` and counts as lost."""
        backoff = Backoff("lease shadow jobs")
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                if await backoff.attempt(self._lease_some) == 0:
                    await self._sleep(backoff.pause_s or POLL_S)
        finally:
            await self._drain()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _drain(self) -> None:
        if self._running and self._stopping.is_set():
            await asyncio.wait(self._running, timeout=self._limits.drain_s)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _lease_some(self) -> int:
        """Lease as many jobs as may begin now and start them; returns how many."""
        await self._settle_left()
        await self._renew()
        await self._read_rests()
        if self._decided is not None:
            await self._decided.refresh()
        room = self._limits.max_concurrency - len(self._running)
        rooms = {model: self._room(desk) for model, desk in self._desks.items()}
        # The queue does not know our bounds per candidate: lease no more than the tightest open one has room for.
        limit = min([room, *(free for free in rooms.values() if free > 0)])
        if limit <= 0:
            return 0
        full = [model for model, free in rooms.items() if free <= 0]
        self._newcomers = {model: until_s for model, until_s in self._newcomers.items() if time.monotonic() < until_s}
        leased = await self._jobs.lease(
            worker=self._name,
            limit=limit,
            lease_s=self._limits.lease_s,
            now=self._now(),
            without=[*full, *self._newcomers],
        )
        for job in leased:
            self._start(job)
        return len(leased)

    async def _settle_left(self) -> None:
        """Give back what was left behind: their leases are ours, and as long as we renew them no one else would."""
        while self._left:
            leased = self._left[0]
            await self._jobs.release(leased)
            await self._jobs.drop(leased, reason="lost_on_crash")  # one that was sent after all: never sent again
            self._left.popleft()

    def _room(self, desk: _Desk) -> int:
        if self._resting_until(desk.origin) is not None:
            return 0
        return desk.room(time.monotonic())

    async def _renew(self) -> None:
        if time.monotonic() - self._renewed_s >= self._limits.lease_s / 4:
            await self._jobs.renew(worker=self._name, lease_s=self._limits.lease_s, now=self._now())
            self._renewed_s = time.monotonic()

    async def _read_rests(self) -> None:
        if time.monotonic() - self._rests_read_s < RESTS_MAX_AGE_S:
            return
        for origin, until in (await self._jobs.origin_rests(now=self._now())).items():
            self._rest(origin_of(origin), until)
        self._rests_read_s = time.monotonic()

    def _resting_until(self, origin: str) -> datetime | None:
        """Until when an origin must be left alone. What is further off than any rest comes from a clock gone back."""
        until, now = self._rests.get(origin), self._now()
        return until if until is not None and now < until <= now + _LONGEST_REST else None

    def _rest(self, origin: str, until: datetime) -> None:
        if until <= self._now() + _LONGEST_REST:
            self._rests[origin] = max(until, self._resting_until(origin) or until)

    def _start(self, leased: LeasedJob) -> None:
        desk = self._desks.get(leased.job.candidate)
        # The seat is taken here and not in the task: the next lease may be counted before the task has begun.
        ticket = None if desk is None else desk.begin()
        task = asyncio.create_task(self._work(leased, desk))
        self._running.add(task)
        task.add_done_callback(functools.partial(self._ended, desk, ticket))

    def _ended(self, desk: _Desk | None, ticket: int | None, task: asyncio.Task[bool | None]) -> None:
        self._running.discard(task)
        broken = task.cancelled() or task.exception() is not None
        if desk is not None and ticket is not None:
            desk.end(ticket, healthy=None if broken else task.result())
        self._wake.set()

    async def _work(self, leased: LeasedJob, desk: _Desk | None = None) -> bool | None:
        """Do one job; a fault of ours costs this job and nothing else. Returns what it says about health."""
        try:
            if self._stopping.is_set():
                await self._jobs.release(leased)
                return None
            return await self._do(leased, desk)
        except Exception as error:  # noqa: BLE001  (the loop must outlive any fault of one job; told once, here)
            await self._give_up(leased, error)
            return None

    async def _give_up(self, leased: LeasedJob, error: Exception) -> None:
        """Drop a job that failed by a fault of ours; what was reserved for it stays spent."""
        if isinstance(error, StoreError) and not isinstance(error, UnstorableError):
            self._left.append(leased)
            return
        self.errors[type(error).__name__] += 1
        _log.error("a shadow job failed: %s", where(error))
        try:
            await self._jobs.drop(leased, reason="worker_error")
        except StoreError:
            self._left.append(leased)

    async def _do(self, leased: LeasedJob, desk: _Desk | None) -> bool | None:
        body = leased.body
        if body is None or self._is_too_old(leased):
            await self._jobs.drop(leased, reason="too_old")
            return None
        if desk is None:
            await self._leave(leased)
            return None
        if self._decided is not None and self._decided.holds(leased) and leased.job.counted:
            await self._jobs.skip(leased, reason="decided")
            return None
        if leased.job.candidate == NOISE_FLOOR and not await self._is_asked_again(leased):
            await self._jobs.skip(leased, reason="not_in_noise_floor")
            return None
        try:
            return await self._ask_within_budget(leased, body, desk)
        except UnsendableError as error:
            await self._jobs.skip(leased, reason=error.reason)
            return None

    async def _leave(self, leased: LeasedJob) -> None:
        """Skip a job whose candidate is not configured, unless that may be about to change."""
        if self._now() - leased.job.created_at < timedelta(seconds=NEWCOMER_S):
            self._newcomers[leased.job.candidate] = time.monotonic() + _NEWCOMER_PAUSE_S
            await self._jobs.release(leased)
        else:
            await self._jobs.skip(leased, reason="not_configured")

    async def _is_asked_again(self, leased: LeasedJob) -> bool:
        """Tell whether the primary is asked again about this conversation: one of the first, or of the drawn share."""
        if self._noise_floor is None:
            return False
        if is_asked_again(leased.job.conversation, self._noise_floor.rate):
            return True
        so_far, known = await self._jobs.noise_floor_so_far(leased, limit=self._noise_floor.first)
        return known or so_far < self._noise_floor.first

    def _is_too_old(self, leased: LeasedJob) -> bool:
        return self._now() - leased.job.created_at > timedelta(seconds=self._limits.max_job_age_s)

    async def _ask_within_budget(self, leased: LeasedJob, body: JobBody, desk: _Desk) -> bool | None:
        """Reserve, ask, compare, finish. Returns what the call says about the candidate's health."""
        plan = await asyncio.to_thread(self._plan, leased, body, desk)
        if self._stopping.is_set():
            await self._jobs.release(leased)
            return None
        now = self._now()
        reservation = await self._jobs.reserve(
            leased,
            worst_case_usd=plan.reserve_usd,
            scoring_usd=plan.scoring_usd,
            budget=budget_day(now, cap_usd=self._limits.budget_usd_per_day),
            now=now,
        )
        if reservation != "ok":
            self._tell_never_fits(desk, plan)
            return None
        asked = await self._client.ask(
            plan.candidate, plan.copy, exchange_id=leased.job.exchange_id, dialect=body.dialect
        )
        await self._note_rest(desk, asked)
        result = await self._comparer.pair(leased, body, asked, redaction_changed=plan.copy.redaction_changed)
        await self._finish(leased, result, reserved_usd=plan.reserve_usd)
        self._note_overrun(desk, asked, plan)
        return asked.healthy

    def _note_overrun(self, desk: _Desk, asked: Asked, plan: _Plan) -> None:
        """Reserve more from here on for a candidate that cost more than was reserved: it keeps to no limit."""
        billed_usd = asked.answer.cost.billed_usd
        if billed_usd is None or plan.worst_case_usd <= 0 or billed_usd <= plan.worst_case_usd:
            return
        # Not on top of what is known by now: calls that were under way together all tell the same.
        desk.overrun = max(desk.overrun, billed_usd / plan.list_usd)
        _log.warning(
            "an answer of %s cost $%.4f where at most $%.4f was to be expected: it does not keep to the output limit; "
            "%.1f times as much is reserved for it from now on",
            desk.candidate.model,
            billed_usd,
            plan.worst_case_usd,
            desk.overrun,
        )

    def _tell_never_fits(self, desk: _Desk, plan: _Plan) -> None:
        """Say once a candidate that some requests may cost more than a whole day has: they are never measured."""
        cap_usd = self._limits.budget_usd_per_day
        if plan.reserve_usd > cap_usd and desk.candidate.model not in self._told:
            self._told.add(desk.candidate.model)
            _log.warning(
                "a request to %s may cost up to $%.2f, more than budget_usd_per_day ($%.2f): such requests are skipped",
                plan.candidate.model,
                plan.reserve_usd,
                cap_usd,
            )

    def _plan(self, leased: LeasedJob, body: JobBody, desk: _Desk) -> _Plan:
        candidate = desk.candidate
        if leased.job.candidate == NOISE_FLOOR:
            candidate = replace(candidate, model=leased.job.primary)
        elif candidate.model == leased.exchange.model:
            raise UnsendableError("same_model")
        copy = copy_for(candidate, body, redactor=self._redactor, deployment_id=self._deployment_id)
        copy, worst = bounded(candidate, copy, body.dialect, prices=self._prices)
        return _Plan(
            candidate=candidate,
            copy=copy,
            list_usd=worst,
            worst_case_usd=worst * desk.overrun,
            scoring_usd=self._comparer.scoring_worst_case_usd(leased, body),
        )

    async def _note_rest(self, desk: _Desk, asked: Asked) -> None:
        if asked.rest_s is None:
            return
        until = self._now() + timedelta(seconds=asked.rest_s)
        self._rest(desk.origin, until)
        _log.warning("%s asked for a rest of %.0f s", desk.origin, asked.rest_s)
        with contextlib.suppress(StoreError):  # other workers learn it from their own 429
            await self._jobs.rest_origin(desk.origin, until=until)

    async def _finish(self, leased: LeasedJob, result: PairResult, *, reserved_usd: float) -> None:
        """Store a paid answer, as often as it takes: a disk with room for little things would else be paid for nothing.

        Meanwhile the job keeps its seat, so that no more is spent than fits in memory.
        """
        delays_s = itertools.chain(self._limits.finish_delays_s, itertools.repeat(self._limits.finish_delays_s[-1]))
        for delay_s in delays_s:
            try:
                await self._jobs.finish(leased, result=result, reserved_usd=reserved_usd, now=self._now())
            except UnstorableError:
                raise
            except StoreError as error:
                self._tell_waiting(error)
                await asyncio.sleep(delay_s)
            else:
                return

    def _tell_waiting(self, error: StoreError) -> None:
        """Say once that answers wait."""
        if "answers wait" not in self._told:
            self._told.add("answers wait")
            _log.warning("paid answers wait in memory: %s", error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Workers by their names: those of our own process, and those of the processes before it, which have ended."""

    line: str
    """What all their names begin with."""
    own: str
    """What ours begin with; longer than `line`."""

    @classmethod
    def of_process(cls, line: str) -> Lineage:
        """Give the names of this process; `line` is its parent's word for it and those it replaces."""
        return cls(line=f"{line}:", own=f"{line}:{os.getpid()}:")

    def worker_name(self) -> str:
        """Make a name for a worker of this process."""
        return f"{self.own}{token_hex(4)}"


class Upkeep:
    """What a store always needs: leases settled, queue bounded, costs known, old rows gone."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        reader: Reader,
        prices: PriceBook,
        queue_size: int,
        max_job_age_s: float,
        retention_days: float,
        queue_bytes: int = QUEUE_BYTES,
        rescore: Callable[[], Awaitable[int]] | None = None,
        runs: Runs | None = None,
        lineage: Lineage | None = None,
        every_s: float = 2.0,
        prune_every_s: float = 3600.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._jobs = jobs
        self._reader = reader
        self._prices = prices
        self._queue_size = queue_size
        self._queue_bytes = queue_bytes
        self._rescore = rescore
        self._runs = runs
        self._lineage = lineage
        self._max_job_age_s = max_job_age_s
        self._retention = timedelta(days=retention_days)
        self._every_s = every_s
        self._prune_every_s = prune_every_s
        self._now = now

    async def run(self) -> None:
        """Repeat until cancelled; a store that is away is tried again, told once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat(self.tidy, every_s=self._every_s, what="tidy the shadow jobs"))
            group.create_task(repeat(self.price, every_s=self._every_s, what="price exchanges"))
            group.create_task(repeat(self.prune, every_s=self._prune_every_s, what="prune old exchanges"))
            if self._runs is not None:
                what = "forget what old benchmark runs said"
                group.create_task(repeat(self.forget_runs, every_s=self._prune_every_s, what=what))
            if self._rescore is not None:
                group.create_task(
                    repeat(self._rescore, every_s=self._every_s, what="score again what feedback changes")
                )

    async def forget_runs(self) -> int:
        """Delete prompts and answers of benchmark runs older than the retention; figures stay. Returns how many."""
        before = self._now() - self._retention
        return 0 if self._runs is None else await self._runs.forget_content(before=before)

    async def tidy(self) -> Mapping[str, int]:
        """Settle what crashed workers left, drop what is too old or too much; returns counts by what was done."""
        if self._lineage is not None:  # at the first time: while this process lives nobody else of its line does
            await self._jobs.give_up_leases(line=self._lineage.line, but=self._lineage.own)
            self._lineage = None
        done = dict(await self._jobs.recover(now=self._now(), max_job_age_s=self._max_job_age_s))
        done["queue_full"] = await self._jobs.enforce_queue_size(limit=self._queue_size, limit_bytes=self._queue_bytes)
        for what, count in done.items():
            if count:
                _log.info("shadow jobs: %s %d", what, count)
        return done

    async def price(self) -> int:
        """Give every exchange its cost; returns how many were done."""
        return await in_chunks(
            lambda: self._reader.price_pending(
                lambda exchange: price_exchange(exchange, prices=self._prices), limit=_PRICE_CHUNK
            ),
            chunk=_PRICE_CHUNK,
        )

    async def prune(self) -> int:
        """Delete what is older than the retention, in small chunks so that writers never wait long."""
        before = self._now() - self._retention
        return await paced(lambda limit: self._reader.prune(before=before, limit=limit))
