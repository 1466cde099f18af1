"""Paired differences: the same questions, two sides; within a run, or between two. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shadow.benchmark.intervals import difference_interval, ratio_interval
from shadow.stats.figures import mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One question's value on both sides; None where a side has none. `name`: the unit of statistics it belongs to."""

    name: str
    primary: float | None
    candidate: float | None


def quality_comparison(units: Iterable[Unit], alpha: float) -> Row:
    """Candidate minus primary, averaged per unit: `{mean, ci, n, units, missing, win_rate, tie_rate, loss_rate}`.

    A question without a value on either side is missing; `missing` counts them, for they may not be lost by chance.
    """
    found = list(units)
    known = [
        (unit.name, unit.candidate - unit.primary)
        for unit in found
        if unit.primary is not None and unit.candidate is not None
    ]
    by_unit: dict[str, list[float]] = {}
    for name, difference in known:
        by_unit.setdefault(name, []).append(difference)
    values = [math.fsum(each) / len(each) for each in by_unit.values()]
    return {
        "mean": mean(values),
        "ci": difference_interval(values, alpha),
        "n": len(known),
        "units": len(values),
        "missing": len(found) - len(known),
        **_rates([difference for _, difference in known]),
        "reason": None if known else "no question has a quality on both sides",
    }


def cost_comparison(units: Iterable[Unit], alpha: float) -> Row:
    """Give sum of the candidate's costs over the primary's: `{value, ci, n, missing, reason}`."""
    found = list(units)
    sums: dict[str, tuple[float, float]] = {}
    missing = 0
    for unit in found:
        if unit.primary is None or unit.candidate is None:
            missing += 1
            continue
        before = sums.get(unit.name, (0.0, 0.0))
        sums[unit.name] = (before[0] + unit.candidate, before[1] + unit.primary)
    tops, bottoms = [top for top, _ in sums.values()], [bottom for _, bottom in sums.values()]
    bottom = math.fsum(bottoms)
    value = math.fsum(tops) / bottom if bottom > 0 else None
    interval = None if value is None else ratio_interval(tops, bottoms, alpha)
    return {
        "value": value,
        "ci": interval,
        "n": len(found) - missing,
        "missing": missing,
        "reason": _why(value, interval=interval is not None, units=len(sums)),
    }


def _why(value: float | None, *, interval: bool, units: int) -> str | None:
    if value is None:
        return "no question has a known cost above 0 on both sides"
    return None if interval else f"ci is null: {units} cases are too few, or all cost nothing"


def _rates(differences: Sequence[float]) -> Row:
    count = len(differences)
    if not count:
        return {"win_rate": None, "tie_rate": None, "loss_rate": None}
    wins, losses = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    return {
        "win_rate": wins / count,
        "tie_rate": (count - wins - losses) / count,
        "loss_rate": losses / count,
    }
