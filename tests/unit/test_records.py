"""The nouns keep their promises."""

from __future__ import annotations

import pytest

from shadow.records import EvalCase, Score, Usage


def test_total_input_counts_every_bucket_once() -> None:
    assert Usage(input=1, cache_read=20, cache_write_5m=300, cache_write_1h=4_000, output=9).total_input == 4_321


@pytest.mark.parametrize(("status", "value"), [("scored", None), ("failed", 0.5), ("not_applicable", 0.0)])
def test_a_score_has_a_value_exactly_when_it_is_scored(status: str, value: float | None) -> None:
    with pytest.raises(ValueError, match="exactly when it is scored"):
        Score(status=status, value=value)  # type: ignore[arg-type]


def test_a_failed_score_has_a_reason_in_place_of_a_value() -> None:
    assert Score(status="failed", reason="no answer").value is None


def test_an_evaluator_of_ones_own_may_name_the_fields_or_give_them_in_their_order() -> None:
    assert Score("scored", 0.5, "half", 0.01) == Score(status="scored", value=0.5, reason="half", cost_usd=0.01)
    usage = Usage(input=1, output=2)
    assert EvalCase({"model": "m"}, "text", (), "end_turn", "expected", usage, 1.0, 0.5, 0.01) == EvalCase(
        request={"model": "m"},
        output="text",
        tool_calls=(),
        stop_reason="end_turn",
        expected="expected",
        usage=usage,
        latency_ms=1.0,
        ttft_ms=0.5,
        cost_usd=0.01,
    )
