"""`starts-with`: the answer begins with a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import Measures, not_applicable, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class StartsWith(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the answer begins with the text, character for character (case and leading space count), else 0.

    Needs `value`, or an expected text on the case; an empty one begins every answer and is therefore not applicable.
    Never `failed` but for its time limit.
    """

    value: str | None = None

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def check(self, case: EvalCase) -> Score:
        """Compare the beginning."""
        expected = self.value if self.value is not None else case.expected
        if not expected:
            return not_applicable("no expected text")
        return passed(ok=case.output.startswith(expected), reason="begins differently")
