"""`word-count`: the answer has as many words as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import EvaluatorConfigError, Measures, not_applicable, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class WordCount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the number of words (runs between white space) is `value`, or from `min` to `max`; else 0.

    Needs `value`, or one or both of `min` and `max`. Not applicable to an answer that is only tool calls; never
    `failed` but for its time limit.
    """

    value: int | None = None
    min: int | None = None
    max: int | None = None

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if (self.value is None) == (not bounds):
            raise EvaluatorConfigError("word-count: needs either `value`, or `min` and/or `max`")
        if any(bound < 0 for bound in (self.value, *bounds) if bound is not None):
            raise EvaluatorConfigError("word-count: numbers of words are not negative")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise EvaluatorConfigError(f"word-count: min ({self.min}) must not be above max ({self.max})")

    def check(self, case: EvalCase) -> Score:
        """Count the words."""
        if case.tool_calls and not case.output.strip():
            return not_applicable("the answer is a tool call")
        count = len(case.output.split())
        low, high = (self.value, self.value) if self.value is not None else (self.min, self.max)
        ok = (low is None or count >= low) and (high is None or count <= high)
        return passed(ok=ok, reason=f"{count} words")
