"""What stands beside the sums in `/stats`, from small tables of their own: noise floor, judge, users' feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.stats.noise import WAITING, no_noise_floor, noise_floors, self_differences
from shadow.stats.quality import feedback_figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.judge.figures import JudgeBook
    from shadow.stats.rows import RolledRows, Row, StatsRows


class Besides:
    """Asked by task and primary, or by comparison."""

    def __init__(
        self,
        rows: StatsRows | RolledRows,
        *,
        judges: JudgeBook,
        noise_floor_off_reason: str | None,
    ) -> None:
        self._judges = judges
        self._noise = rows.noise_floor
        self._noise_floors = noise_floors(rows.noise_floor)
        self._no_noise_floor = no_noise_floor(noise_floor_off_reason or WAITING)
        self._feedback: dict[tuple[str, str | None], list[Row]] = {}
        for row in rows.feedback:
            self._feedback.setdefault((row["task"], row["primary"]), []).append(row)

    def noise_floor(self, task: str, primary: str | None) -> Mapping[str, Any]:
        """Tell how much the primary differs from itself."""
        found: Mapping[str, Any] = self._noise_floors.get((task, primary), self._no_noise_floor)
        return found

    def judge(self, task: str, primary: str | None, candidate: str) -> dict[str, Any]:
        """Tell of the judge, with what it found between two answers of the primary to the same request."""
        tally = self._judges.tally(task, primary, candidate)
        found = None
        if tally is not None:
            asked_again = self_differences(self._noise, version=tally.version)
            found = asked_again.get((task, primary))
        reason = self.noise_floor(task, primary)["reason"] or "none of it was judged"
        return self._judges.block(task, primary, candidate, aa_counts=found, aa_reason=reason)

    def add_feedback(self, quality: dict[str, Any], task: str, model: str | None) -> None:
        """Put what users said about a primary's answers beside its evaluators."""
        said = self._feedback.get((task, model))
        if said:
            quality["by_evaluator"]["feedback"] = feedback_figures(said)
