"""`llm-pairwise`: a judge model compares the candidate's answer with the primary's, in both orders.

Value: 1 when the candidate's is better, -1 when the primary's is, 0 for a tie or where the orders disagree. Needs a
model that can be asked (a key for its origin, a known price). Never not applicable; `failed` when a judge gives no
ruling that can be read: prose, a refusal, a timeout, an error of its provider. See `shadow.judge.pairwise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from shadow.evaluators.base import Measures, failed
from shadow.judge.options import PairwiseOptions
from shadow.judge.prompt import PAIRWISE_SYSTEM

if TYPE_CHECKING:
    from shadow.judge.bench import Terms
    from shadow.records import EvalCase, Score

__all__ = ["PairwiseOptions", "UnaskedPairwise"]


class UnaskedPairwise:
    """Stands where a judge cannot be asked: `failed` with the reason for every pair, and costs nothing."""

    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = False

    def __init__(self, terms: Terms, *, reason: str) -> None:
        self.version = terms.version(PAIRWISE_SYSTEM)
        self.judge_model = terms.model
        self.unusable = reason

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:  # noqa: ARG002  (nothing is looked at)
        """Say why there is no ruling."""
        return failed(self.unusable)
