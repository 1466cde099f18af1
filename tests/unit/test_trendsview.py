"""Trends as text."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from gateway.trendsview import trends_text


def point(**given: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "at": "2026-11-01T03:00:00Z", "source": "run", "task": "default", "role": "primary", "model": "claude",
        "conversations": 40, "quality": {"mean": 0.9, "ci": [0.8, 0.95]},
        "cost_per_quality_point_usd": {"value": 0.0123, "ci": None}, "latency_ms": {"p50": 812.4, "p95": 1530.0},
        "ttft_ms": {"p50": None},
    }  # fmt: skip
    return values | given


def trends(*points: dict[str, Any], **given: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "points": list(points), "leads": [], "drift": [],
        "next_run": {"at": "2026-11-08T03:00:00Z", "under_way": False, "reason": None},
    }  # fmt: skip
    return values | given


LEAD = {
    "task": "default", "candidate": "gpt", "primary": "claude", "runs": 3, "n": 150, "unit": "conversations",
    "state": "promote", "difference": 0.01, "interval": [-0.02, 0.04], "why": "Proved.",
    "beside": "The verdict on live traffic is the same.",
}  # fmt: skip
DRIFT: dict[str, Any] = {
    "task": "default", "role": "primary", "model": "claude", "evaluator": "is-json",
    "noise_floor": {"n": 40, "discordance": 0.0}, "now": {}, "withheld": None, "reason": None,
    "changes": [
        {
            "direction": "worse", "since_run": "r3", "mean": -0.4, "ci": [-0.6, -0.2], "conversations": 40,
            "examples": [
                {
                    "case": "c1", "difference": -1.0, "reason": None,
                    "before": {"run": "r2", "case": "c1", "repeat": 0, "quality": 1.0, "output": '{"a": 1}'},
                    "now": {"run": "r3", "case": "c1", "repeat": 0, "quality": 0.0, "output": '```json\n{"a": 1}\n```'},
                }
            ],
        }
    ],
}  # fmt: skip
JUDGED = DRIFT | {"evaluator": "llm-pairwise", "compared": True}


def test_a_table_has_a_row_a_point_then_leads_drift_and_the_next_run() -> None:
    text = trends_text(trends(point(), leads=[LEAD], drift=[DRIFT]), form="table")
    head, row, _, *said = text.splitlines()
    assert head.split()[:4] == ["at", "source", "task", "role"]
    assert row.split() == [
        "2026-11-01T03:00", "run", "default", "primary", "claude", "40", "0.9", "0.8", "0.95", "0.0123", "n/a", "n/a",
        "812.4", "1530", "n/a",
    ]  # fmt: skip
    assert said == [
        (
            "default, gpt against claude over 3 weekly runs, 150 conversations: promote, quality difference +0.010 "
            "(-0.020 to +0.040). Proved. The verdict on live traffic is the same."
        ),
        (
            "default, primary claude by is-json: worse since run r3, -0.400 (-0.600 to -0.200) over 40 conversations "
            "(noise floor 0.0%)"
        ),
        "    case c1: -1",
        '    before (run r2, quality 1): {"a": 1}',
        '    now (run r3, quality 0): ```json⏎{"a": 1}⏎```',
        "next weekly run: 2026-11-08T03:00:00Z",
    ]


def test_what_a_judge_cannot_say_has_its_reason_and_what_it_said_stands_with_the_pair() -> None:
    def said(**given: Any) -> list[str]:
        return trends_text(trends(drift=[JUDGED | given]), form="md").splitlines()[3:-1]

    short = "3 of 9 comparisons of the latest run have no result: no money"
    unknown = {"n": 0, "discordance": None}
    (untold,) = said(changes=[], withheld="the judge flips", noise_floor=unknown)
    assert untold == (
        "- default, primary claude by llm-pairwise: nothing can be told, the judge flips (noise floor not known)"
    )
    assert said(changes=[], now=None, reason="the answers are not kept") == [
        "- default, primary claude by llm-pairwise: nothing can be told, the answers are not kept (noise floor 0.0%)"
    ]
    assert said(changes=[], reason=short) == [
        "- default, primary claude by llm-pairwise: answers as before, as far as can be told (noise floor 0.0%); "
        + short
    ]
    (change,) = DRIFT["changes"]
    (example,) = change["examples"]
    sides = {
        "before": {"run": "r2", "case": "c1", "repeat": 1, "quality": None, "output": "x" * 300},
        "now": {"run": "r3", "case": "c1", "repeat": 0, "quality": None, "output": None},
    }
    told = said(changes=[change | {"examples": [example | sides | {"reason": "before: *right*\x1b"}]}])
    assert told[1] == "  - case c1: -1, the judge says: before: \\*right\\*?"
    assert told[2] == f"  - before (run r2): {'x' * 199}…"
    assert told[3] == "  - now (run r3): not kept"


def test_what_is_not_known_and_what_is_under_way_is_said() -> None:
    quiet = DRIFT | {"changes": [], "noise_floor": {"n": 0, "discordance": None}}
    open_lead = LEAD | {"difference": None, "interval": None}
    coming = {"at": None, "under_way": True, "reason": None}
    text = trends_text(trends(leads=[open_lead], drift=[quiet], next_run=coming), form="table")
    assert "quality difference not known. Proved." in text
    assert "answers as before, as far as can be told (noise floor not known)" in text
    assert "a weekly run is under way" in text
    first = trends_text(trends(drift=[quiet | {"now": None}]), form="table")
    assert "claude by is-json: nothing could be compared yet (noise floor not known)" in first
    none = {"at": None, "under_way": False, "reason": "benchmark.schedule is null"}
    assert "next weekly run: benchmark.schedule is null" in trends_text(trends(next_run=none), form="md")


@pytest.mark.parametrize("form", ["table", "md", "csv"])
def test_a_models_name_can_neither_run_as_a_formula_nor_as_markup_nor_move_the_cursor(form: Any) -> None:
    hostile = "=cmd()|<b>\x1b[2J"
    text = trends_text(trends(point(model=hostile)), form=form)
    assert "\x1b" not in text
    if form == "csv":
        (_, row) = csv.reader(text.splitlines())
        assert row[4].startswith("'=")
        assert (row[6], row[10]) == ("0.9", "")
    if form == "md":
        assert "<b>" not in text
        assert "=cmd()\\|" in text
