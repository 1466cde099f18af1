"""`agreement`: how much the candidate's answer is like the primary's. It says nothing about which of them is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators import json_text, text_distance
from shadow.evaluators.base import Measures, failed, scored

if TYPE_CHECKING:
    from shadow.records import EvalCase, Score, ToolCall


class Agreement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 for the same answer, 0 for one with nothing in common; the candidate's only.

    Text is compared as `levenshtein` does, white space folded. Where either side calls tools, the calls decide: 1 when
    the same tools are called in the same order with equal arguments, else 0. With the primary as the reference the
    primary could only score 1, so this is never quality: a primary that is asked twice does not agree with itself
    either (see the noise floor). Always applicable; `failed` when a text is longer than 200,000 characters.
    """

    version: ClassVar[str] = "1"
    measures: ClassVar[Measures] = "content"
    absolute: ClassVar[bool] = False

    def check_against(self, primary: EvalCase, candidate: EvalCase) -> Score:
        """Compare the two answers."""
        if primary.tool_calls or candidate.tool_calls:
            same = [_plain(call) for call in primary.tool_calls] == [_plain(call) for call in candidate.tool_calls]
            return scored(same, "" if same else "the tool calls differ")
        try:
            return scored(text_distance.similarity(_folded(candidate.output), _folded(primary.output)))
        except text_distance.TooLongError as error:
            return failed(str(error))


def _plain(call: ToolCall) -> tuple[str, object]:
    """Name and arguments; those that are no JSON count by their text."""
    parsed = json_text.strict(call.arguments or "{}")
    return call.name, parsed.value if parsed.error is None else call.arguments


def _folded(text: str) -> str:
    return " ".join(text.split())
