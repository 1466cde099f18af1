"""Means, quantiles and ratios over plain lists of numbers; what cannot be said is None, never a stand-in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from shadow.verdict.latency import bound_ranks, fewest_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEVEL = 0.95
"""Of the bounds of a percentile."""


def finite(value: float | None) -> float | None:
    """Give the number back; None for None, NaN and infinities."""
    return value if value is not None and math.isfinite(value) else None


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean, summed without rounding drift; None of nothing."""
    return finite(_sum(values) / len(values)) if values else None


def total(values: Sequence[float]) -> float | None:
    """Sum without rounding drift; None of nothing, because a sum of nothing known is not zero."""
    return finite(_sum(values)) if values else None


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part / whole`; None when either is unknown or the whole is not above zero."""
    if part is None or whole is None or whole <= 0:
        return None
    return finite(part / whole)


def difference(one: float | None, other: float | None) -> float | None:
    """`one - other`; None when either is unknown."""
    return finite(one - other) if one is not None and other is not None else None


def nearest_rank(ordered: Sequence[float], percent: int) -> float | None:
    """Give the smallest member of the sample at or below which `percent` of the ordered values lie; None of nothing.

    With few values a high percentile is simply the largest one, so every distribution is shown beside its `n`.
    """
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)  # rounded up in integers: 0.95 * 20 is not 19 in floats
    return ordered[rank - 1]


def distribution(values: Sequence[float], *, none_because: str) -> dict[str, Any]:
    """`{n, avg, p50, p95, p99, reason}` with exact nearest-rank percentiles; `reason` says why all are null."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "avg": mean(ordered),
        "p50": nearest_rank(ordered, 50),
        "p95": nearest_rank(ordered, 95),
        "p99": nearest_rank(ordered, 99),
        "reason": None if ordered else none_because,
    }


def bounded(values: Sequence[float], *, none_because: str) -> dict[str, Any]:
    """Give `distribution` with `percentile_bounds`."""
    ordered = sorted(values)
    return {
        **distribution(ordered, none_because=none_because),
        **percentile_bounds(len(ordered), lambda ranks: [ordered[rank - 1] for rank in ranks]),
    }


def percentile_bounds(count: int, values_at: Callable[[Sequence[int]], Sequence[float]]) -> dict[str, Any]:
    """`{p50_ci, p95_ci, p99_ci, level, ci_reason}`: order-statistic bounds of the percentiles, each for one look.

    `values_at` gives the values at ranks (from 1) of the ascending sample. Null where the sample is too small for both
    bounds; `ci_reason` says how many values it takes.
    """
    figures: dict[str, Any] = {}
    short = []
    for percent in (50, 95, 99):
        ranks = bound_ranks(count, percent / 100, level=LEVEL)
        figures[f"p{percent}_ci"] = None if ranks is None else list(values_at(ranks))
        if ranks is None:
            short.append(f"p{percent} needs {fewest_values(percent / 100, level=LEVEL)}")
    known = len(short) < 3  # noqa: PLR2004  (of the three above)
    reason = f"{count} values: for bounds of its own {', '.join(short)}" if short else None
    return {**figures, "level": LEVEL if known else None, "ci_reason": reason}


def _sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf
