"""`GET /metrics` for Prometheus: what the stats say of today (UTC), as counters that begin anew each day.

Names of models come from clients, so their number is bounded: the busiest ones stand alone, the others together.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from datetime import UTC
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from shadow.histogram import bucket_of, value_of
from shadow.rollups import WHOLE, Series, Totals
from shadow.web import parameters
from shadow.web.answers import COMMON_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from prometheus_client.metrics_core import Metric
    from starlette.requests import Request

    from shadow.store.base import Reader
    from shadow.web.admin import AdminSettings

MAX_MODELS = 50
"""So many models of each role have lines of their own."""
MAX_NAME_CHARACTERS = 100
OTHER = "(other)"
UNKNOWN = "(unknown)"

LATENCY_BORDERS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TOKENS = ("input", "cache_read", "cache_write", "output")

_Label = tuple[str, str, str]
"""Task, role, model."""


class MetricsApi:
    """The route. Each scrape has a registry of its own, so that nothing of the process leaks into it."""

    def __init__(self, *, reader: Reader, settings: Callable[[], AdminSettings], now: Callable[[], datetime]) -> None:
        self._reader = reader
        self._settings = settings
        self._now = now

    async def metrics(self, request: Request) -> Response:
        """Answer in the text format. Raises StoreError."""
        parameters.single_values(request.query_params.multi_items(), known=())
        now = self._now()
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        window = await self._reader.rollups.window(since=midnight, until=now)
        health = await self._reader.health()
        found = _Scrape(
            totals=await asyncio.to_thread(window.totals),
            dropped=await self._reader.dropped(),
            budget=await self._reader.budget(day=midnight.date().isoformat()),
            pending=health["pending_jobs"],
            settings=self._settings(),
        )
        registry = CollectorRegistry(auto_describe=False)
        registry.register(found)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST, headers=dict(COMMON_HEADERS))


class _Scrape:
    """One scrape's figures, as a collector of the client library."""

    def __init__(
        self,
        *,
        totals: Mapping[Series, Totals],
        dropped: Mapping[str, int],
        budget: Mapping[str, float],
        pending: int,
        settings: AdminSettings,
    ) -> None:
        self._dropped, self._budget, self._pending, self._settings = dropped, budget, pending, settings
        wholes = {series: sums for series, sums in totals.items() if series.detail == WHOLE}
        self._jobs = wholes
        self._calls = _bounded(wholes)

    def collect(self) -> Iterator[Metric]:
        """Give every family."""
        yield from self._of_calls()
        yield from self._of_jobs()
        dropped = CounterMetricFamily(
            "shadow_dropped", "Copies and records lost since the store was made.", labels=["reason"]
        )
        for reason, count in sorted(self._dropped.items()):
            dropped.add_metric([reason], count)
        yield dropped
        yield GaugeMetricFamily("shadow_pending_jobs", "Shadow jobs that wait.", value=self._pending)
        budget = GaugeMetricFamily("shadow_budget_usd", "Today's budget of candidates and judge.", labels=["part"])
        budget.add_metric(["cap"], self._settings.budget_usd_per_day)
        budget.add_metric(["spent"], self._budget["spent_usd"])
        budget.add_metric(["reserved"], self._budget["reserved_usd"])
        yield budget
        on = self._settings.shadow_off_reason is None
        yield GaugeMetricFamily("shadow_on", "1 when traffic is shadowed.", value=float(on))
        info = GaugeMetricFamily("shadow_gateway_info", "The version that runs.", labels=["version"])
        info.add_metric([self._settings.version], 1)
        yield info

    def _of_calls(self) -> Iterator[Metric]:
        named = ["task", "role", "model"]
        requests = CounterMetricFamily(
            "shadow_requests", "Calls of today, by how they ended.", labels=[*named, "outcome"]
        )
        cost = CounterMetricFamily("shadow_cost_usd", "Billed cost of today, where it is known.", labels=named)
        tokens = CounterMetricFamily("shadow_tokens", "Tokens of today.", labels=[*named, "kind"])
        latency = HistogramMetricFamily(
            "shadow_latency_seconds", "Time to the last byte of today's answers, borders within 1 %.", labels=named
        )
        for label, sums in sorted(self._calls.items()):
            for outcome, count in sums.named("outcome.").items():
                requests.add_metric([*label, outcome], count)
            cost.add_metric(label, sums["billed.sum"])
            for kind in _TOKENS:
                tokens.add_metric([*label, kind], sums.count(f"tokens.{kind}"))
            latency.add_metric(label, _borders(sums), sums["latency_ms.sum"] / 1000)
        yield from (requests, cost, tokens, latency)

    def _of_jobs(self) -> Iterator[Metric]:
        jobs: Counter[tuple[str, str, str]] = Counter()
        candidates = {*self._settings.candidates}
        for series, sums in self._jobs.items():
            for name, count in sums.named("job.").items():
                state, _, reason = name.partition(".")
                if state != "pending":
                    candidate = series.candidate if series.candidate in candidates else OTHER
                    jobs[candidate, state, reason] += count
        family = CounterMetricFamily(
            "shadow_jobs", "Shadow jobs of today's exchanges.", labels=["candidate", "state", "reason"]
        )
        for label, count in sorted(jobs.items()):
            family.add_metric(label, count)
        yield family


def _bounded(wholes: Mapping[Series, Totals]) -> dict[_Label, Totals]:
    """Add series up by task, role and model; models beyond the busiest ones are one."""
    busy: dict[str, Counter[str]] = {"primary": Counter(), "candidate": Counter()}
    for series, sums in wholes.items():
        busy[_role(series)][_model(series)] += sums.count("requests")
    kept = {role: {model for model, _ in counts.most_common(MAX_MODELS)} for role, counts in busy.items()}
    found: defaultdict[_Label, Totals] = defaultdict(Totals)
    for series, sums in wholes.items():
        if sums.count("requests"):
            role, model = _role(series), _model(series)
            found[_short(series.task), role, model if model in kept[role] else OTHER].absorb(sums)
    return dict(found)


def _role(series: Series) -> str:
    return "candidate" if series.candidate else "primary"


def _model(series: Series) -> str:
    return _short(series.candidate or (UNKNOWN if series.primary is None else series.primary))


def _short(name: str) -> str:
    return name[:MAX_NAME_CHARACTERS]


def _borders(sums: Totals) -> list[tuple[str, float]]:
    """Cumulative counts below fixed borders, as the text format wants them."""
    counts = sums.spread("latency_ms").counts_to([bucket for _, bucket in _BORDERS])
    return [
        *((str(border), count) for (border, _), count in zip(_BORDERS, counts, strict=True)),
        ("+Inf", sums.count("latency_ms.n")),
    ]


def _last_below(border_ms: float) -> int:
    """Number the last bucket whose value is not above a border."""
    bucket = bucket_of(border_ms)
    return bucket if value_of(bucket) <= border_ms else bucket - 1


_BORDERS = [(border, _last_below(border * 1000)) for border in LATENCY_BORDERS_S]
