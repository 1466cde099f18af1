"""`json-diff`: how much of the expected JSON the answer's JSON agrees with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from shadow.evaluators import json_text, text_distance
from shadow.evaluators.base import Measures, failed, not_applicable, passed, scored
from shadow.evaluators.closeness import closeness

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class JsonDiff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 for equal JSON, 0 for JSON with nothing in common; between them the mean over members, all the way down.

    Objects: over the keys of both, one that a side lacks counts 0. Arrays: position by position, over the longer.
    Numbers: as `numeric-diff`. Texts: as `levenshtein`, or 1 and 0 with `strings: equal`. Anything else: equal or not.
    Needs `value` (any JSON), or an expected text on the case that is JSON; without one it is not applicable, when that
    text is no JSON it is `failed`. An answer that is no JSON scores 0; `lenient: true` finds it in fences and prose.
    """

    value: Any = None
    strings: Literal["similar", "equal"] = "similar"
    lenient: bool = False

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def check(self, case: EvalCase) -> Score:
        """Read both and compare them."""
        if self.value is None and case.expected is None:
            return not_applicable("no expected JSON")
        expected = (
            json_text.Parsed(value=self.value) if self.value is not None else json_text.strict(case.expected or "")
        )
        if expected.error is not None:
            return failed(f"the expected text is {expected.error}")
        answer = json_text.embedded(case.output) if self.lenient else json_text.strict(case.output)
        if answer.error is not None:
            return passed(ok=False, reason=answer.error)
        try:
            value = self._likeness(answer.value, expected.value)
        except text_distance.TooLongError as error:
            return failed(f"a text is {error}")
        return scored(value, "" if value == 1.0 else "differs from the expected JSON")

    def _likeness(self, one: Any, other: Any) -> float:
        if isinstance(one, dict) and isinstance(other, dict):
            keys = one.keys() | other.keys()
            both = one.keys() & other.keys()
            return sum(self._likeness(one[key], other[key]) for key in both) / len(keys) if keys else 1.0
        if isinstance(one, list) and isinstance(other, list):
            longest = max(len(one), len(other))
            found = sum(self._likeness(a, b) for a, b in zip(one, other, strict=False))
            return found / longest if longest else 1.0
        if isinstance(one, str) and isinstance(other, str) and self.strings == "similar":
            return text_distance.similarity(one, other)
        if _is_number(one) and _is_number(other):
            return closeness(one, other)
        return float(type(one) is type(other) and one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
