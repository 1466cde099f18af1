"""A run in figures: intervals, summaries, comparisons and gates, from answers made up here."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from shadow.benchmark import gates
from shadow.benchmark.between import NothingSharedError, compare_runs
from shadow.benchmark.intervals import (
    asymptotic_half_width,
    difference_interval,
    mean_interval,
    quantile_interval,
    ratio_interval,
    ratio_of_ratios_interval,
)
from shadow.benchmark.paired import Unit, cost_comparison, quality_comparison
from shadow.benchmark.summary import ALPHA, summarize
from shadow.records import CandidateAnswer, Cost, Dialect, Outcome, Score, StoredScore, Usage
from shadow.runs import Case, EvaluatorOfRun, Run, RunAnswer, RunResult
from shadow.verdict import confidence_sequence
from tests.support.stored import NOW

DECIDES = {"default": [EvaluatorOfRun(name="equals", version="1", quality=True)]}
PAIRWISE = {"default": [EvaluatorOfRun(name="llm-pairwise", version="1", quality=True, absolute=False)]}


def case(number: int, **changes: Any) -> Case:
    values: dict[str, Any] = {
        "id": f"c{number}",
        "dialect": Dialect.ANTHROPIC_MESSAGES,
        "request": b'{"messages":[%d]}' % number,
    }
    return Case(**values | changes)


def score(value: float | None, **changes: Any) -> StoredScore:
    status = changes.pop("status", "scored" if value is not None else "failed")
    told = Score(status=status, value=value, reason=changes.pop("reason", ""), cost_usd=changes.pop("cost_usd", 0.0))
    values: dict[str, Any] = {"evaluator": "equals", "version": "1", "quality": True, "role": "candidate"}
    return StoredScore(**values | changes | {"score": told})


def answer(
    number: int,
    model: str = "a",
    *,
    quality: float | None = 1.0,
    cost_usd: float | None = 0.01,
    outcome: Outcome = Outcome.OK,
    latency_ms: float = 100.0,
    **changes: Any,
) -> RunAnswer:
    cost = Cost(
        billed_usd=cost_usd, uncached_usd=cost_usd, source="config" if cost_usd is not None else "price unknown"
    )
    told = CandidateAnswer(
        exchange_id=f"c{number}",
        candidate=model,
        started_at=NOW,
        outcome=outcome,
        status=200,
        latency_ms=latency_ms,
        ttft_ms=latency_ms / 2,
        usage=Usage(input=10, output=5),
        cost=cost,
        streamed=True,
        model_answered=changes.pop("model_answered", None),
    )
    scores = changes.pop("scores", None)
    if scores is None:
        scores = (score(quality),) if outcome is Outcome.OK else ()
    return RunAnswer(answer=told, cost=cost, scores=scores, **changes)


def run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "id": "r1",
        "kind": "bench",
        "name": "faq.jsonl",
        "period": None,
        "state": "done",
        "reason": None,
        "started_at": NOW,
        "finished_at": NOW,
        "models": ("a",),
        "primary": None,
        "evaluators": DECIDES,
        "repeats": 1,
        "seed": "",
        "fingerprint": "f",
        "base_urls": {},
        "note": "",
        "max_cost_usd": None,
        "estimate_usd": None,
        "spent_usd": 0.5,
        "reserved_usd": 0.0,
        "cases": 0,
        "cells": 0,
        "answered": 0,
    }
    return Run(**values | changes)


def result(*answers: RunAnswer, cases: list[Case] | None = None, **changes: Any) -> RunResult:
    numbers = sorted({int(each.cell.case_id[1:]) for each in answers})
    found = cases or [case(number) for number in numbers]
    models = tuple(dict.fromkeys(each.cell.model for each in answers)) or ("a",)
    counts = {"cases": len(found), "cells": len(answers), "answered": len(answers), "models": models}
    return RunResult(run=run(**counts | changes), cases=tuple(found), answers=answers)


def row(told: RunResult, model: str = "a", **named: Any) -> dict[str, Any]:
    summary = summarize(told, **named)
    found: dict[str, Any] = next(each for each in summary["tasks"][0]["models"] if each["model"] == model)
    return found


# ---- intervals


def test_the_interval_of_a_mean_is_the_confidence_sequence_over_the_whole_range() -> None:
    values = [1.0] * 45 + [0.0] * 5
    low, high = confidence_sequence({1.0: 45, -1.0: 5}, 0.05)
    assert mean_interval(values, 0.05) == ((low + 1) / 2, (high + 1) / 2)
    assert mean_interval([], 0.05) is None
    assert difference_interval([], 0.05) is None


def test_values_between_hundredths_are_rounded_outward() -> None:
    told = difference_interval([0.0049] * 200, 0.05)
    rounded_down, rounded_up = difference_interval([0.0] * 200, 0.05), difference_interval([0.01] * 200, 0.05)
    assert told is not None
    assert rounded_down is not None
    assert rounded_up is not None
    assert told == (rounded_down[0], rounded_up[1])


def test_a_ratio_has_an_interval_from_twenty_units_on_and_none_over_nothing() -> None:
    tops, bottoms = [0.01, 0.02] * 10, [1.0] * 20
    told = ratio_interval(tops, bottoms, 0.05)
    assert told is not None
    assert told[0] < 0.015 < told[1]
    assert ratio_interval(tops[:19], bottoms[:19], 0.05) is None
    assert ratio_interval([0.0] * 20, bottoms, 0.05) is None
    assert ratio_interval(tops, [0.0] * 20, 0.05) is None


def test_a_ratio_of_ratios_is_paired() -> None:
    old = [(0.01 + at / 1000, 1.0) for at in range(30)]
    new = [(2 * top, bottom) for top, bottom in old]
    told = ratio_of_ratios_interval(new, old, 0.05)
    assert told == (pytest.approx(2.0), pytest.approx(2.0))
    assert ratio_of_ratios_interval(new[:5], old[:5], 0.05) is None
    assert ratio_of_ratios_interval(new, [(0.0, 1.0)] * 30, 0.05) is None


def test_the_half_width_shrinks_with_the_number_of_units() -> None:
    widths = [asymptotic_half_width(1.0, units, 0.05) for units in (20, 100, 1000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[1] == pytest.approx(0.3, abs=0.1)


def test_quantiles_are_bounded_by_order_statistics_where_the_sample_reaches() -> None:
    ordered = [float(at) for at in range(1, 101)]
    assert quantile_interval(ordered, 50, 0.05) == (40.0, 61.0)
    low, high = quantile_interval(ordered[:20], 95, 0.05)
    assert (low is not None, high) == (True, None)
    assert quantile_interval(ordered[:2], 50, 0.05) == (None, None)


def test_the_interval_of_a_median_holds_as_often_as_it_says() -> None:
    chance = random.Random(7)
    missed = 0
    for _ in range(2000):
        ordered = sorted(chance.random() for _ in range(60))
        low, high = quantile_interval(ordered, 50, 0.05)
        missed += not (low is not None and high is not None and low <= 0.5 <= high)
    assert missed / 2000 <= 0.05


# ---- summaries


def test_a_models_row_has_quality_cost_latency_and_their_intervals() -> None:
    answers = [answer(at, quality=float(at % 10 != 0), latency_ms=100.0 + at) for at in range(50)]
    told = row(result(*answers))

    assert (told["avg_quality"], told["quality"]["n"], told["requests"]) == (0.9, 50, 50)
    assert told["quality"]["ci"][0] < 0.9 < told["quality"]["ci"][1]
    assert told["total_cost"] == pytest.approx(0.5)
    assert told["cost_per_quality_point"] == pytest.approx(0.5 / 45)
    assert told["cost_per_quality_point_usd"]["ci"][0] < 0.5 / 45 < told["cost_per_quality_point_usd"]["ci"][1]
    assert told["cost_usd"]["per_success"] == pytest.approx(0.01)
    assert (told["latency_ms"]["p50"], told["ttft_ms"]["n"]) == (124.0, 50)
    assert told["latency_ms"]["p50_ci"][0] < 124 < told["latency_ms"]["p50_ci"][1]
    assert told["tokens"] == {"input": 500, "cache_read": 0, "cache_write": 0, "output": 250, "unknown": 0}


def test_a_failure_is_no_answer_in_the_average_and_zero_in_what_gates_use() -> None:
    failed = [answer(at, outcome=Outcome.ERROR_HTTP, cost_usd=0.0, attempts=3) for at in range(10, 20)]
    told = row(result(*(answer(at) for at in range(10)), *failed))

    assert told["quality"]["avg"] == 1.0
    assert told["quality"]["with_failures"]["avg"] == 0.5
    assert told["error_rate"] == 0.5
    assert told["error_rate_ci"][0] < 0.5 < told["error_rate_ci"][1]
    assert told["cost_per_quality_point"] == pytest.approx(0.1 / 10)
    assert (told["attempts"], told["retries"]) == (40, 20)
    assert told["outcomes"] == {"ok": 10, "error_http": 10}


def test_failures_say_what_they_were_the_most_frequent_first() -> None:
    kinds = [Outcome.TIMEOUT, *[Outcome.ERROR_HTTP] * 3, Outcome.OK]
    [row] = summarize(result(*(answer(at, outcome=kind) for at, kind in enumerate(kinds))))["tasks"][0]["models"]
    assert [(each["outcome"], each["count"]) for each in row["errors"]] == [("error_http", 3), ("timeout", 1)]


def test_what_was_given_up_by_us_counts_for_nothing() -> None:
    told = row(result(answer(1), answer(2, outcome=Outcome.ABORTED), answer(3, outcome=Outcome.PAUSED)))
    assert (told["error_rate"], told["quality"]["with_failures"]["units"]) == (0.0, 1)


def test_answers_of_one_cluster_are_one_unit() -> None:
    cases = [case(at, cluster="talk" if at < 10 else None) for at in range(12)]
    answers = [answer(at, quality=0.0 if at < 10 else 1.0) for at in range(12)]
    told = row(result(*answers, cases=cases))
    assert (told["quality"]["units"], told["quality"]["n"]) == (3, 12)
    assert told["quality"]["avg"] == pytest.approx(2 / 3)


def test_an_unknown_price_has_no_cost_and_names_the_line_to_add() -> None:
    answers = [*(answer(at) for at in range(30)), answer(30, cost_usd=None)]
    told = row(result(*answers), missing_line=lambda model: f"prices: {model}")
    assert told["cost_usd"]["unpriced"] == 1
    assert told["cost_usd"]["reason"] == "1 of 31 have no known cost and are left out: price unknown, add prices: a"
    assert "1 without a known cost are left out" in told["cost_per_quality_point_usd"]["reason"]
    none = row(result(answer(2, cost_usd=None)))
    assert none["total_cost"] is None
    assert none["cost_usd"]["reason"] == "1 of 1 have no known cost and are left out: 1 price unknown"
    assert none["cost_per_quality_point_usd"]["value"] is None


def test_quality_that_may_be_zero_has_no_cost_per_point() -> None:
    told = row(result(*(answer(at, quality=0.0) for at in range(30))))
    assert told["cost_per_quality_point"] is None
    assert "mean quality may be as low as 0.000" in told["cost_per_quality_point_usd"]["reason"]


def test_a_sure_quality_without_any_cost_says_so() -> None:
    told = row(result(*(answer(at, cost_usd=None) for at in range(30))))
    assert told["cost_per_quality_point_usd"]["reason"] == "n/a: no cost of a scored answer is known"


def test_missing_scores_are_counted_and_never_averaged() -> None:
    told = row(
        result(
            answer(1),
            answer(2, quality=None),
            answer(3, scores=(score(None, status="not_applicable", reason="no expected text"),)),
            answer(4, scores=()),
        )
    )
    quality = told["quality"]
    assert (quality["avg"], quality["n"], quality["missing"], quality["not_applicable"]) == (1.0, 1, 2, 1)
    assert quality["by_evaluator"]["equals"]["missing"] == 1


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "no answer ended well"),
        ([answer(1, outcome=Outcome.TIMEOUT)], "no answer ended well"),
        ([answer(1, quality=None)], "none of the 1 answers has a quality, 1 missing"),
        (
            [answer(1, scores=(score(None, status="not_applicable", reason="no expected text"),))],
            "the deciding evaluator applies to none of them: no expected text",
        ),
    ],
)
def test_a_quality_that_is_not_there_says_why(answers: list[RunAnswer], words: str) -> None:
    told = row(result(*answers, cases=[case(1)]))
    assert words in told["quality"]["reason"]
    assert told["cost_per_quality_point_usd"]["reason"] == f"n/a: {told['quality']['reason']}"


def test_a_run_without_a_single_answer_is_a_table_of_nothing() -> None:
    summary = summarize(result(cases=[case(1)], cells=1))
    [task] = summary["tasks"]
    assert task["models"][0]["requests"] == 0
    assert task["comparisons"] == []
    assert summary["run"]["cells"] == 1
    assert summarize(result(cases=[case(1)], models=()))["tasks"][0]["comparisons"] == []


def test_a_pairwise_evaluator_gives_differences_and_no_quality() -> None:
    pair = [answer(at, "b", scores=(score(1.0, role="pair", evaluator="llm-pairwise"),)) for at in range(40)]
    told = result(*(answer(at, scores=()) for at in range(40)), *pair, primary="a", evaluators=PAIRWISE)
    summary = summarize(told)
    [comparison] = summary["tasks"][0]["comparisons"]

    for model in ("a", "b"):
        found = row(told, model)
        assert "pairwise evaluator gives no answer an absolute quality" in found["quality"]["reason"]
        assert found["quality"]["missing"] == 0
    assert comparison["quality_diff"]["mean"] == 1.0
    assert comparison["quality_diff"]["ci"][0] > 0.5
    assert comparison["quality_diff"]["win_rate"] == 1.0


def test_tasks_are_told_apart() -> None:
    cases = [case(1, task="one"), case(2, task="two")]
    summary = summarize(result(answer(1), answer(2, quality=0.0), cases=cases, evaluators={}))
    assert [(task["task"], task["models"][0]["avg_quality"]) for task in summary["tasks"]] == [
        ("one", 1.0),
        ("two", 0.0),
    ]


def test_readings_come_with_their_numbers() -> None:
    dear = [answer(at, "dear", quality=1.0, cost_usd=0.05) for at in range(30)]
    cheap = [
        answer(at, "cheap", quality=float(at % 4 != 0), cost_usd=0.001, latency_ms=5000 if at < 3 else 100)
        for at in range(30)
    ]
    [task] = summarize(result(*dear, *cheap))["tasks"]
    told = {each["reading"]: each["text"] for each in task["insights"]}
    assert "50.0 times cheap: use it for critical paths" in told["high_quality_high_cost"]
    assert "use it for high-volume" in told["moderate_quality_low_cost"]
    assert "add a timeout and a fallback route" in told["high_latency_variance"]
    low = [answer(at, model, quality=0.2) for at in range(30) for model in ("a", "b")]
    [task] = summarize(result(*low))["tasks"]
    assert (
        "look at the prompt"
        in {each["reading"]: each["text"] for each in task["insights"]}["low_quality_across_models"]
    )


# ---- differences


def test_differences_are_averaged_per_unit_and_missing_ones_counted() -> None:
    units = [
        Unit(name="x", primary=0.0, candidate=1.0),
        Unit(name="x", primary=1.0, candidate=0.0),
        Unit(name="y", primary=0.5, candidate=0.5),
        Unit(name="z", primary=None, candidate=1.0),
    ]
    told = quality_comparison(units, ALPHA)
    assert (told["mean"], told["n"], told["units"], told["missing"]) == (0.0, 3, 2, 1)
    assert (told["win_rate"], told["tie_rate"], told["loss_rate"]) == (1 / 3, 1 / 3, 1 / 3)
    empty = quality_comparison([], ALPHA)
    assert (empty["mean"], empty["ci"], empty["win_rate"]) == (None, None, None)
    assert empty["reason"] == "no question has a quality on both sides"


def test_cost_ratios_need_costs_on_both_sides() -> None:
    told = cost_comparison([Unit(name=str(at), primary=2.0, candidate=1.0 + at / 100) for at in range(25)], ALPHA)
    assert told["value"] == pytest.approx(0.56)
    assert told["ci"][0] < 0.56 < told["ci"][1]
    few = cost_comparison(
        [Unit(name="x", primary=2.0, candidate=1.0), Unit(name="y", primary=None, candidate=1.0)], ALPHA
    )
    assert (few["value"], few["missing"]) == (0.5, 1)
    assert "too few" in few["reason"]
    assert cost_comparison([], ALPHA)["reason"] == "no question has a known cost above 0 on both sides"


def test_a_comparison_counts_failures_apart_and_a_refused_request_as_zero() -> None:
    told = result(
        *(answer(at) for at in range(4)),
        answer(0, "b"),
        answer(1, "b", outcome=Outcome.INCOMPATIBLE, cost_usd=0.0),
        answer(2, "b", outcome=Outcome.TIMEOUT, cost_usd=None),
    )
    [comparison] = summarize(told)["tasks"][0]["comparisons"]
    assert (comparison["primary"], comparison["candidate"], comparison["pairs"]) == ("a", "b", 3)
    assert comparison["quality_diff"]["mean"] == -0.5
    assert comparison["failed"] == {"primary": 0, "candidate": 1}
    assert comparison["latency_diff_ms"]["n"] == 1


# ---- two runs


def two_runs(second_quality: float = 0.0) -> tuple[RunResult, RunResult]:
    first = result(*(answer(at, model_answered="a-1") for at in range(30)), id="first")
    again = [answer(at, quality=second_quality, cost_usd=0.02, model_answered="a-2") for at in range(30)]
    renamed = [replace(each, answer=replace(each.answer, exchange_id=f"c{at + 100}")) for at, each in enumerate(again)]
    cases = [case(at + 100, request=case(at).request) for at in range(30)]
    return first, result(*renamed, cases=cases, id="second")


def test_two_runs_are_paired_by_what_was_asked_whatever_the_ids() -> None:
    first, second = two_runs()
    told = compare_runs(first, second)
    [model] = told["models"]
    assert (told["shared_cases"], told["only_first"], told["only_second"]) == (30, 0, 0)
    assert model["quality_diff"]["mean"] == -1.0
    assert model["cost_ratio"]["value"] == pytest.approx(2.0)
    assert model["by_evaluator"]["equals"]["ci"][1] < -0.5
    assert model["by_evaluator"]["equals"]["warning"] is None
    assert model["models_answered"] == {"first": ["a-1"], "second": ["a-2"]}
    assert model["error_rate"] == {"first": 0.0, "second": 0.0}


def test_another_version_of_an_evaluator_is_warned_of() -> None:
    first, second = two_runs()
    changed = [replace(each, scores=(score(1.0, version="2"),)) for each in second.answers]
    [model] = compare_runs(first, replace(second, answers=tuple(changed)))["models"]
    assert "different versions" in model["by_evaluator"]["equals"]["warning"]


def test_models_of_different_names_are_paired_when_named_or_alone() -> None:
    first, second = two_runs()
    other = replace(
        second,
        run=replace(second.run, models=("b",)),
        answers=tuple(replace(each, answer=replace(each.answer, candidate="b")) for each in second.answers),
    )
    assert [model["model"] for model in compare_runs(first, other)["models"]] == ["a -> b"]
    assert [model["pairs"] for model in compare_runs(first, other, models=[("a", "b")])["models"]] == [30]
    both = replace(other, run=replace(other.run, models=("b", "c")))
    with pytest.raises(NothingSharedError, match="no model is in both runs"):
        compare_runs(first, both)
    elsewhere = replace(second, cases=tuple(replace(each, request=b"{}") for each in second.cases))
    with pytest.raises(NothingSharedError, match="no question in common"):
        compare_runs(first, elsewhere)


def test_what_is_not_in_both_runs_or_not_scored_in_both_is_missing() -> None:
    first, second = two_runs(1.0)
    unscored = [replace(each, scores=()) if at < 10 else each for at, each in enumerate(first.answers)]
    others = [*unscored, *(answer(at, "other") for at in range(3)), answer(999)]
    [model] = compare_runs(replace(first, answers=tuple(others)), second)["models"]
    assert (model["pairs"], model["by_evaluator"]["equals"]["n"], model["by_evaluator"]["equals"]["missing"]) == (
        30,
        20,
        10,
    )


def test_a_comparison_of_a_model_without_answers_is_empty() -> None:
    first, second = two_runs()
    [model] = compare_runs(first, replace(second, answers=()))["models"]
    assert (model["pairs"], model["error_rate"]) == (0, {"first": None, "second": None})


# ---- gates


def decided(text: str, told: RunResult, **named: Any) -> gates.Decision:
    [decision, *_] = gates.decide([gates.read_gate(text)], summarize(told), result=told, **named)
    return decision


SURE = result(*(answer(at, latency_ms=100.0 + at) for at in range(100)))


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("quality>=0.9", "pass"),
        ("quality <= 0.9", "fail"),
        ("quality>=0.99", "inconclusive"),
        ("score.equals>=.9", "pass"),
        ("score.other>=0.9", "inconclusive"),
        ("cost_per_quality_point<=0.011", "pass"),
        ("cost_per_quality_point<=1e-3", "fail"),
        ("error_rate<=0.1", "pass"),
        ("total_cost<=1.0", "pass"),
        ("total_cost<=0.9", "fail"),
        ("cost_per_request<=0.01", "pass"),
        ("cost_per_success<=0.009", "fail"),
        ("latency_p50_ms<=200", "pass"),
        ("latency_p50_ms<=150", "inconclusive"),
        ("latency_p95_ms>=100", "pass"),
        ("ttft_p50_ms<=20", "fail"),
        ("ttft_p95_ms<=1000", "pass"),
        ("a: quality>=0.9", "pass"),
    ],
)
def test_a_gate_is_decided_by_the_interval(text: str, state: str) -> None:
    decision = decided(text, SURE)
    assert decision.state == state, decision.sentence
    assert decision.sentence.startswith(f"{state}: a: ")


def test_a_gate_on_what_is_not_known_is_never_passed() -> None:
    unknown = result(answer(1, quality=None, cost_usd=None))
    for text in ("quality>=0", "cost_per_quality_point<=1", "total_cost<=1", "score.equals>=0"):
        assert decided(text, unknown).state == "inconclusive"
    nothing = result(answer(1, outcome=Outcome.ABORTED))
    for text in ("latency_p50_ms<=1", "error_rate<=1"):
        assert decided(text, nothing).state == "inconclusive"
    few = decided("cost_per_quality_point<=1", result(*(answer(at) for at in range(15))))
    assert (few.state, few.value) == ("inconclusive", pytest.approx(0.01))
    assert "too few" in few.sentence
    tail = decided("latency_p95_ms<=1000", result(*(answer(at) for at in range(10))))
    assert "10 answers are too few" in tail.sentence


def test_too_many_missing_scores_decide_nothing() -> None:
    told = result(*(answer(at, quality=1.0 if at < 90 else None) for at in range(100)))
    for text in ("quality>=0.5", "score.equals>=0.5"):
        decision = decided(text, told)
        assert decision.state == "inconclusive"
        assert "10 of 100 answers could not be scored" in decision.sentence


def test_a_run_with_missing_answers_passes_nothing_and_may_still_fail() -> None:
    unfinished = replace(SURE, run=replace(SURE.run, cells=120))
    assert decided("quality>=0.9", unfinished).state == "inconclusive"
    assert "20 answers are missing" in decided("quality>=0.9", unfinished).sentence
    assert decided("quality<=0.5", unfinished).state == "fail"


def test_gates_against_a_baseline_are_paired() -> None:
    first, second = two_runs(1.0)
    assert decided("quality_diff>=-0.2", second, baseline=first).state == "pass"
    assert decided("cost_ratio<=1.5", second, baseline=first).state == "fail"
    assert decided("cost_per_quality_point_ratio<=1.5", second, baseline=first).state == "fail"
    assert decided("cost_per_quality_point_ratio<=2.5", second, baseline=first).state == "pass"
    apart = replace(first, cases=tuple(replace(each, request=b"{}") for each in first.cases))
    for text in ("quality_diff>=-0.2", "cost_ratio<=1.5", "cost_per_quality_point_ratio<=1.5"):
        assert decided(text, second, baseline=apart).state == "inconclusive"
    few = tuple(second.answers[:10])
    assert (
        "10 cases are too few"
        in decided("cost_per_quality_point_ratio<=1.5", replace(second, answers=few), baseline=first).sentence
    )
    partly = tuple(unpriced(each) if at < 1 else each for at, each in enumerate(second.answers))
    ratio = decided("cost_per_quality_point_ratio<=2.5", replace(second, answers=partly), baseline=first)
    assert ratio.state == "pass"


def unpriced(one: RunAnswer) -> RunAnswer:
    return replace(one, cost=Cost(billed_usd=None, uncached_usd=None, source="price unknown"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("quality_diff>=-0.9", "5 of 60 pairs have no difference"),
        ("cost_ratio<=9", "5 of 60 pairs have no difference"),
        ("cost_per_quality_point_ratio<=9", "5 of 60 pairs lack a cost or a quality"),
        ("cost_per_quality_point<=9", "5 of 60 answers have no known cost"),
    ],
)
def test_figures_that_lack_too_many_answers_pass_no_gate(text: str, words: str) -> None:
    first = result(*(answer(at) for at in range(60)), id="first")
    whole = [answer(at) for at in range(60)]
    lacking = [replace(unpriced(each), scores=(score(None),)) if at < 5 else each for at, each in enumerate(whole)]
    if text.startswith("cost_per_quality_point<"):
        lacking = [unpriced(each) if at < 5 else each for at, each in enumerate(whole)]
    assert decided(text, result(*whole, id="second"), baseline=first).state == "pass"
    told = decided(text, result(*lacking, id="second"), baseline=first)
    assert told.state == "inconclusive"
    assert words in told.sentence


def test_a_difference_over_the_questions_that_were_answered_passes_no_gate_alone() -> None:
    beside = [answer(at, "b", outcome=Outcome.TIMEOUT if at < 50 else Outcome.OK) for at in range(100)]
    told = result(*(answer(at) for at in range(100)), *beside, primary="a")
    [decision] = gates.decide([gates.read_gate("quality_diff>=-0.2")], summarize(told), result=told)
    assert decision.state == "inconclusive"
    assert "50 of 100 pairs have no difference" in decision.sentence


def test_questions_to_which_the_evaluator_does_not_apply_are_not_missing() -> None:
    apart = (score(None, status="not_applicable"),)
    sides = [answer(at, model, **({"scores": apart} if at < 30 else {})) for model in ("a", "b") for at in range(100)]
    told = result(*sides, primary="a")
    [comparison] = summarize(told)["tasks"][0]["comparisons"]
    assert (comparison["quality_diff"]["n"], comparison["quality_diff"]["missing"]) == (70, 0)
    [decision] = gates.decide([gates.read_gate("quality_diff>=-0.2")], summarize(told), result=told)
    assert decision.state == "pass"


def test_without_a_baseline_models_are_held_against_the_runs_primary() -> None:
    better = [answer(at, "b", cost_usd=0.005) for at in range(60)]
    told = result(*(answer(at, quality=float(at % 2)) for at in range(60)), *better, primary="a")
    for text, state in (
        ("quality_diff>=0.1", "pass"),
        ("cost_ratio<=0.6", "pass"),
        ("cost_ratio<=0.4", "fail"),
        ("cost_per_quality_point_ratio<=1", "inconclusive"),
    ):
        decisions = gates.decide([gates.read_gate(text)], summarize(told), result=told)
        assert [(each.model, each.state) for each in decisions] == [("b", state)], text


def test_a_gate_against_a_baseline_is_about_its_task_alone() -> None:
    first, second = two_runs(1.0)
    split = [replace(each, task="one" if at < 15 else "two") for at, each in enumerate(second.cases)]
    worse = [replace(each, scores=(score(0.0),)) if at >= 15 else each for at, each in enumerate(second.answers)]
    told = replace(second, cases=tuple(split), answers=tuple(worse), run=replace(second.run, evaluators={}))
    decisions = gates.decide([gates.read_gate("quality_diff>=-0.9")], summarize(told), result=told, baseline=first)
    assert [(each.model, each.value) for each in decisions] == [("a (one)", 0.0), ("a (two)", -1.0)]


def test_a_gate_speaks_of_every_model_or_the_named_one_and_of_each_task() -> None:
    told = result(*(answer(at, model) for at in range(100) for model in ("a", "b")))
    everyone = gates.decide([gates.read_gate("quality>=0.9")], summarize(told), result=told)
    named = gates.decide([gates.read_gate("b:quality>=0.9")], summarize(told), result=told)
    assert [each.model for each in everyone] == ["a", "b"]
    assert [each.model for each in named] == ["b"]
    cases = [case(1, task="one"), case(2, task="two")]
    tasks = result(answer(1), answer(2), cases=cases, evaluators={})
    split = gates.decide([gates.read_gate("quality>=0.1")], summarize(tasks), result=tasks)
    assert [each.model for each in split] == ["a (one)", "a (two)"]


def test_the_worst_gate_decides_the_end() -> None:
    passed, failed, unsure = (decided(text, SURE) for text in ("quality>=0.9", "quality<=0.9", "quality>=0.99"))
    assert gates.overall([]) == "pass"
    assert gates.overall([passed, unsure]) == "inconclusive"
    assert gates.overall([unsure, failed]) == "fail"


@pytest.mark.parametrize("text", ["", "quality", "quality>0.9", "quality==1", ">=1", "quality>=x", "luck>=1", "a:b"])
def test_a_gate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(gates.GateError):
        gates.read_gate(text)


def test_a_models_name_may_hold_colons() -> None:
    gate = gates.read_gate("ollama/llama3:8b: cost_ratio <= 0.8")
    assert (gate.model, gate.metric, gate.op, gate.bound) == ("ollama/llama3:8b", "cost_ratio", "<=", 0.8)
    assert gate.compares
    assert not math.isnan(gate.bound)
