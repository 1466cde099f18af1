"""The nouns keep their promises."""

from __future__ import annotations

import pytest

from shadow.records import Score, Usage


def test_total_input_counts_every_bucket_once() -> None:
    assert Usage(input=1, cache_read=20, cache_write_5m=300, cache_write_1h=4_000, output=9).total_input == 4_321


@pytest.mark.parametrize(("status", "value"), [("scored", None), ("failed", 0.5), ("not_applicable", 0.0)])
def test_a_score_has_a_value_exactly_when_it_is_scored(status: str, value: float | None) -> None:
    with pytest.raises(ValueError, match="exactly when it is scored"):
        Score(status=status, value=value)  # type: ignore[arg-type]


def test_a_failed_score_has_a_reason_in_place_of_a_value() -> None:
    assert Score(status="failed", reason="no answer").value is None
