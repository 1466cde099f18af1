"""The walkthrough's own evaluators: the final number of a word problem, and which instructions were followed.

`golden.json`, written by `send.py` beside this file, holds per prompt (by hash) the right number or the instructions.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shadow import Score

if TYPE_CHECKING:
    from collections.abc import Callable

    from shadow import EvalCase

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
GOLDEN = Path(__file__).with_name("golden.json")


def prompt_key(text: str) -> str:
    """Return the hash a prompt is found by."""
    return hashlib.sha256(text.encode()).hexdigest()


def final_number(text: str) -> float | None:
    """Return the number after `####` or `answer is`, else the last number of the text."""
    marked = re.findall(r"(?:####|answer is)[^\d-]{0,20}(" + NUMBER.pattern + ")", text, re.IGNORECASE)
    found = marked or NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


class FinalNumber:
    """1 when the last number the answer settles on is the right one, else 0."""

    version = "1"
    measures = "content"

    def __init__(self) -> None:
        self._golden: dict[str, Any] = json.loads(GOLDEN.read_text())["numbers"]

    def evaluate(self, case: EvalCase) -> Score:
        """Compare the final number with the one recorded for this prompt."""
        right = self._golden.get(prompt_key(_user_text(case)))
        if right is None:
            return Score(status="not_applicable", reason="no recorded answer for this prompt")
        said = final_number(case.output)
        good = said is not None and abs(said - right) < 1e-6
        return Score(status="scored", value=float(good), reason=f"said {said}, right is {right:g}")


class Instructions:
    """The share of the prompt's checkable instructions that the answer follows."""

    version = "1"
    measures = "content"

    def __init__(self) -> None:
        self._golden: dict[str, Any] = json.loads(GOLDEN.read_text())["instructions"]

    def evaluate(self, case: EvalCase) -> Score:
        """Check each instruction there is a rule for."""
        wanted = self._golden.get(prompt_key(_user_text(case)))
        if not wanted:
            return Score(status="not_applicable", reason="no checkable instruction in this prompt")
        broken = [name for name, options in wanted if not CHECKS[name](case.output, options)]
        followed = 1 - len(broken) / len(wanted)
        return Score(status="scored", value=followed, reason=f"broken: {', '.join(broken) or 'none'}")


def _user_text(case: EvalCase) -> str:
    return str(case.request["messages"][-1]["content"])


def _count(text: str, word: str) -> int:
    return len(re.findall(re.escape(word), text, re.IGNORECASE))


def _relation(count: int, options: dict[str, Any], *, limit: str) -> bool:
    bound = options[limit]
    return count < bound if options.get("relation") == "less than" else count >= bound


CHECKS: dict[str, Callable[[str, dict[str, Any]], bool]] = {
    "punctuation:no_comma": lambda text, _: bool(text.strip()) and "," not in text,
    "change_case:english_lowercase": lambda text, _: bool(text.strip()) and text == text.lower(),
    "change_case:english_capital": lambda text, _: bool(text.strip()) and text == text.upper(),
    "keywords:forbidden_words": lambda text, o: (
        bool(text.strip())
        and not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in o["forbidden_words"])
    ),
    "keywords:existence": lambda text, o: all(_count(text, word) for word in o["keywords"]),
    "keywords:frequency": lambda text, o: _relation(_count(text, o["keyword"]), o, limit="frequency"),
    "length_constraints:number_words": lambda text, o: _relation(len(re.findall(r"\w+", text)), o, limit="num_words"),
    "detectable_format:number_bullet_lists": lambda text, o: (
        len(re.findall(r"^\s*(?:\*[^\*].*|-.*)$", text, re.MULTILINE)) == o["num_bullets"]
    ),
    "detectable_format:title": lambda text, _: any(t.strip("<> \n") for t in re.findall(r"<<[^\n]+>>", text)),
    "detectable_format:number_highlighted_sections": lambda text, o: (
        len([part for part in re.findall(r"\*[^\n\*]+\*", text) if part.strip("* ")]) >= o["num_highlights"]
    ),
    "detectable_content:number_placeholders": lambda text, o: (
        len(re.findall(r"\[.*?\]", text)) >= o["num_placeholders"]
    ),
    "startend:quotation": lambda text, _: (
        len(text.strip()) > 1 and text.strip().startswith('"') and text.strip().endswith('"')
    ),
    "startend:end_checker": lambda text, o: text.strip().strip('"').lower().endswith(o["end_phrase"].strip().lower()),
}
"""The rules of IFEval that need no language model, after its paper (Zhou et al., 2023)."""
