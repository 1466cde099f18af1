"""What tokens cost: prices from the config, else from the list that comes with genai-prices; never a default.

The list is read offline. It is imported only when a model is looked up, because that takes a third of a second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from shadow.records import Cost, Dialect, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from genai_prices.types import ModelInfo, ModelPrice

    from shadow.records import ExchangeRecord, Price, Usage

TOKENS_PER_PRICE = 1_000_000
SOURCE_CONFIG = "config"
PRICE_UNKNOWN = "price unknown"
TOKENS_UNKNOWN = "tokens unknown"
CUT_SHORT = "unknown: the answer was cut short"

_MAX_REMEMBERED_NAMES = 10_000
"""Apps may ask for any name; what was found for it is not kept without end."""
_PROVIDER_OF_PREFIX = {"models": "google", "gemini": "google", "xai": "x-ai", "mistralai": "mistral"}
"""Prefixes of model names that are not the price list's own word for the provider."""


_CUT_SHORT_OUTCOMES = frozenset({Outcome.ABORTED, Outcome.ERROR_STREAM, Outcome.TIMEOUT})


class AnswerPrices(Protocol):
    """What prices one answer: `PriceBook`, or something in its place."""

    def cost(self, usage: Usage | None, *, answered: str | None, asked: str | None) -> Cost:
        """Price one answer."""
        ...


