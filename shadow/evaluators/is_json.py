"""`is-json`: the whole answer is JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators import json_text
from shadow.evaluators.base import Measures, not_applicable, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class IsJson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the whole answer is one JSON object or array (RFC 8259), else 0.

    A Markdown fence around it makes it 0, on purpose; so do `NaN`, `Infinity` and a key that appears twice. A bare
    number, text, `true` or `null` counts with `scalars: true` only: nobody who asks for JSON means these. Not
    applicable to an answer that is only tool calls; never `failed` but for its time limit.
    """

    scalars: bool = False

    version: ClassVar[str] = "2"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True

    def check(self, case: EvalCase) -> Score:
        """Read the answer strictly."""
        if case.tool_calls and not case.output.strip():
            return not_applicable("the answer is a tool call")
        parsed = json_text.strict(case.output)
        if parsed.error is not None:
            return passed(ok=False, reason=parsed.error)
        container = isinstance(parsed.value, dict | list)
        return passed(ok=container or self.scalars, reason="neither an object nor an array")
