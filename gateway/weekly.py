"""Puts weekly runs and alerts together from settings: what the measuring process and the commands share."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.alerts import AlertCourier, Patrol, TargetPoster
from shadow.alerts.lookout import (
    budget_observation,
    coverage_sums,
    drift_observations,
    drops_observation,
    is_news,
    judge_observations,
    lead_observations,
    run_budget_observation,
    standing_observations,
)
from shadow.alerts.words import beside, standing_of, standing_of_lead
from shadow.benchmark import Asker, Engine, Lookback, Scorer
from shadow.benchmark.cases import DEFAULT_MAX_TOKENS
from shadow.candidates import CandidateClient
from shadow.evaluators import EvaluatorSet
from shadow.leads import leads_of
from shadow.ledger.figures import current_views, verdict_figures
from shadow.pricing import PriceBook
from shadow.rebenchmark import Rebenchmark, WeeklyRules, WeeklyRuns
from shadow.records import Candidate, Dialect
from shadow.redaction import Redactor, Scrubber
from shadow.rollups import WHOLE
from shadow.runfacts import GOLDEN
from shadow.runs import DEFAULT_HEADERS, Case, prompt_hash
from shadow.schedule import schedule_of
from shadow.stats import traffic_figures
from shadow.stats.rolled import job_counts
from shadow.store.base import ROW_BY_ROW
from shadow.trends import drifts_of

if TYPE_CHECKING:
    from gateway.settings import MeasuringSettings
    from shadow.alerts.words import Standing
    from shadow.benchmark import Progress
    from shadow.leads import Lead
    from shadow.ledger import Plan
    from shadow.notices import Observation
    from shadow.schedule import Schedule
    from shadow.store import Store
    from shadow.store.base import Ledger, Reader, Trends

MAX_RUNS = 104
DROPS_OVER = timedelta(hours=24)
MONTH = timedelta(days=30)
"""The traffic out of which a month's saving is projected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What asking takes, besides the store: all of it is the measuring side's own."""

    client: CandidateClient
    prices: PriceBook
    redactor: Redactor
    scrubber: Scrubber
    evaluators: Mapping[str, EvaluatorSet]
    golden: Callable[[], Sequence[Case]] = tuple


def schedule_in(settings: MeasuringSettings) -> Schedule | None:
    """Give the schedule in force; None when runs are made on demand only."""
    benchmark = settings.benchmark
    return None if benchmark.schedule is None else schedule_of(benchmark.schedule, benchmark.timezone)


def home_of(settings: MeasuringSettings) -> Candidate | None:
    """Say where the primary is asked again; None without a key for it."""
    upstream = settings.upstream
    if upstream.api_key is None:
        return None
    return Candidate(
        model="",
        base_url=upstream.base_url,
        api_key=upstream.api_key,
        api_key_header=upstream.api_key_header,
        bearer_for_openai=True,
    )


def rebenchmark_of(settings: MeasuringSettings, bench: Bench, store: Store) -> Rebenchmark:
    """Make the one who makes weekly runs."""
    asker = Asker(
        client=bench.client, prices=bench.prices, redactor=bench.redactor, deployment_id=settings.deployment_id
    )
    scorer = Scorer(sets=bench.evaluators)

    keep = _keeper(settings, bench)
    lookback = Lookback(runs=store.runs, trends=store.trends, scorer=scorer, keep=keep)

    def engine(contestants: Sequence[Candidate], progress: Callable[[Progress], None]) -> Engine:
        return Engine(
            runs=store.runs,
            asker=asker,
            contestants=contestants,
            scorer=scorer,
            keep=keep,
            lookback=lookback,
            concurrency=max(1, settings.max_concurrency // max(1, len(contestants))),
            progress=progress,
        )

    return Rebenchmark(
        runs=store.runs,
        trends=store.trends,
        asker=asker,
        scorer=scorer,
        bench=engine,
        home=home_of(settings),
        candidates=[candidate for candidate in settings.candidates if candidate.api_key is not None],
        golden=bench.golden,
        rules=WeeklyRules(
            sample=settings.benchmark.sample,
            budget_usd=settings.benchmark.budget_usd,
            primary_model=settings.primary_model,
            content_kept=settings.content != "none",
            retention=timedelta(days=settings.retention_days),
            sampled_share=settings.sample_rate,
        ),
    )


def _keeper(settings: MeasuringSettings, bench: Bench) -> Callable[[str], str] | None:
    """Say what of a text may be stored; None: nothing."""
    if settings.content == "none":
        return None
    if settings.content == "full":
        return bench.scrubber.scrub
    return lambda text: bench.scrubber.scrub(bench.redactor.redact_text(text)[0])


def weekly_runs_of(settings: MeasuringSettings, bench: Bench, store: Store, *, holder: str) -> WeeklyRuns | None:
    """Make the one who keeps the schedule; None where the primary cannot be asked."""
    if home_of(settings) is None:
        return None
    return WeeklyRuns(
        holder=holder,
        rebenchmark=rebenchmark_of(settings, bench, store),
        runs=store.runs,
        watching=store.watching,
        schedule=schedule_in(settings),
    )


def courier_of(settings: MeasuringSettings, store: Store) -> AlertCourier:
    """Make the one who sends alerts."""
    return AlertCourier(watching=store.watching, targets=settings.alerts, poster=poster_of(settings))


def poster_of(settings: MeasuringSettings) -> TargetPoster:
    """Make the one who posts a single alert."""
    return TargetPoster(proxy=settings.proxy, no_proxy=settings.no_proxy, ca_file=settings.ca_file)


def patrol_of(settings: MeasuringSettings, store: Store, *, holder: str, plan: Plan) -> Patrol:
    """Make the one who looks for changes; leads are decided by `plan`, as verdicts are."""
    looks = Looks(settings, plan=plan, reader=store.reader, trends=store.trends, ledger=store.ledger)
    # The primary's drift is told before anything that is compared with it.
    return Patrol(
        holder=holder,
        watching=store.watching,
        targets=settings.alerts,
        looks=(looks.runs, looks.verdicts, looks.money, looks.losses),
    )


class Looks:
    """What the patrol looks at, one method each."""

    def __init__(
        self,
        settings: MeasuringSettings,
        *,
        plan: Plan,
        reader: Reader,
        trends: Trends,
        ledger: Ledger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._reader = reader
        self._trends = trends
        self._ledger = ledger
        self._now = now
        self._seen: tuple[str, datetime | None] | None = None
        self._of_runs: list[Observation] = []
        self._leads: Sequence[Lead] = ()
        self._judges: Callable[[Mapping[str, str]], Sequence[Observation]] = lambda _: ()

    async def runs(self, told: Mapping[str, str]) -> Sequence[Observation]:
        """Drift, leads and money of the weekly runs; worked out anew only when a run has ended."""
        newest = await self._trends.weekly_runs(limit=1)
        if not newest:
            return ()
        key = (newest[0].id, newest[0].finished_at)
        if key != self._seen:
            runs = await self._trends.weekly_runs(limit=MAX_RUNS)
            money, max_missing = run_budget_observation(runs), self._plan.rules.max_missing
            # Seconds of work after two years of runs: not on the loop that answers the admin port.
            drifts = await asyncio.to_thread(drifts_of, runs, max_missing=max_missing)
            self._leads = await asyncio.to_thread(leads_of, runs, plan=self._plan)
            views = [(view, verdict_figures(view)) for view in current_views(await self._ledger.views())]
            live = {_key(view): _standing(figures) for view, figures in views if not figures.get("ended")}
            self._judges = functools.partial(judge_observations, drifts, runs)
            self._of_runs = [
                *drift_observations(drifts, runs),
                *lead_observations(
                    [standing_of_lead(lead, live=live.get(_pair(lead))) for lead in self._leads],
                    config_file=self._settings.config_file,
                    several_tasks=bool(self._settings.tasks),
                ),
                *(() if money is None else (money,)),
            ]
            self._seen = key
        return [*self._of_runs, *self._judges(told)]

    async def verdicts(self, told: Mapping[str, str]) -> Sequence[Observation]:
        """Verdicts on live traffic and whether their data can be trusted."""
        standings = []
        leads = {_pair(lead): lead for lead in self._leads}
        for view in current_views(await self._ledger.views()):
            figures, lead = verdict_figures(view), leads.get(_key(view))
            if figures.get("ended"):  # no news any more: what could be done about it has been done, or is not asked for
                continue
            standing = _standing(figures)
            if is_news(standing, told):
                standing = standing_of(standing.task, figures | await self._traffic(figures))
                if lead is not None:
                    standing = beside(standing, standing_of_lead(lead, live=None))
            standings.append(standing)
        return standing_observations(
            standings,
            told,
            config_file=self._settings.config_file,
            several_tasks=bool(self._settings.tasks),
        )

    async def _traffic(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """What the traffic says beside a verdict: of its epoch how much was asked, of the last month what it cost."""
        now, rollups = self._now(), self._reader.rollups
        named = {"task": str(figures["task"]), "primary": figures["primary"], "candidate": str(figures["candidate"])}
        ratio = figures["cost_ratio"]
        month = await rollups.window(since=now - MONTH, until=now, task=named["task"])
        began = await rollups.began(month)
        hours = 0.0 if began is None else (now - began) / timedelta(hours=1)
        lately = traffic_figures(month, **named, cost_ratio=ratio, hours=hours)
        epoch = await rollups.window(since=figures["epoch"]["started"], until=now, task=named["task"])
        return lately | {"coverage": traffic_figures(epoch, **named, cost_ratio=ratio, hours=hours)["coverage"]}

    async def money(self, told: Mapping[str, str]) -> Sequence[Observation]:
        """The day's budget."""
        if not self._settings.shadow_enabled:
            return ()
        now = self._now().astimezone(UTC)
        day = now.date().isoformat()
        budget = await self._reader.budget(day=day)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return (
            budget_observation(
                spent_usd=budget["spent_usd"],
                reserved_usd=budget["reserved_usd"],
                cap_usd=self._settings.budget_usd_per_day,
                day=day,
                day_share=(now - midnight) / timedelta(days=1),
                told=told.get("budget/day"),
            ),
        )

    async def losses(self, told: Mapping[str, str]) -> Sequence[Observation]:
        """Sampled exchanges that were lost in the last day."""
        now = self._now()
        sampled, dropped = coverage_sums(await self._coverage(since=now - DROPS_OVER, until=now))
        seen = drops_observation(sampled=sampled, dropped=dropped, over="the last 24 hours", told=told.get("drops"))
        return () if seen is None else (seen,)

    async def _coverage(self, *, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        """Count jobs, of much traffic by sums: then the day begins with a whole minute."""
        if await self._reader.holds_more_than(ROW_BY_ROW, since=since, until=until):
            return job_counts((await self._reader.rollups.window(since=since, until=until)).totals(detail=WHOLE))
        return await self._reader.coverage(since=since, until=until)


def _standing(figures: Mapping[str, Any]) -> Standing:
    return standing_of(str(figures["task"]), figures)


def _key(view: Mapping[str, Any]) -> tuple[str, str, str]:
    return view["task"], view["primary"], view["candidate"]


def _pair(lead: Lead) -> tuple[str, str, str]:
    return lead.task, lead.primary, lead.candidate


def golden_cases(path: str | None) -> tuple[Case, ...]:
    """Read the golden set as cases of a run; none without a file. The configuration has checked the file.

    A prompt or messages are asked over the Messages API, which EzAI serves for all models; a whole request over its
    own. Raises OSError when the file is gone.
    """
    if path is None:
        return ()
    lines = [line for line in Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    cases = [_golden_case(msgspec.json.decode(line, type=dict[str, Any])) for line in lines]
    return tuple({case.id: case for case in cases}.values())


def _golden_case(line: dict[str, Any]) -> Case:
    if "request" in line:
        request = dict(line["request"])
        dialect = _dialect_of(request)
    else:
        dialect = Dialect.ANTHROPIC_MESSAGES
        messages = line.get("messages") or [{"role": "user", "content": line["prompt"]}]
        request = {"max_tokens": DEFAULT_MAX_TOKENS, "messages": messages, "stream": True}
        if line.get("system"):
            request["system"] = line["system"]
    body = msgspec.json.encode(request)
    return Case(
        id=f"{GOLDEN} {prompt_hash(dialect, body)[:16]}",
        dialect=dialect,
        request=body,
        expected=line["expected"],
        task=line.get("task") or "default",
        headers=DEFAULT_HEADERS[dialect],
        source=GOLDEN,
    )


def _dialect_of(request: Mapping[str, Any]) -> Dialect:
    """Tell a whole request's dialect by what only one of them has."""
    if "input" in request:
        return Dialect.OPENAI_RESPONSES
    roles = {message.get("role") for message in request.get("messages", ()) if isinstance(message, dict)}
    tools = request.get("tools") or [{}]
    openai = roles & {"system", "developer", "tool"} or "function" in tools[0] or "max_completion_tokens" in request
    return Dialect.OPENAI_CHAT if openai else Dialect.ANTHROPIC_MESSAGES
