"""`not-` before the name of an evaluator: its opposite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shadow.evaluators.base import scored

if TYPE_CHECKING:
    from shadow.evaluators.base import CaseEvaluator, Measures
    from shadow.records import EvalCase, Score


class NegatedCheck(msgspec.Struct, frozen=True, kw_only=True):
    """1 - the value of a built-in; what is not applicable or failed stays so."""

    inner: Any

    @property
    def version(self) -> str:
        """The inner one's."""
        return str(self.inner.version)

    @property
    def measures(self) -> Measures:
        """The inner one's."""
        measures: Measures = self.inner.measures
        return measures

    @property
    def absolute(self) -> bool:
        """Always: a comparison has no opposite."""
        return True

    @property
    def needs_request(self) -> bool:
        """The inner one's."""
        return bool(getattr(self.inner, "needs_request", False))

    def is_heavy(self, case: EvalCase) -> bool:
        """The inner one's."""
        heavy = getattr(self.inner, "is_heavy", None)
        return heavy is not None and bool(heavy(case))

    def check(self, case: EvalCase) -> Score:
        """Score the opposite."""
        return _opposite(self.inner.check(case))


class NegatedCase:
    """The same before an evaluator that is no built-in."""

    absolute = True

    def __init__(self, inner: CaseEvaluator) -> None:
        self._inner = inner
        self.version = str(getattr(inner, "version", "1"))
        self.measures: Measures = getattr(inner, "measures", "content")

    async def evaluate(self, case: EvalCase) -> Score:
        """Score the opposite."""
        return _opposite(await self._inner.evaluate(case))


def _opposite(score: Score) -> Score:
    if score.value is None:
        return score
    value = 1.0 - score.value
    return scored(value, "" if value == 1.0 else score.reason or "holds, and should not")
