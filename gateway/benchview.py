"""Benchmarks on the terminal: the tables of a run and of two runs, and progress with the cost so far."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.measure import Measurement
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
_MAX_SAID_CHARS = 200


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


def summary(told: Row, *, width: int) -> RenderableType:
    """Lay out a run: a table a task, readings, and what the intervals mean."""
    run = told["run"]
    parts: list[RenderableType] = [
        _line(f"run {run['id']} ({run['name']}), {run['state']}: {run['answered']} of {run['cells']} answers")
    ]
    for task in told["tasks"]:
        title = f"task {one_line(task['task'])}, {task['cases']} cases"
        parts += [Text(), _fitted(title, _models(task), width=width, spare=_LEAST_TELLING)]
        if any(len(row["quality"]["by_evaluator"]) > 1 for row in task["models"]):
            parts += [Text(), _scores(task)]
        if task["comparisons"]:
            title = f"beside {one_line(task['comparisons'][0]['primary'])}, pair by pair"
            parts += [
                Text(),
                _fitted(
                    title, _comparisons(task), width=width, spare=("pairs", "p50 ms difference", "win / tie / loss")
                ),
            ]
        parts += [_line(f"* {each['text']}") for each in task["insights"]]
        parts += [_line(f"! {text}") for text in _reasons(task)]
    level = f"{told['level']:.0%}"
    scoring_usd = sum(row["cost_usd"]["scoring"] for task in told["tasks"] for row in task["models"])
    judged = f", ${scoring_usd:.4f} of it for judging" if scoring_usd else ""
    spent = f"${run['spent_usd']:.4f} spent{judged}"
    parts += [
        Text(),
        _line(f"{spent}. Intervals hold at {level} each, however often a run is looked at or gone on with."),
    ]
    return Group(*parts)


def compared(told: Row, *, width: int) -> RenderableType:
    """Lay out two runs side by side."""
    first, second = told["first"], told["second"]
    parts: list[RenderableType] = [
        _line(f"A {first['id']} ({first['name']}), B {second['id']} ({second['name']}); differences are B minus A"),
        _line(
            f"{told['shared_cases']} questions in both; {told['only_first']} only in A, {told['only_second']} only in B"
        ),
        Text(),
    ]
    parts += [
        _fitted("per model", _runs_beside(told["models"]), width=width, spare=("p50 ms B - A", "pairs")),
        Text(),
        _fitted("per evaluator", _by_evaluator(told["models"]), width=width),
    ]
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
        self._told_done = 0

    def __call__(self, at: RunProgress) -> None:
        """Take one report."""
        is_last = at.done == at.cells and self._told_done < at.cells
        if not is_last and self._clock() - self._told_s < _LINE_EVERY_S:
            return
        self._told_s, self._told_done = self._clock(), at.done
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


def _models(task: Row) -> Mapping[str, Sequence[str]]:
    """Give the columns of the models' table."""
    rows = task["models"]
    return {
        "model": [one_line(row["model"]) for row in rows],
        "answers": [str(row["requests"]) for row in rows],
        "errors": [_share(row["error_rate"]) for row in rows],
        "quality": [with_interval(row["quality"]["avg"], row["quality"]["ci"], 3) for row in rows],
        "n": [str(row["quality"]["n"]) for row in rows],
        "p50 ms": [with_interval(row["latency_ms"]["p50"], row["latency_ms"]["p50_ci"], 0) for row in rows],
        "p95 ms": [shown(row["latency_ms"]["p95"], 0) for row in rows],
        "TTFT p50": [shown(row["ttft_ms"]["p50"], 0) for row in rows],
        "$ per 1k": [_thousandfold(row["cost_usd"]["per_request"], None) for row in rows],
        "$ per 1k quality": [
            _thousandfold(row["cost_per_quality_point_usd"]["value"], row["cost_per_quality_point_usd"]["ci"])
            for row in rows
        ],
    }


_LEAST_TELLING = ("n", "p95 ms", "TTFT p50", "answers", "p50 ms", "$ per 1k", "errors")
"""Columns that a narrow terminal does without, the first of them first."""


def _scores(task: Row) -> Table:
    """Show what each evaluator said of each model; the deciding one is marked."""
    names = sorted({name for row in task["models"] for name in row["quality"]["by_evaluator"]})
    table = _table("scores by evaluator (* decides)")
    table.add_column("evaluator")
    for row in task["models"]:
        table.add_column(Text(one_line(row["model"])), justify="right")
    for name in names:
        found = [row["quality"]["by_evaluator"].get(name) for row in task["models"]]
        decides = any(each is not None and each["decides"] for each in found)
        table.add_row(one_line(f"{name} *" if decides else name), *map(_score, found))
    return table


