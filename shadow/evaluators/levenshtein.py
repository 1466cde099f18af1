"""`levenshtein`: how much of the answer would have to be edited to make it the expected text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators import text_distance
from shadow.evaluators.base import EvaluatorConfigError, Measures, failed, not_applicable, passed, scored

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class Levenshtein(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 - edits / length of the longer text: 1 for equal texts, 0 for texts with nothing in common.

    With `threshold` it is 1 when at most so many edits are needed, else 0. Needs `value`, or an expected text on the
    case; without one it is not applicable. `failed` when a text is longer than 200,000 characters.
    """

    value: str | None = None
    threshold: int | None = None

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.threshold is not None and self.threshold < 0:
            raise EvaluatorConfigError(f"levenshtein: threshold is a number of edits, not {self.threshold}")

    def check(self, case: EvalCase) -> Score:
        """Count the edits."""
        expected = self.value if self.value is not None else case.expected
        if expected is None:
            return not_applicable("no expected text")
        try:
            edits = text_distance.distance(case.output, expected)
        except text_distance.TooLongError as error:
            return failed(str(error))
        if self.threshold is not None:
            return passed(ok=edits <= self.threshold, reason=f"{edits} edits away")
        longest = max(len(case.output), len(expected), 1)
        return scored(1.0 - edits / longest, f"{edits} edits away" if edits else "")
