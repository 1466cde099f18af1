"""`contains-json`: JSON is somewhere in the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators import json_text
from shadow.evaluators.base import Measures, not_applicable, passed

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score


class ContainsJson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when the answer is, or holds, a JSON object or array: alone, in a Markdown fence or between words; else 0.

    Lenient where `is-json` is strict. Not applicable to an answer that is only tool calls; never `failed` but for its
    time limit.
    """

    version: ClassVar[str] = "2"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True

    def check(self, case: EvalCase) -> Score:
        """Look for JSON."""
        if case.tool_calls and not case.output.strip():
            return not_applicable("the answer is a tool call")
        found = json_text.embedded(case.output)
        return passed(ok=found.error is None, reason=found.error or "")
