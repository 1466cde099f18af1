"""From weekly runs to leads, drift and points: pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shadow.alerts.lookout import drift_observations, judge_observations
from shadow.runfacts import AnswerFact, Decider, JudgedFact, LookFact, RunFacts, ScoreFact, ShadowWeek
from shadow.trends import Lead, drifts_of, leads_of, trend_points
from shadow.verdict import Rules
from shadow.web.runpoints import RunPoints

SUNDAY = datetime(2026, 11, 1, 3, tzinfo=UTC)
WEEK = timedelta(days=7)


def score(value: float | None, **given: Any) -> ScoreFact:
    values: dict[str, Any] = {
        "evaluator": "is-json", "version": "1", "quality": True, "pairwise": False,
        "status": "failed" if value is None else "scored", "value": value, "cost_usd": 0.0,
    }  # fmt: skip
    return ScoreFact(**(values | given))


def answer(prompt: str, model: str, quality: float | None, **given: Any) -> AnswerFact:
    values: dict[str, Any] = {
        "case_id": prompt, "prompt": prompt, "task": "default", "cluster": None, "golden": False, "model": model,
        "repeat": 0, "outcome": "ok", "model_answered": model, "latency_ms": 100.0, "ttft_ms": 10.0, "cost_usd": 0.01,
        "reserve_usd": 0.05, "scores": (score(quality),),
    }  # fmt: skip
    return AnswerFact(**(values | given))


def run(number: int, *answers: AnswerFact, primary: str | None = "p", models: tuple[str, ...] = ("p", "c")) -> RunFacts:
    return RunFacts(
        id=f"run-{number}", period=None, state="done", reason=None, started_at=SUNDAY + number * WEEK,
        finished_at=SUNDAY + number * WEEK, primary=primary, models=models, note="", spent_usd=0.0, max_cost_usd=5.0,
        answers=answers,
    )  # fmt: skip


def pairs(start: int, count: int, *, p: float, c: float | None, **given: Any) -> list[AnswerFact]:
    made = []
    for at in range(start, start + count):
        made += [answer(f"x{at}", "p", p), answer(f"x{at}", "c", c, **given)]
    return made


def lead(*runs: RunFacts, **given: Any) -> Lead:
    (found,) = leads_of(runs, **given)
    return found


def test_a_prompt_counts_once_in_the_run_that_asked_it_first() -> None:
    first, again = pairs(0, 60, p=1.0, c=1.0), pairs(0, 60, p=1.0, c=0.0)
    found = lead(run(0, *first), run(1, *again, *pairs(60, 10, p=1.0, c=1.0)))
    assert (found.n, found.difference, found.runs) == (70, 0.0, 2)


def test_a_dear_equal_model_leads_nowhere_and_a_cheap_equal_one_is_promoted_when_both_are_proved() -> None:
    assert lead(run(0, *pairs(0, 400, p=1.0, c=1.0))).state == "undecided"
    found = lead(run(0, *pairs(0, 400, p=1.0, c=1.0, cost_usd=0.001)))
    assert (found.state, found.why) == (
        "promote", "Proved: it is not more than 0.05 worse, and it saves at least 5%.",
    )  # fmt: skip
    assert found.cost_ratio == pytest.approx(0.1)
    assert found.interval is not None
    assert -0.05 < found.interval[0] < 0 < found.interval[1]


def test_better_is_proved_apart_from_cheaper() -> None:
    better = lead(run(0, *pairs(0, 300, p=0.8, c=1.0)))
    assert better.state == "better_costlier"
    both = lead(run(0, *pairs(0, 300, p=0.8, c=1.0, cost_usd=0.001)))
    assert (both.state, both.why) == ("promote", "Proved: it is better, and it saves at least 5%.")


def test_a_bad_candidate_is_rejected_early_and_few_prompts_decide_nothing_else() -> None:
    assert lead(run(0, *pairs(0, 30, p=1.0, c=0.0))).state == "reject"
    few = lead(run(0, *pairs(0, 30, p=1.0, c=1.0)))
    assert (few.state, few.why) == ("insufficient_data", "30 of the 50 conversations it takes are there.")
    assert lead(run(0, *pairs(0, 30, p=1.0, c=1.0)), rules=Rules(min_conversations=10)).state == "undecided"


def test_what_failed_counts_against_the_candidate_and_what_the_primary_failed_against_nobody() -> None:
    answers = pairs(0, 400, p=1.0, c=1.0, cost_usd=0.001)
    broken = pairs(400, 60, p=1.0, c=None, outcome="error_http", scores=(), cost_usd=None)
    found = lead(run(0, *answers, *broken))
    assert (found.state, found.failures, found.n) == ("undecided", 60, 400)
    primary_failed = [
        answer("y", "p", None, outcome="timeout", scores=()),
        answer("y", "c", 1.0),
        answer("only the primary", "p", 1.0),
        answer("nobody scored", "p", None),
        answer("nobody scored", "c", None, outcome="timeout", scores=()),
    ]
    found = lead(run(0, *answers, *primary_failed))
    assert (found.n, found.failures) == (400, 1)
    refused = lead(run(0, *pairs(0, 40, p=1.0, c=None, outcome="incompatible", scores=())))
    assert (refused.state, refused.difference) == ("reject", -1.0)


def test_missing_scores_withhold_and_unknown_costs_prove_no_saving() -> None:
    found = lead(run(0, *pairs(0, 100, p=1.0, c=1.0), *pairs(100, 20, p=1.0, c=None)))
    assert (found.state, found.missing) == ("withheld", 20)
    unpriced = lead(run(0, *pairs(0, 300, p=1.0, c=1.0, cost_usd=None)))
    assert (unpriced.state, unpriced.cost_ratio, unpriced.cost_per_quality_point[1]) == ("undecided", None, None)
    free = [answer(f"f{at}", model, 1.0, reserve_usd=0.0, cost_usd=0.0) for at in range(60) for model in ("p", "c")]
    assert lead(run(0, *free)).state == "undecided"


def test_a_judge_that_compares_gives_the_difference_itself() -> None:
    compared = (score(0.5, evaluator="llm-pairwise", pairwise=True),)
    answers = [
        one
        for at in range(300)
        for one in (answer(f"x{at}", "p", None, scores=()), answer(f"x{at}", "c", None, scores=compared))
    ]
    found = lead(run(0, *answers))
    assert (found.state, found.difference, found.cost_per_quality_point) == ("better_costlier", 0.5, (None, None))


def test_the_turns_of_a_conversation_are_one_unit_and_the_golden_set_counts_where_there_is_nothing_else() -> None:
    turns = [answer(f"x{at}", model, 1.0, cluster=f"talk {at // 5}") for at in range(20) for model in ("p", "c")]
    assert lead(run(0, *turns)).n == 4
    golden = [answer(f"g{at}", model, 1.0, golden=True) for at in range(20) for model in ("p", "c")]
    assert lead(run(0, *turns, *golden)).n == 4
    alone = lead(run(0, *golden))
    assert (alone.n, alone.unit) == (20, "golden prompts")


def test_alpha_is_shared_by_all_candidates_there_ever_were_and_only_the_latest_primary_counts() -> None:
    first = run(0, *pairs(0, 10, p=1.0, c=1.0))
    second = run(1, *pairs(10, 10, p=1.0, c=1.0), models=("p", "c", "d"))
    assert lead(first).level == pytest.approx(1 - 2 * 0.04)
    # One of five of what is left goes to the candidate that joined later.
    assert [each.level for each in leads_of([first, second])] == pytest.approx([1 - 2 * 0.04, 1 - 2 * 0.008])
    assert [each.candidate for each in leads_of([first, second], candidates=["nobody"])] == []
    other = run(2, *[answer("z", model, 1.0) for model in ("q", "c")], primary="q", models=("q", "c"))
    assert lead(first, other).n == 1
    assert leads_of([]) == []
    assert leads_of([run(0, primary=None)]) == []


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


JUDGE = Decider(evaluator="llm-pairwise", version="1:j", absolute=False)


def look(at: int, number: int, before: int, value: float | None, *, model: str = "p", **given: Any) -> LookFact:
    values: dict[str, Any] = {
        "task": "default", "prompt": f"x{at}", "cluster": None, "case_id": f"x{at}", "model": model, "repeat": 0,
        "before_run": f"run-{before}", "before_case_id": f"x{at}", "before_repeat": 1, "evaluator": JUDGE.evaluator,
        "version": JUDGE.version, "status": "failed" if value is None else "scored", "value": value,
    }  # fmt: skip
    return LookFact(**(values | given))


def judged(controls: int = 10, passed: int | None = None, **given: Any) -> JudgedFact:
    values: dict[str, Any] = {
        "task": "default", "evaluator": JUDGE.evaluator, "version": JUDGE.version, "judge": "j", "ruled": 30,
        "controls": controls, "controls_passed": controls if passed is None else passed,
    }  # fmt: skip
    return JudgedFact(**(values | given))


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
def test_a_judge_that_has_not_shown_that_it_looks_withholds_drift_and_lead(facts: Any, why: str) -> None:
    lost = [look(at, 1, 0, -1.0) for at in range(12)]
    runs = [compared_run(0, judged=facts), compared_run(1, *lost, judged=facts)]
    primary, _ = drifts_of(runs)
    assert primary.report.drifts
    assert why in (primary.withheld or "")
    assert drift_observations([primary], runs) == []

    won = (score(0.5, evaluator=JUDGE.evaluator, pairwise=True),)
    answers = [
        one
        for at in range(300)
        for one in (answer(f"x{at}", "p", None, scores=()), answer(f"x{at}", "c", None, scores=won))
    ]
    found = lead(replace(run(0, *answers), deciders={"default": JUDGE}, judged=facts + facts))
    assert found.state == "withheld"
    assert found.why.startswith("It would be proved, but ")
    assert why in found.why
    good = lead(replace(run(0, *answers), deciders={"default": JUDGE}, judged=(judged(30),)))
    assert good.state == "better_costlier"


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
    leads, drifts = of_runs.proved(runs)
    assert leads == leads_of(runs)
    assert drifts == drifts_of(runs)
    assert of_runs.proved([*runs]) == (leads, drifts)
    assert of_runs.proved([*runs])[0] is leads

    taken_up = [*runs[:-1], replace(runs[-1], answers=runs[-1].answers[:-4])]  # the same id, other answers
    assert of_runs.points(taken_up) == trend_points(taken_up, ())
    assert of_runs.proved(taken_up)[0] is not leads
    assert of_runs.proved(runs[:1])[0] == leads_of(runs[:1])
    assert of_runs.points(runs[1:]) == trend_points(runs[1:], ())  # forgotten, and made again
