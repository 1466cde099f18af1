"""One answer before a judge: a grade from 1 to 5 by anchored criteria, as quality from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from shadow.judge.bench import Hearing, nonce_for
from shadow.judge.prompt import RUBRIC_SCHEMA, RUBRIC_SYSTEM, Shown, request_of, rubric_prompt
from shadow.records import Score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.judge.bench import Bench, Ruling
    from shadow.judge.client import Question
    from shadow.judge.prompt import Request
    from shadow.records import EvalCase

LOWEST, HIGHEST = 1, 5
_CALLS_PER_PAIR = 4
"""Two answers, each with one retry."""


class Grading:
    """Grades answers by a judge; a `CaseEvaluator` with the money it may need.

    (grade - 1) / 4: a 1 is quality 0, a 5 is quality 1. Whatever gives no grade is `failed` with the reason.
    """

    measures: ClassVar[str] = "content"
    absolute: ClassVar[bool] = True

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.version = bench.terms.version(RUBRIC_SYSTEM)

    @property
    def judge_model(self) -> str:
        """Who judges."""
        return self._bench.terms.model

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:  # noqa: ARG002  (every judge is asked so)
        """Say what grading both answers may cost at most."""
        request = request_of(primary, redact=self._bench.redact)
        of_primary = self._bench.call_usd(self._question(request, self._bench.shown(primary, request)))
        longest = Shown(text="x" * request.max_answer_bytes, chars=0)
        of_candidate = self._bench.call_usd(self._question(request, longest))
        return _CALLS_PER_PAIR / 2 * (of_primary + of_candidate)

    async def evaluate(self, case: EvalCase) -> Score:
        """Grade; the judgements come with the score, whatever it is."""
        request = request_of(case, redact=self._bench.redact)
        shown = self._bench.shown(case, request)
        hearing = Hearing(self._bench)
        ruling = await hearing.ask(
            lambda: self._question(request, shown),
            read=_read,
            order="single",
            primary_chars=shown.chars if case.role == "primary" else 0,
            candidate_chars=0 if case.role == "primary" else shown.chars,
        )
        judgements = tuple(hearing.judgements)
        if ruling is None:
            return Score(
                status="failed",
                reason=f"no grade: {hearing.reason}",
                cost_usd=hearing.cost_usd,
                judgements=judgements,
            )
        return Score(
            status="scored",
            value=(ruling["grade"] - LOWEST) / (HIGHEST - LOWEST),
            reason=f"{ruling['grade']} of {HIGHEST}: {judgements[-1].reason}",
            cost_usd=hearing.cost_usd,
            judgements=judgements,
        )

    def _question(self, request: Request, shown: Shown) -> Question:
        nonce = nonce_for(shown.text, request.system, request.turn, request.tools, request.expected or "")
        text = rubric_prompt(request, shown, nonce=nonce)
        return self._bench.question(text, name="grade", schema=RUBRIC_SCHEMA)


def _read(answer: Mapping[str, Any]) -> Ruling | None:
    grade, reason = answer.get("grade"), answer.get("reason")
    if answer.keys() != {"reason", "grade"} or type(grade) is not int or not isinstance(reason, str):
        return None
    return {"grade": grade} if LOWEST <= grade <= HIGHEST else None
