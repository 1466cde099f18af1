"""Judges the simulator plays: one that knows the truth, and those that must not be trusted.

A judge's prompt is recognised by its fences (see `shadow.judge.prompt`), that of `LLMJudgeEvaluator` by its marks, and
the article's own by its words. The truthful one knows what `answer` knows: arithmetic, and whether an answer holds the
expected text; an answer to something else, one that breaks off, and one that says nothing are worse than a wrong one;
all else is a tie.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from shadow.simulator.answer import REFUSAL, Answer, Call, kind_of, true_number
from shadow.simulator.script import draw

if TYPE_CHECKING:
    from shadow.simulator.question import Question
    from shadow.simulator.script import Script, SimModel

_FENCED = re.compile(r"^<<<([A-Z ]+) ([0-9a-f]{16})>>>\n(.*?)\n<<<END \1 \2>>>$", re.DOTALL | re.MULTILINE)
_MARKED = re.compile(r"<(expected|response)-([0-9a-f]{16})>\n(.*?)\n</\1-\2>", re.DOTALL)
_ARTICLE = re.compile(
    r"\ARate this response 1-5 .*?\nExpected answer: (.*)\nActual response: (.*)\nReply with just the number\.\s*\Z",
    re.DOTALL,
)
_NUMBER = re.compile(r"-?\d+")
_NEAR = 10
"""A wrong answer of the simulator's misses the truth by no more; what is further off answers something else."""
_WHOLE_ENDS = (".", "!", "?", "}", "]", '"', "'", ")", "`")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """What lies before the judge."""

    parts: dict[str, str]
    wants_number: bool = False
    """The grade alone, as the article asks for it."""

    @property
    def answers(self) -> tuple[str, str]:
        return self.parts.get("ANSWER A", ""), self.parts.get("ANSWER B", "")

    @property
    def is_single(self) -> bool:
        return "ANSWER" in self.parts


def is_judging(question: Question) -> bool:
    """Tell whether a request puts answers before a judge."""
    return any(name.startswith("ANSWER") for name in _sheet(question).parts)


def judged(question: Question, model: SimModel, script: Script) -> Answer:
    """Answer as the judge that the model plays."""
    sheet, manner = _sheet(question), model.judge
    seed = (script.seed, model.name, *sheet.parts.values())
    if manner in _SAID:
        return Answer(manner="right", text=_SAID[manner])
    if manner == "refusal":
        return Answer(manner="refusal", stop="refusal", text=REFUSAL)
    if sheet.wants_number:
        return Answer(manner="right", text=str(_grade(sheet, question, manner, seed)))
    if sheet.is_single:
        return _ruling(question, {"reason": "By the anchors.", "grade": _grade(sheet, question, manner, seed)})
    winner = _winner(sheet, question, manner, seed, accuracy=model.judge_accuracy)
    return _ruling(question, {"reason": f"Looked at both ({manner}).", "winner": winner})


_SAID = {
    "prose": "Both have their merits, but I would say that the first one is somewhat better.",
    "ten": "10",
    "empty": "",
    "injected": '{"score": 5, "winner": "the better one"}',
}


def _sheet(question: Question) -> _Sheet:
    if article := _ARTICLE.match(question.last):
        return _Sheet(parts={"EXPECTED": article[1], "ANSWER": article[2]}, wants_number=True)
    if marked := {match[1]: match[3] for match in _MARKED.finditer(question.last)}:
        return _Sheet(parts={"EXPECTED": marked.get("expected", ""), "ANSWER": marked.get("response", "")})
    return _Sheet(parts={match[1]: match[3] for match in _FENCED.finditer(question.last)})


def _ruling(question: Question, ruling: dict[str, Any]) -> Answer:
    """Say it as it was asked for: by the forced tool, else as JSON."""
    text = json.dumps(ruling)
    if question.tools:
        call = Call(name=question.tools[0].name, arguments=text, id=f"call_{question.fingerprint}")
        return Answer(manner="right", stop="tool", calls=(call,))
    return Answer(manner="right", text=text)


def _winner(
    sheet: _Sheet, question: Question, manner: str | None, seed: tuple[str, ...], *, accuracy: float
) -> Literal["A", "B", "tie"]:
    if manner == "always_a":
        return "A"
    if manner == "always_tie":
        return "tie"
    chance = draw(*seed, "winner")
    if manner == "random":
        return ("A", "B", "tie")[int(3 * chance)]
    first, second = (_worth(answer, sheet, question) for answer in sheet.answers)
    right: Literal["A", "B", "tie"] = "tie" if first == second else "A" if first > second else "B"
    if draw(*seed, "accuracy") < accuracy:
        return right
    wrong: list[Literal["A", "B", "tie"]] = [each for each in ("A", "B", "tie") if each != right]
    return wrong[int(2 * chance)]


def _grade(sheet: _Sheet, question: Question, manner: str | None, seed: tuple[str, ...]) -> int:
    if manner == "random":
        return 1 + int(5 * draw(*seed, "grade"))
    if manner != "truthful":
        return 5
    return (1, 2, 3, 5)[_worth(sheet.parts["ANSWER"], sheet, question)]


def _worth(answer: str, sheet: _Sheet, question: Question) -> int:
    """Say how good an answer is.

    0: nothing, or a refusal. 1: broken off, or about something else. 2: wrong. 3: nothing is wrong with it.
    """
    said = answer.strip()
    if not said or said == REFUSAL:
        return 0
    asked = replace(question, turns=(("user", sheet.parts.get("REQUEST", "")),), tools=(), schema=None)
    if expected := sheet.parts.get("EXPECTED", "").strip():
        return 3 if expected.lower() in said.lower() else 2
    truth = true_number(asked) if kind_of(asked) == "number" else None
    if truth is None:
        return 3 if said.endswith(_WHOLE_ENDS) else 1
    numbers = _NUMBER.findall(said)
    if not numbers or abs(int(numbers[-1]) - truth) > _NEAR:
        return 1
    return 3 if int(numbers[-1]) == truth else 2
