"""Weeks of live traffic out of sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shadow.rollups import WHOLE, Window, encode_numbers, score_detail
from shadow.stats.weeks import week_points, weeks

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def points(*rows: tuple[str, str | None, str, dict[str, float]]) -> list[dict[str, Any]]:
    at = int(MONDAY.timestamp())
    found: list[Any] = [
        (at, task, primary, candidate, WHOLE, encode_numbers(numbers), None)
        for task, primary, candidate, numbers in rows
    ]
    found.append((at, "t", "prim", "", score_detail("is-json", "1"), encode_numbers({"requests": 9}), None))
    return week_points(MONDAY, Window(since=at, until=at + 7 * 86_400, rows=found))


def test_a_window_is_cut_at_its_mondays() -> None:
    week = timedelta(weeks=1)
    assert weeks(MONDAY - timedelta(days=1), MONDAY + week + timedelta(hours=1)) == [
        (MONDAY - week, MONDAY - timedelta(days=1), MONDAY),
        (MONDAY, MONDAY, MONDAY + week),
        (MONDAY + week, MONDAY + week, MONDAY + week + timedelta(hours=1)),
    ]
    assert weeks(MONDAY, MONDAY) == []


def test_a_model_that_took_part_in_no_pair_and_one_without_a_name_have_no_point() -> None:
    asked = {"requests": 5.0, "quality.n": 4.0, "quality.sum": 3.0}
    found = points(
        ("t", "prim", "", asked),
        ("t", "prim", "cand", asked),
        ("t", "other", "cand", asked),
        ("t", "alone", "", asked),
        ("t", None, "", asked),
        ("t", None, "cand", asked),
        ("t", "prim", "never", {"job.pending": 2.0}),
    )
    assert {(each["model"], each["role"], each["answers"]) for each in found} == {
        ("prim", "primary", 5),
        ("cand", "candidate", 15),  # beside three primaries
    }
    assert all(each["quality"]["mean"] == 0.75 for each in found)


def test_where_a_judge_compares_no_answer_has_a_quality_of_its_own_and_points_cost_nothing() -> None:
    found = points(("t", "prim", "", {"requests": 5}), ("t", "prim", "cand", {"requests": 5, "decided_by_pair": 5}))
    for each in found:
        assert each["quality"]["mean"] is None
        assert "only compares" in each["quality"]["reason"]
        assert each["cost_per_quality_point_usd"]["value"] is None
        assert each["cost_per_quality_point_usd"]["reason"]
