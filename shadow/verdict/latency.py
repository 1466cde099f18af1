"""Latency without means: who is faster how often, who keeps a limit, and percentiles with exact bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SLO_MARGIN = 0.05
"""How much the share of answers within the limit may fall."""

_NEGLIGIBLE_DEVIATIONS = 9.0
"""Ranks further than this from the expected one have together a probability below 1e-17."""
_LARGE_VARIANCE = 50.0
"""Of a binomial variable; from here on the expansion of its quantiles is right to half a rank."""
_EXPANSION_ERROR = 0.55
"""What is taken off an expanded rank, in ranks, so that it is never above the exact one (tested)."""


def slo_difference(candidate_ms: float, primary_ms: float, *, slo_ms: float) -> int:
    """1 when only the candidate kept the limit, -1 when only the primary did, else 0; averaged per conversation."""
    return int(candidate_ms <= slo_ms) - int(primary_ms <= slo_ms)


def faster(candidate_ms: float, primary_ms: float) -> int:
    """1 when the candidate was faster, -1 when it was slower, 0 when neither; averaged per conversation."""
    return int(candidate_ms < primary_ms) - int(candidate_ms > primary_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """A percentile of a sample with bounds for the one of the traffic; None where the sample is too small for them."""

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    """At least this sure, for one look at independent values."""
    reason: str | None = None


def percentile(ordered: Sequence[float], percent: float, *, level: float = 0.95) -> Percentile:
    """Give the nearest-rank percentile of values in ascending order, and its order-statistic bounds.

    The bounds are members of the sample, exact for any distribution. They are for one look: unlike the intervals of
    quality they do not hold at all times together, and turns of one conversation are not quite independent.
    """
    if not ordered:
        return Percentile(value=None, reason="no values yet")
    count = len(ordered)
    value = ordered[max(1, math.ceil(count * percent / 100 - 1e-9)) - 1]
    ranks = bound_ranks(count, percent / 100, level=level)
    if ranks is None:
        least = fewest_values(percent / 100, level=level)
        return Percentile(value=value, reason=f"no bounds: {count} of at least {least} values")
    return Percentile(value=value, low=ordered[ranks[0] - 1], high=ordered[ranks[1] - 1], level=level)


@lru_cache(maxsize=1024)
def bound_ranks(count: int, share: float, *, level: float = 0.95) -> tuple[int, int] | None:
    """Give the ranks (from 1) of the two order statistics that hold the quantile `share` between them.

    With B the number of values below the quantile, binomial(count, share): P(B < low) and P(B >= high) are each at most
    (1 - level) / 2, and no narrower ranks have that; of a large sample they may lie one rank further out. None when no
    rank of this sample reaches so far.
    """
    tail = (1 - level) / 2
    low = _last_rank_below(count, share, tail)
    high = count + 1 - _last_rank_below(count, 1 - share, tail)
    return (low, high) if low >= 1 and high <= count else None


def fewest_values(share: float, *, level: float = 0.95) -> int:
    """Give the size of the smallest sample that has both bounds: none of its values, or all, must be rare enough."""
    tail = (1 - level) / 2
    return max(_until_rare(share, tail), _until_rare(1 - share, tail))


def _until_rare(share: float, tail: float) -> int:
    return max(1, math.ceil(math.log(tail) / math.log(share) - 1e-9))


def _last_rank_below(count: int, share: float, tail: float) -> int:
    """Give the largest rank r with P(B <= r - 1) <= tail, for B binomial(count, share); 0 when there is none.

    Summed from where the probability is negligible. Of a large sample, by expansion: then it may be one less.
    """
    variance = count * share * (1 - share)
    if variance > _LARGE_VARIANCE:
        return _expanded_rank(count, share, tail)
    reach = _NEGLIGIBLE_DEVIATIONS * math.sqrt(variance) + _NEGLIGIBLE_DEVIATIONS**2
    start = max(0, math.floor(count * share - reach))
    log_term = (
        math.lgamma(count + 1)
        - math.lgamma(start + 1)
        - math.lgamma(count - start + 1)
        + start * math.log(share)
        + (count - start) * math.log1p(-share)
    )
    below, rank = 0.0, start
    odds = math.log(share) - math.log1p(-share)
    while rank < count:
        below += math.exp(log_term)
        if below > tail:
            break
        log_term += math.log(count - rank) - math.log(rank + 1) + odds
        rank += 1
    return rank


def _expanded_rank(count: int, share: float, tail: float) -> int:
    """Give the same by the expansion of Cornish and Fisher (1938) to the fourth cumulant, rounded to the safe side."""
    z, other = NormalDist().inv_cdf(tail), 1 - share
    deviation = math.sqrt(count * share * other)
    skew, kurtosis = (other - share) / deviation, (1 - 6 * share * other) / deviation**2
    moved = z + skew * (z**2 - 1) / 6 + kurtosis * (z**3 - 3 * z) / 24 - skew**2 * (2 * z**3 - 5 * z) / 36
    return math.ceil(count * share + deviation * moved - _EXPANSION_ERROR)
