"""Drift: the same prompts now against before, each answer used once; what is proved and what is not."""

from __future__ import annotations

import math
import random

import pytest

from shadow.drift import (
    AnswerOf,
    Asking,
    Change,
    NoiseFloor,
    Pairing,
    drift_of,
    drift_of_pairings,
    noise_floor,
    pairings,
)
from shadow.verdict import e_value


def run(number: int, *values: tuple[float | None, ...], cluster: str | None = None) -> list[Asking]:
    return [
        Asking(run=number, prompt=f"p{at}", qualities=each, cluster=cluster, case_id=f"case {at}")
        for at, each in enumerate(values)
    ]


def flat(runs: list[list[Asking]]) -> list[Asking]:
    return [asking for each in runs for asking in each]


def test_each_answer_is_used_once_and_two_answers_a_run_reach_two_runs_back() -> None:
    history = flat([run(number, (0.1 * number, 0.1 * number + 0.05)) for number in range(5)])
    used = [(pair.now.run, pair.now.repeat, pair.before.run, pair.before.repeat) for pair in pairings(history)]
    assert used == [(1, 0, 0, 0), (2, 0, 0, 1), (3, 0, 1, 1), (4, 0, 2, 1)]
    answers = [(each.run, each.repeat) for pair in pairings(history) for each in (pair.now, pair.before)]
    assert len(set(answers)) == len(answers)


def test_an_answer_a_run_pairs_every_second_run_and_what_is_too_old_is_never_used() -> None:
    once = flat([run(number, (1.0,)) for number in range(4)])
    assert [(pair.now.run, pair.before.run) for pair in pairings(once)] == [(1, 0), (3, 2)]
    after_a_pause = flat([run(0, (1.0, 1.0)), run(5, (0.0, 0.0)), run(6, (0.0, 0.0))])
    assert [(pair.now.run, pair.before.run) for pair in pairings(after_a_pause)] == [(6, 5)]


def test_answers_without_a_quality_are_no_answers() -> None:
    history = flat([run(0, (None, 1.0)), run(1, (None, None)), run(2, (0.5, None))])
    (pair,) = pairings(history)
    assert (pair.now.repeat, pair.before.repeat, pair.difference) == (0, 1, -0.5)


def test_the_noise_floor_is_a_model_against_itself_within_a_run() -> None:
    assert noise_floor(run(0, (1.0, 0.0), (1.0, 1.0), (1.0, None), (0.5, 0.501))).discordance == pytest.approx(1 / 3)
    assert (noise_floor(run(0, (1.0,))).n, noise_floor([]).discordance) == (0, None)


def test_nothing_changed_proves_nothing() -> None:
    report = drift_of(flat([run(number, *[(1.0, 1.0)] * 50) for number in range(10)]))
    assert report.drifts == ()
    assert report.now is not None
    assert (report.now.pairs, report.now.mean, report.now.since_run) == (450, 0.0, 1)
    assert report.now.interval[0] < 0 < report.now.interval[1]
    assert report.log_e_worse == pytest.approx(0.0)
    assert drift_of([]).now is None
    assert drift_of([]).log_e_better == 0.0


def test_a_deterministic_model_that_loses_five_of_a_hundred_prompts_is_caught_at_once() -> None:
    before = [run(number, *[(1.0, 1.0)] * 100) for number in range(8)]
    after = run(8, *[(0.0, 0.0)] * 5, *[(1.0, 1.0)] * 95)
    (drift,) = drift_of(flat([*before, after])).drifts
    assert (drift.direction, drift.found_run, drift.change.since_run) == ("worse", 8, 8)
    assert drift.change.mean == pytest.approx(-0.05)
    assert drift.change.interval[1] < 0
    assert drift.change.interval[0] < -0.05
    assert len(drift.examples) == 5
    assert {example.difference for example in drift.examples} == {-1.0}
    assert drift_of(flat([*before, run(8, *[(0.0, 0.0)] * 4, *[(1.0, 1.0)] * 96)])).drifts == ()


def test_better_is_a_change_too_and_after_a_change_the_new_behaviour_is_the_measure() -> None:
    good, bad = [(1.0, 1.0)] * 40, [(0.0, 0.0)] * 40
    history = flat([run(0, *bad), run(1, *bad), run(2, *good), run(3, *good), run(4, *good), run(5, *bad)])
    report = drift_of(history)
    assert [(drift.direction, drift.found_run) for drift in report.drifts] == [("better", 2), ("worse", 5)]
    assert report.now is None  # the run in which it was found is the new beginning
    assert all(example.difference == 1.0 for example in report.drifts[0].examples)


