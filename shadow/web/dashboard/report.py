"""One page that stands alone: it opens offline, prints, and is drawn by the functions the dashboard is drawn by."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shadow.web.dashboard import charts, overview, trends
from shadow.web.dashboard.nodes import Node, Notes
from shadow.web.dashboard.rendering import render, style_sheet
from shadow.web.dashboard.runs import run_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def report_html(
    stats: Mapping[str, Any],
    *,
    version: str,
    written: datetime,
    latency: Mapping[str, Any] | None = None,
    trend: Mapping[str, Any] | None = None,
    demo: bool = False,
) -> str:
    """Write the report of a window as one HTML file.

    `stats` is the answer of `/stats`; `latency` and `trend`, where there are any, those of `/latency` and `/trends`.
    `written` is aware UTC.
    """
    context = stats_context(stats, shown=None, latency=latency, trend=trend, link=None)
    return _alone({**context, "title": "Which model to run", "version": version, "written": written, "demo": demo})


def run_html(summary: Mapping[str, Any], *, version: str, written: datetime | None = None) -> str:
    """Write a benchmark run as one HTML file. `summary` is the answer of `/runs/{id}`, times as ISO 8601 or aware."""
    view = run_view(Node(summary), shown=None, link=None)
    run = view["run"]
    context = {
        "run": run,
        "run_task_views": view["tasks"],
        "run_level": view["level"],
        "since": None,
        "until": None,
        "tasks": (),
        "no_traffic": False,
        "title": f"Benchmark {run['name'] or run['id']}",
        "version": version,
        "written": written or datetime.now(UTC),
        "demo": False,
    }
    return _alone(context)


def stats_context(
    stats: Mapping[str, Any],
    *,
    shown: Sequence[Node] | None,
    latency: Mapping[str, Any] | None,
    trend: Mapping[str, Any] | None,
    link: str | None,
) -> dict[str, Any]:
    """Give what the report's template shows of `/stats`, of the tasks `shown` (None: of all of them).

    `link` None draws points without links.
    """
    curves = curves_by_task(latency)
    tasks = [
        {
            **overview.task_view(task, link=link, curves=curves.get(task["task"], ()), kind="latency_ms"),
            "trend": trend_of(trend, task, link=link),
            "cost_trend": cost_trend_of(trend, task, link=link),
        }
        for task in (Node(stats).nodes("tasks") if shown is None else shown)
    ]
    return {
        "tasks": tasks,
        "no_traffic": not any(task["models"] for task in tasks),
        "since": stats.get("since"),
        "until": stats.get("until"),
        "run": None,
    }


def curves_by_task(latency: Mapping[str, Any] | None) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Sort the answer of `/latency` by task; nothing where there is none."""
    return {task["task"]: task["models"] for task in (latency or {}).get("tasks", ())}


def trend_of(trend: Mapping[str, Any] | None, task: Node, *, link: str | None) -> charts.Chart | None:
    """Draw a task's quality over the weeks; None where this version knows no trends."""
    if trend is None:
        return None
    series = charts.series_of(task.nodes("models"))
    return trends.quality_trend(Node(trend), task=task["task"], series=series, link=link)


def cost_trend_of(trend: Mapping[str, Any] | None, task: Node, *, link: str | None) -> charts.Chart | None:
    """Draw a task's cost per quality point over the weeks; None where this version knows no trends."""
    if trend is None:
        return None
    series = charts.series_of(task.nodes("models"))
    return trends.cost_trend(Node(trend), task=task["task"], series=series, link=link)


def _alone(context: Mapping[str, Any]) -> str:
    style = style_sheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    alone = {
        "style": style,
        "policy": policy,
        "download": None,
        "prefix": "",
        "notes": Notes(),
        "static": None,
        "more_tasks": (),
    }
    return render("report.html", {**alone, **context})
