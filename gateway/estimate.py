"""What shadowing will cost a day, as far as the traffic recorded so far tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shadow.pricing import PriceBook
from shadow.records import Usage
from shadow.rollups import WHOLE
from shadow.store import open_store
from shadow.store.base import ROW_BY_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config import Config
    from shadow.records import Candidate
    from shadow.store.base import Reader

_HOURS = 24
_AN_HOUR = 200


Weighted = tuple[dict[str, Any], float]
"""An exchange, and how many it stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """USD a day, before the budget's limit; None with a reason when it cannot be known."""

    usd_per_day: float | None
    exchanges: int
    """How many recorded exchanges it is about."""
    reason: str | None = None

    def sentence(self, budget_usd_per_day: float) -> str:
        """Say it to people."""
        if self.usd_per_day is None:
            return f"cost of shadowing unknown: {self.reason}; never more than ${budget_usd_per_day:.2f} a day"
        limit = f", limited to ${budget_usd_per_day:.2f}" if self.usd_per_day > budget_usd_per_day else ""
        return (
            f"shadowing would cost about ${self.usd_per_day:.2f} a day{limit} "
            f"(by the {self.exchanges} exchanges of the last 24 hours)"
        )


async def estimate(config: Config, *, now: datetime | None = None) -> Estimate:
    """Price the last day's recorded traffic as each candidate would have been asked it. Raises StoreError."""
    if not config.store_path.exists():
        return Estimate(usd_per_day=None, exchanges=0, reason="no traffic is recorded yet")
    until = datetime.now(UTC) if now is None else now
    async with await open_store(config.measuring.store) as store:
        return _priced(await _weighted(store.reader, until), config)


async def _weighted(reader: Reader, until: datetime) -> list[Weighted]:
    """Read the day's eligible exchanges, each with the number of exchanges it stands for."""
    since = until - timedelta(hours=_HOURS)
    if not await reader.holds_more_than(ROW_BY_ROW, since=since, until=until):
        return [(row, 1.0) for row in await reader.exchanges(since=since, until=until) if row["eligible"]]
    found: list[Weighted] = []
    for hour in range(_HOURS):
        bounds = {"since": since + timedelta(hours=hour), "until": since + timedelta(hours=hour + 1)}
        rows = await reader.eligible_sample(_AN_HOUR, **bounds)
        if len(rows) == _AN_HOUR:
            window = await reader.rollups.window(since=bounds["since"], until=bounds["until"])
            eligible = sum(sums["eligible"] for sums in window.totals(detail=WHOLE).values())
            found += [(row, max(1.0, eligible / _AN_HOUR)) for row in rows]
        else:
            found += [(row, 1.0) for row in rows]
    return found


def _priced(exchanges: Sequence[Weighted], config: Config) -> Estimate:
    counted = [(usage, weight) for row, weight in exchanges if (usage := _usage(row)) is not None]
    about = round(sum(weight for _, weight in counted))
    if not counted:
        return Estimate(usd_per_day=None, exchanges=0, reason="no traffic with token counts in the last 24 hours")
    book = PriceBook(config.measuring.prices)
    costs = [_candidate_cost(candidate, counted, book, config) for candidate in config.measuring.candidates]
    unknown = [
        candidate.model for candidate, cost in zip(config.measuring.candidates, costs, strict=True) if cost is None
    ]
    if len(unknown) == len(costs):
        return Estimate(usd_per_day=None, exchanges=about, reason="no candidate has a known price")
    total = sum(cost for cost in costs if cost is not None) + _cost_again(exchanges, book, config)
    return Estimate(usd_per_day=total, exchanges=about)


def _candidate_cost(
    candidate: Candidate, usages: Sequence[tuple[Usage, float]], book: PriceBook, config: Config
) -> float | None:
    """Sum what this candidate would have cost; it is taken to answer as long as the primary did."""
    rate = config.measuring.sample_rate if candidate.sample_rate is None else candidate.sample_rate
    costs = [book.cost(usage, answered=None, asked=candidate.model).uncached_usd for usage, _ in usages]
    if None in costs:
        return None
    return rate * sum(cost * weight for cost, (_, weight) in zip(costs, usages, strict=True) if cost is not None)


def _cost_again(exchanges: Sequence[Weighted], book: PriceBook, config: Config) -> float:
    """Sum what the primary, asked again for the noise floor, would have cost; unknown prices are not asked."""
    settings = config.measuring
    if settings.noise_floor is None:
        return 0.0
    rates = (settings.sample_rate if each.sample_rate is None else each.sample_rate for each in settings.candidates)
    costs = (
        (book.cost(_usage(row), answered=None, asked=row["model"]).uncached_usd, weight) for row, weight in exchanges
    )
    return max(rates) * settings.noise_floor_rate * sum(cost * weight for cost, weight in costs if cost is not None)


def _usage(row: dict[str, Any]) -> Usage | None:
    if row["input_tokens"] is None:
        return None
    return Usage(
        input=row["input_tokens"]
        + row["cache_read_tokens"]
        + row["cache_write_5m_tokens"]
        + row["cache_write_1h_tokens"],
        output=row["output_tokens"],
    )