def test_the_turns_of_one_conversation_are_one_value() -> None:
    calm = run(0, *[(1.0, 1.0)] * 20, cluster="one talk")
    worse = run(1, *[(0.0, 0.0)] * 20, cluster="one talk")
    report = drift_of([*calm, *worse])
    assert report.drifts == ()
    assert isinstance(report.now, Change)
    assert (report.now.pairs, report.now.mean) == (1, -1.0)


def test_evidence_agrees_with_the_e_values_it_is_made_of() -> None:
    counts = {-1.0: 4, 0.0: 96}
    history = flat([run(0, *[(1.0,)] * 100), run(1, *[(0.0,)] * 4, *[(1.0,)] * 96)])
    of_run = 0.15 * e_value(counts, 0.0, "less") + 0.6 * 1.99**4 + 0.15 * 1.8**4 + 0.1 * 1.6**4
    expected = (0.9 + 0.05) * of_run + 0.1 / 2
    assert math.exp(drift_of(history).log_e_worse) == pytest.approx(expected)


def test_a_late_change_of_a_noisy_model_is_found_beside_a_year_of_noise() -> None:
    draw = random.Random(7)

    def noisy(share: float) -> list[tuple[float | None, ...]]:
        return [tuple(float(draw.random() < share) for _ in range(2)) for _ in range(100)]

    history = flat([*[run(number, *noisy(0.8)) for number in range(40)], run(40, *noisy(0.4)), run(41, *noisy(0.4))])
    (drift,) = drift_of(history).drifts
    assert (drift.direction, drift.found_run) in {("worse", 40), ("worse", 41)}
    assert drift.change.since_run >= 39
    low, high = drift.change.interval
    assert low < -0.4 < high < 0


def test_a_year_of_noise_alone_is_quiet_in_nineteen_years_of_twenty() -> None:
    loud = 0
    for year in range(20):
        draw = random.Random(year)
        shares = [draw.random() for _ in range(40)]
        history = [
            Asking(run=week, prompt=str(at), qualities=[float(draw.random() < share) for _ in range(2)])
            for week in range(30)
            for at, share in enumerate(shares)
        ]
        loud += bool(drift_of(history).drifts)
    assert loud <= 3  # P(more than 3 of 20 | 10 % a year) = 0.13; none is usual


UNKNOWN = NoiseFloor(n=0, discordance=None)


def said(run: int, before: int, *values: float) -> list[Pairing]:
    """What a judge said of answers of two runs."""
    return [
        Pairing(
            prompt=f"p{at}",
            unit=f"p{at}",
            now=AnswerOf(run=run, case_id=f"case {at}", repeat=0, quality=None),
            before=AnswerOf(run=before, case_id=f"case {at}", repeat=1, quality=None),
            difference=value,
        )
        for at, value in enumerate(values)
    ]


def test_what_a_judge_says_of_two_answers_is_evidence_as_a_difference_of_qualities_is() -> None:
    values = [-1.0] * 6 + [0.0] * 30 + [1.0] * 2
    by_judge = drift_of_pairings(said(1, 0, *values), noise=UNKNOWN)
    by_quality = drift_of(
        flat([run(0, *[(0.5 - value / 2,) for value in values]), run(1, *[(0.5 + value / 2,) for value in values])])
    )
    assert by_judge.log_e_worse == pytest.approx(by_quality.log_e_worse)
    assert by_judge.now is not None
    assert (by_judge.now.mean, by_judge.noise) == (pytest.approx(-4 / 38), UNKNOWN)
    assert drift_of_pairings([], noise=UNKNOWN).now is None


def test_after_a_change_a_judge_is_not_heard_about_answers_from_before_it() -> None:
    lost, same = [-1.0] * 20, [0.0] * 20
    report = drift_of_pairings([*said(2, 1, *lost), *said(3, 1, *lost), *said(4, 2, *same)], noise=UNKNOWN)
    (drift,) = report.drifts
    assert (drift.direction, drift.found_run, len(drift.examples)) == ("worse", 2, 5)
    assert report.now is not None
    assert (report.now.since_run, report.now.pairs, report.now.mean) == (4, 20, 0.0)


def test_a_year_of_a_judge_that_tells_equal_answers_apart_is_quiet_in_nineteen_years_of_twenty() -> None:
    loud = 0
    for year in range(40):
        draw = random.Random(year)
        history = [
            each
            for week in range(1, 40)
            for each in said(week, week - 1, *[draw.choice((-1.0, 0.0, 0.0, 1.0)) for _ in range(30)])
        ]
        loud += bool(drift_of_pairings(history, noise=UNKNOWN).drifts)
    assert loud <= 8  # P(more than 8 of 40 | 10 % a year) = 0.02; one or two are usual
