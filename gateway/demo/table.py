"""What the demo prints: `/stats` as tables for people, and where to look next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Row = Mapping[str, Any]

_NONE = "n/a"


def models_table(task: Row) -> Table:
    """One row a model of this task."""
    scored_by = ", ".join(dict.fromkeys(name for row in task["models"] for name in row["quality"]["by_evaluator"]))
    table = _table(f"DEMO, made-up models and prices (* primary). Task {task['task']}, quality by {scored_by or '-'}")
    table.add_column("model")
    for name in _FIGURES:
        table.add_column(name, justify="right")
    for row in task["models"]:
        name = f"{row['model']} *" if row["role"] == "primary" else row["model"]
        table.add_row(name, *(figure(row) for figure in _FIGURES.values()))
    return table


def coverage_table(tasks: Sequence[Row]) -> Table:
    """One row a task and candidate: what became of every exchange that could be shadowed."""
    names = ("eligible", "sampled", "sent", "pending")
    table = _table("Coverage, in exchanges: sampled = sent + pending + left out")
    for name in ("task", "candidate"):
        table.add_column(name)
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("left out")
    for task in tasks:
        for each in task["comparisons"]:
            coverage = each["coverage"]
            left_out = {**coverage["skipped"], **coverage["dropped"]}
            reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
            table.add_row(task["task"], each["candidate"], *(str(coverage[name]) for name in names), reasons or "none")
    return table


def next_steps(*, base_url: str, admin_url: str) -> Sequence[str]:
    """Where to look, and the one line to change."""
    return (
        f"gateway  {base_url}",
        f"stats    {admin_url}/stats",
        f"pairs    {admin_url}/pairs?sort=worst   (both answers side by side, the worst first)",
        "",
        "On your own traffic:  EZAI_API_KEY=… SHADOW_CANDIDATES=gpt-4o,gemini-2.5-pro shadow-gateway serve",
        'and one line in your app:  base_url="http://127.0.0.1:8080"  (openai SDK: "http://127.0.0.1:8080/v1")',
    )


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def _ms(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.1f} %"


def _per_thousand(value: float | None) -> str:
    """Dollars for a thousand: what one costs is too small to read."""
    return _NONE if value is None else f"{1000 * value:,.3f}"


def _fraction(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


_FIGURES: Mapping[str, Callable[[Row], str]] = {
    "requests": lambda row: str(row["requests"]),
    "p50\nms": lambda row: _ms(row["latency_ms"]["p50"]),
    "p95\nms": lambda row: _ms(row["latency_ms"]["p95"]),
    "TTFT\nms": lambda row: _ms(row["ttft_ms"]["p50"]),
    "errors": lambda row: _share(row["error_rate"]),
    "$ per 1k\nrequests": lambda row: _per_thousand(row["cost_usd"]["per_request"]),
    "quality": lambda row: _fraction(row["quality"]["avg"]),
    "n": lambda row: str(row["quality"]["n"]),
    "$ per 1k\nquality": lambda row: _per_thousand(row["cost_per_quality_point_usd"]["value"]),
}
