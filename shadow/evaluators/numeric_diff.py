"""`numeric-diff`: how close the answer's number is to the expected one."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from shadow.evaluators.base import EvaluatorConfigError, Measures, failed, not_applicable, passed, scored
from shadow.evaluators.closeness import closeness

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score

MAX_DIGITS = 1_000
"""A longer run of digits is no number anyone asked for."""

# Thousands may be grouped by commas; a sign counts only where it does not join two words or numbers (3-4).
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212]?)[$\u20ac\u00a3]?"
    r"(?P<digits>\d{1,3}(?:,\d{3})++(?!\d)(?:\.\d+)?|\d++(?:\.\d+)?|\.\d+)(?P<exponent>[eE][-+]?\d{1,6})?(?!\w*\d)",
    re.ASCII,
)


class NumericDiff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 for equal numbers, else 1 - |a - b| / (|a| + |b|), so 0 when the signs differ.

    With `tolerance` (absolute) or `relative_tolerance` (share of the expected number) it is 1 within it and 0 outside.
    The number is the `take: last` (or `first`) of the answer; commas between thousands and a currency sign are
    understood. Needs `value`, or an expected text on the case, whose last number counts; without one it is not
    applicable. An answer without a number scores 0; an expected text without a number is `failed`.
    """

    value: float | None = None
    tolerance: float | None = None
    relative_tolerance: float | None = None
    take: Literal["first", "last"] = "last"

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        given = [value for value in (self.tolerance, self.relative_tolerance) if value is not None]
        if len(given) > 1 or any(value < 0 for value in given):
            raise EvaluatorConfigError("numeric-diff: give one of tolerance and relative_tolerance, 0 or more")

    def check(self, case: EvalCase) -> Score:
        """Read both numbers and compare them."""
        if self.value is None and case.expected is None:
            return not_applicable("no expected number")
        expected = number_in(case.expected or "") if self.value is None else Decimal(str(self.value))
        if expected is None:
            return failed("the expected text holds no number")
        found = number_in(case.output, take=self.take)
        if found is None:
            return passed(ok=False, reason="the answer holds no number")
        if self.tolerance is None and self.relative_tolerance is None:
            value = closeness(found, expected)
            return scored(value, "" if value == 1.0 else f"{_shown(found)} instead of {_shown(expected)}")
        bound = (
            self.tolerance if self.tolerance is not None else (self.relative_tolerance or 0.0) * abs(float(expected))
        )
        within = found == expected or abs(float(found) - float(expected)) <= bound
        return passed(ok=within, reason=f"{_shown(found)} instead of {_shown(expected)}")


def number_in(text: str, *, take: Literal["first", "last"] = "last") -> Decimal | None:
    """Find the first or last number of a text; None when there is none."""
    found = None
    for match in _NUMBER.finditer(text):
        digits = match["digits"].replace(",", "")
        if len(digits) > MAX_DIGITS:
            continue
        sign = "-" if match["sign"] in {"-", "\u2212"} else ""
        found = f"{sign}{digits}{match['exponent'] or ''}"
        if take == "first":
            break
    return None if found is None else Decimal(found)


def _shown(number: Decimal) -> str:
    return str(number)[:40]
