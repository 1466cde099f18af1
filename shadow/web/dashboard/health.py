"""Is the data complete? Where exchanges went, what was lost and why, and how much money is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.web.dashboard import charts
from shadow.web.dashboard.fit import all_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.web.admin import AdminSettings
    from shadow.web.dashboard.nodes import Node


def health_view(
    stats: Node, *, shown: Sequence[Node], next_run: Mapping[str, Any] | None, settings: AdminSettings
) -> dict[str, Any]:
    """Everything the page shows: out of `/stats`, the schedule of `/trends` (None: not built), and the settings.

    `shown` are the tasks there is room for.
    """
    budget = stats.node("budget")
    return {
        "tasks": [_task(task) for task in shown],
        "dropped": _sorted(stats["dropped"]),
        "budget": charts.budget_bar(budget),
        "budget_closed": bool(budget["closed"]),
        "facts": [("Waiting for a candidate", f"{_pending(stats):,}")],
        "next_run": next_run,
        "loaded_at": settings.loaded_at,
        "config_version": settings.config_version,
        "candidates": _candidates(settings),
    }


def _candidates(settings: AdminSettings) -> list[dict[str, Any]]:
    """Each configured candidate, and whether its circuit breaker lets calls through (None: nobody asks it here)."""
    return [{"model": name, "closed": settings.breakers.get(name)} for name in settings.candidates]


def _task(task: Node) -> dict[str, Any]:
    comparisons = task.nodes("comparisons")
    several = charts.several_primaries(comparisons)
    return {
        "node": task,
        "funnels": [{"chart": charts.coverage_funnel(one, several=several)} for one in comparisons],
        "reasons": [
            (charts.compared(one, several=several), what, reason, count)
            for one in comparisons
            for what in ("skipped", "dropped")
            for reason, count in _sorted(one[f"coverage.{what}"])
        ],
        "endings": [(row["model"], row["role"], _sorted(row["outcomes"])) for row in task.nodes("models")],
        "left_out": [
            (charts.compared(one, several=several), reason, count)
            for one in comparisons
            for reason, count in _sorted(one["left_out"])
        ],
    }


def _pending(stats: Node) -> int:
    return sum(one["coverage.pending"] or 0 for task in all_tasks(stats) for one in task.nodes("comparisons"))


def _sorted(counts: Mapping[str, int] | None) -> Sequence[tuple[str, int]]:
    """Reasons with counts, the most frequent first."""
    return sorted((counts or {}).items(), key=lambda item: (-item[1], item[0]))
