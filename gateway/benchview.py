"""Benchmarks on the terminal: the tables of a run and of two runs, and progress with the cost so far."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from shadow.benchmark.exports import one_line, shown, with_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType

    from gateway.benchrun import Ready
    from shadow.benchmark import Progress as RunProgress

Row = Mapping[str, Any]

_LINE_EVERY_S = 10.0


def beginning(ready: Ready, *, max_cost_usd: float | None) -> Iterator[str]:
    """Say what is about to happen and what it may cost."""
    plan, cost = ready.plan, ready.cost
    questions = f"{len(plan.cases)} cases x {len(plan.models)} models" + (
        f" x {plan.repeats} repeats" if plan.repeats > 1 else ""
    )
    if ready.resumed is None:
        yield f"run {plan.id}: {questions} = {plan.cells} answers"
    else:
        run = ready.resumed
        yield f"run {run.id}: going on, {run.answered} of {run.cells} answers are there, ${run.spent_usd:.4f} spent"
    if ready.evaluators_note is not None:
        yield ready.evaluators_note
    expected = "" if cost.expected_usd is None else f"; about ${cost.expected_usd:.4f} by earlier runs"
    bound = "" if max_cost_usd is None else f"; stopped before ${max_cost_usd:g}"
    if cost.worst_usd is not None:
        yield f"cost: at most ${cost.worst_usd:.4f}, retries and judges apart{expected}{bound}"
    else:
        unknown = ", ".join(f"{model} ({why})" for model, why in cost.unpriced.items())
        yield f"cost: unknown for {unknown}{expected}; its answers get no cost, never a guessed one"


def summary(told: Row) -> RenderableType:
    """Lay out a run: a table a task, readings, and what the intervals mean."""
    run = told["run"]
    parts: list[RenderableType] = [
        _line(f"run {run['id']} ({run['name']}), {run['state']}: {run['answered']} of {run['cells']} answers")
    ]
    for task in told["tasks"]:
        parts += [Text(), _models(task)]
        if task["comparisons"]:
            parts += [Text(), _comparisons(task)]
        parts += [_line(f"* {each['text']}") for each in task["insights"]]
        parts += [_line(f"! {text}") for text in _reasons(task)]
    level = f"{told['level']:.0%}"
    spent = f"${run['spent_usd']:.4f} spent, scoring included"
    parts += [
        Text(),
        _line(f"{spent}. Intervals hold at {level} each, however often a run is looked at or gone on with."),
    ]
    return Group(*parts)


def compared(told: Row) -> RenderableType:
    """Lay out two runs side by side."""
    first, second = told["first"], told["second"]
    parts: list[RenderableType] = [
        _line(f"A {first['id']} ({first['name']}), B {second['id']} ({second['name']}); differences are B minus A"),
        _line(
            f"{told['shared_cases']} questions in both; {told['only_first']} only in A, {told['only_second']} only in B"
        ),
        Text(),
    ]
    table = _table("per model")
    for name in ("model", "pairs", "quality B - A", "win / tie / loss", "cost B / A", "p50 ms B - A", "errors A, B"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in told["models"]:
        quality = row["quality_diff"]
        table.add_row(
            one_line(row["model"]),
            str(row["pairs"]),
            with_interval(quality["mean"], quality["ci"], 3),
            _rates(quality),
            with_interval(row["cost_ratio"]["value"], row["cost_ratio"]["ci"], 3),
            shown(row["latency_diff_ms"]["p50"], 0),
            f"{_share(row['error_rate']['first'])}, {_share(row['error_rate']['second'])}",
        )
    parts += [table, Text(), _by_evaluator(told["models"])]
    parts += [
        _line(f"! {row['model']}, {name}: {each['warning']}")
        for row in told["models"]
        for name, each in row["by_evaluator"].items()
        if each["warning"]
    ]
    for row in told["models"]:
        answered = row["models_answered"]
        if answered["first"] != answered["second"]:
            before, after = ", ".join(answered["first"]) or "?", ", ".join(answered["second"]) or "?"
            parts.append(_line(f"! {row['model']}: the model that answered changed: {before} -> {after}"))
    parts += [Text(), _line(f"Intervals hold at {told['level']:.0%} each. 0 outside of one: the difference is real.")]
    return Group(*parts)


class Lines:
    """Progress where nobody looks: a line every ten seconds, and one at the end."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._told_s = clock()

    def __call__(self, at: RunProgress) -> None:
        """Take one report."""
        if at.done < at.cells and self._clock() - self._told_s < _LINE_EVERY_S:
            return
        self._told_s = self._clock()
        self._write(f"{at.done} of {at.cells} answers, {_so_far(at)}")


