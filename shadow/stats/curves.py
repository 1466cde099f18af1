"""`/latency`: how the durations of a window are spread, per task and model, as points of a distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.rollups import WHOLE, Totals
from shadow.stats.rows import RolledRows, read_answers, read_exchanges

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from shadow.stats.rows import Call, StatsRows

MAX_POINTS = 80
"""How many points a curve has at most: more than a chart can show apart."""

Key = tuple[str, str | None, str]


def latency_curves(rows: StatsRows | RolledRows, *, tasks: Collection[str] = ()) -> list[dict[str, Any]]:
    """Give per task its models with `latency_ms` and `ttft_ms`, each `{n, points: [[ms, share], ...]}`.

    A point says that this share of the answers that ended well had come within so many milliseconds. Primaries are
    measured on the live path, candidates off it. `tasks` are those wanted; none: all.
    """
    if isinstance(rows, RolledRows):
        return _rolled(rows, tasks)
    exchanges = read_exchanges(rows.exchanges)
    calls: dict[Key, list[Call]] = {}
    for exchange in exchanges.values():
        calls.setdefault((exchange.task, exchange.call.model, "primary"), []).append(exchange.call)
    for answer in read_answers(rows.answers, exchanges):
        calls.setdefault((answer.exchange.task, answer.candidate, "candidate"), []).append(answer.call)
    by_task: dict[str, list[dict[str, Any]]] = {}
    for (task, model, role), found in sorted(calls.items(), key=_order):
        if not tasks or task in tasks:
            by_task.setdefault(task, []).append({"model": model, "role": role, **_curves(found)})
    return [{"task": task, "models": models} for task, models in by_task.items()]


def _rolled(rows: RolledRows, tasks: Collection[str]) -> list[dict[str, Any]]:
    """Give the same out of histograms, within 1 %."""
    parts: dict[Key, list[Totals]] = {}
    for series, totals in rows.totals.items():
        if series.detail == WHOLE and totals.count("requests") and (not tasks or series.task in tasks):
            model, role = (series.candidate, "candidate") if series.candidate else (series.primary, "primary")
            parts.setdefault((series.task, model, role), []).append(totals)
    found = {key: _one(of) for key, of in parts.items()}
    by_task: dict[str, list[dict[str, Any]]] = {}
    order = sorted(found.items(), key=lambda item: _place(item[0], item[1].count("requests")))
    for (task, model, role), totals in order:
        curves = {name: _of_histogram(totals, name) for name in ("latency_ms", "ttft_ms")}
        by_task.setdefault(task, []).append({"model": model, "role": role, **curves})
    return [{"task": task, "models": models} for task, models in by_task.items()]


def _one(of: Sequence[Totals]) -> Totals:
    """Add up; a single part is taken as it is, for its histograms may be added up already."""
    if len(of) == 1:
        return of[0]
    found = Totals()
    for part in of:
        found.absorb(part)
    return found


def _of_histogram(totals: Totals, name: str) -> dict[str, Any]:
    n = totals.count(f"{name}.n")
    ranks = _ranks(n)
    values = totals.spread(name).values_at(ranks)
    return {"n": n, "points": [[value, rank / n] for value, rank in zip(values, ranks, strict=True)]}


def _ranks(n: int) -> list[int]:
    steps = min(n, MAX_POINTS)
    return [-(-n * step // steps) for step in range(1, steps + 1)]


def _place(key: Key, calls: int) -> tuple[str, bool, int, str]:
    task, model, role = key
    return task, role != "primary", -calls, model or ""


def _order(item: tuple[Key, Sequence[Call]]) -> tuple[str, bool, int, str]:
    key, calls = item
    return _place(key, len(calls))


def _curves(calls: Sequence[Call]) -> dict[str, Any]:
    ended = [call for call in calls if call.ended_well]
    return {
        "latency_ms": _curve(call.latency_ms for call in ended),
        "ttft_ms": _curve(call.ttft_ms for call in ended),
    }


def _curve(values: Iterable[float | None]) -> dict[str, Any]:
    ordered = sorted(value for value in values if value is not None)
    n = len(ordered)
    return {"n": n, "points": [[ordered[rank - 1], rank / n] for rank in _ranks(n)]}
