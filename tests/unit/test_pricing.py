"""Every price comes from the config or the list, never from thin air."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pytest

from shadow.pricing import PriceBook, price_exchange
from shadow.records import Cost, Dialect, ExchangeRecord, Outcome, Price, Usage

LISTED = f"genai-prices {version('genai-prices')}"
BOOK = PriceBook({})
OWN = PriceBook(
    {
        "own": Price(input=2, output=8),
        "cached": Price(input=2, output=8, cache_read=1, cache_write=3, cache_write_1h=4),
        "claude-sonnet-4-5": Price(input=1, output=1),
    }
)


def test_a_listed_model_is_priced_with_its_caches() -> None:
    usage = Usage(input=1_000, cache_read=10_000, cache_write_5m=2_000, cache_write_1h=3_000, output=500)

    cost = BOOK.cost(usage, answered="claude-sonnet-4-5-20250929", asked="claude-sonnet-4-5")

    assert cost.source == LISTED
    assert cost.billed_usd == pytest.approx((1_000 * 3 + 10_000 * 0.3 + 2_000 * 3.75 + 3_000 * 6 + 500 * 15) / 1e6)
    assert cost.uncached_usd == pytest.approx((16_000 * 3 + 500 * 15) / 1e6)


def test_long_requests_pay_their_step_on_all_tokens_by_the_whole_input() -> None:
    usage = Usage(input=1_000, cache_read=200_000, output=100)

    cost = BOOK.cost(usage, answered="claude-sonnet-4-5", asked=None)

    assert cost.billed_usd == pytest.approx((1_000 * 6 + 200_000 * 0.6 + 100 * 22.5) / 1e6)
    assert BOOK.cost(Usage(input=200_000), answered="claude-sonnet-4-5", asked=None).billed_usd == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("name", "same_as"),
    [
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("openai/gpt-4o", "gpt-4o"),
        ("openrouter/openai/gpt-4o", "gpt-4o"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google/gemini-2.5-pro", "gemini-2.5-pro"),
        ("gemini/gemini-2.5-pro", "gemini-2.5-pro"),
    ],
)
def test_a_provider_before_the_name_is_understood(name: str, same_as: str) -> None:
    assert BOOK.price_of(name) is not None
    assert BOOK.price_of(name) == BOOK.price_of(same_as)


@pytest.mark.parametrize(
    "name", ["claude-haiku-3-5", "no-such-model", "", "/", "a/", "elsewhere/gpt-4o", "gemma-3-270m"]
)
def test_an_unknown_model_has_no_price(name: str) -> None:
    assert BOOK.price_of(name) is None
    assert BOOK.worst_case_usd(name, input_tokens=1, output_tokens=1) is None
    assert BOOK.cost(Usage(input=1), answered=name, asked=name) == Cost(
        billed_usd=None, uncached_usd=None, source="price unknown"
    )


def test_unknown_tokens_are_not_guessed() -> None:
    assert BOOK.cost(None, answered="gpt-4o", asked="gpt-4o") == Cost(
        billed_usd=None, uncached_usd=None, source="tokens unknown"
    )


def test_the_config_wins_over_the_list_for_the_asked_name_too() -> None:
    cost = OWN.cost(Usage(input=1_000_000), answered="claude-sonnet-4-5-20250929", asked="claude-sonnet-4-5")

    assert cost == Cost(billed_usd=1.0, uncached_usd=1.0, source="config")


def test_the_model_that_answered_is_priced_before_the_one_that_was_asked() -> None:
    cost = BOOK.cost(Usage(output=1_000_000), answered="gpt-4o-mini", asked="gpt-4o")
    other = BOOK.cost(Usage(output=1_000_000), answered="a-private-name", asked="gpt-4o")

    assert cost.billed_usd == pytest.approx(0.6)
    assert other.billed_usd == pytest.approx(10)


def test_an_override_serves_the_prefixed_name() -> None:
    known = OWN.price_of("here/own")

    assert known is not None
    assert (known.source, known.input, known.output) == ("config", 2, 8)
    assert (known.cache_read, known.cache_write, known.cache_write_1h) == (None, None, None)


def test_a_known_price_tells_its_figures_per_million_tokens() -> None:
    known = BOOK.price_of("claude-opus-4")

    assert known is not None
    assert (known.source, known.input, known.output) == (LISTED, 15, 75)
    assert (known.cache_read, known.cache_write, known.cache_write_1h) == (1.5, 18.75, 30)


@pytest.mark.parametrize(
    ("usage", "bucket"),
    [
        (Usage(cache_read=1), "cache_read"),
        (Usage(cache_write_5m=1), "cache_write"),
        (Usage(cache_write_1h=1), "cache_write_1h"),
    ],
)
def test_tokens_in_a_bucket_without_a_price_make_the_cost_unknown(usage: Usage, bucket: str) -> None:
    assert OWN.cost(usage, answered="own", asked=None) == Cost(
        billed_usd=None, uncached_usd=None, source=f"price unknown: {bucket}"
    )
    assert OWN.cost(usage, answered="cached", asked=None).billed_usd is not None


def test_an_empty_answer_costs_nothing() -> None:
    assert OWN.cost(Usage(), answered="own", asked=None) == Cost(billed_usd=0.0, uncached_usd=0.0, source="config")


def test_the_worst_case_takes_the_dearest_input_price_and_step() -> None:
    assert OWN.worst_case_usd("own", input_tokens=1_000_000, output_tokens=1_000_000) == pytest.approx(10)
    assert OWN.worst_case_usd("cached", input_tokens=1_000_000, output_tokens=0) == pytest.approx(4)
    assert BOOK.worst_case_usd("claude-sonnet-4-5", input_tokens=100_000, output_tokens=0) == pytest.approx(0.6)
    assert BOOK.worst_case_usd("claude-sonnet-4-5", input_tokens=300_000, output_tokens=1_000) == pytest.approx(3.6225)


def test_the_worst_case_is_never_below_the_cost() -> None:
    usage = Usage(input=10, cache_read=100_000, cache_write_5m=120_000, cache_write_1h=30_000, output=900)

    for model in ("claude-sonnet-4-5", "claude-opus-5-5"):
        worst = BOOK.worst_case_usd(model, input_tokens=usage.total_input, output_tokens=usage.output)
        billed = BOOK.cost(usage, answered=model, asked=None).billed_usd

        assert worst is not None
        assert billed is not None
        assert worst >= billed


def test_prices_that_change_by_the_hour_follow_the_clock() -> None:
    clock = [datetime(2025, 3, 1, 12, tzinfo=UTC)]
    book = PriceBook({}, now=lambda: clock[0])

    day = book.price_of("deepseek-chat")
    clock[0] = datetime(2025, 3, 1, 20, tzinfo=UTC)
    night = book.price_of("deepseek-chat")

    assert day is not None
    assert night is not None
    assert night.input < day.input


def test_the_line_to_add_names_the_model() -> None:
    assert BOOK.missing_line("x/y z") == (
        'prices: {"x/y z": {input: <USD per 1M tokens>, output: <USD per 1M tokens>}}'
    )


def test_a_model_listed_without_token_prices_has_none() -> None:
    assert BOOK.price_of("azure/ada") is None


def test_names_without_end_are_not_all_remembered() -> None:
    book = PriceBook({})

    for n in range(10_050):
        assert book.price_of(f"x{n}") is None
    assert book.price_of("gpt-4o") is not None


def test_the_price_list_is_not_imported_before_a_model_is_looked_up() -> None:
    code = (
        "import sys; from shadow.pricing import PriceBook; from shadow.records import Price\n"
        "PriceBook({'own': Price(input=1, output=1)}).price_of('own'); print('genai_prices' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("about", "known"),
    [
        ({"outcome": Outcome.ABORTED}, False),
        ({"outcome": Outcome.ERROR_STREAM}, False),
        ({"outcome": Outcome.TIMEOUT}, False),
        ({"outcome": Outcome.ABORTED, "stop_reason": "end_turn"}, True),
        ({"outcome": Outcome.ERROR_STREAM, "dialect": Dialect.OPENAI_RESPONSES}, True),
        ({"outcome": Outcome.TRUNCATED}, True),
    ],
)
def test_a_stream_cut_before_its_final_counts_has_no_known_cost(*, about: dict[str, Any], known: bool) -> None:
    """What the first event tells of the output (one token) is a stand-in, not a count."""
    told: dict[str, Any] = {
        "id": "x1",
        "started_at": datetime(2026, 11, 23, tzinfo=UTC),
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "latency_ms": 1.0,
        "dialect": Dialect.ANTHROPIC_MESSAGES,
        "model": "own",
        "streamed": True,
        "usage": Usage(input=1000, output=1),
    }
    cost = price_exchange(ExchangeRecord(**(told | about)), prices=OWN)
    assert (cost.billed_usd is not None, cost.uncached_usd is not None) == (known, known)
    assert known or cost.source == "unknown: the answer was cut short"


def test_the_price_list_knows_most_context_windows() -> None:
    assert BOOK.context_window("gpt-4") == 8192
    assert BOOK.context_window("no-such-model") is None
