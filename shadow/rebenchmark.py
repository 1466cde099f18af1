"""The weekly run: the team's own prompts asked again of the primary and every candidate, within its own budget.

Its prompts are a random sample of recent traffic (`fresh`), those of the run before that are asked again so that a
change can be seen (`again`), and the frozen golden set. Every prompt is asked twice of each model: what differs
between the two answers of one run is noise.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shadow.benchmark import estimate, new_run_id
from shadow.notices import Watched
from shadow.repeat import Backoff
from shadow.resample import conversations_of, place, shares
from shadow.runfacts import GOLDEN
from shadow.runs import RunPlan
from shadow.schedule import due_period, next_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shadow.benchmark import Asker, Engine, Progress, Scorer
    from shadow.records import Candidate
    from shadow.runs import Case, Run, RunResult, StoredPrompt
    from shadow.schedule import Schedule
    from shadow.store.base import Runs, Trends, Watching

_log = logging.getLogger(__name__)

REPEATS = 2
WINDOW = timedelta(days=7)
"""How far back recent traffic reaches, and further when the last run is longer ago."""

FRESH_SHARE = 4
"""After the first run a quarter of `sample` comes fresh from the traffic each time, and pushes as many out."""

DUTY = "weekly run"
POLL_S = 20.0
_DUTY_S = 90.0
_SKIPPED = "weekly/skipped"
_CHUNK = 50
STOPPED_BY_END = "the measuring process ended"
"""A run that was stopped so goes on at the next start."""


class NothingToAskError(Exception):
    """There is no prompt to ask, or nobody to ask; the message says why and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyRules:
    """`benchmark:` of the configuration and what else decides a run. Money is USD."""

    sample: int = 100
    budget_usd: float = 5.0
    primary_model: str | None = None
    """None: the model that answered most of the recent prompts."""
    content_kept: bool = True
    retention: timedelta = timedelta(days=30)
    sampled_share: float = 0.05
    """Share of conversations whose prompts are stored at all."""


