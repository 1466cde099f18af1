"""Means, quantiles and ratios over plain lists of numbers; what cannot be said is None, never a stand-in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def _sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf
