"""Weeks of live traffic as points of `/trends`, out of sums. Pure.

The fields are those of `shadow.trends.trend_points`. What differs: a primary's times are those of all its live answers,
not of the shadowed ones alone, and there is no interval over conversations, which sums do not know.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shadow.rollups import WHOLE, Totals
from shadow.stats.figures import LEVEL
from shadow.stats.rolled_models import average, cost_per_point, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.rollups import Series, Window

NO_INTERVAL = (
    "ci is null: intervals are over conversations, which the sums that large windows are read from do not tell"
)
NOT_ITS_OWN = "no answer has a quality of its own (an evaluator that only compares has none)"
_FIRST_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_WEEK = timedelta(weeks=1)


WeekPart = tuple[datetime, datetime, datetime]
"""Monday 00:00 UTC, and the part of that week: from, until."""


def weeks(since: datetime, until: datetime) -> list[WeekPart]:
    """Cut a window into weeks, oldest first; its ends may lie within one."""
    monday = _FIRST_MONDAY + (since - _FIRST_MONDAY) // _WEEK * _WEEK
    found = []
    while monday < until:
        found.append((monday, max(monday, since), min(monday + _WEEK, until)))
        monday += _WEEK
    return found


def week_points(monday: datetime, window: Window) -> list[dict[str, Any]]:
    """Give a point for every model that took part in a shadowed pair of this (part of a) week, in no order."""
    called = {series: sums for series, sums in window.totals(detail=WHOLE).items() if sums.count("requests")}
    compared = {(series.task, series.primary) for series in called if series.candidate}
    models: dict[tuple[str, str, str], Totals] = {}
    pairwise: set[str] = set()
    for series, sums in called.items():
        model = series.candidate or series.primary
        if model is None or (series.task, series.primary) not in compared:
            continue
        models.setdefault((series.task, model, _role(series)), Totals()).absorb(sums)
        if sums.count("decided_by_pair"):
            pairwise.add(series.task)
    return [_point(monday, of, sums, pairwise=of[0] in pairwise) for of, sums in models.items()]


def _role(series: Series) -> str:
    return "candidate" if series.candidate else "primary"


def _point(monday: datetime, of: tuple[str, str, str], sums: Totals, *, pairwise: bool) -> dict[str, Any]:
    task, model, role = of
    mean = average(sums, "quality")
    per_point = cost_per_point(sums, pairwise=pairwise)
    return {
        "at": monday,
        "source": "live",
        "run": None,
        "task": task,
        "model": model,
        "role": role,
        "conversations": None,
        "answers": sums.count("requests"),
        "level": LEVEL,
        "quality": {
            "mean": mean,
            "ci": None,
            "n": sums.count("quality.n"),
            "reason": NOT_ITS_OWN if mean is None else NO_INTERVAL,
        },
        "cost_per_quality_point_usd": {
            "value": per_point["value"],
            "ci": None,
            "reason": per_point["reason"] if per_point["value"] is None else NO_INTERVAL,
        },
        "latency_ms": _times(spread(sums, "latency_ms", none_because="")),
        "ttft_ms": _times(spread(sums, "ttft_ms", none_because="")),
        "error_rate": None,
        "model_answered": None,
    }


def _times(of: Mapping[str, Any]) -> dict[str, Any]:
    return {name: of[name] for name in ("n", "p50", "p50_ci", "p95", "p95_ci")}
