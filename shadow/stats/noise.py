"""The noise floor: how much the primary differs from itself when it is asked the same twice. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from shadow.records import ENDED_WELL, Outcome
from shadow.stats.figures import finite, mean, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shadow.stats.rows import Row

TaskAndPrimary = tuple[str, str | None]

WAITING = "the primary has not been asked again yet in this window"


def noise_floors(rows: Iterable[Row]) -> dict[TaskAndPrimary, dict[str, Any]]:
    """`noise_floor` of `/stats` by task and primary, from rows of the table of that name.

    `n` counts pairs whose quality was scored twice, `discordance` is the share of them that differ by 0.005 or more;
    `identical` is the share of the `answered` (both times) that said the same word for word.
    """
    return {key: _figures(found) for key, found in _grouped(rows).items()}


def no_noise_floor(reason: str) -> dict[str, Any]:
    """Give the same without a single row."""
    return _figures([]) | {"reason": reason}


def self_differences(
    rows: Iterable[Row], *, evaluator: str | None = None, version: str | None = None
) -> dict[TaskAndPrimary, dict[float, int]]:
    """Histograms of the quality of the second answer minus that of the first, one value a conversation.

    What an e-process needs to ask whether an evaluator (in one version, when given) sees a difference where there is
    none; rounded to 0.01.
    """
    wanted = (
        row
        for row in rows
        if (evaluator is None or row["evaluator"] == evaluator) and (version is None or row["version"] == version)
    )
    return {key: _histogram(found) for key, found in _grouped(wanted).items()}


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    differences = [value for row in rows if (value := finite(row["difference"])) is not None]
    answered = [row for row in rows if Outcome(row["outcome"]) in ENDED_WELL and row["identical"] is not None]
    return figures_of(
        rows=len(rows),
        conversations=len({row["conversation"] for row in rows}),
        n=len(differences),
        differing=sum(round(value, 2) != 0 for value in differences),
        answered=len(answered),
        identical=sum(bool(row["identical"]) for row in answered),
        cost_usd=sum((finite(row["cost_billed_usd"]) or 0.0) + (finite(row["scoring_usd"]) or 0.0) for row in rows),
    )


def figures_of(
    *, rows: int, conversations: int, n: int, differing: int, answered: int, identical: int, cost_usd: float
) -> dict[str, Any]:
    """`noise_floor` of `/stats` from counts, whose names are those of the figures."""
    return {
        "n": n,
        "unit": "pairs",
        "conversations": conversations,
        "discordance": ratio(differing, n),
        "answered": answered,
        "identical": ratio(identical, answered),
        "cost_usd": cost_usd,
        "reason": _reason(rows, scored=n),
    }


def _reason(rows: int, *, scored: int) -> str | None:
    if scored:
        return None
    if not rows:
        return WAITING
    return f"discordance is null: of the {rows} answers to a second question none was scored both times"


def _histogram(rows: Sequence[Row]) -> dict[float, int]:
    by_conversation: dict[str, list[float]] = {}
    for row in rows:
        value = finite(row["difference"])
        if value is not None:
            by_conversation.setdefault(row["conversation"], []).append(value)
    means = (mean(values) for values in by_conversation.values())
    return dict(sorted(Counter(round(value, 2) + 0.0 for value in means if value is not None).items()))


def _grouped(rows: Iterable[Row]) -> Mapping[TaskAndPrimary, list[Row]]:
    groups: dict[TaskAndPrimary, list[Row]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["primary"]), []).append(row)
    return groups
