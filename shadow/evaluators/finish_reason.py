"""`finish-reason`: the answer stopped as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import Measures, failed, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score

NATURAL = ("end_turn", "stop", "stop_sequence", "tool_use", "tool_calls", "function_call", "completed")
"""Stop reasons of a finished answer in all three dialects."""


class FinishReason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the stop reason is `value` (one name or a list; default: any that means finished), else 0.

    Needs no expected text; always applicable. `failed` when the answer gave no stop reason.
    """

    value: str | list[str] | None = None

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True

    def check(self, case: EvalCase) -> Score:
        """Compare the stop reason."""
        if case.stop_reason is None:
            return failed("the answer gave no stop reason")
        wanted = NATURAL if self.value is None else (self.value,) if isinstance(self.value, str) else self.value
        return passed(ok=case.stop_reason in wanted, reason=f"stopped with {case.stop_reason[:80]!r}")
