"""`latency`: the answer came in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from shadow.evaluators.base import EvaluatorConfigError, Measures, failed, not_applicable, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the answer took at most `threshold_ms`, else 0. `of: ttft` looks at the first token instead of the whole.

    A candidate's latency is measured off the live path, so it is not quite the live one. Time to first token is not
    applicable to an answer that was not streamed; `failed` when the time is not known. Needs no expected text.
    """

    threshold_ms: float
    of: Literal["total", "ttft"] = "total"

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.threshold_ms <= 0:
            raise EvaluatorConfigError(f"latency: threshold_ms must be above 0, not {self.threshold_ms:g}")

    def check(self, case: EvalCase) -> Score:
        """Compare the time."""
        if self.of == "ttft" and case.ttft_ms is None:
            return not_applicable("the answer was not streamed")
        took_ms = case.ttft_ms if self.of == "ttft" else case.latency_ms
        if took_ms is None:
            return failed("the latency is not known")
        return passed(ok=took_ms <= self.threshold_ms, reason=f"took {took_ms:.0f} ms")
