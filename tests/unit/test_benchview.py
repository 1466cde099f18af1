"""A run's tables on terminals of any width, and progress where nobody looks."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gateway import benchview
from shadow.benchmark import Progress
from shadow.benchmark.between import compare_runs
from shadow.benchmark.summary import summarize
from tests.unit.test_benchmark_figures import answer, result, score, two_runs


def shown(thing: Any, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False, emoji=False).print(thing)
    return out.getvalue()


def summary() -> dict[str, Any]:
    answers = [answer(at, model) for at in range(30) for model in ("claude-sonnet-4-5", "[bold]gpt\x1b[31m")]
    return summarize(result(*answers))


@pytest.mark.parametrize("width", [80, 110, 200])
def test_nothing_of_a_run_is_cut_on_a_terminal(width: int) -> None:
    text = shown(benchview.summary(summary(), width=width), width)
    assert "…" not in text
    assert "\x1b" not in text
    assert "[bold]gpt [31m" in text
    assert "claude-sonnet-4-5" in text
    assert max(map(len, text.splitlines())) <= width
    assert "1.000" in text


def test_a_wide_terminal_shows_more() -> None:
    assert "TTFT p50" in shown(benchview.summary(summary(), width=200), 200)
    assert "TTFT p50" not in shown(benchview.summary(summary(), width=80), 80)


@pytest.mark.parametrize("width", [100, 200])
def test_two_runs_are_shown_beside_each_other(width: int) -> None:
    first, second = two_runs()
    text = shown(benchview.compared(compare_runs(first, second), width=width), width)
    assert "…" not in text
    assert "-1.000" in text
    assert "equals" in text
    assert "the model that answered changed: a-1 -> a-2" in text


def test_scores_of_several_evaluators_and_what_is_missing_are_shown() -> None:
    scores = (score(1.0), score(None, evaluator="other", quality=False))
    text = shown(benchview.summary(summarize(result(answer(1, scores=scores))), width=120), 120)
    assert "equals *" in text
    assert "n/a, 1 missing" in text


def test_progress_in_lines_is_told_now_and_then_and_at_the_end() -> None:
    now_s, told = [0.0], list[str]()
    lines = benchview.Lines(told.append, clock=lambda: now_s[0])

    def report(at_s: float, done: int, **changes: Any) -> None:
        now_s[0] = at_s
        values: dict[str, Any] = {"cells": 4, "errors": 0, "spent_usd": 0.5, "unpriced": 0}
        lines(Progress(done=done, **values | changes))

    report(0.0, 0)
    report(1.0, 1)
    report(11.0, 2, errors=1, unpriced=2, resting=("a",))
    report(12.0, 3)
    report(13.0, 4)
    report(14.0, 4)
    assert told == [
        "2 of 4 answers, $0.5000, 2 without a known cost, 1 errors, waiting for a (429)",
        "4 of 4 answers, $0.5000",
    ]
