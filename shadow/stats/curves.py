"""`/latency`: how the durations of a window are spread, per task and model, as points of a distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.stats.rows import read_answers, read_exchanges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shadow.stats.rows import Call, StatsRows

MAX_POINTS = 80
"""How many points a curve has at most: more than a chart can show apart."""

Key = tuple[str, str | None, str]


def latency_curves(rows: StatsRows) -> list[dict[str, Any]]:
    """Give per task its models with `latency_ms` and `ttft_ms`, each `{n, points: [[ms, share], ...]}`.

    A point says that this share of the answers that ended well had come within so many milliseconds. Primaries are
    measured on the live path, candidates off it.
    """
    exchanges = read_exchanges(rows.exchanges)
    calls: dict[Key, list[Call]] = {}
    for exchange in exchanges.values():
        calls.setdefault((exchange.task, exchange.call.model, "primary"), []).append(exchange.call)
    for answer in read_answers(rows.answers, exchanges):
        calls.setdefault((answer.exchange.task, answer.candidate, "candidate"), []).append(answer.call)
    tasks: dict[str, list[dict[str, Any]]] = {}
    for (task, model, role), found in sorted(calls.items(), key=_order):
        tasks.setdefault(task, []).append({"model": model, "role": role, **_curves(found)})
    return [{"task": task, "models": models} for task, models in tasks.items()]


def _order(item: tuple[Key, Sequence[Call]]) -> tuple[str, bool, int, str]:
    (task, model, role), calls = item
    return task, role != "primary", -len(calls), model or ""


def _curves(calls: Sequence[Call]) -> dict[str, Any]:
    ended = [call for call in calls if call.ended_well]
    return {
        "latency_ms": _curve(call.latency_ms for call in ended),
        "ttft_ms": _curve(call.ttft_ms for call in ended),
    }


def _curve(values: Iterable[float | None]) -> dict[str, Any]:
    ordered = sorted(value for value in values if value is not None)
    n = len(ordered)
    steps = min(n, MAX_POINTS)
    ranks = [-(-n * step // steps) for step in range(1, steps + 1)]
    return {"n": n, "points": [[ordered[rank - 1], rank / n] for rank in ranks]}