class Rebenchmark:
    """Makes weekly runs: chooses the prompts, asks, and takes up what was left.

    `home` says where the primary is asked; `bench` makes an engine for these contestants that tells its progress.
    """

    def __init__(
        self,
        *,
        runs: Runs,
        trends: Trends,
        asker: Asker,
        scorer: Scorer,
        bench: Callable[[Sequence[Candidate], Callable[[Progress], None]], Engine],
        home: Candidate | None,
        candidates: Sequence[Candidate],
        golden: Callable[[], Sequence[Case]],
        rules: WeeklyRules,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._runs = runs
        self._trends = trends
        self._asker = asker
        self._scorer = scorer
        self._bench = bench
        self._home = home
        self._candidates = tuple(candidates)
        self._golden = golden
        self._rules = rules
        self._now = now
        self._engine: Engine | None = None

    def stop(self, reason: str) -> None:
        """Send nothing more; what is under way ends and is kept."""
        if self._engine is not None:
            self._engine.stop(reason)

    async def run(self, *, period: str | None) -> RunResult | None:
        """Make a run; None when there is one of this period already. Raises NothingToAskError."""
        plan = await self.plan(period=period)
        _log.info("weekly run %s begins: %s", plan.id, plan.note)
        return await self._told(plan.id, await self._engine_for(plan).run(plan))

    async def resume(self, run: Run) -> RunResult | None:
        """Take a run up again that ended before its time; None when another process works on it."""
        kept = {case.id: case for case in await self._trends.cases_of_run(run.id)}
        golden = {case.id: case for case in self._golden()}
        cases = tuple({**golden, **kept}.values()) if run.cases > len(kept) else tuple(kept.values())
        plan = RunPlan(
            id=run.id,
            kind="weekly",
            name=run.name,
            period=run.period,
            models=tuple(model for model in run.models if model in self._contestants(run.primary)),
            primary=run.primary,
            cases=cases,
            evaluators=self._scorer.listed([case.task for case in cases]),
            repeats=run.repeats,
            seed=run.seed,
            max_cost_usd=run.max_cost_usd,
            estimate_usd=run.estimate_usd,
            base_urls=run.base_urls,
            note=run.note,
        )
        _log.info("weekly run %s is taken up again: %d of %d answers are there", run.id, run.answered, run.cells)
        return await self._told(run.id, await self._engine_for(plan).resume(plan, run))

    async def plan(self, *, period: str | None) -> RunPlan:
        """Choose the prompts and put the run together. Raises NothingToAskError."""
        if self._home is None:
            raise NothingToAskError("there is no API key for the primary: set upstream.api_key (EZAI_API_KEY)")
        now, rules = self._now(), self._rules
        seed = period or f"{now:%Y-%m-%dT%H:%M:%S}"
        before = await self._trends.weekly_runs(limit=1)
        golden = tuple(self._golden())
        kept = await self._runs.prompts(since=now - rules.retention, until=now) if rules.content_kept else []
        since = max(min(now - WINDOW, before[-1].started_at if before else now), now - rules.retention)
        recent = [prompt for prompt in kept if prompt.started_at >= since]
        primary = rules.primary_model or _commonest(recent) or (before[-1].primary if before else None)
        if primary is None:
            raise NothingToAskError(
                "no prompt of the recent traffic is stored, so it is not known which model is the primary; "
                "set primary.model, or wait for a sampled conversation"
            )
        again = await self._again(before[-1].id, {prompt.exchange_id for prompt in kept}) if before else []
        count = rules.sample if not again else max(rules.sample // FRESH_SHARE, 1) + rules.sample - len(again)
        fresh = await self._fresh(
            [prompt for prompt in recent if prompt.model == primary], count=count, seed=seed, again=again
        )
        cases = (*again, *fresh, *golden)
        if not cases:
            raise NothingToAskError(self._why_nothing())
        contestants = self._contestants(primary)
        models = tuple(contestants)
        plan = RunPlan(
            id=new_run_id(now),
            kind="weekly",
            name="weekly",
            period=period,
            models=models,
            primary=primary,
            cases=cases,
            evaluators=self._scorer.listed([case.task for case in cases]),
            repeats=REPEATS,
            seed=seed,
            max_cost_usd=rules.budget_usd,
            base_urls={model: contestant.base_url for model, contestant in contestants.items()},
            note=self._note(again, fresh, golden, recent, primary),
        )
        told = await asyncio.to_thread(estimate, plan, asker=self._asker, contestants=contestants)
        return replace(plan, estimate_usd=told.worst_usd)

    def _contestants(self, primary: str | None) -> dict[str, Candidate]:
        """Everyone who is asked, the primary first."""
        found: dict[str, Candidate] = {}
        if primary is not None and self._home is not None:
            found[primary] = replace(self._home, model=primary)
        for candidate in self._candidates:
            found.setdefault(candidate.model, candidate)
        return found

    def _engine_for(self, plan: RunPlan) -> Engine:
        contestants = self._contestants(plan.primary)
        told = _ProgressLog(plan.id)
        self._engine = self._bench([contestants[model] for model in plan.models], told)
        return self._engine

    async def _told(self, run_id: str, result: RunResult | None) -> RunResult | None:
        self._engine = None
        if result is None:
            _log.info("weekly run %s: another process has this period", run_id)
            return None
        run = result.run
        why = f" ({run.reason})" if run.reason else ""
        _log.info(
            "weekly run %s is %s%s: %d of %d answers, %d errors, $%.4f of $%.2f",
            run.id,
            run.state,
            why,
            run.answered,
            run.cells,
            result.errors,
            run.spent_usd,
            run.max_cost_usd or 0.0,
        )
        return result

    async def _again(self, run_id: str, kept: set[str]) -> list[Case]:
        """Give the prompts of the run before that are asked again: the youngest, and only while traffic keeps them."""
        cases = [
            case
            for case in await self._trends.cases_of_run(run_id)
            if not (case.source or "").startswith(GOLDEN) and case.id in kept
        ]
        asked = await self._trends.asked_cases(since=self._now() - 2 * self._rules.retention)
        times = {case.id: asked[case.prompt_hash].runs if case.prompt_hash in asked else 1 for case in cases}
        youngest = sorted(cases, key=lambda case: (times[case.id], place(case.id)))[: self._rules.sample]
        chosen = {case.id for case in youngest}
        return [case for case in cases if case.id in chosen]

    async def _fresh(
        self, prompts: Sequence[StoredPrompt], *, count: int, seed: str, again: Sequence[Case]
    ) -> list[Case]:
        """Draw whole conversations at random, per task, until there are as many prompts; the same prompt comes once."""
        asked = await self._trends.asked_cases(since=self._now() - 2 * self._rules.retention)
        seen = {*asked, *(case.prompt_hash for case in again)}
        clusters = {case.cluster for case in again}
        order = conversations_of(prompts, seed=seed)
        wanted = shares({task: sum(map(len, found)) for task, found in order.items()}, count)
        chosen: list[Case] = []
        for task, conversations in order.items():
            open_ones = [turns for turns in conversations if turns[0].conversation not in clusters]
            chosen.extend(await self._drawn(open_ones, count=wanted.get(task, 0), seen=seen))
        return chosen

    async def _drawn(
        self, conversations: Sequence[Sequence[StoredPrompt]], *, count: int, seen: set[str]
    ) -> list[Case]:
        drawn: list[Case] = []
        for start in range(0, len(conversations), _CHUNK):
            part = conversations[start : start + _CHUNK]
            loaded = {
                case.id: case for case in await self._runs.prompt_cases([each for turns in part for each in turns])
            }
            for turns in part:
                if len(drawn) >= count:
                    return drawn
                cases = [loaded[turn.exchange_id] for turn in turns if turn.exchange_id in loaded]
                new = [case for case in cases if case.prompt_hash not in seen]
                # One turn that was asked before does not break a conversation up; the others stay together.
                seen.update(case.prompt_hash for case in new)
                drawn.extend({case.prompt_hash: case for case in new}.values())
        return drawn

    def _why_nothing(self) -> str:
        if not self._rules.content_kept:
            return "no prompt is stored (shadow.content: none) and there is no golden set; add a golden.jsonl"
        return "no prompt of the recent traffic is stored; only sampled conversations are (shadow.sample_rate)"

    def _note(
        self,
        again: Sequence[Case],
        fresh: Sequence[Case],
        golden: Sequence[Case],
        recent: Sequence[StoredPrompt],
        primary: str,
    ) -> str:
        """Say where the prompts come from and what they do not speak for."""
        counts = f"{len(fresh)} fresh prompts of the recent traffic, {len(again)} of the last run again"
        parts = [f"{counts}, {len(golden)} golden"]
        if not self._rules.content_kept:
            parts.append("shadow.content is none, so no production prompt is stored: the golden set alone")
        else:
            parts.append(f"only sampled conversations are stored (sample_rate {self._rules.sampled_share:g})")
        others = Counter(prompt.model for prompt in recent if prompt.model != primary)
        if others:
            named = ", ".join(f"{model or 'no model'} {count}" for model, count in others.most_common(3))
            parts.append(f"prompts that other models answered are not asked ({named})")
        return "; ".join(parts)


class WeeklyRuns:
    """Keeps the schedule: one process of several begins a run when it is due, and takes up one that was left."""

    def __init__(
        self,
        *,
        holder: str,
        rebenchmark: Rebenchmark,
        runs: Runs,
        watching: Watching,
        schedule: Schedule | None,
        poll_s: float = POLL_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._holder = holder
        self._rebenchmark = rebenchmark
        self._runs = runs
        self._watching = watching
        self._schedule = schedule
        self._poll_s = poll_s
        self._now = now
        self._asked = asyncio.Event()
        self._working = False

    @property
    def next_at(self) -> datetime | None:
        """When the next run is due; None without a schedule."""
        return None if self._schedule is None else next_run(self._now(), self._schedule)

    @property
    def is_working(self) -> bool:
        """True while a run is under way in this process."""
        return self._working

    def ask(self) -> bool:
        """Have a run begin now, whatever the schedule says; False while one is under way or asked for."""
        if self._working or self._asked.is_set():
            return False
        self._asked.set()
        return True

    async def run(self) -> None:
        """Work until cancelled; a run under way is then stopped, and what it has is kept."""
        if self._schedule is not None:
            _log.info("weekly run: %s, next at %s", self._schedule.explained(), self.next_at)
        backoff = Backoff("make weekly runs")
        while True:
            step = asyncio.create_task(backoff.attempt(self.step))
            try:
                await asyncio.shield(step)
                await asyncio.wait_for(self._asked.wait(), backoff.pause_s or self._poll_s)
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                self._rebenchmark.stop(STOPPED_BY_END)
                await asyncio.wait({step}, timeout=10)
                step.cancel()
                raise

    async def step(self) -> int:
        """Do what is due, if anything; returns how many runs were made or taken up."""
        self._working = True
        try:
            if self._asked.is_set():
                self._asked.clear()
                return await self._make(period=None)
            return await self._scheduled()
        finally:
            self._working = False

    async def _scheduled(self) -> int:
        if not await self._watching.take_duty(DUTY, holder=self._holder, lease_s=_DUTY_S, now=self._now()):
            return 0
        latest, _ = await self._runs.page(limit=20, kind="weekly")
        left = next((run for run in latest[:1] if was_left(run)), None)
        if left is not None and await self._rebenchmark.resume(left) is not None:
            return 1
        period = await self.due(latest)
        return 0 if period is None else await self._make(period=period)

    async def due(self, latest: Sequence[Run]) -> str | None:
        """Name the period whose run is due, given the latest weekly runs."""
        if self._schedule is None:
            return None
        now = self._now()
        since = await self._watching.schedule_since(cron=self._schedule.cron, timezone=self._schedule.timezone, now=now)
        skipped = (await self._watching.watched()).get(_SKIPPED)
        periods = [run.period for run in latest if run.period is not None]
        slots = [datetime.fromisoformat(each) for each in (*periods, *([skipped.told] if skipped else []))]
        return due_period(now, self._schedule, known_since=since, last_slot=max(slots, default=None))

    def latest_period(self, latest: Sequence[Run], *, now: datetime) -> str | None:
        """Name the period of the latest slot for somebody with a cron of their own; None when its run is there."""
        if self._schedule is None:
            return None
        slots = [datetime.fromisoformat(run.period) for run in latest if run.period is not None]
        long_ago = datetime(1970, 1, 1, tzinfo=UTC)
        return due_period(now, self._schedule, known_since=long_ago, last_slot=max(slots, default=None))

    async def _make(self, *, period: str | None) -> int:
        try:
            result = await self._rebenchmark.run(period=period)
        except NothingToAskError as nothing:
            _log.warning("weekly run%s not made: %s", "" if period is None else f" of {period}", nothing)
            if period is not None:
                now = self._now()
                skipped = Watched(subject=_SKIPPED, told=period, told_at=now, seen=period, looks=1)
                await self._watching.record([skipped], [], deliveries=[])
            return 0
        return int(result is not None)


def was_left(run: Run) -> bool:
    """Tell whether a run ended before its time by no decision: its process died, or was ended."""
    return run.state == "running" or (run.state == "stopped" and run.reason == STOPPED_BY_END)


def _commonest(prompts: Sequence[StoredPrompt]) -> str | None:
    counts = Counter(prompt.model for prompt in prompts if prompt.model)
    return min(counts, key=lambda model: (-counts[model], model)) if counts else None


class _ProgressLog:
    """Writes a line at each tenth of a run."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._told = 0

    def __call__(self, progress: Progress) -> None:
        tenth = 10 * progress.done // progress.cells if progress.cells else 0
        if tenth > self._told:
            self._told = tenth
            _log.info(
                "weekly run %s: %d of %d answers, %d errors, $%.4f",
                self._run_id,
                progress.done,
                progress.cells,
                progress.errors,
                progress.spent_usd,
            )
