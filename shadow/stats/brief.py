"""Which tasks `/stats` tells of in full where there is room for so many models, and what of the others. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def fitting(names: Sequence[str], size: Callable[[str], int], *, room: int | None) -> tuple[list[str], list[str]]:
    """Divide tasks, in order, into those told of in full and the others.

    `size` gives how many models a task has. The first one with any is told of however many it has; from the first one
    on that has no room, all are others. `room` None: there is room for all.
    """
    if room is None:
        return list(names), []
    left, begun = room, False
    for number, name in enumerate(names):
        models = size(name)
        if models > left and begun:
            return list(names[:number]), list(names[number:])
        left, begun = left - models, begun or models > 0
    return list(names), []


def brief(task: Mapping[str, Any]) -> dict[str, Any]:
    """Cut a task down to what is told of the others: the same fields, only fewer of them."""
    return {
        "task": task["task"],
        "models": [
            {"model": row["model"], "role": row["role"], "cost_usd": {"total": row["cost_usd"]["total"]}}
            for row in task["models"]
        ],
        "comparisons": [
            brief_comparison(
                primary=one["primary"],
                candidate=one["candidate"],
                verdict=one["verdict"],
                ended=one["ended"],
                coverage=one["coverage"],
                judge_usd=one["judge"]["cost_usd"],
                noise_floor_usd=one["noise_floor"]["cost_usd"],
            )
            for one in task["comparisons"]
        ],
    }


def brief_comparison(
    *,
    primary: str | None,
    candidate: str,
    verdict: str | None,
    ended: str | None,
    coverage: Mapping[str, Any],
    judge_usd: float,
    noise_floor_usd: float,
) -> dict[str, Any]:
    """Write one comparison as briefly."""
    return {
        "primary": primary,
        "candidate": candidate,
        "verdict": verdict,
        "ended": ended,
        "coverage": coverage,
        "judge": {"cost_usd": judge_usd},
        "noise_floor": {"cost_usd": noise_floor_usd},
    }
