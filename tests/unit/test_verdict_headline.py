"""Cost per quality point, ratios and the saving a month, with their intervals."""

import math
import random
import statistics

import msgspec
import pytest

from shadow.verdict import Estimate, Headline, Sums, headline, projected_saving_usd_per_month
from shadow.verdict.headline import half_width, mean_quality

Row = tuple[float, float, float, float]


def _sums(rows: list[Row]) -> Sums:
    sums = Sums()
    for candidate_usd, candidate_quality, primary_usd, primary_quality in rows:
        sums = sums.add(
            candidate_usd=candidate_usd,
            candidate_quality=candidate_quality,
            primary_usd=primary_usd,
            primary_quality=primary_quality,
        )
    return sums


def _rows(count: int, seed: int = 1) -> list[Row]:
    chance = random.Random(seed)
    return [
        (chance.lognormvariate(-6, 0.5), float(chance.random() < 0.8), chance.lognormvariate(-5, 0.5), chance.random())
        for _ in range(count)
    ]


def _headline(rows: list[Row]) -> Headline:
    def histogram(column: int) -> dict[float, int]:
        counts: dict[float, int] = {}
        for row in rows:
            counts[row[column]] = counts.get(row[column], 0) + 1
        return counts

    return headline(_sums(rows), alpha=0.05, candidate_quality=histogram(1), primary_quality=histogram(3))


def test_cost_per_quality_point_is_the_sum_of_costs_by_the_sum_of_quality() -> None:
    rows = _rows(400)
    figures = _headline(rows)
    candidate = math.fsum(row[0] for row in rows) / math.fsum(row[1] for row in rows)
    primary = math.fsum(row[2] for row in rows) / math.fsum(row[3] for row in rows)

    assert figures.candidate.value == pytest.approx(candidate)
    assert figures.primary.value == pytest.approx(primary)
    assert figures.ratio.value == pytest.approx(candidate / primary)
    assert figures.cost_ratio.value == pytest.approx(
        math.fsum(row[0] for row in rows) / math.fsum(row[2] for row in rows)
    )
    for figure in (figures.candidate, figures.primary, figures.ratio, figures.cost_ratio):
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < figure.value < figure.high
        assert figure.level == pytest.approx(0.95)


def test_the_interval_is_that_of_the_delta_method_on_the_logarithm() -> None:
    rows = _rows(300)
    figure = _headline(rows).ratio
    means = [statistics.fmean(row[column] for row in rows) for column in range(4)]
    influence = [row[0] / means[0] - row[1] / means[1] - row[2] / means[2] + row[3] / means[3] for row in rows]
    half = half_width(statistics.pstdev(influence), 300, 0.05) * (1 + 1 / math.sqrt(300))

    assert figure.value is not None
    assert figure.high == pytest.approx(figure.value * math.exp(half))
    assert figure.low == pytest.approx(figure.value / math.exp(half))


def test_the_half_width_is_that_of_the_published_formula() -> None:
    rho2 = (-2 * math.log(0.05) + math.log(-2 * math.log(0.05)) + 1) / 300
    scaled = 100 * rho2 + 1
    expected = 2 * math.sqrt(2 * scaled / (100**2 * rho2) * math.log(math.sqrt(scaled) / 0.05))

    assert half_width(2, 100, 0.05) == pytest.approx(expected)


def test_sums_in_another_order_and_after_a_restart_give_the_same() -> None:
    rows = _rows(200)
    sums = _sums(rows)

    assert msgspec.json.decode(msgspec.json.encode(sums), type=Sums) == sums
    assert _headline(rows[::-1]).ratio.high == pytest.approx(_headline(rows).ratio.high, rel=1e-9)


def test_equal_conversations_have_no_spread_at_all() -> None:
    assert _sums([(0.001, 0.7, 0.003, 0.9)] * 1000).deviation((1, 1, 1, 1)) == 0


def test_a_quality_that_may_be_near_zero_has_no_cost_per_point() -> None:
    rows = [(0.001, float(number % 100 == 0), 0.01, 1.0) for number in range(300)]
    figures = _headline(rows)

    assert figures.candidate.value is None
    assert figures.candidate.reason is not None
    assert figures.candidate.reason.startswith("n/a: mean quality may be as low as 0.00")
    assert figures.primary.value == pytest.approx(0.01)
    assert figures.ratio.value is None
    assert figures.ratio.reason == figures.candidate.reason
    assert figures.cost_ratio.value == pytest.approx(0.1)


def test_quality_zero_throughout_divides_by_nothing() -> None:
    figures = _headline([(0.001, 0.0, 0.01, 1.0)] * 100)

    assert figures.candidate.value is None
    assert figures.candidate.reason == "n/a: mean quality may be as low as 0.000, needed above 0.05"


def test_an_evaluator_that_only_compares_gives_no_cost_per_point() -> None:
    figures = headline(_sums(_rows(100)), alpha=0.05, candidate_quality=None, primary_quality=None)

    assert figures.candidate.value is figures.primary.value is figures.ratio.value is None
    assert "compares answers" in (figures.ratio.reason or "")
    assert figures.cost_ratio.value is not None


def test_few_conversations_give_a_value_without_an_interval() -> None:
    figures = _headline([(0.001, 0.5, 0.01, 1.0)] * 49)

    assert figures.ratio == Estimate(
        value=pytest.approx(0.2), reason="no interval yet: 49 of at least 50 conversations"
    )


def test_nothing_yet_is_none_with_a_reason() -> None:
    figures = headline(Sums(), alpha=0.05, candidate_quality={}, primary_quality={})

    assert figures.candidate == Estimate(value=None, reason="n/a: no scored conversation with a known cost yet")
    assert figures.cost_ratio.value is None
    assert projected_saving_usd_per_month(Sums(), live_conversations_per_month=1e6, alpha=0.05).value is None


def test_a_free_model_has_no_ratio() -> None:
    assert _headline([(0.0, 1.0, 0.01, 1.0)] * 100).cost_ratio.reason == "no cost or no quality above 0 yet"


def test_the_saving_a_month_is_the_mean_difference_times_the_live_traffic() -> None:
    rows = _rows(200)
    saving = projected_saving_usd_per_month(_sums(rows), live_conversations_per_month=30_000, alpha=0.05)
    differences = [row[2] - row[0] for row in rows]

    assert saving.value == pytest.approx(30_000 * statistics.fmean(differences))
    assert saving.high is not None
    assert saving.value is not None
    half = half_width(statistics.pstdev(differences), 200, 0.05) * (1 + 1 / math.sqrt(200))
    assert saving.high - saving.value == pytest.approx(30_000 * half)


def test_the_interval_of_a_mean_quality_lies_within_the_scale() -> None:
    assert mean_quality({1.0: 10_000}, 0.05)[1] == 1.0
    assert mean_quality({0.0: 10_000}, 0.05)[0] == 0.0
    low, high = mean_quality({0.0: 200, 1.0: 800}, 0.05)
    assert low < 0.8 < high
    assert high - low < 0.12
