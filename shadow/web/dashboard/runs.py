"""Benchmark runs for people: how far they are, what they found, and what changed from one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.web import svg
from shadow.web.dashboard import charts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.web.dashboard.nodes import Node


def run_view(summary: Node, *, shown: Sequence[Node] | None, link: str | None) -> dict[str, Any]:
    """Everything the page of one run shows, out of `/runs/{id}`, of the tasks `shown` (None: of all of them)."""
    return {
        "run": summary.node("run"),
        "level": summary["level"],
        "tasks": [_task(task, link=link) for task in (summary.nodes("tasks") if shown is None else shown)],
    }


def _task(task: Node, *, link: str | None) -> dict[str, Any]:
    series = charts.series_of(task.nodes("models"))
    against = {one["candidate"]: one for one in task.nodes("comparisons")}
    return {
        "node": task,
        "models": [
            {
                "node": row,
                "key": svg.shape_key(series[row["model"]]),
                "against": against.get(row["model"]),
            }
            for row in task.nodes("models")
        ],
        "comparison_charts": charts.of_each_primary(task, link=link),
        "insights": [insight["text"] for insight in task.nodes("insights")],
    }


def changes(first: Node, second: Node) -> list[tuple[str, str, str]]:
    """What is not the same in two runs, so that a difference is not read into the models: (what, before, now)."""
    before, now = _described(first), _described(second)
    return [(what, before[what], now[what]) for what in before if before[what] != now[what]]


def _described(run: Node) -> dict[str, str]:
    return {
        "models": ", ".join(run["models"] or ()),
        "primary": run["primary"] or "none",
        "cases": f"{run['cases'] or 0:,}",
        "repeats": str(run["repeats"]),
        "evaluators": _evaluators(run["evaluators"]),
        "asked at": ", ".join(sorted(set((run["base_urls"] or {}).values()))),
    }


def side_by_side(first: Sequence[Node], second: Sequence[Node]) -> list[dict[str, Any]]:
    """Each task with each model's rows of both runs and their qualities as a chart; what only one has stands alone."""
    rows: dict[Any, dict[Any, list[Node | None]]] = {}
    for place, tasks in enumerate((first, second)):
        for task in tasks:
            for row in task.nodes("models"):
                rows.setdefault(task["task"], {}).setdefault(row["model"], [None, None])[place] = row
    return [
        {
            "task": task,
            "pairs": [{"model": name, "first": before, "second": now} for name, (before, now) in models.items()],
            "chart": charts.before_and_now(task, models),
        }
        for task, models in rows.items()
    ]


def fitting_rows(tasks: Sequence[Mapping[str, Any]], *, room: int) -> tuple[Sequence[Mapping[str, Any]], Sequence[Any]]:
    """Give the tasks of two runs a page shows, at least one, and the names of those it has no room for."""
    shown: list[Mapping[str, Any]] = []
    names: list[Any] = []
    for task in tasks:
        if names or (shown and sum(len(one["pairs"]) for one in [*shown, task]) > room):
            names.append(task["task"])
        else:
            shown.append({**task, "pairs": task["pairs"][:room]})
    return shown, names


def _evaluators(by_task: Mapping[str, Sequence[Mapping[str, Any]]] | None) -> str:
    names = {f"{each['name']} {each['version']}" for listed in (by_task or {}).values() for each in listed}
    return ", ".join(sorted(names))
