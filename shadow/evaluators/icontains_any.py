"""`icontains-any`: the answer holds at least one of some texts, whatever the case."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import EvaluatorConfigError, Measures, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class IContainsAny(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the answer contains at least one text of `value` (a list; case folded), else 0.

    Needs no expected text; always applicable, never `failed` but for its time limit.
    """

    value: list[str]

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.value or not all(self.value):
            raise EvaluatorConfigError("icontains-any: value must list texts, none of them empty (all answers hold it)")

    def check(self, case: EvalCase) -> Score:
        """Look for each in turn."""
        answer = case.output.casefold()
        return passed(ok=any(text.casefold() in answer for text in self.value), reason="none of the texts appears")
