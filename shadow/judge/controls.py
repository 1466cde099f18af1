"""Answers that are made to lose: the answer to another prompt, or half of an answer, so that a judge can be tested."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shadow.judge.bench import share
from shadow.records import ToolCall

if TYPE_CHECKING:
    from shadow.judge.bench import Bench
    from shadow.judge.prompt import Request, Shown
    from shadow.records import Control, EvalCase

RESERVOIR = 50
"""Answers to recent prompts of one task that tests choose from; in memory only."""

MAX_TASKS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What was answered to one prompt."""

    prompt: str
    text: str
    tool_calls: tuple[ToolCall, ...]


class Losers:
    """Remembers what was answered lately, and makes answers of it that a judge must find worse."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._said: dict[str, deque[_Said]] = {}

    def choose(self, primary: EvalCase, request: Request) -> tuple[Control, Shown] | None:
        """Choose the answer to another prompt, or half of this one; None where there is neither."""
        drawn = share("control kind", primary.exchange_id)
        others = [
            said
            for said in self._said.get(primary.task, ())
            if said.prompt != request.turn and (said.text, said.tool_calls) != (primary.output, _calls(primary))
        ]
        half = _half(primary)
        if others and (drawn < 0.5 or half is None):  # noqa: PLR2004  (every second one)
            other = others[int(len(others) * share("control answer", primary.exchange_id))]
            return "other_prompt", self._bench.shown_answer(other.text, other.tool_calls, request)
        if half is None:
            return None
        return "half", self._bench.shown_answer(*half, request)

    def remember(self, primary: EvalCase, request: Request) -> None:
        """Keep an answer for later tests."""
        if primary.task not in self._said and len(self._said) >= MAX_TASKS:
            return
        kept = self._said.setdefault(primary.task, deque(maxlen=RESERVOIR))
        # What a judge is never shown is not kept either.
        text = primary.output[: 2 * request.max_answer_bytes]
        kept.append(_Said(prompt=request.turn, text=text, tool_calls=_calls(primary)))


def _calls(case: EvalCase) -> tuple[ToolCall, ...]:
    return tuple(case.tool_calls)


def _half(case: EvalCase) -> tuple[str, tuple[ToolCall, ...]] | None:
    """Cut an answer in half: of a text its beginning, of tool calls the first half, of a single one its arguments."""
    text, calls = case.output, tuple(case.tool_calls)
    if not calls:
        return (text[: len(text) // 2], ()) if len(text) > 1 else None
    if len(calls) > 1:
        return text, calls[: len(calls) // 2]
    only = calls[0]
    cut = ToolCall(name=only.name, arguments=only.arguments[: len(only.arguments) // 2], id=only.id)
    return text, (cut,)
