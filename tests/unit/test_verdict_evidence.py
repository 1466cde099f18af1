"""Evidence about a mean: the published check values, and what a histogram of differences remembers."""

import itertools
import json
import math
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.verdict import confidence_sequence, e_value, log_e_value
from shadow.verdict.eprocess import merged


@pytest.mark.parametrize(
    ("counts", "m0", "expected"),
    [
        ({0: 200}, -0.05, 895.194),
        ({0: 200}, -0.02, 5.36325),
        ({-1: 4, 0: 196}, -0.05, 3.18029),
        ({-1: 30, 0: 400, 1: 55}, 0.0, 9.66618),
    ],
)
def test_the_e_value_has_its_check_values(counts: dict[float, int], m0: float, expected: float) -> None:
    assert e_value(counts, m0) == pytest.approx(expected, rel=1e-6)


def test_the_confidence_sequence_has_its_check_values() -> None:
    counts = {-1: 30, 0: 400, 1: 55}

    assert confidence_sequence(counts, 0.05) == pytest.approx((-0.01093, 0.11609), abs=5e-6)
    assert confidence_sequence({0: 200}, 0.05) == pytest.approx((-0.03303, 0.03303), abs=5e-6)


def test_what_the_documentation_computes_is_so() -> None:
    page = (Path(__file__).parents[2] / "docs" / "verdict.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)

    assert len(blocks) == 1
    assert blocks[0].count("assert") == 5
    exec(blocks[0], {})


def test_evidence_on_the_other_side_is_that_of_the_mirrored_values() -> None:
    counts = {-1: 9, -0.31: 2, 0: 40, 0.5: 3}
    mirrored = {-value: count for value, count in counts.items()}

    assert log_e_value(counts, -0.05, "less") == pytest.approx(log_e_value(mirrored, 0.05, "greater"), rel=1e-12)


def test_twenty_or_a_hundred_equal_pairs_prove_nothing_at_a_margin_of_two_hundredths() -> None:
    assert e_value({0: 20}, -0.02) == pytest.approx(1.10, abs=0.01)
    assert e_value({0: 100}, -0.02) == pytest.approx(1.85, abs=0.01)


def test_no_evidence_is_one_and_every_mean_is_possible() -> None:
    assert e_value({}, -0.05) == pytest.approx(1.0)
    assert confidence_sequence({}, 0.05) == (-1.0, 1.0)
    assert confidence_sequence({0.5: 0}, 0.05) == (-1.0, 1.0)


def test_evidence_beyond_a_float_is_infinite_and_its_logarithm_is_not() -> None:
    assert e_value({1: 5000}, 0) == math.inf
    assert log_e_value({1: 5000}, 0) == pytest.approx(5000 * math.log(1.95) - math.log(24), rel=1e-3)


def test_the_order_and_a_restart_change_nothing() -> None:
    chance = random.Random(5)
    values = [chance.choice((-1, -0.37, 0, 0.02, 1)) for _ in range(500)]
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    shuffled: dict[float, int] = {}
    for value in reversed(values):
        shuffled[value] = shuffled.get(value, 0) + 1
    restarted = {float(value): count for value, count in json.loads(json.dumps(counts)).items()}

    assert shuffled == counts == restarted
    assert log_e_value(shuffled, -0.05) == pytest.approx(log_e_value(counts, -0.05), rel=1e-9)
    assert log_e_value(restarted, -0.05) == pytest.approx(log_e_value(counts, -0.05), rel=1e-9)


def test_half_now_and_half_later_is_the_same_as_all_at_once() -> None:
    first, second = {-1: 3, 0: 50}, {0: 20, 1: 4}

    assert merged((first, second)) == {-1: 3, 0: 70, 1: 4}


def test_the_interval_is_where_neither_side_is_disproved() -> None:
    counts = {-1: 12, -0.4: 7, 0: 300, 0.25: 9, 1: 20}
    low, high = confidence_sequence(counts, 0.04)

    assert e_value(counts, low) == pytest.approx(2 / 0.04, rel=1e-4)
    assert e_value(counts, high, "less") == pytest.approx(2 / 0.04, rel=1e-4)


_HUNDREDTHS = st.integers(-100, 100).map(lambda hundredths: hundredths / 100)


@settings(max_examples=200, deadline=None)
@given(
    counts=st.dictionaries(_HUNDREDTHS, st.sampled_from([1, 2, 5, 20, 100, 1000]), min_size=1, max_size=20),
    alpha=st.sampled_from([0.001, 0.02, 0.04, 0.2]),
    m0=st.floats(-0.9999, 0.9999),
)
def test_a_mean_is_in_the_interval_exactly_when_neither_side_disproves_it(
    counts: dict[float, int], alpha: float, m0: float
) -> None:
    low, high = confidence_sequence(counts, alpha)
    line = math.log(2 / alpha)
    if abs(m0 - low) > 1e-6:
        assert (log_e_value(counts, m0) >= line) == (m0 < low)
    if abs(m0 - high) > 1e-6:
        assert (log_e_value(counts, m0, "less") >= line) == (m0 > high)


@pytest.mark.parametrize("value", [-1, 1])
def test_an_interval_may_end_where_the_values_do(value: int) -> None:
    assert value in confidence_sequence({value: 4}, 0.05)
    assert value in confidence_sequence({value: 100_000}, 0.05)


def test_one_conversation_leaves_nearly_everything_possible() -> None:
    low, high = confidence_sequence({0: 1}, 0.05)

    assert low < -0.9
    assert high > 0.9


def test_the_interval_narrows_as_evidence_comes() -> None:
    widths = [high - low for low, high in (confidence_sequence({-1: n, 0: 8 * n, 1: n}, 0.05) for n in (2, 8, 32, 128))]

    assert all(later < earlier for earlier, later in itertools.pairwise(widths))


@pytest.mark.parametrize("m0", [-1, 1, 1.5, math.nan])
def test_a_mean_no_value_could_have_is_refused(m0: float) -> None:
    with pytest.raises(ValueError, match="m0 must lie between -1 and 1"):
        e_value({0: 1}, m0)


@pytest.mark.parametrize("counts", [{1.5: 1}, {-1.01: 2}, {math.nan: 1}, {0: -1}])
def test_values_outside_the_scale_are_refused(counts: dict[float, int]) -> None:
    with pytest.raises(ValueError, match="values lie between -1 and 1"):
        e_value(counts, 0)


@pytest.mark.parametrize("alpha", [0, 2, -0.1])
def test_an_alpha_that_is_no_probability_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        confidence_sequence({0: 1}, alpha)
