"""`icontains`: the answer holds the expected text, whatever the case."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import Measures, not_applicable, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class IContains(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the answer contains the expected text (case folded), else 0.

    Needs `value`, or an expected text on the case; an empty one is in every answer and therefore not applicable. Never
    `failed` but for its time limit.
    """

    value: str | None = None

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def check(self, case: EvalCase) -> Score:
        """Look for the text."""
        expected = self.value if self.value is not None else case.expected
        if not expected:
            return not_applicable("no expected text")
        return passed(ok=expected.casefold() in case.output.casefold(), reason="the expected text does not appear")
