"""What measuring costs beside what the app's own answers cost, and what a switch would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.web.dashboard import charts, formats
from shadow.web.dashboard.fit import all_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadow.web.admin import Prices
    from shadow.web.dashboard.nodes import Node


_MOST_PRICES = 60


def cost_view(stats: Node, *, shown: Sequence[Node], prices: Prices) -> dict[str, Any]:
    """Everything the page shows, out of `/stats` and the price book; `shown` are the tasks there is room for."""
    tasks = all_tasks(stats)
    budget = stats.node("budget")
    return {
        "spend": charts.spend(_by_role(tasks)),
        "budget": charts.budget_bar(budget),
        "budget_node": budget,
        "tasks": [{"node": task, "switches": _switches(task)} for task in shown],
        "prices": _prices(tasks, prices),
    }


def _by_role(tasks: Sequence[Node]) -> list[tuple[str, float]]:
    """USD of this window by role; judges' calls are told by comparison, second answers by primary."""
    spent = {"primary": 0.0, "candidate": 0.0}
    judge = again = 0.0
    for task in tasks:
        for row in task.nodes("models"):
            spent[row["role"]] = spent.get(row["role"], 0.0) + (row["cost_usd.total"] or 0.0)
        comparisons = task.nodes("comparisons")
        judge += sum(one["judge.cost_usd"] or 0.0 for one in comparisons)
        again += sum({one["primary"]: one["noise_floor.cost_usd"] or 0.0 for one in comparisons}.values())
    return [
        ("live (primary)", spent["primary"]),
        ("shadow (candidates)", spent["candidate"]),
        ("judge", judge),
        ("primary asked again", again),
    ]


def _switches(task: Node) -> list[dict[str, Any]]:
    """What the window's live traffic would have cost with all of it on each candidate."""
    live = {row["model"]: row["cost_usd.total"] for row in task.nodes("models") if row["role"] == "primary"}
    found = []
    for one in task.nodes("comparisons"):
        paid, ratio, ci = live.get(one["primary"]), one["cost_ratio.value"], one["cost_ratio.ci"]
        known = paid is not None and ratio is not None
        found.append(
            {
                "node": one,
                "paid": paid,
                "would": paid * ratio if known else None,
                "between": [paid * end for end in ci] if known and ci else None,
                "saves": paid * (1 - ratio) if known else None,
                "why_not": None if known else one.reason("cost_ratio.value"),
            }
        )
    return found


def _prices(tasks: Sequence[Node], prices: Prices) -> list[dict[str, Any]]:
    """Every model's price as the book has it, and the line to add where it has none."""
    names = dict.fromkeys(row["model"] for task in tasks for row in task.nodes("models") if row["model"] is not None)
    found = []
    for name in [*names][:_MOST_PRICES]:
        price = prices.price_of(name)
        found.append(
            {
                "model": name,
                "input": getattr(price, "input", None),
                "output": getattr(price, "output", None),
                "cache_read": getattr(price, "cache_read", None),
                "source": getattr(price, "source", None),
                "missing": prices.missing_line(name) if price is None else None,
            }
        )
    return found


def interval(ends: Sequence[float] | None) -> str:
    """Two dollar amounts in brackets; nothing when there are none."""
    return f"[{formats.usd(ends[0])}, {formats.usd(ends[1])}]" if ends else ""
