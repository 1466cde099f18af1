"""How much of a day's money may be spent by now: pure, the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

INITIAL_SHARE = 0.1
"""Share of the cap that is there at 00:00 UTC, so that an early hour is measured too; the rest accrues over the day."""

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetDay:
    """One UTC day's budget at one moment, as `Jobs.reserve` takes it.

    `cap_usd` is what may never be passed on this day, reserves included. `paced_usd` is the part of it that has
    accrued by now: a new conversation is only admitted below it, so that one busy hour cannot eat the whole day.
    """

    day: str
    """ISO date, UTC."""
    cap_usd: float
    paced_usd: float


def budget_day(now: datetime, *, cap_usd: float) -> BudgetDay:
    """Give the budget of the UTC day `now` (aware) lies in.

    `INITIAL_SHARE` of the cap is available from the first second, the remainder grows linearly until 24:00 UTC.
    """
    at = now.astimezone(UTC)
    seconds = (at - at.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    share = INITIAL_SHARE + (1 - INITIAL_SHARE) * seconds / _DAY_S
    return BudgetDay(day=at.date().isoformat(), cap_usd=cap_usd, paced_usd=cap_usd * share)
