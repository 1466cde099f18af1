"""`/stats` as tables on terminals of several widths: columns are left out, names and numbers are never cut."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from gateway.tables import coverage_table, models_table, verdict_sentences, verdicts_table

MODEL = {
    "model": "demo-summit",
    "role": "primary",
    "requests": 70,
    "latency_ms": {"p50": 774.0, "p95": 892.0},
    "ttft_ms": {"p50": 219.0},
    "error_rate": 0.114,
    "cost_usd": {"per_request": 0.001873},
    "quality": {"avg": 0.946, "n": 56, "by_evaluator": {"request-checks": {}}},
    "cost_per_quality_point_usd": {"value": None},
}
COVERAGE = {"eligible": 43, "sampled": 43, "sent": 41, "pending": 0}
COMPARISON = {
    "candidate": "demo-summit",
    "verdict": "undecided",
    "why": "It is not known yet.",
    "conversations": 114,
    "quality_diff": {"mean": 0.05, "ci": [-0.02, 0.15]},
    "cost_ratio": {"value": 3.93, "ci": None},
    "coverage": {**COVERAGE, "skipped": {"client_retry": 1, "primary_error": 1}, "dropped": {}},
}
TASK: dict[str, Any] = {"task": "calculator", "models": [MODEL], "comparisons": [COMPARISON]}


def printed(width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(models_table(TASK, width=width))
        console.print(verdicts_table([TASK], width=width, title="Verdicts"))
        console.print(coverage_table([TASK], width=width))
    return captured.get()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_cut_on_a_terminal_of_this_width(width: int) -> None:
    shown = printed(width)
    assert "…" not in shown
    assert "demo-summit * " in shown
    assert {"774", "11.4", "1.873", "0.946", "n/a"} <= set(shown.split())


def test_eighty_columns_show_every_figure_and_sixty_leave_out_the_least_telling() -> None:
    assert {"70", "774", "892", "219", "56"} <= set(printed(80).split())
    assert not {"70", "892", "56"} & set(printed(60).split())


def test_a_verdict_is_shown_with_its_interval_and_its_sentence() -> None:
    shown = printed(120)
    assert "+0.05 [-0.02, +0.15]" in shown
    assert {"undecided", "3.93", "114"} <= set(shown.split())
    assert verdict_sentences([TASK]) == ["calculator, demo-summit: It is not known yet."]


def test_requests_that_name_no_model_are_shown_as_such() -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(models_table({**TASK, "models": [{**MODEL, "model": None}]}, width=80))
    assert "(no model named) *" in captured.get()
