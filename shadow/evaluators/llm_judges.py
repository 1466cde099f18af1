"""The judges at hand: builds the evaluators that ask a language model, by one agency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.evaluators.llm_pairwise import LlmPairwise
from shadow.evaluators.llm_rubric import LlmRubric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.evaluators.base import CaseEvaluator, PairEvaluator
    from shadow.judge.hire import Agency


class LlmJudges:
    """`shadow.evaluators.services.Judges` over an agency.

    A judge that cannot be asked (no key, price unknown) makes an evaluator that is `failed` with that reason each time:
    its attribute `unusable` holds it.
    """

    def __init__(self, agency: Agency) -> None:
        self._agency = agency

    def pairwise(self, options: Mapping[str, Any]) -> PairEvaluator:
        """Build `llm-pairwise`; `{}`: the cheap judge that `auto` asks. Raises EvaluatorConfigError."""
        return LlmPairwise.by(self._agency, options)

    def rubric(self, options: Mapping[str, Any]) -> CaseEvaluator:
        """Build `llm-rubric`. Raises EvaluatorConfigError."""
        return LlmRubric.by(self._agency, options)
