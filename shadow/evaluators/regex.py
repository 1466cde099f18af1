"""`regex`: a pattern is found in the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import re2

from shadow.evaluators.base import EvaluatorConfigError, Measures, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class Regex(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when `pattern` (RE2 syntax: linear time, no look-around) is found anywhere in the answer, else 0.

    Needs no expected text; always applicable, never `failed` but for its time limit.
    """

    pattern: str

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = True

    def __post_init__(self) -> None:
        compiled(self.pattern)

    def check(self, case: EvalCase) -> Score:
        """Search the answer."""
        found = compiled(self.pattern).search(_encodable(case.output))
        return passed(ok=found is not None, reason="the pattern is not found")


def _encodable(text: str) -> str:
    """Half of a surrogate pair, which UTF-8 and therefore RE2 cannot hold, counts as `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def compiled(pattern: str) -> Any:
    """Compile (re2 keeps a cache of its own). Raises EvaluatorConfigError with RE2's own words."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not understood"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise EvaluatorConfigError(f"regex: pattern {pattern!r} is not RE2 syntax: {text}") from error
