"""`cost`: the answer was cheap enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import EvaluatorConfigError, Measures, failed, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the answer cost at most `threshold_usd` (as billed), else 0.

    `failed` when the cost is not known (no price, or no token counts). Needs no expected text; always applicable.
    """

    threshold_usd: float

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.threshold_usd < 0:
            raise EvaluatorConfigError(f"cost: threshold_usd must not be below 0, not {self.threshold_usd:g}")

    def check(self, case: EvalCase) -> Score:
        """Compare the cost."""
        if case.cost_usd is None:
            return failed("the cost is not known")
        return passed(ok=case.cost_usd <= self.threshold_usd, reason=f"cost ${case.cost_usd:.6f}")
