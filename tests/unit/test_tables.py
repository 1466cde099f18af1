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
    "primary": "demo-atlas",
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


def test_with_several_primaries_every_row_says_which_one_it_is_about() -> None:
    other = {**COMPARISON, "primary": "demo-beech", "verdict": "reject", "why": "It is worse."}
    tasks = [{**TASK, "comparisons": [COMPARISON, other]}]
    console = Console(width=140, color_system=None)
    with console.capture() as captured:
        console.print(verdicts_table(tasks, width=140, title="Verdicts"))
        console.print(coverage_table(tasks, width=140))
    rows = [line.split()[:3] for line in captured.get().splitlines() if line.startswith("calculator")]
    assert rows == [["calculator", primary, "demo-summit"] for primary in ("demo-atlas", "demo-beech")] * 2
    assert verdict_sentences(tasks) == [
        "calculator, demo-atlas, demo-summit: It is not known yet.",
        "calculator, demo-beech, demo-summit: It is worse.",
    ]
    assert "demo-atlas" not in printed(140)


def test_quality_is_the_mean_over_conversations_where_that_is_known() -> None:
    quality = {**MODEL["quality"], "conversation_avg": 0.871}  # type: ignore[dict-item]  # it is an object
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(models_table({**TASK, "models": [{**MODEL, "quality": quality}]}, width=120))
    assert "quality by request-checks, mean of conversations" in captured.get()
    assert "0.871" in captured.get().split()
    assert "0.946" not in captured.get()


def test_requests_that_name_no_model_are_shown_as_such() -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(models_table({**TASK, "models": [{**MODEL, "model": None}]}, width=80))
    assert "(no model named) *" in captured.get()
