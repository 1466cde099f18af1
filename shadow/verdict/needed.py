"""How much more evidence it takes: conversations as a range, then days, dollars and what could be changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shadow.verdict.eprocess import BETS, Side, bets, log_sum_exp, log_wealths
from shadow.verdict.evidence import MoreNeeded, Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FEWEST = 10
"""Below this many conversations a growth rate says nothing."""

SPREAD = 1.3
"""Standard deviations to either side: the range is meant to hold four streams of five (checked in `make simulate`)."""

GOOD_DAYS = 7.0
"""Advice aims at an answer within so many days."""

_FOREVER = 10**7
_WHOLE_DOLLARS, _WHOLE_CENTS = 9.995, 0.0095


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How the money of each bet of one test has grown: where it stands, and its mean and spread a conversation."""

    line: float
    """The logarithm at which the test is proved."""
    wealths: Sequence[float]
    mean: Sequence[float]
    spread: Sequence[float]
    worst: Sequence[float]
    """What one conversation that speaks as much against the claim as one can does to each bet."""
    seen: int
    asked_each: float = 1.0
    """Conversations that are asked for one that this test counts."""

    def more(self, deviations: float) -> int | None:
        """Give the conversations still needed if growth is so many deviations off its mean; None: never."""
        return _first(lambda more: self._log_e(more, deviations) >= self.line)

    def _log_e(self, more: int, deviations: float) -> float:
        """Give the evidence after `more` conversations: what is uncertain is the mean itself, and chance to come.

        The cautious side also supposes one of the worst conversations among those seen: none seen is no proof of none.
        """
        width = math.sqrt(more * more / self.seen + more)
        doubt = more / (self.seen + 1) if deviations < 0 else 0.0
        logs = (
            wealth + (more - doubt) * mean + doubt * worst + deviations * spread * width
            for wealth, mean, spread, worst in zip(self.wealths, self.mean, self.spread, self.worst, strict=True)
        )
        return log_sum_exp(list(logs)) - math.log(BETS)


