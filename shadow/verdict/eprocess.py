"""Evidence about a mean that stays true however often one looks: a mixture of bets on bounded values.

A gambler with one unit of money bets on each value against the claim "the mean is at most m0". If the claim holds, no
strategy multiplies the money by 1/alpha with a probability above alpha, at whatever moment one stops to look (Ville's
inequality). The money is the e-value. Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables
by betting", JRSS-B 2024 (arXiv 2010.09686); here the bets are a fixed grid, so that the order of the values does not
matter and a histogram of them is all there is to keep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Side = Literal["greater", "less"]
"""Which way the evidence points: `greater` speaks against "mean <= m0", `less` against "mean >= m0"."""

BETS = 24
SMALLEST_BET = 0.01
LARGEST_SHARE = 0.95
"""The largest bet risks this share of the money on the worst value there can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How many bets, and the smallest of them; small ones find small differences after long, large ones large soon."""

    bets: int = BETS
    smallest: float = SMALLEST_BET


_GRID = Grid()

_TOLERANCE = 1e-9
"""How finely the ends of a confidence sequence are found."""


def bets(m0: float, side: Side = "greater", grid: Grid = _GRID) -> tuple[float, ...]:
    """Give the bets against a mean of `m0`: 24 of them, geometric; negative ones for `less`."""
    if not -1 < m0 < 1:
        raise ValueError(f"m0 must lie between -1 and 1, both excluded, not {m0}")
    sign = 1.0 if side == "greater" else -1.0
    ratio = LARGEST_SHARE / (1 + sign * m0) / grid.smallest
    return tuple(sign * grid.smallest * ratio ** (step / (grid.bets - 1)) for step in range(grid.bets))


def log_wealths(counts: Mapping[float, int], m0: float, side: Side = "greater", grid: Grid = _GRID) -> list[float]:
    """Give the logarithm of each bet's money after the values in `counts` (value in [-1, 1] -> how often)."""
    seen = _checked(counts)
    return [math.fsum(count * math.log1p(bet * (value - m0)) for value, count in seen) for bet in bets(m0, side, grid)]


def log_e_value(counts: Mapping[float, int], m0: float, side: Side = "greater", grid: Grid = _GRID) -> float:
    """Give the natural logarithm of `e_value`, which itself overflows after some thousand values."""
    return log_sum_exp(log_wealths(counts, m0, side, grid)) - math.log(grid.bets)


def e_value(counts: Mapping[float, int], m0: float, side: Side = "greater") -> float:
    """Evidence against "mean <= m0" (`greater`) or against "mean >= m0" (`less`); at or above 1/alpha it is proof.

    `counts` maps each value in [-1, 1] to how often it was seen. No evidence at all is 1. Beyond what a float holds
    it is infinite; `log_e_value` has no such end.
    """
    log_e = log_e_value(counts, m0, side)
    return math.exp(log_e) if log_e < math.log(1.7e308) else math.inf


def confidence_sequence(counts: Mapping[float, int], alpha: float) -> tuple[float, float]:
    """Give the interval of all means that are not disproved at alpha/2 on either side.

    It holds the true mean at every moment at once, with probability 1 - alpha. Without values it is (-1, 1).
    """
    return lower_bound(counts, alpha / 2), upper_bound(counts, alpha / 2)


def lower_bound(counts: Mapping[float, int], alpha: float) -> float:
    """Give the largest mean that is disproved as too low at `alpha`; -1 when none is."""
    line = _line(alpha)
    if not sum(counts.values()):
        return -1.0
    return _last_disproved(lambda m0: log_e_value(counts, m0, "greater"), line=line, start=-1.0, inside=mean_of(counts))


def upper_bound(counts: Mapping[float, int], alpha: float) -> float:
    """Give the smallest mean that is disproved as too high at `alpha`; 1 when none is."""
    line = _line(alpha)
    if not sum(counts.values()):
        return 1.0
    return _last_disproved(lambda m0: log_e_value(counts, m0, "less"), line=line, start=1.0, inside=mean_of(counts))


def mean_of(counts: Mapping[float, int]) -> float:
    """Mean of a histogram that holds at least one value."""
    return math.fsum(value * count for value, count in counts.items()) / sum(counts.values())


def merged(parts: Iterable[Mapping[float, int]]) -> dict[float, int]:
    """Add histograms up."""
    whole: dict[float, int] = {}
    for counts in parts:
        for value, count in counts.items():
            whole[value] = whole.get(value, 0) + count
    return whole


def log_sum_exp(logs: Sequence[float]) -> float:
    """Logarithm of the sum of `exp(each)`, without overflow; the logarithms are finite."""
    largest = max(logs)
    return largest + math.log(math.fsum(math.exp(each - largest) for each in logs))


def _line(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, both excluded, not {alpha}")
    return -math.log(alpha)


def _checked(counts: Mapping[float, int]) -> list[tuple[float, int]]:
    for value, count in counts.items():
        if not -1 <= value <= 1 or count < 0:
            raise ValueError(f"values lie between -1 and 1 and their counts are not negative: not {value}: {count}")
    return list(counts.items())


def _last_disproved(log_e: Callable[[float], float], *, line: float, start: float, inside: float) -> float:
    """Walk from `start` (-1 or 1) to the mean seen, `inside`, and give the last mean with `log_e` >= `line`.

    The bracket always has a disproved end outside and an undecided one inside (against the mean seen itself no bet can
    win, for the logarithm is concave). Its ends are moved by the Illinois form of false position, which needs about
    ten evaluations where bisection needs thirty.
    """
    outside = start - math.copysign(_TOLERANCE, start)
    if (inside - outside) * start >= 0 or (above := log_e(outside) - line) < 0:
        return start
    below, moved = -line, 0
    while abs(inside - outside) > _TOLERANCE:
        share = above / (above - below)
        middle = outside + min(max(share, 0.001), 0.999) * (inside - outside)
        excess = log_e(middle) - line
        if excess >= 0:
            outside, above, below = middle, excess, below / 2 if moved > 0 else below
            moved = 1
        else:
            inside, below, above = middle, excess, above / 2 if moved < 0 else above
            moved = -1
    return outside
