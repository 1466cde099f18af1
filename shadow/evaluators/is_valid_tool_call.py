"""`is-valid-tool-call`: every tool call names an offered tool and its arguments follow that tool's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators import json_text
from shadow.evaluators.base import Measures, not_applicable, passed
from shadow.evaluators.request_checks import must_call, tools_of
from shadow.evaluators.schemas import validate

if TYPE_CHECKING:
    from shadow.evaluators.request_checks import Tool
    from shadow.records import EvalCase, Score, ToolCall


class IsValidToolCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 when all tool calls of the answer are valid; 0 when one is not, or none came though the request forces one.

    Tools and their schemas come from the request. Not applicable when the request offers no tools, or when the model
    was free not to call one and did not. `failed` when a schema cannot be used.
    """

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True
    needs_request: ClassVar[bool] = True

    def is_heavy(self, case: EvalCase) -> bool:
        """Tell whether a schema is to be used: a few lines of one can ask for hours of work."""
        return bool(case.tool_calls) and bool(case.request.get("tools"))

    def check(self, case: EvalCase) -> Score:
        """Check each call in turn; the first that is wrong is the reason."""
        tools = {tool.name: tool for tool in tools_of(case.request)}
        if not tools:
            return not_applicable("the request offers no tools")
        if not case.tool_calls:
            if must_call(case.request):
                return passed(ok=False, reason="the request forces a tool call and none came")
            return not_applicable("no tool was called, and none had to be")
        for call in case.tool_calls:
            verdict = _check_call(call, tools)
            if verdict.status != "scored" or verdict.value != 1.0:
                return verdict
        return passed(ok=True, reason="")


def _check_call(call: ToolCall, tools: dict[str, Tool]) -> Score:
    tool = tools.get(call.name)
    if tool is None:
        return passed(ok=False, reason=f"calls {call.name[:80]!r}, which the request does not offer")
    arguments = json_text.strict(call.arguments or "{}")
    if arguments.error is not None:
        return passed(ok=False, reason=f"arguments of {call.name[:80]!r}: {arguments.error}")
    if tool.schema is None:
        return passed(ok=True, reason="")
    return validate(arguments.value, tool.schema)
