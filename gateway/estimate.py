"""What shadowing will cost a day, as far as the traffic recorded so far tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shadow.pricing import PriceBook
from shadow.records import Usage
from shadow.store import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config import Config
    from shadow.records import Candidate

_WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """USD a day, before the budget's limit; None with a reason when it cannot be known."""

    usd_per_day: float | None
    exchanges: int
    """How many recorded exchanges it is based on."""
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
        exchanges = await store.reader.exchanges(since=until - _WINDOW, until=until)
    return _priced([row for row in exchanges if row["eligible"]], config)


def _priced(exchanges: Sequence[dict[str, Any]], config: Config) -> Estimate:
    counted = [usage for usage in map(_usage, exchanges) if usage is not None]
    if not counted:
        return Estimate(usd_per_day=None, exchanges=0, reason="no traffic with token counts in the last 24 hours")
    book = PriceBook(config.measuring.prices)
    costs = [_candidate_cost(candidate, counted, book, config) for candidate in config.measuring.candidates]
    unknown = [
        candidate.model for candidate, cost in zip(config.measuring.candidates, costs, strict=True) if cost is None
    ]
    if len(unknown) == len(costs):
        return Estimate(usd_per_day=None, exchanges=len(counted), reason="no candidate has a known price")
    total = sum(cost for cost in costs if cost is not None) + _cost_again(exchanges, book, config)
    return Estimate(usd_per_day=total, exchanges=len(counted))


def _candidate_cost(candidate: Candidate, usages: Sequence[Usage], book: PriceBook, config: Config) -> float | None:
    """Sum what this candidate would have cost; it is taken to answer as long as the primary did."""
    rate = config.measuring.sample_rate if candidate.sample_rate is None else candidate.sample_rate
    costs = [book.cost(usage, answered=None, asked=candidate.model).uncached_usd for usage in usages]
    return None if None in costs else rate * sum(cost for cost in costs if cost is not None)


def _cost_again(exchanges: Sequence[dict[str, Any]], book: PriceBook, config: Config) -> float:
    """Sum what the primary, asked again for the noise floor, would have cost; unknown prices are not asked."""
    settings = config.measuring
    if settings.noise_floor is None:
        return 0.0
    rates = (settings.sample_rate if each.sample_rate is None else each.sample_rate for each in settings.candidates)
    costs = (book.cost(_usage(row), answered=None, asked=row["model"]).uncached_usd for row in exchanges)
    return max(rates) * settings.noise_floor_rate * sum(cost for cost in costs if cost is not None)


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
