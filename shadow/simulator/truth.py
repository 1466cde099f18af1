"""The truth about the simulator's questions, as an evaluator.

In a configuration: `{type: python, target: "shadow.simulator.truth:RightAnswer", quality: true}`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, ClassVar

from shadow.records import Score
from shadow.simulator.answer import chosen_tool, kind_of, true_arguments, true_json, true_number
from shadow.simulator.question import Api, BadRequestError, Question, read_question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.records import EvalCase

_NUMBER = re.compile(r"-?\d+")


class RightAnswer:
    """1 when the answer says what is true, 0 when it does not; prose has no truth.

    It knows arithmetic, extraction and tool calls in the simulator's convention (see `shadow.simulator.answer`).
    """

    version: ClassVar[str] = "1"
    measures: ClassVar[str] = "content"
    absolute: ClassVar[bool] = True

    async def evaluate(self, case: EvalCase) -> Score:
        """Score one answer."""
        try:
            question = read_question(_api_of(case.request), json.dumps(dict(case.request)).encode())
        except BadRequestError as error:
            return Score(status="not_applicable", reason=f"no question of the simulator's: {error}")
        if kind_of(question) in {"prose", "report"}:
            return Score(status="not_applicable", reason="the question has no known answer")
        right, said = _right(question, case)
        reason = f"right: {said}" if right else f"not right: {said}"
        return Score(status="scored", value=float(right), reason=reason)


def _right(question: Question, case: EvalCase) -> tuple[bool, str]:
    """Whether the answer is true, and what it said."""
    tool = chosen_tool(question)
    if tool is not None:
        calls = [(call.name, _json(call.arguments)) for call in case.tool_calls]
        return calls == [(tool.name, true_arguments(question, tool))], str(calls)
    if kind_of(question) == "json":
        return _json(case.output) == true_json(question), case.output[:200]
    numbers = _NUMBER.findall(case.output)
    return bool(numbers) and int(numbers[-1]) == true_number(question), case.output[:200]


def _json(text: str) -> object:
    """Parse; text that is no JSON is itself, which equals no expected value."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _api_of(request: Mapping[str, object]) -> Api:
    """Tell the API from the request body; where two could be meant, both read the same."""
    if "input" in request:
        return "responses"
    tools = request.get("tools")
    by_anthropic = isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools)
    return "messages" if by_anthropic or "output_config" in request or "system" in request else "chat"
