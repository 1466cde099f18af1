"""`equals`: the answer is the expected text."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import Measures, not_applicable, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class Equals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when answer and expected text are equal after Unicode normalisation (NFC) and folding of white space; else 0.

    Needs `value`, or an expected text on the case; without one it is not applicable. Case counts. Never `failed` but
    for its time limit (a text made of combining marks meets it).
    """

    value: str | None = None

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def check(self, case: EvalCase) -> Score:
        """Compare the two texts."""
        expected = self.value if self.value is not None else case.expected
        if expected is None:
            return not_applicable("no expected text")
        return passed(ok=_normal(case.output) == _normal(expected), reason="differs from the expected text")


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