def _score(each: Row | None) -> str:
    if each is None:
        return "-"
    missing = f", {each['missing']} missing" if each["missing"] else ""
    return f"{with_interval(each['avg'], each['ci'], 3)}{missing}"


def _comparisons(task: Row) -> Mapping[str, Sequence[str]]:
    rows = task["comparisons"]
    return {
        "model": [one_line(row["candidate"]) for row in rows],
        "pairs": [str(row["pairs"]) for row in rows],
        "quality difference": [
            with_interval(row["quality_diff"]["mean"], row["quality_diff"]["ci"], 3) for row in rows
        ],
        "win / tie / loss": [_rates(row["quality_diff"]) for row in rows],
        "cost ratio": [with_interval(row["cost_ratio"]["value"], row["cost_ratio"]["ci"], 3) for row in rows],
        "p50 ms difference": [shown(row["latency_diff_ms"]["p50"], 0) for row in rows],
    }


def _fitted(title: str, columns: Mapping[str, Sequence[str]], *, width: int, spare: Sequence[str] = ()) -> Table:
    """Lay columns out so that nothing is cut: whole, then intervals below their values, then fewer columns."""
    table = _laid_out(title, columns)
    for stacked, left_out in ((False, 0), (True, 0), *((True, count + 1) for count in range(len(spare)))):
        kept = {name: cells for name, cells in columns.items() if name not in spare[:left_out]}
        table = _laid_out(title, _stacked(kept) if stacked else kept)
        if Measurement.get(_ROOMY, _ROOMY.options, table).maximum <= width:
            break
    return table


def _laid_out(title: str, columns: Mapping[str, Sequence[str]]) -> Table:
    table = _table(title)
    for name in columns:
        table.add_column(name, justify="left" if name in _NAMES else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _stacked(columns: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """Put intervals below their values."""
    return {
        name: cells if name in _NAMES else [cell.replace(" [", "\n[", 1) for cell in cells]
        for name, cells in columns.items()
    }


_NAMES = frozenset({"model", "evaluator"})
_ROOMY = Console(width=1000)


def _by_evaluator(models: Sequence[Row]) -> Mapping[str, Sequence[str]]:
    rows = [(row["model"], name, each) for row in models for name, each in row["by_evaluator"].items()]
    return {
        "model": [one_line(model) for model, _, _ in rows],
        "evaluator": [one_line(name) for _, name, _ in rows],
        "score B - A": [with_interval(each["mean"], each["ci"], 3) for _, _, each in rows],
        "pairs": [str(each["n"]) for _, _, each in rows],
        "win / tie / loss": [_rates(each) for _, _, each in rows],
    }


def _runs_beside(models: Sequence[Row]) -> Mapping[str, Sequence[str]]:
    return {
        "model": [one_line(row["model"]) for row in models],
        "pairs": [str(row["pairs"]) for row in models],
        "quality B - A": [with_interval(row["quality_diff"]["mean"], row["quality_diff"]["ci"], 3) for row in models],
        "win / tie / loss": [_rates(row["quality_diff"]) for row in models],
        "cost B / A": [with_interval(row["cost_ratio"]["value"], row["cost_ratio"]["ci"], 3) for row in models],
        "p50 ms B - A": [shown(row["latency_diff_ms"]["p50"], 0) for row in models],
        "errors A, B": [
            f"{_share(row['error_rate']['first'])}, {_share(row['error_rate']['second'])}" for row in models
        ],
    }


def _reasons(task: Row) -> Iterator[str]:
    """Say what went wrong, and why a figure is not there."""
    for row in task["models"]:
        for each in row["errors"]:
            said = ", ".join(str(part) for part in (each["outcome"], each["status"], each["error"]) if part is not None)
            yield f"{row['model']}, errors: {each['count']} of {row['requests']} ended in {_cut(said)}"
        reasons = {
            "quality": row["quality"]["reason"],
            "cost": row["cost_usd"]["reason"],
            "cost per quality point": row["cost_per_quality_point_usd"]["reason"],
        }
        for what, reason in reasons.items():
            if reason is not None and reason != f"n/a: {reasons['quality']}":
                yield f"{row['model']}, {what}: {reason}"


def _cut(text: str) -> str:
    """Keep what an endpoint said to a line."""
    return text if len(text) <= _MAX_SAID_CHARS else f"{text[:_MAX_SAID_CHARS]}…"


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
