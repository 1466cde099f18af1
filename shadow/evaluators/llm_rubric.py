"""`llm-rubric`: a judge model grades one answer from 1 to 5 by anchored criteria.

Value: (grade - 1) / 4. Needs a model that can be asked (a key for its origin, a known price). Never not applicable;
`failed` when the judge gives no grade that can be read. See `shadow.judge.grading`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from shadow.evaluators.base import EvaluatorConfigError, Measures, failed
from shadow.judge.grading import Grading
from shadow.judge.hire import Agency, NoJudgeError
from shadow.judge.options import JudgeOptions, OptionsError, read_options
from shadow.judge.prompt import RUBRIC_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.evaluators.base import CaseEvaluator
    from shadow.evaluators.services import Services
    from shadow.judge.bench import Terms
    from shadow.records import EvalCase, Score


class LlmRubric:
    """Stands where the judge cannot be asked: `failed` with the reason for every answer, and costs nothing."""

    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def __init__(self, terms: Terms, *, unusable: str) -> None:
        self.version = terms.version(RUBRIC_SYSTEM)
        self.judge_model = terms.model
        self.unusable = unusable

    @classmethod
    def from_options(cls, options: Mapping[str, Any], services: Services) -> CaseEvaluator:
        """Build it by the judges at hand. Raises EvaluatorConfigError."""
        if services.judges is None:
            return cls(_read(options).terms, unusable=services.judges_missing)
        return services.judges.rubric(options)

    @classmethod
    def by(cls, agency: Agency, options: Mapping[str, Any]) -> CaseEvaluator:
        """Hire the judge of these options, or stand for it. Raises EvaluatorConfigError."""
        wanted = _read(options)
        try:
            return Grading(agency.hire(wanted.terms, wanted.place, system=RUBRIC_SYSTEM))
        except NoJudgeError as error:
            return cls(wanted.terms, unusable=str(error))

    async def evaluate(self, case: EvalCase) -> Score:  # noqa: ARG002  (nothing is looked at)
        """Say why there is no grade."""
        return failed(self.unusable)


def _read(options: Mapping[str, Any]) -> JudgeOptions:
    try:
        return read_options(options)
    except OptionsError as error:
        raise EvaluatorConfigError(f"llm-rubric: {error}") from error
