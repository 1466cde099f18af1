"""How much more is needed: a range that follows the evidence, and advice in days and dollars."""

import pytest

from shadow.verdict import CostTest, Differences, Evidence, FailureShares, Pace, Rules, decide, log_e_value
from shadow.verdict.needed import Range, advice, dollars, growth, in_days, more_needed, range_of


def _pace(**changed: float | None) -> Pace:
    given = {"conversations_per_day": 20.0, "usd_per_conversation": 0.015, "sample_rate": 0.05, **changed}
    return Pace(**given)  # type: ignore[arg-type]


def test_equal_answers_need_what_their_e_value_needs() -> None:
    steady = growth({0.0: 100}, -0.05, "greater", line=3.0)
    assert steady is not None

    best, likely, worst = steady.more(1.3), steady.more(0), steady.more(-1.3)

    assert best == likely == 15
    assert log_e_value({0.0: 114}, -0.05) < 3.0 <= log_e_value({0.0: 115}, -0.05)
    assert worst is not None
    assert worst > 15


def test_a_growth_rate_is_not_told_from_a_handful() -> None:
    assert growth({0.0: 9}, -0.05, "greater", line=3.0) is None


def test_evidence_that_falls_never_arrives() -> None:
    falling = growth({-1.0: 30, 0.0: 70}, -0.05, "greater", line=3.0)

    assert falling is not None
    assert falling.more(0) is None
    assert range_of([falling]) is None


def test_a_decision_waits_for_the_slowest_of_its_parts() -> None:
    quick, slow = (growth({0.0: 50}, -margin, "greater", line=3.0) for margin in (0.2, 0.05))
    together = range_of([quick, slow])

    assert together is not None
    assert together == range_of([slow])
    assert range_of([quick, None]) is None


def test_a_part_that_arrives_only_with_luck_has_no_far_end() -> None:
    lucky = growth({-1.0: 2, 0.0: 48}, -0.05, "greater", line=3.0)
    assert lucky is not None
    found = range_of([lucky])

    assert found is not None
    assert found.high is None


def test_the_first_decision_that_comes_gives_the_range() -> None:
    ways = [Range(low=40, high=400), Range(low=90, high=None), None]
    needed = more_needed(ways, at_least=1, at_most=2000, pace=_pace(), told=True)

    assert (needed.conversations_low, needed.conversations_high) == (40, 400)
    assert needed.days == pytest.approx(20)
    assert needed.usd == pytest.approx(6)
    assert needed.reason is None


def test_no_range_goes_beyond_the_end_of_the_count() -> None:
    needed = more_needed([Range(low=40, high=9000)], at_least=1, at_most=100, pace=_pace(), told=True)

    assert (needed.conversations_low, needed.conversations_high) == (40, 100)
    assert needed.reason == "at the slow end no decision comes before max_conversations ends the count"


def test_no_decision_comes_before_the_least_there_must_be() -> None:
    needed = more_needed([Range(low=2, high=3)], at_least=30, at_most=3000, pace=_pace(), told=True)

    assert (needed.conversations_low, needed.conversations_high) == (30, 30)


@pytest.mark.parametrize(
    ("pace", "days", "usd", "reason"),
    [
        (None, None, None, "days are not known: no conversation has entered lately"),
        (_pace(conversations_per_day=0.0), None, 6.0, "days are not known: no conversation has entered lately"),
        (
            _pace(conversations_per_day=0.0, usd_per_conversation=None),
            None,
            None,
            "days are not known: no conversation has entered lately",
        ),
        (_pace(usd_per_conversation=None), 20.0, None, "dollars are not known: a price is missing"),
    ],
)
def test_what_is_not_known_is_none_with_its_reason(
    pace: Pace | None, days: float | None, usd: float | None, reason: str
) -> None:
    needed = more_needed([Range(low=40, high=400)], at_least=1, at_most=2000, pace=pace, told=True)

    assert needed.days == days
    assert needed.usd == (None if usd is None else pytest.approx(usd))
    assert needed.advice is None
    assert needed.reason == reason


@pytest.mark.parametrize(
    ("conversations", "pace", "told"),
    [
        (1050, _pace(sample_rate=0.05), "sample_rate 0.38: 7 days, about $2.28/day"),
        (100, _pace(), "sample_rate 0.05: 5 days, about $0.30/day"),
        (1, _pace(conversations_per_day=24.0), "sample_rate 0.05: 1 hour, about $0.36/day"),
        (20, _pace(), "sample_rate 0.05: 1 day, about $0.30/day"),
        (1000, _pace(sample_rate=1.0), "sample_rate 1: 50 days, about $0.30/day"),
        (
            1050,
            _pace(budget_usd_per_day=1.0),
            "sample_rate 0.38: 7 days, about $2.28/day, which needs budget_usd_per_day 2.28",
        ),
        (1050, _pace(budget_usd_per_day=5.0), "sample_rate 0.38: 7 days, about $2.28/day"),
        (100_000, _pace(sample_rate=0.5), "sample_rate 1: 2500 days, about $0.60/day"),
    ],
)
def test_advice_is_a_setting_with_its_days_and_dollars(conversations: int, pace: Pace, told: str) -> None:
    assert advice(conversations, pace) == told


@pytest.mark.parametrize(
    ("usd", "told"),
    [
        (1234.5, "$1,234"),
        (9.994, "$9.99"),
        (9.996, "$10"),
        (0.5, "$0.50"),
        (0.00123, "$0.0012"),
        (0, "$0.00"),
        (-2, "-$2.00"),
    ],
)
def test_dollars_are_written_as_people_read_them(usd: float, told: str) -> None:
    assert dollars(usd) == told


@pytest.mark.parametrize(("days", "told"), [(0.5, "12 hours"), (0.01, "1 hour"), (1, "1 day"), (6.2, "7 days")])
def test_times_are_rounded_up(days: float, told: str) -> None:
    assert in_days(days) == told


def _evidence(cost: CostTest | None, failures: FailureShares | None) -> Evidence:
    counts = {0.0: 100}
    return Evidence(
        primary="alpha",
        candidate="beta",
        alpha=0.04,
        rules=Rules(failure_margin=0.1),
        quality=Differences(good=counts, bad=counts),
        cost=cost,
        failures=failures,
        pace=_pace(),
    )


def _cost(conversations: int, candidate_usd: float = 0.006) -> CostTest:
    test = CostTest(w_usd=0.05, min_saving=0.05)
    for _ in range(conversations):
        test = test.add(candidate_usd=candidate_usd, primary_usd=0.01, reserve_usd=0.05)
    return test


def test_a_promotion_near_at_hand_gives_a_short_range() -> None:
    needed = decide(_evidence(_cost(60), FailureShares(candidate={0.0: 60}))).more_needed

    assert needed is not None
    assert needed.conversations_low is not None
    assert needed.conversations_low < 60


@pytest.mark.parametrize(
    ("cost", "failures"),
    [
        (None, FailureShares(candidate={0.0: 60})),
        (_cost(5), FailureShares(candidate={0.0: 60})),
        (_cost(60).add(candidate_usd=1, primary_usd=0, reserve_usd=0.01), FailureShares(candidate={0.0: 60})),
        (_cost(60), None),
    ],
)
def test_while_a_part_is_unknown_no_promotion_is_foretold(
    cost: CostTest | None, failures: FailureShares | None
) -> None:
    needed = decide(_evidence(cost, failures)).more_needed

    assert needed is not None
    assert needed.conversations_high == 2900