@contextlib.contextmanager
def bar() -> Iterator[Callable[[RunProgress], None]]:
    """Show a bar on standard error."""
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)

        def advance(at: RunProgress) -> None:
            progress.update(task, total=at.cells, completed=at.done, description=_so_far(at))

        yield advance


def _so_far(at: RunProgress) -> str:
    parts = [f"${at.spent_usd:.4f}"]
    if at.unpriced:
        parts.append(f"{at.unpriced} without a known cost")
    if at.errors:
        parts.append(f"{at.errors} errors")
    if at.resting:
        parts.append(f"waiting for {', '.join(at.resting)} (429)")
    return ", ".join(parts)


def _models(task: Row) -> Table:
    table = _table(f"task {one_line(task['task'])}, {task['cases']} cases")
    for name in (
        "model",
        "answers",
        "errors",
        "quality",
        "n",
        "p50 ms",
        "p95 ms",
        "TTFT p50",
        "$ per 1k",
        "$ per 1k quality",
    ):
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in task["models"]:
        quality, per_point = row["quality"], row["cost_per_quality_point_usd"]
        latency_ms, ttft_ms = row["latency_ms"], row["ttft_ms"]
        table.add_row(
            one_line(row["model"]),
            str(row["requests"]),
            _share(row["error_rate"]),
            with_interval(quality["avg"], quality["ci"], 3),
            str(quality["n"]),
            with_interval(latency_ms["p50"], latency_ms["p50_ci"], 0),
            shown(latency_ms["p95"], 0),
            shown(ttft_ms["p50"], 0),
            _thousandfold(row["cost_usd"]["per_request"], None),
            _thousandfold(per_point["value"], per_point["ci"]),
        )
    return table


def _comparisons(task: Row) -> Table:
    table = _table(f"beside {one_line(task['comparisons'][0]['primary'])}, pair by pair")
    for name in ("model", "pairs", "quality difference", "win / tie / loss", "cost ratio", "p50 ms difference"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in task["comparisons"]:
        quality = row["quality_diff"]
        table.add_row(
            one_line(row["candidate"]),
            str(row["pairs"]),
            with_interval(quality["mean"], quality["ci"], 3),
            _rates(quality),
            with_interval(row["cost_ratio"]["value"], row["cost_ratio"]["ci"], 3),
            shown(row["latency_diff_ms"]["p50"], 0),
        )
    return table


def _by_evaluator(models: Sequence[Row]) -> Table:
    table = _table("per evaluator")
    for name in ("model", "evaluator", "score B - A", "pairs", "win / tie / loss"):
        table.add_column(name, justify="left" if name in {"model", "evaluator"} else "right")
    for row in models:
        for name, each in row["by_evaluator"].items():
            table.add_row(
                one_line(row["model"]),
                one_line(name),
                with_interval(each["mean"], each["ci"], 3),
                str(each["n"]),
                _rates(each),
            )
    return table


def _reasons(task: Row) -> Iterator[str]:
    """Say why a figure is not there."""
    for row in task["models"]:
        reasons = {
            "quality": row["quality"]["reason"],
            "cost": row["cost_usd"]["reason"],
            "cost per quality point": row["cost_per_quality_point_usd"]["reason"],
        }
        for what, reason in reasons.items():
            if reason is not None:
                yield f"{row['model']}, {what}: {reason}"


def _rates(quality: Row) -> str:
    if quality["win_rate"] is None:
        return "n/a"
    return f"{quality['win_rate']:.0%} / {quality['tie_rate']:.0%} / {quality['loss_rate']:.0%}"


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def _thousandfold(value: float | None, interval: Sequence[float] | None) -> str:
    """Dollars for a thousand: what one costs is too small to read."""
    if value is None:
        return "n/a"
    return with_interval(1000 * value, None if interval is None else [1000 * end for end in interval], 3)


def _line(text: str) -> Text:
    return Text(one_line(text))


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
