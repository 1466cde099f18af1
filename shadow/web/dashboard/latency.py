"""How long answers take, and what the gateway itself adds where that is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from shadow.web.dashboard import charts, trends

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.web.dashboard.nodes import Node

WEEKLY: Sequence[tuple[str, str, str, str]] = (
    ("p50", "latency_ms", "p50", "whole answer p50"),
    ("p95", "latency_ms", "p95", "p95"),
    ("ttft-p50", "ttft_ms", "p50", "first token p50"),
    ("ttft-p95", "ttft_ms", "p95", "p95"),
)
"""What the weekly chart may show: its word in the address, which clock, which percentile, and its words."""
DEFAULT_WEEKLY = "p95"
RANKS = ("p50", "p95", "p99")


def latency_task(
    task: Node, *, link: str, curves: Sequence[Mapping[str, Any]], trend: Node | None, weekly: tuple[str, str]
) -> dict[str, Any]:
    """Everything the page shows of one task; `weekly` is the clock and the percentile of the chart over weeks."""
    series = charts.series_of(task.nodes("models"))
    kind, rank = weekly
    return {
        "node": task,
        "curves": [charts.latency_curves(task, curves, kind=each, link=link) for each in ("latency_ms", "ttft_ms")],
        "weekly": None
        if trend is None
        else trends.latency_trend(trend, task=task["task"], series=series, kind=kind, rank=rank, link=link),
        "models": task.nodes("models"),
        "comparisons": task.nodes("comparisons"),
    }


def chosen_weekly(word: str | None) -> tuple[str, str]:
    """Give the clock and the percentile an address asks for; the default for any other word."""
    known = {each: (kind, rank) for each, kind, rank, _ in WEEKLY}
    return known.get(word or DEFAULT_WEEKLY, known[DEFAULT_WEEKLY])


def weekly_switch(chosen: tuple[str, str], href: Callable[[str], str]) -> Markup:
    """Links to the other percentiles of the chart over weeks."""
    pieces = [
        Markup("<strong>{}</strong>").format(words)
        if (kind, rank) == chosen
        else Markup('<a href="{}">{}</a>').format(href(word), words)
        for word, kind, rank, words in WEEKLY
    ]
    return Markup(" \u00b7 ").join(pieces)


def overheads(tasks: Sequence[Node]) -> list[tuple[str, Node]]:
    """Where an answer tells what the gateway itself adds (`overhead_ms`): by task, by model, in words."""
    found = []
    for task in tasks:
        name = charts.named(task["task"])
        found.append((f"task {name}", task))
        found += [(f"{charts.named(row['model'])}, task {name}", row) for row in task.nodes("models")]
    return [(words, node.node("overhead_ms")) for words, node in found if node["overhead_ms"] is not None]
