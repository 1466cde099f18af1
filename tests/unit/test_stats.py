"""Stats from rows: hand-computed numbers, what counts and what does not, and nothing that is not a number, ever."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.evaluators.auto import RequestChecks
from shadow.records import EvalCase, Outcome
from shadow.stats import ConversationRules, StatsRows, build_stats
from shadow.stats.conversations import Extent, extent
from shadow.stats.figures import difference, distribution, mean, nearest_rank, ratio, total
from shadow.stats.insights import crowded_key, insights
from shadow.stats.noise import self_differences

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=7)
PRIMARY, CANDIDATE = "claude-sonnet-4-5", "gpt-4o"
OPEN_FOR_EVER = ConversationRules(idle_s=1e9, max_turns=1000, max_age_s=1e9)

Row = dict[str, Any]


def at(minutes: float) -> datetime:
    return SINCE + timedelta(minutes=minutes)


def call(**given_values: Any) -> Row:
    row: Row = {
        "outcome": "ok",
        "latency_ms": 1000.0,
        "ttft_ms": None,
        "overhead_us": None,
        "streamed": False,
        "input_tokens": 100,
        "cache_read_tokens": 0,
        "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0,
        "output_tokens": 50,
        "cost_billed_usd": 0.01,
        "cost_uncached_usd": 0.01,
    }
    return row | given_values


def exchange(number: int, **given_values: Any) -> Row:
    row = call(
        id=f"x{number}",
        started_at=at(number),
        task="default",
        conversation=f"c{number}",
        model=PRIMARY,
        first_turn=True,
        has_tools=False,
        client_retry=False,
    )
    return row | given_values


def answer(number: int, **given_values: Any) -> Row:
    row = call(exchange_id=f"x{number}", candidate=CANDIDATE, counted=True, redaction_changed=False)
    return row | given_values


def score(number: int, value: float | None, **given_values: Any) -> Row:
    row: Row = {
        "exchange_id": f"x{number}",
        "candidate": "",
        "evaluator": "is-json",
        "version": "1",
        "quality": True,
        "role": "primary",
        "status": "scored",
        "value": value,
    }
    return row | given_values


def scores(number: int, primary: float, candidate: float | None) -> list[Row]:
    return [score(number, primary), score(number, candidate, candidate=CANDIDATE, role="candidate")]


def not_scored(number: int, status: str, **given_values: Any) -> Row:
    return score(number, None, status=status, **given_values)


def price_line(model: str) -> str:
    return f"prices: {{{model}: …}}"


def rows(**given_values: Any) -> StatsRows:
    nothing_spent = {"spent_usd": 0.0, "reserved_usd": 0.0, "closed": 0.0}
    return StatsRows(**({"dropped": {}, "budget": nothing_spent, "budget_day": "2026-11-08"} | given_values))


def stats(found: StatsRows | None = None, **given_values: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "since": SINCE,
        "until": UNTIL,
        "now": UNTIL,
        "rules": OPEN_FOR_EVER,
        "missing_line": lambda model: None,  # noqa: ARG005  (every price is known)
        "budget_usd_per_day": 5.0,
    }
    return build_stats(found or rows(), **(options | given_values))


def the_task(found: StatsRows, **given_values: Any) -> dict[str, Any]:
    (task,) = stats(found, **given_values)["tasks"]
    return dict(task)


def the_primary(*exchanges: Row, **given_values: Any) -> dict[str, Any]:
    return dict(the_task(rows(exchanges=exchanges), **given_values)["models"][0])


def the_candidate(found: StatsRows, **given_values: Any) -> dict[str, Any]:
    return dict(the_task(found, **given_values)["models"][-1])


def the_comparison(found: StatsRows, **given_values: Any) -> dict[str, Any]:
    (comparison,) = the_task(found, **given_values)["comparisons"]
    return dict(comparison)


# ---- figures


def test_percentiles_are_members_of_the_sample_by_nearest_rank() -> None:
    ordered = list(range(1, 101))
    assert [nearest_rank(ordered, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert nearest_rank([10, 20, 30], 50) == 20
    assert nearest_rank([10, 20, 30, 40], 50) == 20
    assert nearest_rank([10, 20, 30], 95) == 30
    assert nearest_rank(list(range(1, 21)), 95) == 19
    assert nearest_rank([], 50) is None


def test_a_distribution_of_nothing_is_null_with_its_reason() -> None:
    empty = distribution([], none_because="nothing came")
    assert empty == {"n": 0, "avg": None, "p50": None, "p95": None, "p99": None, "reason": "nothing came"}


def test_a_mean_of_nothing_or_of_an_overflow_is_unknown() -> None:
    assert mean([]) is None
    assert mean([1e308, 1e308]) is None
    assert total([]) is None
    assert total([0.1] * 10) == 1.0


def test_a_ratio_to_nothing_is_unknown() -> None:
    assert ratio(1.0, 0) is None
    assert ratio(None, 2.0) is None
    assert ratio(1.0, None) is None
    assert ratio(1e308, 1e-308) is None
    assert ratio(1.0, 4.0) == 0.25


def test_a_difference_to_an_unknown_is_unknown() -> None:
    assert difference(3.0, 1.0) == 2.0
    assert difference(None, 1.0) is None
    assert difference(1.0, None) is None
    assert difference(1e308, -1e308) is None


# ---- conversations


@pytest.mark.parametrize(
    ("minutes", "as_of", "expected"),
    [
        ([0], 29, Extent(turns=1, open=True)),
        ([0], 30, Extent(turns=1, open=False)),
        ([0, 29, 58], 60, Extent(turns=3, open=True)),
        ([0, 29, 59], 60, Extent(turns=2, open=False)),  # a pause of 30 minutes closed it; the third turn is late
        ([0, 1, 2, 3], 4, Extent(turns=3, open=False)),  # the third turn is the last that counts
        ([0, 25, 50], 51, Extent(turns=3, open=False)),
        ([0, 29], 58, Extent(turns=2, open=True)),
    ],
)
def test_a_conversation_closes_after_a_pause_or_its_last_turn(
    minutes: list[float], as_of: float, expected: Extent
) -> None:
    rules = ConversationRules(idle_s=1800, max_turns=4 if expected.open else 3, max_age_s=86_400)
    assert extent([at(minute) for minute in minutes], rules, as_of=at(as_of)) == expected


def test_a_conversation_closes_when_it_is_too_old() -> None:
    rules = ConversationRules(idle_s=1800, max_turns=100, max_age_s=3600)
    starts = [at(0), at(20), at(40), at(60), at(80)]
    assert extent(starts, rules, as_of=at(81)) == Extent(turns=3, open=False)


# ---- models


def test_requests_are_counted_by_how_they_ended() -> None:
    row = the_primary(
        exchange(1),
        exchange(2, outcome="refusal"),
        exchange(3, outcome="error_http"),
        exchange(4, outcome="timeout"),
        exchange(5, outcome="aborted"),
    )
    assert row["requests"] == 5
    assert row["outcomes"] == {"ok": 1, "refusal": 1, "aborted": 1, "error_http": 1, "timeout": 1}
    assert row["error_rate"] == 2 / 4  # nobody can say how the aborted one would have ended


def test_the_error_rate_of_aborted_requests_alone_is_unknown() -> None:
    assert the_primary(exchange(1, outcome="aborted"))["error_rate"] is None


def test_latency_counts_answers_that_ended_well_alone() -> None:
    row = the_primary(
        exchange(1, latency_ms=100.0),
        exchange(2, latency_ms=300.0, outcome="truncated"),
        exchange(3, latency_ms=9000.0, outcome="timeout"),
        exchange(4, latency_ms=math.inf),
    )
    told = {"n": 2, "avg": 200.0, "p50": 100.0, "p95": 300.0, "p99": 300.0, "reason": None}
    assert {name: row["latency_ms"][name] for name in told} == told
    assert row["avg_latency_ms"] == 200.0


def test_time_to_first_token_is_of_streamed_answers_alone() -> None:
    row = the_primary(exchange(1, ttft_ms=40.0, streamed=True), exchange(2, ttft_ms=5.0, streamed=False))
    assert (row["ttft_ms"]["n"], row["ttft_ms"]["p50"]) == (1, 40.0)
    assert the_primary(exchange(1))["ttft_ms"]["reason"] == "no streamed answer ended well yet"


def test_what_the_gateway_added_is_told_in_milliseconds_and_of_no_candidate() -> None:
    primary = the_primary(*(exchange(number, overhead_us=100 * number) for number in (1, 2, 3)))
    assert primary["overhead_ms"] == {
        "n": 3,
        "avg": pytest.approx(0.2),
        "p50": 0.2,
        "p95": 0.3,
        "p99": 0.3,
        "reason": None,
    }
    assert the_primary(exchange(1))["overhead_ms"]["reason"] == "no answer of the upstream was passed on yet"
    assert the_candidate(rows(exchanges=[exchange(1)], answers=[answer(1)]))["overhead_ms"] is None


def test_percentiles_have_bounds_where_there_are_values_enough() -> None:
    few = the_primary(exchange(1, latency_ms=100.0), exchange(2, latency_ms=200.0))["latency_ms"]
    assert (few["p50_ci"], few["p95_ci"], few["p99_ci"], few["level"]) == (None, None, None, None)
    assert few["ci_reason"] == "2 values: for bounds of its own p50 needs 6, p95 needs 72, p99 needs 368"

    some = the_primary(*(exchange(number, latency_ms=float(number)) for number in range(1, 101)))["latency_ms"]
    assert (some["p50_ci"], some["p95_ci"], some["level"]) == ([40.0, 61.0], [90.0, 100.0], 0.95)
    assert (some["p99_ci"], some["ci_reason"]) == (None, "100 values: for bounds of its own p99 needs 368")

    many = the_primary(*(exchange(number, latency_ms=float(number)) for number in range(1, 401)))["latency_ms"]
    assert many["p99_ci"][0] < many["p99"] < many["p99_ci"][1]
    assert many["ci_reason"] is None


def test_cost_per_quality_point_has_an_interval_over_conversations_where_there_are_enough() -> None:
    def the_candidates(count: int) -> dict[str, Any]:
        found = rows(
            exchanges=[exchange(number, conversation=f"c{number // 2}") for number in range(1, count + 1)],
            answers=[answer(number, cost_uncached_usd=0.01 * (1 + number % 3)) for number in range(1, count + 1)],
            scores=[each for number in range(1, count + 1) for each in scores(number, 1.0, float(number % 5 > 0))],
        )
        return dict(the_task(found)["models"][1]["cost_per_quality_point_usd"])

    few, many = the_candidates(40), the_candidates(160)
    assert (few["ci"], few["level"]) == (None, None)
    assert few["value"] == pytest.approx(0.80 / 32)
    assert few["reason"].startswith("ci is null: no interval yet: 21 of at least 50 conversations; ")
    assert many["ci"][0] < many["value"] < many["ci"][1]
    assert (many["level"], many["reason"]) == (0.95, None)


def test_a_candidates_times_say_that_nobody_waited_for_them() -> None:
    primary, candidate = the_task(rows(exchanges=[exchange(1)], answers=[answer(1)]))["models"]
    assert (primary["latency_ms"]["measured"], primary["ttft_ms"]["measured"]) == ("live", "live")
    assert candidate["latency_ms"]["measured"] == candidate["ttft_ms"]["measured"] == "off the live path"


def test_tokens_are_summed_by_bucket_and_unknown_counts_are_said() -> None:
    row = the_primary(
        exchange(1, cache_read_tokens=7, cache_write_5m_tokens=3, cache_write_1h_tokens=2),
        exchange(2, input_tokens=None, output_tokens=None),
        exchange(3, input_tokens=None, output_tokens=None, outcome="error_http"),
    )
    assert row["tokens"] == {"input": 100, "cache_read": 7, "cache_write": 5, "output": 50, "unknown": 1}


def test_failures_and_client_retries_are_paid_for_by_the_successes() -> None:
    row = the_primary(
        exchange(1, outcome="error_stream", cost_billed_usd=0.02),
        exchange(2, client_retry=True, cost_billed_usd=0.04),
        exchange(3, cost_billed_usd=0.06),
    )
    cost = row["cost_usd"]
    assert cost["total"] == pytest.approx(0.12)
    assert cost["per_request"] == pytest.approx(0.06)  # two requests, one of them tried twice
    assert cost["per_success"] == pytest.approx(0.06)
    assert (cost["unpriced"], cost["reason"], cost["basis"], cost["add_to_config"]) == (0, None, "billed", None)
    assert (row["client_retries"], row["total_cost"]) == (1, cost["total"])


def test_a_repeat_of_a_try_of_unknown_cost_stands_for_its_request() -> None:
    unknown = {"input_tokens": None, "cost_billed_usd": None, "cost_uncached_usd": None}
    lost = [exchange(number, outcome="timeout", **unknown) for number in (1, 2)]
    again = exchange(3, client_retry=True)
    refused = [exchange(4, outcome="error_http", **unknown), exchange(5, client_retry=True)]
    one_unknown = the_primary(*lost, again, exchange(6))["cost_usd"]
    assert (one_unknown["total"], one_unknown["per_request"], one_unknown["unpriced"]) == (0.02, 0.01, 2)
    refusals_are_known = the_primary(*lost, *refused, exchange(6))["cost_usd"]
    assert (refusals_are_known["total"], refusals_are_known["per_request"]) == (0.02, 0.01)


def test_a_request_refused_before_any_answer_cost_nothing() -> None:
    nothing = {"input_tokens": None, "cost_billed_usd": None, "cost_uncached_usd": None}
    row = the_primary(exchange(1, outcome="error_http", **nothing), exchange(2))
    assert row["cost_usd"]["total"] == 0.01
    assert row["cost_usd"]["unpriced"] == 0


def test_a_lost_connection_has_an_unknown_cost_and_one_never_made_costs_nothing() -> None:
    lost = {"outcome": "error_connect", "input_tokens": None, "cost_billed_usd": None, "cost_uncached_usd": None}
    never_made = the_primary(exchange(1, gateway_error="connect", **lost), exchange(2))["cost_usd"]
    assert (never_made["per_request"], never_made["unpriced"]) == (0.005, 0)
    live = the_primary(exchange(1, gateway_error="bad_answer", **lost), exchange(2))["cost_usd"]
    assert (live["per_request"], live["unpriced"]) == (0.01, 1)
    shadowed = the_candidate(rows(exchanges=[exchange(1)], answers=[answer(1, **lost)]))["cost_usd"]
    assert (shadowed["total"], shadowed["unpriced"]) == (None, 1)


def test_an_aborted_stream_without_token_counts_has_an_unknown_cost() -> None:
    nothing = {"input_tokens": None, "cost_billed_usd": None, "cost_uncached_usd": None}
    cost = the_primary(exchange(1, outcome="aborted", **nothing), exchange(2))["cost_usd"]
    assert (cost["total"], cost["unpriced"], cost["add_to_config"]) == (0.01, 1, None)
    assert cost["reason"].startswith("1 of 2 have no known cost")
    assert "token counts" in cost["reason"]


def test_an_unknown_price_is_said_with_the_line_to_add() -> None:
    row = the_primary(exchange(1, cost_billed_usd=None, cost_uncached_usd=None), missing_line=price_line)
    cost = row["cost_usd"]
    assert (cost["total"], cost["per_request"], cost["per_success"], cost["unpriced"]) == (None, None, None, 1)
    assert cost["add_to_config"] == price_line(PRIMARY)
    assert price_line(PRIMARY) in cost["reason"]
    assert (row["total_cost"], row["cost_per_quality_point"]) == (None, None)


def test_requests_that_name_no_model_are_shown_without_a_name() -> None:
    row = the_primary(exchange(1, model=None, cost_billed_usd=None), missing_line=price_line)
    assert (row["model"], row["requests"], row["cost_usd"]["add_to_config"]) == (None, 1, None)


def test_an_exchange_without_a_conversation_is_one_of_its_own() -> None:
    found = rows(
        exchanges=[exchange(1, conversation=None), exchange(2, conversation=None)],
        answers=[answer(1), answer(2)],
        scores=[*scores(1, 1, 0), *scores(2, 1, 1)],
    )
    assert the_comparison(found)["open"] == 2


# ---- quality


def test_only_scored_answers_are_averaged() -> None:
    found = rows(
        exchanges=[exchange(number) for number in range(1, 6)],
        answers=[answer(number) for number in range(1, 6)],
        scores=[
            *scores(1, 1.0, 0.5),
            *scores(2, 0.5, 1.0),
            not_scored(3, "failed", candidate=CANDIDATE, role="candidate"),
            not_scored(4, "not_applicable", candidate=CANDIDATE, role="candidate"),
        ],
    )
    quality = the_candidate(found)["quality"]
    assert (quality["avg"], quality["n"]) == (0.75, 2)
    assert (quality["missing"], quality["not_applicable"]) == (2, 1)  # one failed, one has no score at all
    assert quality["by_evaluator"] == {
        "is-json": {
            "avg": 0.75,
            "n": 2,
            "missing": 1,
            "not_applicable": 1,
            "decides": True,
            "pairwise": False,
            "versions": ["1"],
        }
    }
    assert quality["reason"] is None
    low, high = quality["ci"]
    assert low < quality["conversation_avg"] < high
    assert quality["level"] == 0.95


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, 1.5, None])
def test_a_score_outside_its_range_is_missing_and_never_bent(value: float | None) -> None:
    found = rows(exchanges=[exchange(1)], answers=[answer(1)], scores=scores(1, 1.0, value))
    quality = the_candidate(found)["quality"]
    assert (quality["avg"], quality["n"], quality["missing"]) == (None, 0, 1)
    assert quality["reason"] == "none of the 1 answers has a score: 1 missing"


def test_an_evaluator_that_applies_to_nothing_says_so() -> None:
    found = rows(
        exchanges=[exchange(1)],
        answers=[answer(1)],
        scores=[not_scored(1, "not_applicable", candidate=CANDIDATE, role="candidate")],
    )
    reason = "the deciding evaluator (is-json) applies to none of the 1 answers"
    assert the_candidate(found)["quality"]["reason"] == reason


def test_free_text_under_auto_says_that_nothing_checks_it_and_what_to_do() -> None:
    case = EvalCase(request={"messages": [{"role": "user", "content": "Tell me a story."}]}, output="Once upon a time.")
    told = RequestChecks().check(case)
    given_values = {"evaluator": "request-checks", "reason": told.reason, "candidate": CANDIDATE, "role": "candidate"}
    found = rows(exchanges=[exchange(1)], answers=[answer(1)], scores=[not_scored(1, told.status, **given_values)])
    assert the_candidate(found)["quality"]["reason"] == (
        "the deciding evaluator (request-checks) applies to none of the 1 answers: the request asks for no check "
        "(free text, no schema, no tool call); configure evaluators for it"
    )


def test_what_an_older_version_of_the_evaluator_said_is_not_averaged_with_the_newest() -> None:
    found = rows(
        exchanges=[exchange(number) for number in range(1, 6)],
        answers=[answer(number) for number in range(1, 6)],
        scores=[
            *scores(1, 1.0, 1.0),
            *scores(2, 1.0, 1.0),
            not_scored(3, "failed", candidate=CANDIDATE, role="candidate"),
            *({**each, "version": "2"} for each in scores(4, 1.0, 0.0)),
        ],
    )
    task = the_task(found)
    quality = task["models"][-1]["quality"]
    assert (quality["avg"], quality["conversation_avg"], quality["n"]) == (0.0, 0.0, 1)
    assert (quality["missing"], quality["conversations"]) == (1, 1)  # the fifth has no score of any version
    figures = quality["by_evaluator"]["is-json"]
    assert (figures["avg"], figures["n"], figures["missing"], figures["versions"]) == (0.0, 1, 0, ["1", "2"])
    assert task["models"][0]["quality"]["n"] == 1
    assert "versions 1 and 2 of is-json together" in task["models"][0]["cost_per_quality_point_usd"]["reason"]
    (told, *_) = task["insights"]
    assert told["reading"] == "evaluator_changed"
    assert (
        f"(versions 1 and 2). Quality is by the newest version that scored a model (scored answers: {PRIMARY} 1 by "
        f"version 2, {CANDIDATE} 1 by version 2)" in told["text"]
    )
    unchanged = the_task(rows(exchanges=[exchange(1)], answers=[answer(1)], scores=scores(1, 1.0, 1.0)))
    assert all(each["reading"] != "evaluator_changed" for each in unchanged["insights"])


def test_other_evaluators_are_shown_beside_the_one_that_decides() -> None:
    found = rows(
        exchanges=[exchange(1)],
        answers=[answer(1)],
        scores=[*scores(1, 1.0, 1.0), score(1, 0.2, evaluator="cost", quality=False)],
    )
    quality = the_task(found)["models"][0]["quality"]
    assert quality["avg"] == 1.0
    assert quality["by_evaluator"]["cost"]["decides"] is False


def test_the_primary_is_averaged_once_per_exchange_however_many_candidates() -> None:
    found = rows(
        exchanges=[exchange(1), exchange(2), exchange(3)],
        answers=[answer(1), answer(1, candidate="gemini-2.5-pro"), answer(2)],
        scores=[score(1, 1.0), score(2, 0.0)],
    )
    quality = the_task(found)["models"][0]["quality"]
    assert (quality["avg"], quality["n"], quality["missing"]) == (0.5, 2, 0)


def test_opted_in_and_redacted_pairs_are_shown_and_never_counted() -> None:
    found = rows(
        exchanges=[exchange(1), exchange(2), exchange(3)],
        answers=[answer(1), answer(2, counted=False), answer(3, redaction_changed=True)],
        scores=[*scores(1, 1.0, 1.0), *scores(2, 1.0, 0.0), *scores(3, 1.0, 0.0)],
    )
    task = the_task(found)
    primary, candidate = task["models"]
    assert candidate["requests"] == 3
    assert (candidate["quality"]["avg"], candidate["quality"]["not_counted"]) == (1.0, 2)
    assert (primary["quality"]["n"], primary["quality"]["not_counted"]) == (1, 2)
    (comparison,) = task["comparisons"]
    assert (comparison["pairs"], comparison["quality_diff"]["mean"]) == (1, 0.0)
    assert comparison["left_out"] == {"opted_in": 1, "redaction_changed": 1}


def test_a_model_without_a_single_good_answer_says_why_it_has_no_quality() -> None:
    assert the_primary(exchange(1, outcome="timeout"))["quality"]["reason"] == "no answer ended well yet"
    assert "scored together with a candidate's" in the_primary(exchange(1))["quality"]["reason"]
    opted_in = rows(exchanges=[exchange(1)], answers=[answer(1, counted=False)])
    assert "never counted" in the_candidate(opted_in)["quality"]["reason"]


# ---- cost per quality point


def test_cost_per_quality_point_is_all_cost_by_all_quality() -> None:
    found = rows(
        exchanges=[exchange(number, cost_uncached_usd=0.04) for number in (1, 2, 3)],
        answers=[
            answer(1, cost_uncached_usd=0.01),
            answer(2, cost_uncached_usd=0.03),
            answer(3, cost_uncached_usd=0.02, outcome="error_stream"),
        ],
        scores=[*scores(1, 1.0, 1.0), *scores(2, 1.0, 0.5)],
    )
    primary, candidate = the_task(found)["models"]
    assert candidate["cost_per_quality_point_usd"]["value"] == pytest.approx(0.06 / 1.5)
    assert candidate["cost_per_quality_point_usd"]["n"] == 3
    assert candidate["cost_per_quality_point"] == candidate["cost_per_quality_point_usd"]["value"]
    assert primary["cost_per_quality_point_usd"]["value"] == pytest.approx(0.08 / 2)


def test_cost_per_quality_point_of_poor_quality_is_not_a_number() -> None:
    found = rows(
        exchanges=[exchange(number) for number in range(1, 21)],
        answers=[answer(number) for number in range(1, 21)],
        scores=[line for number in range(1, 21) for line in scores(number, 1.0, 1.0 if number == 1 else 0.0)],
    )
    cost = the_candidate(found)["cost_per_quality_point_usd"]
    assert cost["value"] is None
    assert cost["reason"] == "n/a: quality is too low (mean 0.050, needed above 0.05)"


def test_cost_per_quality_point_leaves_out_what_has_no_price() -> None:
    found = rows(
        exchanges=[exchange(1), exchange(2)],
        answers=[answer(1), answer(2, cost_uncached_usd=None)],
        scores=[*scores(1, 1.0, 1.0), *scores(2, 1.0, 1.0)],
    )
    cost = the_candidate(found)["cost_per_quality_point_usd"]
    assert (cost["value"], cost["n"], cost["unpriced"]) == (0.01, 1, 1)
    assert cost["reason"].endswith("1 without a known cost are left out")


def test_cost_per_quality_point_without_any_price_or_score_says_so() -> None:
    unpriced = rows(exchanges=[exchange(1)], answers=[answer(1, cost_uncached_usd=None)], scores=scores(1, 1.0, 1.0))
    assert the_candidate(unpriced)["cost_per_quality_point_usd"]["reason"] == "n/a: no cost of a scored answer is known"
    unscored = rows(exchanges=[exchange(1)], answers=[answer(1)])
    assert the_candidate(unscored)["cost_per_quality_point_usd"]["reason"] == "n/a: no answer is scored yet"


def test_a_failure_where_the_evaluator_would_not_have_applied_costs_no_quality() -> None:
    found = rows(
        exchanges=[exchange(1), exchange(2)],
        answers=[answer(1), answer(2, outcome="timeout")],
        scores=[*scores(1, 1.0, 1.0), not_scored(2, "not_applicable")],
    )
    assert the_candidate(found)["cost_per_quality_point_usd"]["n"] == 1


# ---- comparisons


def test_the_difference_is_averaged_per_conversation_not_per_turn() -> None:
    turns = [exchange(number, conversation="long", first_turn=number == 1) for number in (1, 2, 3)]
    found = rows(
        exchanges=[*turns, exchange(4, conversation="short")],
        answers=[answer(number) for number in (1, 2, 3, 4)],
        scores=[*scores(1, 1.0, 0.0), *scores(2, 1.0, 1.0), *scores(3, 1.0, 0.5), *scores(4, 0.5, 1.0)],
    )
    comparison = the_comparison(found)
    assert comparison["quality_diff"]["mean"] == 0.0  # (-0.5 + 0.5) / 2; per turn it would be -0.25
    assert comparison["quality_diff"]["first_turn"] == -0.25  # (-1 + 0.5) / 2
    assert (comparison["pairs"], comparison["conversations"], comparison["open"]) == (4, 0, 2)
    assert (comparison["win_rate"], comparison["tie_rate"], comparison["loss_rate"]) == (0.25, 0.25, 0.5)
    assert (comparison["q_cand"], comparison["q_prim"]) == (0.625, 0.875)


def test_late_turns_are_shown_and_not_counted() -> None:
    turns = [exchange(minute, conversation="c") for minute in (0, 1, 2)]
    found = rows(
        exchanges=turns,
        answers=[answer(0), answer(1), answer(2)],
        scores=[*scores(0, 1.0, 1.0), *scores(1, 1.0, 1.0), *scores(2, 1.0, 0.0)],
    )
    comparison = the_comparison(found, rules=ConversationRules(max_turns=2))
    assert (comparison["pairs"], comparison["conversations"], comparison["open"]) == (2, 1, 0)
    assert comparison["quality_diff"]["mean"] == 0.0
    assert comparison["left_out"] == {"later_turn": 1}


def test_open_conversations_are_open_as_of_now_not_of_a_future_end() -> None:
    found = rows(exchanges=[exchange(0)], answers=[answer(0)], scores=scores(0, 1.0, 1.0))
    comparison = the_comparison(found, rules=ConversationRules(idle_s=1800), now=at(29))
    assert (comparison["conversations"], comparison["open"]) == (0, 1)


def test_a_request_the_candidate_cannot_take_counts_as_quality_0() -> None:
    found = rows(
        exchanges=[exchange(1)],
        answers=[answer(1, outcome="incompatible", cost_uncached_usd=None, input_tokens=None)],
        scores=[score(1, 0.8)],
    )
    comparison = the_comparison(found)
    assert (comparison["pairs"], comparison["quality_diff"]["mean"], comparison["loss_rate"]) == (1, -0.8, 1.0)
    assert comparison["failure_rate"]["candidate"] == 0.0
    assert comparison["cost_ratio"]["n"] == 0


def test_failures_are_compared_apart() -> None:
    found = rows(
        exchanges=[exchange(1), exchange(2), exchange(3, outcome="timeout"), exchange(4, outcome="aborted")],
        answers=[answer(1), answer(2, outcome="error_http")],
        scores=scores(1, 1.0, 1.0),
    )
    comparison = the_comparison(found)
    assert (comparison["pairs"], comparison["left_out"]) == (1, {"failure": 1})
    assert comparison["failure_rate"] == {"primary": 1 / 3, "candidate": 0.5}


def test_an_answer_we_gave_up_ourselves_is_no_failure_of_the_candidate() -> None:
    found = rows(
        exchanges=[exchange(1), exchange(2)],
        answers=[answer(1), answer(2, outcome="aborted")],
        scores=scores(1, 1.0, 1.0),
    )
    comparison = the_comparison(found)
    assert (comparison["failure_rate"]["candidate"], comparison["left_out"]) == (0.0, {"unfinished": 1})
    assert the_candidate(found)["error_rate"] == 0.0


def test_a_pair_is_scored_only_when_both_sides_have_a_score() -> None:
    found = rows(
        exchanges=[exchange(number) for number in range(1, 7)],
        answers=[*(answer(number) for number in range(1, 6)), answer(6, outcome="paused")],
        scores=[
            score(1, 1.0, candidate=CANDIDATE, role="candidate"),  # nothing about the primary
            score(2, 1.0, candidate=CANDIDATE, role="candidate"),
            not_scored(2, "failed"),
            score(3, 1.0, candidate=CANDIDATE, role="candidate"),
            not_scored(3, "not_applicable"),
            not_scored(4, "not_applicable", candidate=CANDIDATE, role="candidate"),
            score(5, 1.0, candidate=CANDIDATE, role="candidate"),
            score(5, 1.0, evaluator="another"),  # another evaluator's word is no comparison
        ],
    )
    comparison = the_comparison(found)
    assert (comparison["pairs"], comparison["scored"]) == (5, 0)
    assert comparison["left_out"] == {"missing": 3, "not_applicable": 2, "unfinished": 1}
    assert comparison["quality_diff"]["reason"] == "no pair is scored yet"
    assert comparison["win_rate"] is None


def test_a_pairwise_evaluator_has_no_absolute_quality() -> None:
    pair = {"candidate": CANDIDATE, "role": "pair", "evaluator": "llm-pairwise"}
    found = rows(
        exchanges=[exchange(number) for number in range(1, 5)],
        answers=[answer(1), answer(2), answer(3), answer(4, outcome="incompatible")],
        scores=[score(1, 1.0, **pair), score(2, 0.0, **pair), score(3, 0.0, **pair)],
    )
    task = the_task(found)
    candidate = task["models"][-1]
    assert candidate["quality"]["avg"] is None
    assert candidate["quality"]["reason"].startswith("a pairwise evaluator gives no answer an absolute quality")
    assert candidate["cost_per_quality_point_usd"]["reason"].startswith("n/a: a pairwise evaluator")
    assert candidate["quality"]["by_evaluator"]["llm-pairwise"]["pairwise"] is True
    primary = task["models"][0]  # whose answers are judged all the same, pair by pair
    assert primary["quality"]["reason"] == candidate["quality"]["reason"]
    assert primary["cost_per_quality_point_usd"]["reason"] == candidate["cost_per_quality_point_usd"]["reason"]
    (comparison,) = task["comparisons"]
    assert comparison["pairs"] == 4
    assert (comparison["win_rate"], comparison["tie_rate"], comparison["loss_rate"]) == (0.25, 0.5, 0.25)
    assert (comparison["q_cand"], comparison["q_prim"]) == (0.5, 0.5)
    assert comparison["quality_diff"]["mean"] == 0.0


def test_a_pairwise_task_without_pairs_has_no_shares() -> None:
    pair = {"candidate": CANDIDATE, "role": "pair", "evaluator": "llm-pairwise"}
    found = rows(exchanges=[exchange(1)], answers=[answer(1)], scores=[not_scored(1, "failed", **pair)])
    comparison = the_comparison(found)
    assert (comparison["win_rate"], comparison["q_cand"], comparison["q_prim"]) == (None, None, None)


def test_costs_are_compared_over_pairs_that_both_answered() -> None:
    found = rows(
        exchanges=[exchange(number, cost_uncached_usd=0.04) for number in (1, 2, 3)],
        answers=[
            answer(1, cost_uncached_usd=0.01),
            answer(2, cost_uncached_usd=None),
            answer(3, outcome="timeout", cost_uncached_usd=0.5),
        ],
        scores=[*scores(1, 1.0, 1.0), *scores(2, 1.0, 1.0)],
    )
    cost = the_comparison(found)["cost_ratio"]
    assert (cost["value"], cost["n"], cost["ci"], cost["basis"]) == (0.25, 1, None, "uncached")
    assert cost["reason"].endswith("1 pairs of unknown cost are left out")


def test_a_cost_ratio_of_unknown_costs_is_unknown() -> None:
    found = rows(exchanges=[exchange(1, cost_uncached_usd=None)], answers=[answer(1)])
    assert the_comparison(found)["cost_ratio"]["reason"] == "the costs of both sides are known for no pair"
    nothing = rows(exchanges=[exchange(1)], answers=[answer(1, outcome="timeout")])
    assert the_comparison(nothing)["cost_ratio"]["reason"] == "no pair was answered by both sides yet"


def test_latencies_are_compared_pair_by_pair() -> None:
    found = rows(
        exchanges=[
            exchange(1, latency_ms=1000.0, streamed=True, ttft_ms=100.0),
            exchange(2, latency_ms=100.0),
            exchange(3, latency_ms=500.0),
        ],
        answers=[
            answer(1, latency_ms=600.0, streamed=True, ttft_ms=130.0),
            answer(2, latency_ms=200.0, streamed=True, ttft_ms=50.0),
            answer(3, latency_ms=500.0),
        ],
    )
    comparison = the_comparison(found)
    assert comparison["latency_diff_ms"] == {"n": 3, "p50": 0.0, "p95": 100.0}
    assert comparison["ttft_diff_ms"] == {"n": 1, "p50": 30.0, "p95": 30.0}


def test_the_compared_pairs_are_described() -> None:
    found = rows(
        exchanges=[
            exchange(0, input_tokens=10, cache_read_tokens=5, has_tools=True),
            exchange(61, input_tokens=200),
            exchange(62, input_tokens=None),
        ],
        answers=[answer(0), answer(61), answer(62)],
    )
    assert the_comparison(found)["representative"] == {
        "n": 3,
        "input_tokens_p50": 15,
        "p95": 200,
        "tools_share": 1 / 3,
        "hours": 2,
    }


def test_what_is_not_known_is_null_beside_a_reason() -> None:
    comparison = the_comparison(rows(exchanges=[exchange(1)], answers=[answer(1)]))
    assert comparison["verdict"] is None
    assert comparison["why"] == "no verdict yet: an epoch begins with the first sampled conversation"
    for name in ("epoch", "noise_floor", "judge", "more_needed"):
        assert comparison[name]["reason"]
    assert comparison["quality_diff"]["ci"] is comparison["quality_diff"]["level"] is None
    assert comparison["judge"]["trusted"] is None
    assert comparison["judge"]["reason"] == "no judge has decided anything here"


# ---- the epoch beside the window


def epoch(**given_values: Any) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "task": "default",
        "primary": PRIMARY,
        "candidate": CANDIDATE,
        "epoch": {"number": 3, "started": SINCE, "reason": None},
        "conversations": 60,
        "open": 2,
        "pairs": 99,
        "verdict": "undecided",
        "why": "it is not known yet",
        "quality_diff": {"mean": 0.1, "ci": [0.0, 0.2], "level": 0.96, "n": 60, "first_turn": 0.05, "reason": None},
        "cost_ratio": {"value": 0.5, "ci": [0.4, 0.6], "level": 0.95, "n": 60, "basis": "uncached", "reason": None},
        "more_needed": {
            "conversations": {"low": 1, "high": 9},
            "days": 1.0,
            "usd": 0.1,
            "advice": None,
            "reason": None,
        },
        "proofs": [],
        "guards": {},
        "missing": {"conversations": 0.0, "share": 0.0, "effective_margin": 0.05},
        "entry": None,
        "spent_usd": 1.5,
        "stopped": {"because": None, "at": None},
    }
    return figures | given_values


def test_the_verdict_speaks_of_its_epoch_and_the_rest_of_the_window_and_scope_says_which() -> None:
    found = rows(exchanges=[exchange(1)], answers=[answer(1)], scores=scores(1, 1.0, 0.0))
    comparison = the_comparison(found, verdicts=[epoch()])
    assert (comparison["verdict"], comparison["epoch"]["number"], comparison["conversations"]) == ("undecided", 3, 60)
    assert comparison["quality_diff"]["ci"] == [0.0, 0.2]
    assert comparison["window"]["quality_diff"]["mean"] == -1.0
    assert comparison["pairs"] == 1, "of the window"
    assert {"verdict", "quality_diff", "cost_ratio", "conversations"} <= set(comparison["scope"]["epoch"])
    assert "pairs" not in comparison["scope"]["epoch"]


def test_before_anything_entered_the_window_tells_the_difference_and_scope_says_so() -> None:
    found = rows(exchanges=[exchange(1)], answers=[answer(1)], scores=scores(1, 1.0, 0.0))
    nothing = {"mean": None, "ci": None, "level": None, "n": 0, "first_turn": None, "reason": "nothing yet"}
    comparison = the_comparison(found, verdicts=[epoch(quality_diff=nothing)])
    assert comparison["quality_diff"]["mean"] == -1.0
    assert "quality_diff" not in comparison["scope"]["epoch"]
    assert "quality_diff" in comparison["scope"]["window"]


def test_the_saving_is_what_the_epoch_saves_of_this_windows_live_cost() -> None:
    """Two exchanges of 0.01 USD in the two hours since the first: 0.01 an hour."""
    found = rows(exchanges=[exchange(0), exchange(60)])
    saving = the_comparison(found, verdicts=[epoch()], now=at(120))["projected_saving_usd_per_month"]
    assert saving["live_usd_per_month"] == pytest.approx(7.305)
    assert saving["value"] == pytest.approx(7.305 / 2)
    assert saving["ci"] == pytest.approx([7.305 * 0.4, 7.305 * 0.6])
    assert saving["level"] == 0.95


def test_a_saving_is_not_projected_from_less_than_an_hour_or_without_a_ratio() -> None:
    short = the_comparison(rows(exchanges=[exchange(0)]), verdicts=[epoch()], now=at(30))
    assert short["projected_saving_usd_per_month"]["reason"].startswith("needs 1 h of priced live traffic")
    unknown = {"value": None, "ci": None, "level": None, "n": 0, "basis": "uncached", "reason": "no cost"}
    none = the_comparison(rows(exchanges=[exchange(0)]), verdicts=[epoch(cost_ratio=unknown)], now=at(90))
    assert none["projected_saving_usd_per_month"]["reason"] == "the cost ratio is not known yet"
    no_interval = {"value": 0.5, "ci": None, "level": None, "n": 9, "basis": "uncached", "reason": "few"}
    point = the_comparison(rows(exchanges=[exchange(0)]), verdicts=[epoch(cost_ratio=no_interval)], now=at(90))
    assert point["projected_saving_usd_per_month"]["ci"] is None


def test_a_comparison_of_the_ledger_is_shown_without_any_row_in_the_window() -> None:
    comparison = the_comparison(rows(), verdicts=[epoch()])
    assert (comparison["candidate"], comparison["verdict"]) == (CANDIDATE, "undecided")


# ---- coverage


def coverage_row(state: str, count: int, reason: str | None = None, **given_values: Any) -> Row:
    row: Row = {"task": "default", "primary": PRIMARY, "candidate": CANDIDATE, "state": state, "reason": reason}
    return row | {"count": count} | given_values


def eligible(count: int, **given_values: Any) -> Row:
    return coverage_row("eligible", count, candidate=None, **given_values)


def test_coverage_adds_up() -> None:
    found = rows(
        coverage=[
            eligible(100),
            coverage_row("done", 10),
            coverage_row("sent", 2),
            coverage_row("pending", 3),
            coverage_row("leased", 1),
            coverage_row("skipped", 5, "over_budget"),
            coverage_row("skipped", 2, "stateful"),
            coverage_row("skipped", 4, "opted_out"),
            coverage_row("dropped", 1, "tee_full"),
        ]
    )
    assert the_comparison(found)["coverage"] == {
        "eligible": 100,
        "sampled": 24,
        "not_sampled": 76,
        "sent": 12,
        "skipped": {"over_budget": 5, "stateful": 2},
        "dropped": {"tee_full": 1},
        "pending": 4,
    }


def test_what_became_of_requests_without_a_readable_model_is_shown_as_well() -> None:
    found = rows(coverage=[eligible(6, primary=None), coverage_row("skipped", 6, "too_large", primary=None)])
    coverage = the_comparison(found)["coverage"]
    assert (coverage["eligible"], coverage["sampled"], coverage["not_sampled"]) == (6, 6, 0)
    assert coverage["skipped"] == {"too_large": 6}


def test_a_configured_candidate_is_shown_before_its_first_pair() -> None:
    found = rows(exchanges=[exchange(1)], coverage=[eligible(7), eligible(1, task="support")])
    task = stats(found, candidates=[CANDIDATE, PRIMARY])["tasks"][0]
    (comparison,) = task["comparisons"]  # the primary is not compared with itself
    assert (comparison["candidate"], comparison["coverage"]["eligible"]) == (CANDIDATE, 7)
    assert comparison["coverage"]["not_sampled"] == 7


def test_a_candidate_of_unknown_price_is_said_with_the_line_to_add() -> None:
    comparison = the_comparison(rows(coverage=[eligible(7)]), candidates=[CANDIDATE], missing_line=price_line)
    assert comparison["add_to_config"] == price_line(CANDIDATE)
    assert price_line(CANDIDATE) in comparison["why"]


# ---- the whole


def test_an_empty_store_still_has_the_default_task() -> None:
    found = stats(shadow_off_reason="no key")
    assert found["tasks"] == [
        {"task": "default", "models": [], "comparisons": [], "insights": found["tasks"][0]["insights"]}
    ]
    assert found["shadowing"] == {"on": False, "reason": "no key"}
    assert found["budget"]["left_usd"] == 5.0


def test_tasks_come_in_configured_order_and_found_ones_after() -> None:
    found = rows(exchanges=[exchange(1, task="zebra"), exchange(2, task="default")], coverage=[eligible(1, task="old")])
    tasks = stats(found, tasks=["support", "default"])["tasks"]
    assert [task["task"] for task in tasks] == ["support", "default", "old", "zebra"]


def test_one_task_is_answered_alone() -> None:
    found = rows(exchanges=[exchange(1, task="support")])
    assert [task["task"] for task in stats(found, task="support", tasks=["default"])["tasks"]] == ["support"]


def test_one_model_is_answered_with_its_comparisons() -> None:
    found = rows(
        exchanges=[exchange(1), exchange(2, model="other")],
        answers=[answer(1), answer(1, candidate="gemini-2.5-pro"), answer(2)],
    )
    task = the_task(found, model="gemini-2.5-pro")
    assert [row["model"] for row in task["models"]] == ["gemini-2.5-pro"]
    assert [(row["primary"], row["candidate"]) for row in task["comparisons"]] == [(PRIMARY, "gemini-2.5-pro")]
    everything = the_task(found)
    assert len(everything["models"]) == 4
    assert len(everything["comparisons"]) == 3


def test_an_answer_whose_exchange_was_not_read_waits_for_the_next_look() -> None:
    found = rows(exchanges=[exchange(1)], answers=[answer(1), answer(2)])
    assert the_candidate(found)["requests"] == 1


def test_the_budget_shows_what_is_left() -> None:
    found = rows(budget={"spent_usd": 1.5, "reserved_usd": 4.0, "closed": 1.0}, dropped={"tee_full": 2, "a": 1})
    assert stats(found)["budget"] == {
        "day": "2026-11-08",
        "cap_usd": 5.0,
        "paced_usd": 0.5,  # midnight: a tenth of the cap
        "spent_usd": 1.5,
        "judge_usd": 0.0,
        "reserved_usd": 4.0,
        "left_usd": 0.0,
        "closed": True,
    }
    assert list(stats(found)["dropped"].items()) == [("a", 1), ("tee_full", 2)]


# ---- insights


@pytest.mark.parametrize(
    ("conversations", "warned"),
    [
        (["a"] * 11 + [str(number) for number in range(39)], True),
        (["a"] * 10 + [str(number) for number in range(40)], False),
        (["a"] * 49, False),
        ([], False),
    ],
)
def test_a_conversation_key_that_holds_more_than_a_fifth_of_the_requests_is_told(
    conversations: list[str],
    warned: bool,  # noqa: FBT001  (a column of the table above)
) -> None:
    found = crowded_key(conversations)
    assert bool(found) is warned
    if warned:
        assert found[0]["reading"] == "crowded_conversation_key"
        assert found[0]["text"].startswith("One conversation key holds 11 of 50 requests.")


def test_a_crowded_key_is_the_first_insight_of_its_task() -> None:
    found = rows(exchanges=[exchange(number, conversation="one") for number in range(60)])
    assert the_task(found)["insights"][0]["reading"] == "crowded_conversation_key"


def table_row(
    model: str, *, quality: float | None, cost: float | None, p95: float = 200.0, n: int = 40, error_rate: float = 0.0
) -> Row:
    return {
        "model": model,
        "error_rate": error_rate,
        "quality": {"avg": quality, "n": n},
        "cost_usd": {"per_request": cost},
        "latency_ms": {"n": n, "p50": 100.0, "p95": p95},
    }


def readings(*models: Row) -> dict[str, str]:
    return {insight["reading"]: insight["text"] for insight in insights(models)}


def test_a_dear_and_good_model_is_for_critical_paths_and_a_cheap_one_for_volume() -> None:
    found = readings(table_row("opus", quality=0.95, cost=0.05), table_row("flash", quality=0.7, cost=0.001))
    assert found == {
        "high_quality_high_cost": (
            "opus has the highest quality (0.95 over 40 answers) at $0.05 a request, 50.0 times flash: "
            "use it for critical paths where accuracy is paramount."
        ),
        "moderate_quality_low_cost": (
            "flash reaches quality 0.70 over 40 answers at $0.001 a request, the lowest cost: "
            "use it for high-volume, latency-sensitive tasks."
        ),
    }


def test_a_cheap_model_that_often_fails_is_not_named_without_saying_so() -> None:
    found = readings(
        table_row("opus", quality=0.95, cost=0.05), table_row("flash", quality=0.7, cost=0.001, error_rate=0.185)
    )
    assert "0.70 over 40 answers (18.5 % of requests failed) at $0.001" in found["moderate_quality_low_cost"]


def test_a_cheap_model_of_poor_quality_is_not_recommended() -> None:
    found = readings(table_row("opus", quality=0.95, cost=0.05), table_row("tiny", quality=0.3, cost=0.03))
    assert list(found) == ["nothing_yet"]


def test_a_model_that_is_best_and_cheapest_is_named() -> None:
    found = readings(table_row("a", quality=0.9, cost=0.01), table_row("b", quality=0.8, cost=0.02))
    assert list(found) == ["best_and_cheapest"]


def test_a_long_tail_asks_for_a_timeout() -> None:
    found = readings(table_row("slow", quality=None, cost=None, p95=900.0))
    assert found["high_latency_variance"].startswith("slow has p95 latency 900 ms against p50 100 ms (40 answers)")


def test_low_quality_everywhere_blames_the_prompt() -> None:
    found = readings(table_row("a", quality=0.4, cost=None), table_row("b", quality=0.5, cost=None))
    assert "All 2 models stay below quality 0.6, the best is b with 0.50" in found["low_quality_across_models"]


def test_few_answers_are_not_read_at_all() -> None:
    found = readings(
        table_row("a", quality=0.4, cost=0.1, n=19, p95=900.0), table_row("b", quality=0.5, cost=0.2, n=19)
    )
    assert found["nothing_yet"].endswith("(so far: a 19, b 19).")


# ---- properties

NUMBERS = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(min_value=0, max_value=1),
)
OUTCOMES = st.sampled_from([outcome.value for outcome in Outcome])
MODELS = st.sampled_from([PRIMARY, CANDIDATE, None])
CALLS = st.fixed_dictionaries(
    {
        "outcome": OUTCOMES,
        "latency_ms": NUMBERS,
        "ttft_ms": NUMBERS,
        "streamed": st.booleans(),
        "input_tokens": st.one_of(st.none(), st.integers(0, 10**9)),
        "cost_billed_usd": NUMBERS,
        "cost_uncached_usd": NUMBERS,
    }
)
STATES = ["pending", "leased", "sent", "done", "skipped", "dropped"]


@st.composite
def any_rows(draw: st.DrawFn) -> StatsRows:
    count = draw(st.integers(0, 6))
    exchanges = [
        exchange(number, conversation=draw(st.sampled_from(["a", "b", None])), model=draw(MODELS), **draw(CALLS))
        for number in range(count)
    ]
    answers = [
        answer(number, counted=draw(st.booleans()), redaction_changed=draw(st.booleans()), **draw(CALLS))
        for number in range(count)
        if draw(st.booleans())
    ]
    found: list[Row] = []
    for number in range(count):
        for role, whose in (("primary", ""), ("candidate", CANDIDATE), ("pair", CANDIDATE)):
            status = draw(st.sampled_from(["scored", "failed", "not_applicable", "absent"]))
            if status != "absent":
                value = draw(NUMBERS) if status == "scored" else None
                found.append(score(number, value, role=role, candidate=whose, status=status))
    jobs = [
        coverage_row(state, draw(st.integers(0, 100)), draw(st.sampled_from([None, "opted_out", "tee_full"])))
        for state in STATES
    ]
    money = {"spent_usd": draw(st.floats(0, 100)), "reserved_usd": draw(st.floats(0, 100)), "closed": 0.0}
    return rows(exchanges=exchanges, answers=answers, scores=found, coverage=[eligible(1000), *jobs], budget=money)


def numbers_in(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers_in(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers_in(each)]
    return [value] if isinstance(value, float) else []


@given(any_rows())
@settings(max_examples=200, deadline=None)
def test_no_number_is_ever_infinite_or_not_a_number(found: StatsRows) -> None:
    assert all(math.isfinite(number) for number in numbers_in(stats(found)))


@given(any_rows())
@settings(max_examples=100, deadline=None)
def test_counts_always_add_up(found: StatsRows) -> None:
    for task in stats(found)["tasks"]:
        for row in task["models"]:
            assert row["requests"] == sum(row["outcomes"].values())
        for comparison in task["comparisons"]:
            coverage = comparison["coverage"]
            assert coverage["eligible"] == coverage["sampled"] + coverage["not_sampled"]
            asked_or_not = sum(coverage["skipped"].values()) + sum(coverage["dropped"].values())
            assert coverage["sampled"] == coverage["sent"] + asked_or_not + coverage["pending"]
            shares = [comparison[name] for name in ("win_rate", "tie_rate", "loss_rate")]
            assert shares == [None] * 3 or sum(shares) == pytest.approx(1)
            answers = [
                row
                for row in found.answers
                if found.exchanges[int(row["exchange_id"][1:])]["model"] == comparison["primary"]
                and row["candidate"] == comparison["candidate"]
            ]
            assert comparison["scored"] + sum(comparison["left_out"].values()) == len(answers)
            assert comparison["scored"] <= comparison["pairs"] <= len(answers)


# ---- the primary against itself, and what users say


def noise_row(number: int, difference: float | None, *, identical: bool | None = False, **given_values: Any) -> Row:
    return {
        "exchange_id": f"n{number}",
        "task": "default",
        "primary": PRIMARY,
        "conversation": f"c{number}",
        "outcome": "ok",
        "identical": identical,
        "difference": difference,
        "evaluator": "is-json",
        "version": "1",
        "cost_billed_usd": 0.25,
        "scoring_usd": 0.5,
    } | given_values


def test_the_noise_floor_is_the_share_of_pairs_of_the_primary_with_itself_that_differ() -> None:
    found = [
        noise_row(1, 0.0, identical=True),
        noise_row(2, 0.004),
        noise_row(3, -1.0, conversation="c2"),
        noise_row(4, None, identical=None, outcome="timeout", cost_billed_usd=None),
        noise_row(5, 0.5, task="other"),
    ]
    comparison = the_comparison(rows(exchanges=[exchange(1)], answers=[answer(1)], noise_floor=found))
    assert comparison["noise_floor"] == {
        "n": 3,
        "unit": "pairs",
        "conversations": 3,
        "discordance": 1 / 3,
        "answered": 3,
        "identical": 1 / 3,
        "cost_usd": 2.75,
        "reason": None,
    }
    assert comparison["pairs"] == 1


@pytest.mark.parametrize(
    ("found", "off", "reason"),
    [
        ([], None, "the primary has not been asked again yet in this window"),
        ([], "shadow.noise_floor_rate is 0", "shadow.noise_floor_rate is 0"),
        (
            [noise_row(1, None, identical=True)],
            None,
            "discordance is null: of the 1 answers to a second question none was scored both times",
        ),
    ],
)
def test_a_noise_floor_that_is_not_known_says_why(found: list[Row], off: str | None, reason: str) -> None:
    window = rows(exchanges=[exchange(1)], answers=[answer(1)], noise_floor=found)
    (comparison,) = stats(window, noise_floor_off_reason=off)["tasks"][0]["comparisons"]
    floor = comparison["noise_floor"]
    assert (floor["n"], floor["discordance"], floor["reason"]) == (0, None, reason)


def test_self_differences_are_a_histogram_with_one_value_a_conversation() -> None:
    found = [
        noise_row(1, 0.0),
        noise_row(2, -0.004),
        noise_row(3, 1.0),
        noise_row(4, 0.5, conversation="c3"),
        noise_row(5, None),
        noise_row(6, -1.0, version="2"),
        noise_row(7, 1.0, evaluator="equals", task="other"),
    ]
    assert self_differences(found) == {
        ("default", PRIMARY): {-1.0: 1, 0.0: 2, 0.75: 1},
        ("other", PRIMARY): {1.0: 1},
    }
    assert self_differences(found, evaluator="is-json", version="1") == {("default", PRIMARY): {0.0: 2, 0.75: 1}}


def test_feedback_is_shown_with_the_primary_and_decides_nothing() -> None:
    said = [{"exchange_id": "x1", "score": value, "task": "default", "primary": PRIMARY} for value in (1.0, 0.5)]
    window = rows(exchanges=[exchange(1)], answers=[answer(1)], feedback=said)
    (primary, candidate) = stats(window)["tasks"][0]["models"]
    assert primary["quality"]["by_evaluator"]["feedback"] == {
        "avg": 0.75,
        "n": 2,
        "missing": 0,
        "not_applicable": 0,
        "decides": False,
        "pairwise": False,
        "versions": ["1"],
    }
    assert "feedback" not in candidate["quality"]["by_evaluator"]
    without = stats(rows(exchanges=[exchange(1)], answers=[answer(1)]))["tasks"][0]["models"][0]
    assert primary["quality"]["avg"] == without["quality"]["avg"]


@pytest.mark.parametrize(
    ("usd", "shown"), [(0.0000205, "$0.0000205"), (0.05, "$0.05"), (12.346, "$12.3"), (1234.5, "$1234")]
)
def test_a_cost_in_a_reading_is_never_a_power_of_ten(usd: float, shown: str) -> None:
    told = readings(table_row("opus", quality=0.95, cost=3 * usd), table_row("flash", quality=0.7, cost=usd))
    assert f"at {shown} a request" in told["moderate_quality_low_cost"]