def growth(
    counts: Mapping[float, int], m0: float, side: Side, *, line: float, seen_from: int = FEWEST
) -> Growth | None:
    """Give the growth of a test over a histogram; None with fewer than `seen_from` conversations."""
    seen = sum(counts.values())
    if seen < seen_from:
        return None
    stakes = bets(m0, side)
    wealths = log_wealths(counts, m0, side)
    squares = [
        math.fsum(count * math.log1p(stake * (value - m0)) ** 2 for value, count in counts.items()) for stake in stakes
    ]
    against = -1.0 if side == "greater" else 1.0
    return Growth(
        line=line,
        wealths=wealths,
        mean=[wealth / seen for wealth in wealths],
        spread=[
            math.sqrt(max(0.0, square / seen - (wealth / seen) ** 2))
            for wealth, square in zip(wealths, squares, strict=True)
        ],
        worst=[math.log1p(stake * (against - m0)) for stake in stakes],
        seen=seen,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Conversations still needed, at best and at worst; `high` is None where it may never come."""

    low: int
    high: int | None


def range_of(growths: Iterable[Growth | None]) -> Range | None:
    """Give the range of asked conversations until all these tests are proved; None: not told yet, or luck won't do."""
    low, highs = 1, [1]
    never = False
    for each in growths:
        best = each.more(SPREAD) if each is not None else None
        if each is None or best is None:
            return None
        worst = each.more(-SPREAD)
        low, never = max(low, math.ceil(best * each.asked_each)), never or worst is None
        highs.append(math.ceil((worst or 0) * each.asked_each))
    return Range(low=low, high=None if never else max(highs))


def more_needed(
    ways: Sequence[Range | None], *, at_least: int, at_most: int, pace: Pace | None, told: bool
) -> MoreNeeded:
    """Say what it takes until the first of several decisions.

    `ways` are the decisions that could come. `at_least` conversations must come anyway, after `at_most` the count ends;
    all of them, and those of `pace`, are conversations that are asked.
    `told`: enough was seen to tell a growth rate at all.
    """
    open_ways = [way for way in ways if way is not None]
    low = min((way.low for way in open_ways), default=at_most)
    high = min((way.high for way in open_ways if way.high is not None), default=at_most)
    if not told:
        low, high = at_least, at_most
    low = min(max(low, at_least, 1), at_most)
    high = min(max(high, low), at_most)
    reasons = []
    if not told:
        reasons.append(f"with fewer than {FEWEST} conversations nothing is known of how fast evidence grows")
    elif high == at_most:
        reasons.append("at the slow end no decision comes before max_conversations ends the count")
    days, usd, advice, missing = _priced(high, pace)
    return MoreNeeded(
        conversations_low=low,
        conversations_high=high,
        days=days,
        usd=usd,
        advice=advice,
        reason="; ".join([*reasons, *missing]) or None,
    )


def _priced(conversations: int, pace: Pace | None) -> tuple[float | None, float | None, str | None, list[str]]:
    if pace is None or pace.conversations_per_day <= 0:
        usd = None if pace is None or pace.usd_per_conversation is None else conversations * pace.usd_per_conversation
        return None, usd, None, [f"days are not known: {_no_pace(pace)}"]
    days = conversations / pace.conversations_per_day
    if pace.usd_per_conversation is None:
        return days, None, None, [f"dollars are not known: {pace.usd_unknown}"]
    return days, conversations * pace.usd_per_conversation, advice(conversations, pace), []


def _no_pace(pace: Pace | None) -> str:
    if pace is not None and pace.sample_rate <= 0:
        return "nothing is asked at present (sample_rate is 0, or shadowing is off)"
    return "no conversation has entered lately"


def advice(conversations: int, pace: Pace) -> str:
    """Give one setting and what comes of it, such as "sample_rate 0.4: 7 days, about $2/day"."""
    usd_per_day = pace.conversations_per_day * (pace.usd_per_conversation or 0.0)
    days = conversations / pace.conversations_per_day
    present = f"sample_rate {pace.sample_rate:g}: {in_days(days)}, about {dollars(usd_per_day)}/day"
    if days <= GOOD_DAYS or pace.sample_rate >= 1 or pace.sample_rate <= 0:
        return present
    factor = _rounded_rate(min(1.0, pace.sample_rate * days / GOOD_DAYS)) / pace.sample_rate
    raised = f"sample_rate {pace.sample_rate * factor:g}: {in_days(days / factor)}"
    cost = f"about {dollars(usd_per_day * factor)}/day"
    if pace.budget_usd_per_day is not None and usd_per_day * factor > pace.budget_usd_per_day:
        return f"{raised}, {cost}, which needs budget_usd_per_day {_up_to_cents(usd_per_day * factor)}"
    return f"{raised}, {cost}"


def in_days(days: float) -> str:
    """Write a time as people read it, rounded up."""
    if days < 1:
        hours = max(1, math.ceil(days * 24 - 1e-9))
        return f"{hours} hour" if hours == 1 else f"{hours} hours"
    whole = math.ceil(days - 1e-9)
    return f"{whole} day" if whole == 1 else f"{whole} days"


def dollars(usd: float) -> str:
    """Write an amount as people read it: whole dollars from 10, cents from 1 cent, else two figures."""
    sign, size = ("-" if usd < 0 else ""), abs(usd)
    if size >= _WHOLE_DOLLARS:
        return f"{sign}${size:,.0f}"
    return f"{sign}${size:.2f}" if size >= _WHOLE_CENTS or not size else f"{sign}${size:.2g}"


def _rounded_rate(rate: float) -> float:
    """Round up to two figures, so that the promise of days holds."""
    step = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return min(1.0, round(math.ceil(rate / step - 1e-9) * step, 6))


def _up_to_cents(usd: float) -> str:
    return f"{math.ceil(usd * 100 - 1e-9) / 100:g}"


def _first(reached: Callable[[int], bool]) -> int | None:
    """Give the smallest number from 1 for which `reached`, found by doubling and halving; None: beyond all bounds."""
    high = 1
    while not reached(high):
        high *= 2
        if high > _FOREVER:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
