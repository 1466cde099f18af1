"""Intervals of a run's figures. Pure: numbers in, numbers out; what cannot be said is None.

Means and shares of bounded values get confidence sequences (`shadow.verdict`): they hold however often a run is looked
at, gone on with or added to. Ratios of sums, such as cost per quality point, get an asymptotic sequence on the log
scale. Quantiles get bounds by order statistics, exact for independent answers.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from shadow.verdict import confidence_sequence, rounded_down, rounded_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Interval = tuple[float, float]

MIN_UNITS_OF_RATIO = 20
"""Below so many units the interval of a ratio would rest on too little; see docs/decisions/0021."""

_TUNED_FOR = 300
"""The asymptotic sequence is narrowest near so many units."""


def mean_interval(values: Sequence[float], alpha: float) -> Interval | None:
    """Interval of the mean of independent values in [0, 1]; None without any."""
    if not values:
        return None
    low, high = difference_interval([2 * value - 1 for value in values], alpha)  # type: ignore[misc]  # there are values
    return (low + 1) / 2, (high + 1) / 2


def difference_interval(values: Sequence[float], alpha: float) -> Interval | None:
    """Interval of the mean of independent values in [-1, 1]; None without any.

    Values are rounded outward to hundredths, so that the histogram stays small and the interval is never too narrow.
    """
    if not values:
        return None
    down, up = _counted(map(rounded_down, values)), _counted(map(rounded_up, values))
    low, high = confidence_sequence(down, alpha)
    return low, high if down == up else confidence_sequence(up, alpha)[1]


def ratio_interval(tops: Sequence[float], bottoms: Sequence[float], alpha: float) -> Interval | None:
    """Interval of sum(tops) / sum(bottoms), one pair of sums a unit, by the delta method on the log scale.

    psi = top/mean(tops) - bottom/mean(bottoms); log(ratio) +- h(sd(psi)) with the half-width of an asymptotic
    confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Annals of Statistics 52(6), 2024).
    """
    units = len(tops)
    top, bottom = math.fsum(tops), math.fsum(bottoms)
    if units < MIN_UNITS_OF_RATIO or top <= 0 or bottom <= 0:
        return None
    psi = [units * (one / top - other / bottom) for one, other in zip(tops, bottoms, strict=True)]
    half = asymptotic_half_width(math.sqrt(math.fsum(each * each for each in psi) / (units - 1)), units, alpha)
    middle = top / bottom
    return middle * math.exp(-half), middle * math.exp(half)


def ratio_of_ratios_interval(
    one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]], alpha: float
) -> Interval | None:
    """Interval of (top/bottom of `one`) / (top/bottom of `other`), paired by unit, by the same method."""
    units = len(one)
    sums = [math.fsum(pair[at] for pair in side) for side in (one, other) for at in (0, 1)]
    if units < MIN_UNITS_OF_RATIO or min(sums) <= 0:
        return None
    psi = [
        units * (a[0] / sums[0] - a[1] / sums[1] - b[0] / sums[2] + b[1] / sums[3])
        for a, b in zip(one, other, strict=True)
    ]
    half = asymptotic_half_width(math.sqrt(math.fsum(each * each for each in psi) / (units - 1)), units, alpha)
    middle = sums[0] / sums[1] / (sums[2] / sums[3])
    return middle * math.exp(-half), middle * math.exp(half)


def asymptotic_half_width(deviation: float, units: int, alpha: float) -> float:
    """Half-width of an asymptotic confidence sequence for a mean, given the standard deviation seen."""
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / _TUNED_FOR
    grown = units * rho2 + 1
    return deviation * math.sqrt(2 * grown / (units * units * rho2) * math.log(math.sqrt(grown) / alpha))


def quantile_interval(ordered: Sequence[float], percent: int, alpha: float) -> tuple[float | None, float | None]:
    """Bounds of a quantile: the widest pair of order statistics with alpha/2 or less outside on either side.

    A side on which the sample has no such member is None: with 20 answers nothing bounds the 95th percentile above.
    """
    count, share = len(ordered), percent / 100
    low = high = None
    below = 0.0
    for rank, probability in enumerate(_binomial(count, share)):
        # `below` is P(fewer than `rank` of the answers lie below the quantile).
        if below <= alpha / 2 and rank > 0:
            low = ordered[rank - 1]
        below += probability
        if high is None and 1 - below <= alpha / 2 and rank < count:
            high = ordered[rank]
    return low, high


def _binomial(count: int, share: float) -> list[float]:
    """Probabilities of 0 .. count successes, by logarithms so that large counts do not underflow at once."""
    logs = math.lgamma(count + 1)
    return [
        math.exp(
            logs
            - math.lgamma(k + 1)
            - math.lgamma(count - k + 1)
            + k * math.log(share)
            + (count - k) * math.log1p(-share)
        )
        for k in range(count + 1)
    ]


def _counted(values: Iterable[float]) -> dict[float, int]:
    return dict(Counter(values))