def price_exchange(exchange: ExchangeRecord, *, prices: AnswerPrices) -> Cost:
    """Say what one live exchange cost; unknown stays unknown.

    The first event of a stream tells the input and a stand-in for the output. Where the end with the real counts never
    came, they are no basis for a cost; they are one when a stop reason was told, which comes with them.
    """
    cut_short = exchange.outcome in _CUT_SHORT_OUTCOMES and exchange.stop_reason is None
    if cut_short and exchange.streamed and exchange.dialect is not Dialect.OPENAI_RESPONSES:
        return Cost(billed_usd=None, uncached_usd=None, source=CUT_SHORT)
    return prices.cost(exchange.usage, answered=exchange.model_answered, asked=exchange.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """USD per 1M tokens of one bucket, and what they cost once a request's whole input is above a number of tokens."""

    base: float
    steps: tuple[tuple[int, float], ...] = ()
    """(above so many input tokens, USD per 1M), ascending; the step counts for all tokens, not only those above it."""

    def at(self, total_input: int) -> float:
        """Return the price in a request with so many input tokens."""
        return [self.base, *(price for above, price in self.steps if total_input > above)][-1]

    def highest(self, total_input: int) -> float:
        """Return the highest price in a request with at most so many input tokens."""
        return max(self.base, *(price for above, price in self.steps if total_input > above), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPrice:
    """The price of one model, and who says so (`config`, or `genai-prices` with its version)."""

    source: str
    input_rate: Rate
    output_rate: Rate
    cache_read_rate: Rate | None = None
    cache_write_rate: Rate | None = None
    cache_write_1h_rate: Rate | None = None

    @property
    def input(self) -> float:
        """USD per 1M fresh input tokens of a request below every step."""
        return self.input_rate.base

    @property
    def output(self) -> float:
        """USD per 1M output tokens of a request below every step."""
        return self.output_rate.base

    @property
    def cache_read(self) -> float | None:
        """USD per 1M tokens read from the cache; None when unknown."""
        return None if self.cache_read_rate is None else self.cache_read_rate.base

    @property
    def cache_write(self) -> float | None:
        """USD per 1M tokens written to the 5-minute cache; None when unknown."""
        return None if self.cache_write_rate is None else self.cache_write_rate.base

    @property
    def cache_write_1h(self) -> float | None:
        """USD per 1M tokens written to the 1-hour cache; None when unknown."""
        return None if self.cache_write_1h_rate is None else self.cache_write_1h_rate.base


class PriceBook:
    """Prices every answer on its own, because steps look at one request's input. Overrides win over the price list."""

    def __init__(
        self, overrides: Mapping[str, Price], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`now` says at which time listed prices must hold: some change by date or by hour."""
        self._overrides = {name: _known_from_config(price) for name, price in overrides.items()}
        self._now = now
        self._listed: dict[str, ModelInfo | None] = {}
        self._known: dict[int, tuple[ModelPrice, KnownPrice | None]] = {}
        self._source: str | None = None

    def price_of(self, model: str) -> KnownPrice | None:
        """Return what a model costs; None when neither the config nor the price list knows it."""
        return self._overridden(model) or self._from_list(model)

    def cost(self, usage: Usage | None, *, answered: str | None, asked: str | None) -> Cost:
        """Price one answer by the model that answered, else by the one that was asked for."""
        if usage is None:
            return Cost(billed_usd=None, uncached_usd=None, source=TOKENS_UNKNOWN)
        names = [name for name in (answered, asked) if name]
        known = next((price for name in names if (price := self._overridden(name))), None)
        known = known or next((price for name in names if (price := self._from_list(name))), None)
        if known is None:
            return Cost(billed_usd=None, uncached_usd=None, source=PRICE_UNKNOWN)
        return _cost(usage, known)

    def worst_case_usd(self, model: str, *, input_tokens: int, output_tokens: int) -> float | None:
        """Return the most that a request may cost: all input at the dearest input price. None: price unknown."""
        known = self.price_of(model)
        if known is None:
            return None
        rates = (known.input_rate, known.cache_read_rate, known.cache_write_rate, known.cache_write_1h_rate)
        dearest = max(rate.highest(input_tokens) for rate in rates if rate is not None)
        total = input_tokens * dearest + output_tokens * known.output_rate.highest(input_tokens)
        return total / TOKENS_PER_PRICE

    def context_window(self, model: str) -> int | None:
        """Return how many tokens a model can read and write in all; None when the price list does not say."""
        listed = self._listing(model)
        return None if listed is None else listed.context_window

    def missing_line(self, model: str) -> str:
        """Return the config line that would make a model's price known."""
        return f"prices: {{{json.dumps(model)}: {{input: <USD per 1M tokens>, output: <USD per 1M tokens>}}}}"

    def _overridden(self, model: str) -> KnownPrice | None:
        return self._overrides.get(model) or self._overrides.get(model.rpartition("/")[2])

    def _listing(self, model: str) -> ModelInfo | None:
        if model not in self._listed:
            if len(self._listed) >= _MAX_REMEMBERED_NAMES:
                self._listed.clear()
            self._listed[model] = _find_listed(model)
        return self._listed[model]

    def _from_list(self, model: str) -> KnownPrice | None:
        listed = self._listing(model)
        if listed is None:
            return None
        price = listed.get_prices(self._now())
        # The list's price objects live as long as the list, and are kept here, so their identity is a safe key.
        if id(price) not in self._known:
            self._known[id(price)] = price, _known_from_list(price, self._list_source())
        return self._known[id(price)][1]

    def _list_source(self) -> str:
        if self._source is None:
            import genai_prices  # noqa: PLC0415  (slow to import, see above)

            self._source = f"genai-prices {genai_prices.__version__}"
        return self._source


def _cost(usage: Usage, known: KnownPrice) -> Cost:
    total_input = usage.total_input
    buckets = (
        ("input", usage.input, known.input_rate),
        ("cache_read", usage.cache_read, known.cache_read_rate),
        ("cache_write", usage.cache_write_5m, known.cache_write_rate),
        ("cache_write_1h", usage.cache_write_1h, known.cache_write_1h_rate),
        ("output", usage.output, known.output_rate),
    )
    billed = 0.0
    for name, tokens, rate in buckets:
        if not tokens:
            continue
        if rate is None:
            return Cost(billed_usd=None, uncached_usd=None, source=f"{PRICE_UNKNOWN}: {name}")
        billed += tokens * rate.at(total_input)
    uncached = total_input * known.input_rate.at(total_input) + usage.output * known.output_rate.at(total_input)
    return Cost(billed_usd=billed / TOKENS_PER_PRICE, uncached_usd=uncached / TOKENS_PER_PRICE, source=known.source)


def _known_from_config(price: Price) -> KnownPrice:
    return KnownPrice(
        source=SOURCE_CONFIG,
        input_rate=Rate(base=price.input),
        output_rate=Rate(base=price.output),
        cache_read_rate=_flat(price.cache_read),
        cache_write_rate=_flat(price.cache_write),
        cache_write_1h_rate=_flat(price.cache_write_1h),
    )


def _flat(price: float | None) -> Rate | None:
    return None if price is None else Rate(base=price)


def _find_listed(model: str) -> ModelInfo | None:
    """Look a name up in the price list: as it is, and with a prefix (`anthropic/…`, `models/…`) as the provider."""
    import genai_prices  # noqa: PLC0415  (slow to import, see above)

    prefix, _, name = model.rpartition("/")
    provider = prefix.rpartition("/")[2].lower()
    attempts = [(model, None), *([(name, _PROVIDER_OF_PREFIX.get(provider, provider))] if provider else [])]
    for ref, provider_id in attempts:
        try:
            return genai_prices.calc_price(genai_prices.Usage(), ref, provider_id=provider_id).model
        except LookupError:
            continue  # the list does not know this spelling
    return None


def _known_from_list(price: ModelPrice, source: str) -> KnownPrice | None:
    input_rate, output_rate = _listed_rate(price, "input_mtok"), _listed_rate(price, "output_mtok")
    if input_rate is None or output_rate is None:
        return None
    return KnownPrice(
        source=source,
        input_rate=input_rate,
        output_rate=output_rate,
        cache_read_rate=_listed_rate(price, "cache_read_mtok"),
        cache_write_rate=_listed_rate(price, "cache_write_mtok"),
        cache_write_1h_rate=_listed_rate(price, "cache_write_1h_mtok"),
    )


def _listed_rate(price: ModelPrice, key: str) -> Rate | None:
    from genai_prices.types import TieredPrices  # noqa: PLC0415  (slow to import, see above)

    value = getattr(price, key)
    if value is None:
        return None
    if isinstance(value, TieredPrices):
        steps = tuple((tier.start, float(tier.price)) for tier in value.tiers)
        return Rate(base=float(value.base), steps=steps)
    return Rate(base=float(value))
