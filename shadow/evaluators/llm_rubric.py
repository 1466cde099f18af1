"""`llm-rubric`: a judge model grades one answer from 1 to 5 by anchored criteria.

Value: (grade - 1) / 4. Needs a model that can be asked (a key for its origin, a known price). Never not applicable;
`failed` when the judge gives no grade that can be read. See `shadow.judge.grading`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from shadow.evaluators.base import Measures, failed
from shadow.judge.options import JudgeOptions
from shadow.judge.prompt import RUBRIC_SYSTEM

if TYPE_CHECKING:
    from shadow.judge.bench import Terms
    from shadow.records import EvalCase, Score

__all__ = ["JudgeOptions", "UnaskedRubric"]


class UnaskedRubric:
    """Stands where a judge cannot be asked: `failed` with the reason for every answer, and costs nothing."""

    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def __init__(self, terms: Terms, *, reason: str) -> None:
        self.version = terms.version(RUBRIC_SYSTEM)
        self.judge_model = terms.model
        self.unusable = reason

    async def evaluate(self, case: EvalCase) -> Score:  # noqa: ARG002  (nothing is looked at)
        """Say why there is no grade."""
        return failed(self.unusable)
