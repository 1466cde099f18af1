"""What stands beside the sums in `/stats`: noise floor, judge, users' feedback; out of rows, or out of sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shadow.stats.noise import WAITING, TaskAndPrimary, no_noise_floor, noise_floors, self_differences
from shadow.stats.quality import feedback_figures
from shadow.stats.rolled_besides import feedback_sums, noise_floor_sums, self_difference_sums

if TYPE_CHECKING:
    from shadow.judge.figures import JudgeBook
    from shadow.rollups import Series, Totals
    from shadow.stats.rows import Row, StatsRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """By task and primary."""

    noise_floors: Mapping[TaskAndPrimary, Mapping[str, Any]]
    self_differences: Callable[[str], Mapping[TaskAndPrimary, Mapping[float, int]]]
    """Of one version of the judge."""
    feedback: Mapping[TaskAndPrimary, Mapping[str, Any]]


def said_in_rows(rows: StatsRows) -> Said:
    """Read single rows."""
    feedback: dict[TaskAndPrimary, list[Row]] = {}
    for row in rows.feedback:
        feedback.setdefault((row["task"], row["primary"]), []).append(row)
    return Said(
        noise_floors=noise_floors(rows.noise_floor),
        self_differences=lambda version: self_differences(rows.noise_floor, version=version),
        feedback={key: feedback_figures([row["score"] for row in of]) for key, of in feedback.items()},
    )


def said_in_sums(totals: Mapping[Series, Totals]) -> Said:
    """Read sums."""
    return Said(
        noise_floors=noise_floor_sums(totals),
        self_differences=lambda version: self_difference_sums(totals, version=version),
        feedback=feedback_sums(totals),
    )


class Besides:
    """Asked by task and primary, or by comparison."""

    def __init__(self, said: Said, *, judges: JudgeBook, noise_floor_off_reason: str | None) -> None:
        self._said = said
        self._judges = judges
        self._no_noise_floor = no_noise_floor(noise_floor_off_reason or WAITING)
        self._differences: dict[str, Mapping[TaskAndPrimary, Mapping[float, int]]] = {}

    def noise_floor(self, task: str, primary: str | None) -> Mapping[str, Any]:
        """Tell how much the primary differs from itself."""
        return self._said.noise_floors.get((task, primary), self._no_noise_floor)

    def judge(self, task: str, primary: str | None, candidate: str) -> dict[str, Any]:
        """Tell of the judge, with what it found between two answers of the primary to the same request."""
        tally = self._judges.tally(task, primary, candidate)
        found = None
        if tally is not None:
            found = self._differences_of(tally.version).get((task, primary))
        reason = self.noise_floor(task, primary)["reason"] or "none of it was judged"
        return self._judges.block(task, primary, candidate, aa_counts=found, aa_reason=reason)

    def judge_usd(self, task: str, primary: str | None, candidate: str) -> float:
        """Tell what the judge of one comparison cost: `cost_usd` of the block."""
        tally = self._judges.tally(task, primary, candidate)
        return 0.0 if tally is None else tally.cost_usd

    def _differences_of(self, version: str) -> Mapping[TaskAndPrimary, Mapping[float, int]]:
        found = self._differences.get(version)
        if found is None:
            found = self._differences[version] = self._said.self_differences(version)
        return found

    def add_feedback(self, quality: dict[str, Any], task: str, model: str | None) -> None:
        """Put what users said about a primary's answers beside its evaluators."""
        said = self._said.feedback.get((task, model))
        if said:
            quality["by_evaluator"]["feedback"] = dict(said)
