"""What judges, people and second answers said, out of sums instead of single rows. Pure.

A conversation of second answers counts where its first one is, so at a window's edges, and only there, some may count
that single rows would leave out or cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.rollups import FEEDBACK, NOISE, read_detail
from shadow.stats.figures import ratio
from shadow.stats.noise import figures_of
from shadow.stats.quality import feedback_figures_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from shadow.rollups import Series, Totals
    from shadow.stats.noise import TaskAndPrimary
    from shadow.stats.rows import Row

_HUNDREDTHS = 100
_OF_A_JUDGE = ("task", "primary", "candidate", "evaluator", "version", "model")
_COUNTS = (
    "ruled", "identical_pairs", "failed", "flips", "ties", "controls", "controls_passed", "controls_failed_to_rule",
    "primary_chars", "candidate_chars", "calls", "failed_calls", "unreadable_calls", "unpriced_calls",
)  # fmt: skip


def judging_rows(totals: Mapping[Series, Totals], newest: Iterable[Row]) -> list[dict[str, Any]]:
    """Give the rows of the store's `judge_tallies`. `latest` orders the judges of one comparison.

    Those among the `newest` rulings come last, by when they ruled; the others gave their last ruling before all of
    these, and come by the bucket of the last exchange they were asked about.
    """
    ranks = {tuple(row[name] for name in _OF_A_JUDGE): row["latest"] for row in newest}
    found = [
        {
            "task": series.task,
            "primary": series.primary,
            "candidate": series.candidate,
            "evaluator": evaluator,
            "version": version,
            "model": model,
            "is_single": int(sums.count("single") > 0),
            "latest": (ranks.get((*series[:3], evaluator, version, model), 0), sums.last),
            **{name: sums.count(name) for name in _COUNTS},
            "cost_usd": sums["cost_usd"],
            "control_cost_usd": sums["control_cost_usd"],
        }
        for series, sums, (evaluator, version, model) in _of_kind(totals, "judge")
    ]
    return sorted(found, key=lambda row: (row["task"], row["primary"] or "", row["candidate"], row["latest"]))


def several_judges(totals: Mapping[Series, Totals]) -> bool:
    """Tell whether any comparison was judged by more than one judge, so that it matters which of them ruled last."""
    judged = [series[:3] for series, _, _ in _of_kind(totals, "judge")]
    return len(set(judged)) < len(judged)


def label_rows(totals: Mapping[Series, Totals]) -> list[dict[str, Any]]:
    """Give the rows of the store's `label_tallies`."""
    return [
        {
            "task": series.task,
            "primary": series.primary,
            "candidate": series.candidate,
            "version": version,
            "model": model,
            "person": person,
            "judge": judge,
            "count": count,
        }
        for series, sums, (version, model) in _of_kind(totals, "label")
        for name, count in sums.named("").items()
        for person, judge in [name.split(".")]
    ]


def noise_floor_sums(totals: Mapping[Series, Totals]) -> dict[TaskAndPrimary, dict[str, Any]]:
    """`noise_floor` of `/stats` by task and primary."""
    return {
        (series.task, series.primary): figures_of(
            rows=sums.count("rows"),
            conversations=sums.count("conversations"),
            n=sums.count("n"),
            differing=sums.count("differing"),
            answered=sums.count("answered"),
            identical=sums.count("identical"),
            cost_usd=sums["cost_usd"],
        )
        for series, sums in totals.items()
        if series.detail == NOISE and sums.count("rows")
    }


def self_difference_sums(
    totals: Mapping[Series, Totals], *, version: str, evaluator: str | None = None
) -> dict[TaskAndPrimary, dict[float, int]]:
    """Give the histograms of `shadow.stats.noise.self_differences`."""
    found: dict[TaskAndPrimary, dict[float, int]] = {}
    for series, sums, of in _of_kind(totals, "noise"):
        if of and of[1] == version and evaluator in {None, of[0]}:
            counts = found.setdefault((series.task, series.primary), {})
            for hundredths, count in sums.named("").items():
                value = int(hundredths) / _HUNDREDTHS
                counts[value] = counts.get(value, 0) + count
    return {key: dict(sorted(counts.items())) for key, counts in found.items() if counts}


def feedback_sums(totals: Mapping[Series, Totals]) -> dict[TaskAndPrimary, dict[str, Any]]:
    """Give what users said, by task and primary."""
    return {
        (series.task, series.primary): feedback_figures_of(
            n=sums.count("n"), average=ratio(sums["sum"], sums.count("n"))
        )
        for series, sums in totals.items()
        if series.detail == FEEDBACK and sums.count("n")
    }


def _of_kind(totals: Mapping[Series, Totals], kind: str) -> Iterator[tuple[Series, Totals, tuple[str, ...]]]:
    """Give the series whose detail is of this kind and whose sums are not all 0, with the rest of the detail."""
    begins = f'["{kind}"'
    for series, sums in totals.items():
        if series.detail.startswith(begins) and any(sums.numbers.values()):
            yield series, sums, read_detail(series.detail)[1:]
