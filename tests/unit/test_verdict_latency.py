"""Latency as shares and signs, and percentiles with exact bounds."""

import itertools
import math

import pytest

from shadow.verdict import faster, latency, percentile, slo_difference
from shadow.verdict.latency import bound_ranks, fewest_values


@pytest.mark.parametrize(
    ("candidate_ms", "primary_ms", "slo", "sign"),
    [(900, 1100, 1, 1), (1100, 900, -1, -1), (900, 800, 0, -1), (1000, 1000, 0, 0), (1200, 1500, 0, 1)],
)
def test_latencies_are_compared_by_a_limit_and_by_who_was_faster(
    candidate_ms: float, primary_ms: float, slo: int, sign: int
) -> None:
    assert slo_difference(candidate_ms, primary_ms, slo_ms=1000) == slo
    assert faster(candidate_ms, primary_ms) == sign


def test_the_bounds_of_a_median_are_those_of_the_tables() -> None:
    assert bound_ranks(10, 0.5) == (2, 9)
    assert bound_ranks(100, 0.5) == (40, 61)
    assert bound_ranks(6, 0.5) == (1, 6)
    assert bound_ranks(5, 0.5) is None
    assert bound_ranks(1, 0.99) is None


def _below(count: int, share: float, rank: int) -> float:
    return math.fsum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(rank))


@pytest.mark.parametrize(("count", "share"), list(itertools.product((75, 200, 731), (0.5, 0.9, 0.95))))
def test_bounds_are_exact_and_as_narrow_as_can_be(count: int, share: float) -> None:
    ranks = bound_ranks(count, share)
    assert ranks is not None
    low, high = ranks

    assert _below(count, share, low) <= 0.025 < _below(count, share, low + 1)
    assert 1 - _below(count, share, high) <= 0.025 < 1 - _below(count, share, high - 1)


def test_the_smallest_sample_with_bounds_is_named() -> None:
    for share in (0.5, 0.95, 0.99):
        least = fewest_values(share)
        assert bound_ranks(least, share) is not None
        assert bound_ranks(least - 1, share) is None
    assert fewest_values(0.95) == 72


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_bounds_of_large_samples_are_never_narrower_than_exact_ones_and_at_most_a_rank_wider(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [200, 1_000, 1_100, 5_054, 20_011, 333_333, 10_000_000]
    told = [bound_ranks(count, share) for count in counts]
    monkeypatch.setattr(latency, "_LARGE_VARIANCE", math.inf)
    exact = [bound_ranks.__wrapped__(count, share) for count in counts]

    for one, other in zip(told, exact, strict=True):
        assert one is other is None or (one[0] - other[0] in {0, -1} and one[1] - other[1] in {0, 1})


def test_ten_million_values_are_bounded_as_well() -> None:
    assert bound_ranks(10_000_000, 0.95) == (9_498_649, 9_501_351)


def test_a_percentile_is_a_member_of_the_sample_between_two_others() -> None:
    found = percentile(list(range(1, 101)), 50)

    assert (found.value, found.low, found.high, found.level, found.reason) == (50, 40, 61, 0.95, None)
    assert percentile(list(range(1, 21)), 95).value == 19


def test_a_sample_too_small_for_bounds_says_so() -> None:
    found = percentile([float(value) for value in range(30)], 95)

    assert (found.value, found.low, found.high) == (28, None, None)
    assert found.reason == "no bounds: 30 of at least 72 values"
    assert percentile([], 95).reason == "no values yet"
