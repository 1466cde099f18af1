"""Histograms: quantiles within 1 % on any distribution, and merging as exact as counting."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.histogram import RELATIVE_ERROR, Distribution, bucket_of, decode, encode, merged, value_of

if TYPE_CHECKING:
    from collections.abc import Callable

PERCENTS = (1, 5, 25, 50, 75, 90, 95, 99, 100)
SIZE = 5000

DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "uniform": lambda chance: chance.uniform(0, 1),
    "exponential": lambda chance: chance.expovariate(1 / 700),
    "lognormal": lambda chance: chance.lognormvariate(6.5, 1.2),
    "a slow tail": lambda chance: chance.lognormvariate(6, 0.4) * (6 if chance.random() < 0.02 else 1),
    "pareto": lambda chance: chance.paretovariate(1.1),
    "two humps": lambda chance: chance.gauss(300, 20) if chance.random() < 0.7 else chance.gauss(9000, 400),
    "whole numbers": lambda chance: float(chance.randint(0, 12)),
    "one value": lambda _: 250.0,
    "differences": lambda chance: chance.gauss(0, 400),
    "tiny and huge": lambda chance: math.copysign(10 ** chance.uniform(-12, 12), chance.random() - 0.3),
}


def counted(values: list[float]) -> Counter[int]:
    return Counter(map(bucket_of, values))


def exact(values: list[float], percent: int) -> float:
    return sorted(values)[max(1, -(-len(values) * percent // 100)) - 1]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_every_quantile_lies_within_one_percent_of_the_exact_one(name: str, seed: int) -> None:
    chance = random.Random(seed)
    values = [DISTRIBUTIONS[name](chance) for _ in range(SIZE)]

    # In parts, as rows of a window come.
    parts = [encode(counted(values[start : start + 500])) for start in range(0, SIZE, 500)]
    for percent, told in zip(PERCENTS, Distribution(parts).quantiles(PERCENTS), strict=True):
        assert told == pytest.approx(exact(values, percent), rel=RELATIVE_ERROR * 1.000001), (name, percent)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_parts_merged_in_any_order_are_the_histogram_of_the_whole(name: str) -> None:
    chance = random.Random(7)
    values = [DISTRIBUTIONS[name](chance) for _ in range(SIZE)]
    parts = [encode(counted(values[start : start + 37])) for start in range(0, SIZE, 37)]
    chance.shuffle(parts)

    assert merged(parts) == counted(values)
    assert decode(b"".join(parts)) == counted(values)


@given(st.lists(st.floats(min_value=-1e60, max_value=1e60, allow_subnormal=False)))
def test_what_is_packed_comes_back_and_a_value_is_told_within_one_percent(values: list[float]) -> None:
    assert decode(encode(counted(values))) == counted(values)
    for value in values:
        told = value_of(bucket_of(value))
        assert told == pytest.approx(value, rel=RELATIVE_ERROR * 1.000001) or abs(value) < 1e-70
        assert math.copysign(1, told) == math.copysign(1, value) or told == 0


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_buckets_stand_in_the_order_of_their_values_and_fit_into_16_bits(one: float, other: float) -> None:
    lower, higher = sorted((one, other))

    assert -(2**15) <= bucket_of(lower) <= bucket_of(higher) < 2**15


def test_what_is_taken_away_again_leaves_nothing() -> None:
    values = counted([1.0, 5.0, 5.0, -3.0])
    gone = encode({bucket: -count for bucket, count in values.items()})

    assert merged([encode(values), gone]) == Counter()
    assert Distribution([encode(values), gone]).quantiles((50,)) == [None]


def test_a_count_beyond_32_bits_is_kept_in_pieces() -> None:
    many = {bucket_of(10.0): 5 * 2**31 + 3, bucket_of(20.0): -(2**31)}

    assert decode(encode(many)) == Counter(many)
    assert merged([encode(many)]) == Counter(many)


def test_nothing_has_no_quantile() -> None:
    assert Distribution([]).quantiles((50,)) == [None]
    assert merged([]) == Counter()
