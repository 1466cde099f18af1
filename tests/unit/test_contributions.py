"""What single rows add to the rollups, where a random day may not come by."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from shadow.records import Outcome
from shadow.rollups import WHOLE, Deltas, Window
from shadow.store.contributions import Bundle, add_bundle, add_exchange
from tests.support.stored import exchange

EXCHANGE: dict[str, Any] = {
    "id": "x", "started_at": exchange(0).started_at, "task": "t", "model": "prim", "eligible": 1,
    "dialect": "anthropic-messages", "outcome": "ok", "latency_ms": 100.0, "ttft_ms": None, "streamed": 0,
    "input_tokens": None, "client_retry": 0, "gateway_error": None, "first_turn": 1, "has_tools": 0,
    "cost_billed_usd": None, "cost_uncached_usd": None, "overhead_us": None,
}  # fmt: skip
ANSWER: dict[str, Any] = {**EXCHANGE, "candidate": "cand", "redaction_changed": 0}
JOB: dict[str, Any] = {"candidate": "cand", "state": "done", "reason": None, "counted": 1}
SCORE: dict[str, Any] = {
    "candidate": "", "evaluator": "is-json", "version": "1", "quality": 1, "role": "primary", "status": "scored",
    "value": 0.75, "cost_usd": 0.0,
}  # fmt: skip


def added(**parts: Any) -> dict[str, dict[str, float]]:
    """The sums of a bundle by candidate, "" for the primary."""
    deltas = Deltas()
    add_bundle(deltas, Bundle(**{"exchange": EXCHANGE, "jobs": [JOB], "answers": [ANSWER], **parts}))
    return {key.candidate: dict(sums.numbers) for key, sums in deltas.items() if key.detail == WHOLE}


@pytest.mark.parametrize(("first_turn", "of_first_turns"), [(1, (1, -0.75)), (0, (None, None))])
def test_a_request_the_candidate_cannot_take_costs_it_the_primarys_quality(
    first_turn: int, of_first_turns: tuple[float | None, ...]
) -> None:
    refused = {**ANSWER, "outcome": Outcome.INCOMPATIBLE}
    sums = added(exchange={**EXCHANGE, "first_turn": first_turn}, answers=[refused], scores=[SCORE])["cand"]
    assert (sums["pair.refused.scored"], sums["refused_q_prim.sum"], sums["refused_loss"]) == (1, 0.75, 1)
    assert (sums.get("first_turn.n"), sums.get("first_turn.sum")) == of_first_turns


@pytest.mark.parametrize(("mine", "theirs"), [(None, 100.0), (100.0, None), (inf, 100.0)])
def test_a_time_that_is_not_known_is_in_no_histogram(mine: float | None, theirs: float | None) -> None:
    deltas = Deltas()
    rows = {"exchange": {**EXCHANGE, "latency_ms": theirs}, "answers": [{**ANSWER, "latency_ms": mine}]}
    add_bundle(deltas, Bundle(jobs=[JOB], **rows))
    seen = {key.candidate: set(sums.histograms) for key, sums in deltas.items()}
    assert "latency_diff_ms" not in seen["cand"]
    assert ("latency_ms" in seen["cand"]) is (mine == 100.0)
    assert ("latency_ms" in seen[""]) is (theirs == 100.0)


def test_an_exchange_without_jobs_adds_no_time_that_is_no_number() -> None:
    deltas = Deltas()
    add_exchange(deltas, exchange(1, latency_ms=inf, streamed=True, ttft_ms=inf), model="prim")
    [(_, sums)] = deltas.items()
    assert sums.numbers["requests"] == 1
    assert not sums.histograms


def test_an_exchange_that_was_not_recognised_adds_nothing_unless_it_is_eligible() -> None:
    for eligible, added_up in ((False, []), (True, [{"eligible": 1}])):
        deltas = Deltas()
        add_exchange(deltas, exchange(1, dialect=None, eligible=eligible), model="prim")
        assert [dict(sums.numbers) for _, sums in deltas.items()] == added_up


def test_a_window_begins_with_its_first_bucket_of_exchanges() -> None:
    rows: list[Any] = [
        (60, "t", "prim", "cand", WHOLE, "{}", None),
        (180, "t", "prim", "", WHOLE, "{}", None),
        (120, "t", "prim", "", WHOLE, "{}", None),
        (0, "t", "prim", "", "detail", "{}", None),
    ]
    assert Window(since=0, until=240, rows=rows).first() == 120
    assert Window(since=0, until=240, rows=rows[:1]).first() is None
