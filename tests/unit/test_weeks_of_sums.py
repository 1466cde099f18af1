"""Weeks of live traffic out of sums: who has a point, and what it says of quality and cost."""

from __future__ import annotations

from datetime import UTC, datetime

from shadow.rollups import WHOLE, RollupRow, Window, encode_numbers
from shadow.stats.weeks import week_points

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
BUCKET = int(MONDAY.timestamp())


def row(task: str, primary: str | None, candidate: str = "", **numbers: float) -> RollupRow:
    return (BUCKET, task, primary, candidate, WHOLE, encode_numbers(numbers), None)


def test_who_was_in_no_pair_has_no_point_and_who_was_only_compared_has_no_quality_of_its_own() -> None:
    window = Window(
        since=BUCKET,
        until=BUCKET + 3600,
        rows=[
            row("graded", "p", requests=5, **{"quality.n": 5, "quality.sum": 4}),
            row("graded", "p", "c", requests=3, **{"quality.n": 2, "quality.sum": 1}),
            row("judged", "p", requests=2),
            row("judged", "p", "c", requests=2, decided_by_pair=2),
            row("judged", "alone", requests=9),  # nobody was asked beside it
            row("graded", None, requests=7),  # nobody knows which model answered
        ],
    )

    points = {(point["task"], point["model"], point["role"]): point for point in week_points(MONDAY, window)}

    assert {of: point["answers"] for of, point in points.items()} == {
        ("graded", "p", "primary"): 5,
        ("graded", "c", "candidate"): 3,
        ("judged", "p", "primary"): 2,
        ("judged", "c", "candidate"): 2,
    }
    assert points["graded", "c", "candidate"]["quality"]["mean"] == 0.5
    judged = points["judged", "c", "candidate"]
    assert (judged["quality"]["mean"], judged["cost_per_quality_point_usd"]["value"]) == (None, None)
    assert "only compares" in judged["quality"]["reason"]
    assert "pair" in judged["cost_per_quality_point_usd"]["reason"]
