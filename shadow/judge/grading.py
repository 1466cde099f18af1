"""One answer before a judge: a grade from 1 to 5 by anchored criteria, as quality from 0 to 1; and controls."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from shadow.judge.bench import Hearing, nonce_for, share
from shadow.judge.controls import Losers
from shadow.judge.prompt import RUBRIC_SCHEMA, RUBRIC_SYSTEM, Shown, request_of, rubric_prompt
from shadow.records import Judgement, Score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.judge.bench import Bench, Ruling
    from shadow.judge.client import Question
    from shadow.judge.prompt import Request
    from shadow.records import EvalCase

    Key = tuple[object, ...]

LOWEST, HIGHEST = 1, 5
_CALLS_PER_ANSWER = 2
"""One, and one retry."""

REMEMBERED = 1_000
"""So many of the primary's answers are not graded again for the next candidate; in memory only."""


class Grading:
    """Grades answers by a judge; a `CaseEvaluator` with the money it may need.

    (grade - 1) / 4: a 1 is quality 0, a 5 is quality 1. Whatever gives no grade is `failed` with the reason. An answer
    of the primary is graded once, however many candidates ask. One in twenty of those comes with a control: an answer
    that was made to lose must get a lower grade.
    """

    measures: ClassVar[str] = "content"
    absolute: ClassVar[bool] = True

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.version = bench.terms.version(RUBRIC_SYSTEM)
        self._losers = Losers(bench)
        self._known: OrderedDict[Key, Score] = OrderedDict()
        self._under_way: dict[Key, asyncio.Lock] = {}

    @property
    def judge_model(self) -> str:
        """Who judges."""
        return self._bench.terms.model

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:  # noqa: ARG002  (every judge is asked so)
        """Say what grading both answers may cost at most, with a control where one is due."""
        return self._worst_case_usd(primary, others=2 if self._control_due(primary) else 1)

    async def evaluate(self, case: EvalCase) -> Score:
        """Grade; the judgements come with the score, whatever it is."""
        if case.role != "primary" or not case.exchange_id:
            return await self._grade(case)
        key = (case.exchange_id, case.output, tuple(case.tool_calls), case.expected)
        lock = self._under_way.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                known = self._known.get(key)
                if known is not None:
                    return _again(known)
                score = await self._with_control(case, await self._grade(case), due=self._control_due(case))
                if score.status == "scored":
                    self._known[key] = score
                    while len(self._known) > REMEMBERED:
                        self._known.popitem(last=False)
                return score
        finally:
            if not lock.locked():
                self._under_way.pop(key, None)

    async def _grade(self, case: EvalCase) -> Score:
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

    async def examine(self, primary: EvalCase) -> Score:
        """Put one control before the judge, whatever its turn: one made to lose must get less than the answer."""
        graded = await self._grade(primary)
        score = await self._with_control(primary, graded, due=True)
        tested = any(each.control is not None for each in score.judgements)
        return Score(
            status="not_applicable",
            reason="a test of the judge" if tested else "no answer can be made to lose here",
            cost_usd=score.cost_usd,
            judgements=score.judgements,
        )

    def examination_usd(self, primary: EvalCase) -> float:
        """Say what that may cost at most."""
        return self._worst_case_usd(primary, others=1)

    def _worst_case_usd(self, primary: EvalCase, *, others: int) -> float:
        """Say what grading this answer and others as long as they may be can cost."""
        request = request_of(primary, redact=self._bench.redact)
        of_primary = self._bench.call_usd(self._question(request, self._bench.shown(primary, request)))
        longest = Shown(text="x" * request.max_answer_bytes, chars=0)
        return _CALLS_PER_ANSWER * (of_primary + others * self._bench.call_usd(self._question(request, longest)))

    def _control_due(self, primary: EvalCase) -> bool:
        return share("control", primary.exchange_id, "single") < self._bench.terms.control_rate

    async def _with_control(self, primary: EvalCase, score: Score, *, due: bool) -> Score:
        """Have an answer graded that was made to lose, where it is due and the primary's grade leaves room below it."""
        request = request_of(primary, redact=self._bench.redact)
        fits = due and score.value is not None and score.value > 0
        chosen = self._losers.choose(primary, request) if fits else None
        self._losers.remember(primary, request)
        if chosen is None:
            return score
        kind, loser = chosen
        grade = score.judgements[-1].grade or LOWEST
        hearing = Hearing(self._bench)
        await hearing.ask(
            lambda: self._question(request, loser),
            read=lambda answer: _beside(grade, _read(answer)),
            order="single",
            control=kind,
            candidate_chars=loser.chars,
        )
        return replace(
            score,
            cost_usd=score.cost_usd + hearing.cost_usd,
            judgements=(*score.judgements, *hearing.judgements),
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


def _beside(grade: int, ruling: Ruling | None) -> Ruling | None:
    """Say who won: the answer with this grade, or the one that was made to lose."""
    if ruling is None:
        return None
    lower = ruling["grade"] < grade
    return ruling | {"winner": "primary" if lower else "tie" if ruling["grade"] == grade else "candidate"}


def _again(known: Score) -> Score:
    """Give a grade that is there already: no call and no cost, and no control a second time."""
    said = next(each for each in reversed(known.judgements) if each.status == "ruled" and each.control is None)
    judgement = Judgement(
        model=said.model,
        started_at=datetime.now(UTC),
        order="none",
        status="ruled",
        grade=said.grade,
        reason=said.reason,
        primary_chars=said.primary_chars,
    )
    return replace(known, cost_usd=0.0, judgements=(judgement,))
