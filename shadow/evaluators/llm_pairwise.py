"""`llm-pairwise`: a judge model compares the candidate's answer with the primary's, in both orders.

Value: 1 when the candidate's is better, -1 when the primary's is, 0 for a tie or where the orders disagree. Needs a
model that can be asked (a key for its origin, a known price). Never not applicable; `failed` when a judge gives no
ruling that can be read: prose, a refusal, a timeout, an error of its provider. See `shadow.judge.pairwise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from shadow.evaluators.base import EvaluatorConfigError, Measures, failed
from shadow.judge.hire import Agency, NoJudgeError
from shadow.judge.options import JudgeOptions, OptionsError, read_options
from shadow.judge.pairwise import Pairwise
from shadow.judge.prompt import PAIRWISE_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.evaluators.base import PairEvaluator
    from shadow.evaluators.services import Services
    from shadow.judge.bench import Terms
    from shadow.records import EvalCase, Score


class LlmPairwise:
    """Stands where the judge cannot be asked: `failed` with the reason for every pair, and costs nothing."""

    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = False

    def __init__(self, terms: Terms, *, unusable: str) -> None:
        self.version = terms.version(PAIRWISE_SYSTEM)
        self.judge_model = terms.model
        self.unusable = unusable

    @classmethod
    def from_options(cls, options: Mapping[str, Any], services: Services) -> PairEvaluator:
        """Build it by the judges at hand. Raises EvaluatorConfigError."""
        if services.judges is None:
            return cls(_read(options).terms, unusable=services.judges_missing)
        return services.judges.pairwise(options)

    @classmethod
    def by(cls, agency: Agency, options: Mapping[str, Any]) -> PairEvaluator:
        """Hire the judge of these options, or stand for it. Raises EvaluatorConfigError."""
        wanted = _read(options)
        try:
            return Pairwise(agency.hire(wanted.terms, wanted.place, system=PAIRWISE_SYSTEM))
        except NoJudgeError as error:
            return cls(wanted.terms, unusable=str(error))

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:  # noqa: ARG002  (nothing is looked at)
        """Say why there is no ruling."""
        return failed(self.unusable)


def _read(options: Mapping[str, Any]) -> JudgeOptions:
    try:
        return read_options(options)
    except OptionsError as error:
        raise EvaluatorConfigError(f"llm-pairwise: {error}") from error
