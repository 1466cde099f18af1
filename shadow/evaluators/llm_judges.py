"""Builds the evaluators that ask a language model, from options as a configuration writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from shadow.evaluators.base import EvaluatorConfigError
from shadow.evaluators.llm_pairwise import PairwiseOptions, UnaskedPairwise
from shadow.evaluators.llm_rubric import JudgeOptions, UnaskedRubric
from shadow.judge.grading import Grading
from shadow.judge.hire import NoJudgeError
from shadow.judge.pairwise import Pairwise
from shadow.judge.prompt import PAIRWISE_SYSTEM, RUBRIC_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.evaluators.base import CaseEvaluator, PairEvaluator
    from shadow.judge.hire import Agency

Options = TypeVar("Options", PairwiseOptions, JudgeOptions)


class LlmJudges:
    """`shadow.evaluators.services.Judges` over an agency; without one (a check of options) nobody can be asked.

    A judge that cannot be asked (no key, price unknown) makes an evaluator that is `failed` with that reason each time:
    whoever runs it asks `unusable` of it and tells people once.
    """

    def __init__(self, agency: Agency | None, *, missing: str = "no judge is configured") -> None:
        self._agency = agency
        self._missing = missing

    def pairwise(self, options: Mapping[str, Any]) -> PairEvaluator:
        """Build `llm-pairwise`; `{}`: the cheap judge that `auto` asks. Raises EvaluatorConfigError."""
        wanted = read_options("llm-pairwise", options, PairwiseOptions)
        try:
            bench = self._hired().hire(wanted.terms, wanted.place, system=PAIRWISE_SYSTEM)
        except NoJudgeError as error:
            return UnaskedPairwise(wanted.terms, reason=str(error))
        return Pairwise(bench)

    def rubric(self, options: Mapping[str, Any]) -> CaseEvaluator:
        """Build `llm-rubric`. Raises EvaluatorConfigError."""
        wanted = read_options("llm-rubric", options, JudgeOptions)
        try:
            bench = self._hired().hire(wanted.terms, wanted.place, system=RUBRIC_SYSTEM)
        except NoJudgeError as error:
            return UnaskedRubric(wanted.terms, reason=str(error))
        return Grading(bench)

    def _hired(self) -> Agency:
        if self._agency is None:
            raise NoJudgeError(self._missing)
        return self._agency


def read_options(name: str, options: Mapping[str, Any], kind: type[Options]) -> Options:
    """Check an evaluator's options. Raises EvaluatorConfigError with a sentence."""
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as error:
        raise EvaluatorConfigError(f"{name}: {error}") from error
