"""`/stats` as tables for people: the models of a task, the verdicts, and what became of the traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

_NONE = "n/a"


def models_table(task: Row, *, width: int, about: str = "") -> Table:
    """One row a model of this task, under a title that begins with `about`.

    Where `width` columns are too few, the least telling figures are left out.
    """
    variants = (_LEAST_TELLING[:count] for count in range(len(_LEAST_TELLING) + 1))
    return first_that_fits((_models(task, without, about) for without in variants), width=width)


def verdicts_table(tasks: Sequence[Row], *, width: int, title: str) -> Table:
    """One row a task and candidate: the verdict, and the figures it rests on with their intervals.

    Where a task has several primaries, each row says which one it is about.
    """
    variants = (_LEAST_TELLING_OF_VERDICTS[:count] for count in range(len(_LEAST_TELLING_OF_VERDICTS) + 1))
    return first_that_fits((_verdicts(tasks, without, title) for without in variants), width=width)


def verdict_sentences(tasks: Sequence[Row]) -> Sequence[str]:
    """Say each verdict in its sentence, and with `promote` what to change."""
    several = _several_primaries(tasks)
    return [
        printable(f"{', '.join(_names(task, each, several=several))}: {each['why']}{_switch(each)}")
        for task in tasks
        for each in task["comparisons"]
    ]


def _several_primaries(tasks: Sequence[Row]) -> bool:
    """Tell whether a task and a candidate leave open what the candidate is compared with."""
    return any(len({each["primary"] for each in task["comparisons"]}) > 1 for task in tasks)


def _names(task: Row, comparison: Row, *, several: bool) -> Sequence[str]:
    """Name a comparison: task and candidate, and the primary between them where there are several."""
    primary = [str(comparison["primary"] or "(no model named)")] if several else []
    return [task["task"], *primary, comparison["candidate"]]


def _named_columns(*, several: bool) -> Sequence[str]:
    return ("task", "primary", "candidate") if several else ("task", "candidate")


def quality_of(row: Row) -> float | None:
    """Give a model's quality as the mean over conversations, which its interval is of; over answers in large windows.

    Sums, which those are read from, do not know conversations.
    """
    quality: Row = row["quality"]
    by_conversation: float | None = quality.get("conversation_avg")
    average: float | None = quality["avg"]
    return average if by_conversation is None else by_conversation


def _switch(comparison: Row) -> str:
    advice = comparison.get("switch")
    if advice is None:
        return ""
    return f" To switch: {'; '.join(advice['steps'])}. Nothing switches by itself."


def coverage_table(tasks: Sequence[Row], *, width: int) -> Table:
    """One row a task and candidate: what became of every exchange that could be shadowed."""
    counts = ("eligible", "sampled", "sent", "pending")
    variants = ((counts, ", "), (counts, "\n"), (counts[1:], "\n"))
    return first_that_fits((_coverage(tasks, names, between) for names, between in variants), width=width)


def _models(task: Row, without: Sequence[str], about: str) -> Table:
    scored_by = ", ".join(dict.fromkeys(name for row in task["models"] for name in row["quality"]["by_evaluator"]))
    weighing = any(row["quality"].get("conversation_avg") is not None for row in task["models"])
    mean = ", mean of conversations" if weighing else ""
    table = _table(f"{about}Task {task['task']}, quality by {scored_by or '-'}{mean}")
    figures = {name: figure for name, figure in _FIGURES.items() if name not in without}
    table.add_column("* primary\nmodel", no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    for row in task["models"]:
        model = row["model"] or "(no model named)"
        name = f"{model} *" if row["role"] == "primary" else model
        table.add_row(_plain(name), *(figure(row) for figure in figures.values()))
    return table


def _verdicts(tasks: Sequence[Row], without: Sequence[str], title: str) -> Table:
    table = _table(title)
    several = _several_primaries(tasks)
    for name in (*_named_columns(several=several), "verdict"):
        table.add_column(name, no_wrap=True)
    figures = {name: figure for name, figure in _VERDICT_FIGURES.items() if name not in without}
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    for task in tasks:
        for each in task["comparisons"]:
            names = map(_plain, _names(task, each, several=several))
            table.add_row(*names, each["verdict"] or _NONE, *(figure(each) for figure in figures.values()))
    return table


def _coverage(tasks: Sequence[Row], names: Sequence[str], between: str) -> Table:
    """Lay the coverage out with these counts, and `between` two reasons."""
    table = _table("Coverage, in exchanges: sampled = sent + pending + left out")
    several = _several_primaries(tasks)
    for name in _named_columns(several=several):
        table.add_column(name, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("left out", overflow="fold")
    for task in tasks:
        for each in task["comparisons"]:
            coverage = each["coverage"]
            left_out = {**coverage["skipped"], **coverage["dropped"]}
            reasons = between.join(f"{count} {reason}" for reason, count in left_out.items())
            counts = (str(coverage[name]) for name in names)
            table.add_row(*map(_plain, _names(task, each, several=several)), *counts, reasons or "none")
    return table


def first_that_fits(tables: Iterable[Table], *, width: int) -> Table:
    """Choose the first table that needs no more than `width` columns; the last when none does."""
    roomy = Console(width=1000)
    for table in tables:
        if Measurement.get(roomy, roomy.options, table).maximum <= width:
            break
    return table


def printable(name: object) -> str:
    """A name that a client chose; what would steer the terminal becomes a question mark."""
    return "".join(char if char.isprintable() else "?" for char in str(name))


def _plain(name: object) -> Text:
    """A name as text alone: rich reads markup in strings."""
    return Text(printable(name))


def _table(title: str) -> Table:
    table = Table(title=Text(printable(title)), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.pad_edge = table.show_edge = False
    table.collapse_padding = True
    return table


def _ms(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.1f} %"


def _per_thousand(value: float | None) -> str:
    """Dollars for a thousand: what one costs is too small to read."""
    return _NONE if value is None else f"{1000 * value:,.3f}"


def _fraction(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _with_interval(figures: Row, *, signed: bool = False) -> str:
    """A value with its interval; the interval alone is left out where there is none yet."""
    form = "+.2f" if signed else ".2f"
    value, ci = figures.get("mean", figures.get("value")), figures["ci"]
    if value is None:
        return _NONE
    return f"{value:{form}}" if ci is None else f"{value:{form}} [{ci[0]:{form}}, {ci[1]:{form}}]"


_NO_POINTS: Row = {"ratio": {"value": None, "ci": None}}
_VERDICT_FIGURES: Mapping[str, Callable[[Row], str]] = {
    "conver-\nsations": lambda row: str(row["conversations"]),
    "quality difference\n(interval)": lambda row: _with_interval(row["quality_diff"], signed=True),
    "cost ratio\n(interval)": lambda row: _with_interval(row["cost_ratio"]),
    "cost per quality point,\nratio (interval)": lambda row: _with_interval(
        row["cost_per_quality_point_usd"]["ratio"]
        if "cost_per_quality_point_usd" in row
        else {"value": None, "ci": None}
    ),
}
_LEAST_TELLING_OF_VERDICTS = ("cost ratio\n(interval)", "conver-\nsations", "cost per quality point,\nratio (interval)")

_FIGURES: Mapping[str, Callable[[Row], str]] = {
    "requests": lambda row: str(row["requests"]),
    "p50\nms": lambda row: _ms(row["latency_ms"]["p50"]),
    "p95\nms": lambda row: _ms(row["latency_ms"]["p95"]),
    "TTFT\nms": lambda row: _ms(row["ttft_ms"]["p50"]),
    "errors": lambda row: _share(row["error_rate"]),
    "$ per 1k\nrequests": lambda row: _per_thousand(row["cost_usd"]["per_request"]),
    "quality": lambda row: _fraction(quality_of(row)),
    "n": lambda row: str(row["quality"]["n"]),
    "$ per 1k\nquality": lambda row: _per_thousand(row["cost_per_quality_point_usd"]["value"]),
}
_LEAST_TELLING = ("n", "p95\nms", "requests", "TTFT\nms")
