"""How much of many tasks and models one page shows: what it has room for. The rest is a click away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.web.dashboard.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Sequence


def fitting(tasks: Sequence[Node], *, room: int, more: Sequence[Node] = ()) -> tuple[Sequence[Node], Sequence[Any]]:
    """Give the tasks a page shows, at least one, and the names of those it has no room for, `more` among them.

    Tasks with traffic come first. `room` is counted in models. A single task with more of them is cut: `not_shown` says
    by how many candidates.
    """
    shown: list[Node] = []
    names: list[Any] = []
    left = room
    for task in sorted(tasks, key=lambda each: not each.nodes("models")):
        if names or (shown and _size(task) > left):  # in order: none overtakes one that had no room
            names.append(task["task"])
            continue
        shown.append(_cut(task, most=room))
        left -= _size(shown[-1])
    return shown, [*names, *(task["task"] for task in more)]


def all_tasks(stats: Node) -> Sequence[Node]:
    """Give every task of an answer of `/stats`, those it has no room for with few fields."""
    return [*stats.nodes("tasks"), *stats.nodes("more_tasks")]


def _size(task: Node) -> int:
    return max(1, len(task.nodes("models")))


def _cut(task: Node, *, most: int) -> Node:
    """Keep the first comparisons and the models in them; the places of the others stay, so that paths stay true."""
    models, comparisons = task.nodes("models"), task.nodes("comparisons")
    if max(len(models), len(comparisons)) <= most:
        return task
    primaries = [row["model"] for row in models if row["role"] == "primary"][: max(1, most // 2)]
    kept = comparisons[: most - len(primaries)]
    names = {*primaries, *(one["candidate"] for one in kept)}
    cut = {
        "models": [row.value if row["model"] in names else None for row in models],
        "comparisons": [one.value for one in kept],
        "not_shown": len({row["model"] for row in models} - names),
    }
    return Node({**task.value, **cut}, task.path, task.above)
