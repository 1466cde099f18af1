"""From weekly runs to drift and points: pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shadow.alerts.lookout import drift_observations, judge_observations
from shadow.leads import leads_of
from shadow.runfacts import Decider, JudgedFact, LookFact, RunFacts, ShadowWeek
from shadow.trends import drifts_of, trend_points
from shadow.web.runpoints import RunPoints
from tests.support.runfacts import JUDGE, SUNDAY, answer, judged, pairs, plan, run, score


def test_drift_is_looked_for_by_every_evaluator_and_the_primary_comes_first() -> None:
    def fenced(number: int, strict: float, version: str = "1") -> RunFacts:
        scores = (score(strict, version=version), score(1.0, evaluator="contains-json", quality=False))
        both = [
            answer(f"x{at}", model, None, repeat=repeat, scores=scores if model == "p" else (score(1.0),),
                   model_answered=f"{model}-{strict:g}")
            for at in range(30) for model in ("c", "p") for repeat in range(2)
        ]  # fmt: skip
        return run(number, *both)

    found = drifts_of([fenced(0, 1.0), fenced(1, 1.0), fenced(2, 0.0)])
    assert [(each.model, each.evaluator, each.is_primary, each.decides, len(each.report.drifts)) for each in found] == [
        ("p", "is-json", True, True, 1),
        ("p", "contains-json", True, False, 0),
        ("c", "is-json", False, True, 0),
    ]
    assert found[0].answered == ((0, "p-1"), (2, "p-0"))
    assert found[0].report.noise.discordance == 0.0
    # Another version of the evaluator is another measure: nothing is compared across it.
    renewed = drifts_of([fenced(0, 1.0), fenced(1, 1.0), fenced(2, 0.0, version="2")])
    assert [len(each.report.drifts) for each in renewed] == [0, 0, 0, 0]
    assert drifts_of([]) == []


def test_points_of_runs_and_weeks_share_one_axis_with_intervals() -> None:
    answers = pairs(0, 40, p=1.0, c=0.5)
    week = ShadowWeek(
        week=SUNDAY - timedelta(days=6), task="default", model="p", role="primary", exchanges=50,
        qualities=[1.0] * 40, sums=[(0.01, 1.0)] * 40, latencies_ms=[float(at) for at in range(100)], ttfts_ms=[],
    )  # fmt: skip
    points = trend_points([run(0, *answers)], [week])
    assert [(point["source"], point["role"]) for point in points] == [
        ("live", "primary"), ("run", "candidate"), ("run", "primary"),
    ]  # fmt: skip
    live, candidate, primary = points
    assert live.keys() == candidate.keys()
    assert candidate["quality"]["mean"] == 0.5
    low, high = candidate["quality"]["ci"]
    assert low < 0.5 < high
    assert candidate["cost_per_quality_point_usd"]["value"] == pytest.approx(0.02)
    assert primary["cost_per_quality_point_usd"]["ci"] == pytest.approx((0.01, 0.01))  # all cost the same
    assert (live["latency_ms"]["p50"], live["latency_ms"]["p95"], live["ttft_ms"]["p50"]) == (49.0, 94.0, None)
    assert live["latency_ms"]["p50_ci"][0] < 49.0 < live["latency_ms"]["p50_ci"][1]
    assert candidate["latency_ms"]["p95_ci"] is None  # 40 answers do not bound the 95th percentile above
    assert trend_points([run(0, *answers)], [week], model="c", task="default") == [candidate]
    assert trend_points([run(0, *answers)], [week], task="other") == []
    varied = [answer(f"x{at}", "c", 0.5 + at % 2 / 2, cost_usd=0.01 + 0.001 * (at % 7)) for at in range(60)]
    (point,) = trend_points([run(0, *varied)], [])
    low, high = point["cost_per_quality_point_usd"]["ci"]
    assert low < point["cost_per_quality_point_usd"]["value"] < high


def test_what_cannot_be_said_is_none_with_its_reason() -> None:
    bad = pairs(0, 40, p=1.0, c=0.0)
    (candidate,) = trend_points([run(0, *bad)], [], model="c")
    assert candidate["cost_per_quality_point_usd"]["reason"] == "no conversation has both a cost and a quality"
    rare = [answer("x0", "c", 1.0), *[answer(f"x{at}", "c", 0.0) for at in range(1, 40)]]
    (candidate,) = trend_points([run(0, *rare)], [])
    assert candidate["cost_per_quality_point_usd"]["reason"].startswith("n/a: the mean quality may be as low as 0.05")
    few = [answer(f"x{at}", "c", 1.0) for at in range(15)]
    (candidate,) = trend_points([run(0, *few)], [])
    assert candidate["cost_per_quality_point_usd"]["reason"] == "too few conversations for an interval"
    unscored = [
        answer("x0", "c", None, cost_usd=None),
        answer("x1", "c", None, outcome="error_http", scores=(), latency_ms=None),
        answer("x2", "c", None, outcome="ok", latency_ms=None, ttft_ms=None, model_answered=None),
    ]
    (candidate,) = trend_points([run(0, *unscored)], [])
    assert candidate["quality"]["mean"] is None
    assert candidate["quality"]["reason"].startswith("no answer has a quality of its own")
    assert candidate["error_rate"] == pytest.approx(1 / 3)


def test_a_drift_is_told_with_the_new_name_the_noise_and_whose_it_is() -> None:
    def week(number: int, primary: float, candidate: float) -> RunFacts:
        answers = [
            answer(f"x{at}", model, value, model_answered=f"{model}-{value:g}")
            for at in range(40)
            for model, value in (("p", primary), ("c", candidate))
        ]
        return run(number, *answers)

    runs = [week(0, 1.0, 0.0), week(1, 0.0, 1.0)]
    first, second = drift_observations(drifts_of(runs), runs)
    assert first.title == "Drift: the primary p answers worse than before"
    assert "The provider answers as p-0 since then." in first.sentence
    assert "Its noise is not known: no prompt was answered twice in one run." in first.sentence
    assert ("Noise floor", "not known") in first.details
    assert second.title == "Drift: the candidate c answers better than before"
    assert (second.primary, second.candidate, second.facts["role"]) == (None, "c", "candidate")


def look(at: int, number: int, before: int, value: float | None, *, model: str = "p", **given: Any) -> LookFact:
    values: dict[str, Any] = {
        "task": "default", "prompt": f"x{at}", "cluster": None, "case_id": f"x{at}", "model": model, "repeat": 0,
        "before_run": f"run-{before}", "before_case_id": f"x{at}", "before_repeat": 1, "evaluator": JUDGE.evaluator,
        "version": JUDGE.version, "status": "failed" if value is None else "scored", "value": value,
    }  # fmt: skip
    return LookFact(**(values | given))


def compared_run(number: int, *looks: LookFact, **given: Any) -> RunFacts:
    """A run whose deciding evaluator only compares."""
    beside = (score(0.0, evaluator=JUDGE.evaluator, pairwise=True),)
    answers = [
        answer(f"x{at}", model, None, scores=beside if model == "c" else (), repeat=repeat)
        for at in range(20) for model in ("p", "c") for repeat in range(2)
    ]  # fmt: skip
    made: dict[str, Any] = {"deciders": {"default": JUDGE}, "looks": looks, "judged": (judged(),)}
    return replace(run(number, *answers), **(made | given))


def test_where_a_judge_only_compares_its_word_on_two_runs_is_the_drift() -> None:
    noise = [look(at, 0, 0, value) for at, value in enumerate((0.0, 0.0, 0.0, 1.0))]
    lost = [look(at, 1, 0, -1.0) for at in range(12)] + [look(at, 1, 0, 0.0, model="c") for at in range(12)]
    runs = [compared_run(0, *noise), compared_run(1, *lost), compared_run(2, look(1, 2, -1, -1.0))]
    primary, candidate = drifts_of(runs)
    assert [(each.model, each.compared, each.decides, each.withheld) for each in (primary, candidate)] == [
        ("p", True, True, None), ("c", True, True, None),
    ]  # fmt: skip
    (drift,) = primary.report.drifts
    assert (drift.direction, drift.found_run, drift.change.pairs, drift.change.mean) == ("worse", 1, 12, -1.0)
    assert (primary.report.noise.n, primary.report.noise.discordance) == (4, 0.25)
    assert candidate.report.noise.discordance is None
    assert primary.judge is not None
    assert primary.judge.trusted
    told, _ = drift_observations([primary, candidate], runs)
    assert "by llm-pairwise (answers of now against those of before, wins minus losses): -1.000" in told.sentence
    assert "Noise floor: the judge tells two answers of one run apart in 25 % of 4 prompts." in told.sentence
    (silent,) = drift_observations(
        [replace(primary, report=replace(primary.report, noise=candidate.report.noise))], runs
    )
    assert "no prompt was compared with itself in one run" in silent.sentence


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ((judged(10, 2),), "cannot be trusted: it passed 4 of 20 controls"),
        ((judged(0),), "it has had no control yet"),
        ((judged(10, failed=20),), "it gave no ruling for 40 of 100 (40%) pairs"),
    ],
)
def test_a_judge_that_has_not_shown_that_it_looks_withholds_drift(facts: Any, why: str) -> None:
    lost = [look(at, 1, 0, -1.0) for at in range(12)]
    runs = [compared_run(0, judged=facts), compared_run(1, *lost, judged=facts)]
    primary, _ = drifts_of(runs)
    assert primary.report.drifts
    assert why in (primary.withheld or "")
    assert drift_observations([primary], runs) == []


def test_a_judge_of_the_weekly_runs_that_lost_trust_is_told_and_when_it_is_found_again() -> None:
    def seen(told: dict[str, str], *facts: JudgedFact, version: str = JUDGE.version) -> list[tuple[str, bool, str]]:
        latest = compared_run(1, judged=facts, deciders={"default": replace(JUDGE, version=version)})
        runs = [compared_run(0, look(0, 0, 0, 0.0), judged=facts), latest]
        found = judge_observations(drifts_of(runs), runs, told)
        return [(each.state, each.silent, each.title) for each in found]

    lost, again = (
        "Quality data of the weekly runs cannot be relied on",
        "Quality data of the weekly runs can be relied on again",
    )
    subject = "trust/default/weekly runs"
    assert seen({}, judged(0)) == []  # not known yet
    assert seen({}, judged(10)) == []  # always was
    assert seen({}, judged(10, 1)) == [("lost", False, lost)]
    assert seen({subject: "lost"}, judged(10)) == [("trusted", False, again)]
    assert seen({subject: "trusted"}, judged(10)) == [("trusted", True, again)]
    assert seen({}, judged(10, 1), version="2:j") == []  # another judge decides now
    (told,) = judge_observations(
        drifts_of(runs := [compared_run(0, judged=(judged(10, 1),)), compared_run(1, judged=(judged(10, 1),))]),
        runs,
        {},
    )
    assert told.sentence.startswith(
        "Task default, weekly runs: the judge j cannot be trusted: it passed 2 of 20 controls"
    )
    assert told.sentence.endswith("Until it can, drift and leads that rest on it are kept back.")


def test_a_judge_that_prefers_one_of_two_equal_answers_is_not_trusted_and_one_that_is_no_model_needs_no_trust() -> None:
    leaning = [look(at, 0, 0, 1.0) for at in range(20)]
    lost = [look(at, 1, 0, -1.0) for at in range(12)]
    leant, _ = drifts_of([compared_run(0, *leaning), compared_run(1, *lost)])
    assert "it finds a difference between two answers of the same model" in (leant.withheld or "")
    own, _ = drifts_of([compared_run(0, judged=()), compared_run(1, *lost, judged=())])
    assert (own.judge, own.withheld, len(own.report.drifts)) == (None, None, 1)


def test_what_the_latest_run_could_not_compare_has_its_reason() -> None:
    def reason(*runs: RunFacts) -> str | None:
        return next(each.reason for each in drifts_of(runs) if each.model == "p")

    def unkept(made: RunFacts) -> RunFacts:
        return replace(made, answers=tuple(replace(each, kept=False) for each in made.answers))

    first, second = compared_run(0), compared_run(1)
    assert reason(first) == "this is the first weekly run: there is nothing yet to compare its answers with"
    assert reason(first, second) == "the latest run compared none of its answers with earlier ones"
    not_kept = "the answers are not kept (shadow.content: none, or older than shadow.retention_days), so that a judge"
    assert (reason(first, unkept(second)) or "").startswith(not_kept)
    assert (reason(unkept(first), second) or "").startswith(not_kept)
    silent = replace(second, answers=tuple(replace(each, outcome="timeout") for each in second.answers))
    assert reason(first, silent) == "no answer of it in the latest run ended well"
    broke = compared_run(1, state="stopped", reason="no money for the answers")
    assert reason(first, broke) == "the latest run ended before its answers were compared: no money for the answers"
    elsewhere = replace(first, answers=tuple(replace(each, prompt=f"y{each.prompt}") for each in first.answers))
    assert reason(elsewhere, second) == "no prompt of the latest run was answered by it in the two runs before, too"
    part = [look(0, 1, 0, 0.0), look(1, 1, 0, None, reason="no money"), look(2, 1, 0, None, reason="no money")]
    assert reason(first, compared_run(1, *part)) == "2 of 3 comparisons of the latest run have no result: no money"
    assert reason(first, compared_run(1, look(0, 1, 0, 0.0))) is None
    plain = compared_run(1, deciders={"default": Decider(evaluator="is-json", version="1", absolute=True)})
    assert drifts_of([compared_run(0, judged=()), plain]) == []
    # A judge of before is still told, though another one decides now.
    newer = compared_run(1, deciders={"default": replace(JUDGE, version="2:j")})
    versions = {each.version: each.reason for each in drifts_of([compared_run(0, look(0, 0, 0, 0.0)), newer])}
    assert set(versions) == {"1:j", "2:j"}


def test_the_same_runs_are_worked_out_once_and_others_anew() -> None:
    runs = [run(number, *pairs(20 * number, 20, p=1.0, c=0.5)) for number in range(3)]
    of_runs = RunPoints()
    points = of_runs.points(runs)
    assert points == trend_points(runs, ())
    assert all(one is other for one, other in zip(points, of_runs.points(runs), strict=True))
    leads, drifts = of_runs.proved(runs, plan=plan())
    assert leads == leads_of(runs, plan=plan())
    assert drifts == drifts_of(runs)
    assert of_runs.proved([*runs], plan=plan()) == (leads, drifts)
    assert of_runs.proved([*runs], plan=plan())[0] is leads
    stricter = of_runs.proved(runs, plan=plan(margin=0.01))[0]  # as after a reload
    assert stricter == leads_of(runs, plan=plan(margin=0.01)) != leads

    taken_up = [*runs[:-1], replace(runs[-1], answers=runs[-1].answers[:-4])]  # the same id, other answers
    assert of_runs.points(taken_up) == trend_points(taken_up, ())
    assert of_runs.proved(taken_up, plan=plan())[0] is not leads
    assert of_runs.proved(runs[:1], plan=plan())[0] == leads_of(runs[:1], plan=plan())
    assert of_runs.points(runs[1:]) == trend_points(runs[1:], ())  # forgotten, and made again
