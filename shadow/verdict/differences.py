"""Differences per conversation as histograms of hundredths: all that a verdict needs to remember of quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shadow.verdict.eprocess import Grid, log_e_value, log_sum_exp, lower_bound, merged

_NOISE = 1e-7
"""In hundredths: a value this near to one is that one, so that 0.8 - 0.51 is 0.29 in both directions."""

CANDIDATE_SHARE = 0.8
"""Of the alpha of the failure guard; the primary, whose live traffic tells more, needs the smaller part."""

_HIGHEST_LIMIT = 0.99

WATCH_BLOCK = 100
"""Conversations after which a watch starts one more process beside those it has."""

WATCH_FIRST_SHARE = 2 / 3

WATCH_GRID = Grid(bets=4, smallest=0.2)
"""A watch looks for a loss that matters soon; a small one is found by the evidence of the whole epoch."""


def rounded_down(value: float) -> float:
    """Give the next hundredth at or below `value`."""
    return math.floor(value * 100 + _NOISE) / 100


def rounded_up(value: float) -> float:
    """Give the next hundredth at or above `value`."""
    return math.ceil(value * 100 - _NOISE) / 100


def counted(counts: Mapping[float, int], value: float) -> dict[float, int]:
    """Give the histogram with one more of `value`."""
    return {**counts, value: counts.get(value, 0) + 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Candidate minus primary, one value in [-1, 1] a conversation, rounded to 0.01 in both directions.

    `good` is rounded down and used where the candidate is to be shown good, `bad` is rounded up and used where it is
    to be shown bad. Two plain histograms: their order, and how often they were written down, do not matter.
    """

    good: Mapping[float, int] = field(default_factory=dict)
    bad: Mapping[float, int] = field(default_factory=dict)

    @property
    def conversations(self) -> int:
        """How many conversations are in it."""
        return sum(self.good.values())

    def add(self, difference: float) -> Differences:
        """Give the histograms with one more conversation."""
        _check(difference, lowest=-1, what="a difference of two qualities")
        return Differences(
            good=counted(self.good, rounded_down(difference)), bad=counted(self.bad, rounded_up(difference))
        )

    def __add__(self, other: Differences) -> Differences:
        return Differences(good=merged((self.good, other.good)), bad=merged((self.bad, other.bad)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What came after a promotion, watched for a loss: `blocks` of rounded-up differences, oldest first.

    Each block starts one more process, so that a loss that begins a thousand good conversations later is noticed as
    soon as one that begins at once. The first process has two thirds of the money, the k-th after it 1/(3k(k+1)); those
    to come hold theirs uninvested. A mixture of e-processes that start later is an e-process.
    """

    blocks: Sequence[Mapping[float, int]] = ()

    @property
    def conversations(self) -> int:
        """How many conversations came since the promotion."""
        return sum(sum(block.values()) for block in self.blocks)

    def add(self, difference: float) -> Watch:
        """Give the watch with one more conversation."""
        _check(difference, lowest=-1, what="a difference of two qualities")
        value, blocks = rounded_up(difference), self.blocks
        if blocks and sum(blocks[-1].values()) < WATCH_BLOCK:
            return Watch(blocks=(*blocks[:-1], counted(blocks[-1], value)))
        return Watch(blocks=(*blocks, {value: 1}))

    def log_e_value(self, margin: float) -> float:
        """Evidence (its logarithm) that the mean since some block's start lies below -margin."""
        shares = [watch_share(number) for number in range(len(self.blocks))]
        logs = [math.log(1 - math.fsum(shares))]
        since: dict[float, int] = {}
        for block, share in zip(reversed(self.blocks), reversed(shares), strict=True):
            since = merged((since, block))
            logs.append(log_e_value(since, -margin, "less", WATCH_GRID) + math.log(share))
        return log_sum_exp(logs)


def watch_share(number: int) -> float:
    """Give the share of the money of a watch's `number`-th process, from 0; all there will ever be have 1 together."""
    return WATCH_FIRST_SHARE if not number else (1 - WATCH_FIRST_SHARE) / (number * (number + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureShares:
    """Share of failed calls, one value in [0, 1] a conversation: the candidate's, and the primary's on live traffic.

    The two are not paired: an exchange the primary failed is never asked of a candidate. The candidate's shares are
    rounded up, the primary's down.
    """

    primary: Mapping[float, int] = field(default_factory=dict)
    candidate: Mapping[float, int] = field(default_factory=dict)

    def add_primary(self, share: float) -> FailureShares:
        """Give the shares with one more live conversation: failed / (all - aborted) exchanges."""
        _check(share, lowest=0, what="a share")
        return FailureShares(primary=counted(self.primary, rounded_down(share)), candidate=self.candidate)

    def add_candidate(self, share: float) -> FailureShares:
        """Give the shares with one more conversation the candidate was asked: failed / asked."""
        _check(share, lowest=0, what="a share")
        return FailureShares(primary=self.primary, candidate=counted(self.candidate, rounded_up(share)))

    def candidate_limit(self, margin: float, alpha: float) -> float:
        """Give the failure share that is certainly too much: what the primary proves to have itself, plus `margin`."""
        primary = lower_bound(self.primary, (1 - CANDIDATE_SHARE) * alpha) if self.primary else 0.0
        return min(max(primary, 0.0) + margin, _HIGHEST_LIMIT)

    def log_e_value(self, margin: float, alpha: float) -> float:
        """Evidence (its logarithm) that the candidate fails less than `margin` more often than the primary.

        A union over the primary's unknown share p: where p lies below what it proved, its own evidence speaks (a fifth
        of alpha); above, that the candidate stays below p + margin (the rest of alpha). To be compared with 1/alpha.
        """
        return log_e_value(self.candidate, self.candidate_limit(margin, alpha), "less") + math.log(CANDIDATE_SHARE)


def _check(value: float, *, lowest: int, what: str) -> None:
    if not lowest <= value <= 1:
        raise ValueError(f"{what} lies between {lowest} and 1, not {value}")
