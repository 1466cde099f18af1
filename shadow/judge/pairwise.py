"""Two answers before a judge, in both orders: +1, -1, or 0 where the orders disagree; controls now and then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from shadow.judge.bench import Hearing, nonce_for
from shadow.judge.controls import Losers
from shadow.judge.prompt import PAIRWISE_SCHEMA, PAIRWISE_SYSTEM, Shown, pairwise_prompt, request_of
from shadow.records import Judgement, Score

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shadow.judge.bench import Bench, Ruling
    from shadow.judge.client import Question
    from shadow.judge.prompt import Request
    from shadow.records import Control, EvalCase, JudgementOrder

_CALLS_PER_PAIR = 3
"""Both orders, and one of them once more."""

_VALUES = {"primary": -1.0, "candidate": 1.0, "tie": 0.0}


class Pairwise:
    """Compares two answers by a judge; a `PairEvaluator` with the money it may need.

    Identical answers are a tie without a call. A ruling counts when both orders agree, else it is a tie. Whatever gives
    no ruling is `failed` with the reason, never a number.
    """

    measures: ClassVar[str] = "content"
    absolute: ClassVar[bool] = False

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.version = bench.terms.version(PAIRWISE_SYSTEM)
        self._losers = Losers(bench)

    @property
    def judge_model(self) -> str:
        """Who judges."""
        return self._bench.terms.model

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:
        """Say what judging this live answer against a candidate's may cost at most: both orders, retry and control."""
        due = self._bench.terms.control_due(primary.exchange_id, candidate)
        # In a control, too, one side is the primary's answer and the other at most as long as it may be.
        return self.examination_usd(primary) * (2 if due else 1)

    def examination_usd(self, primary: EvalCase) -> float:
        """Say what one comparison with this answer may cost at most, such as a control."""
        request = request_of(primary, redact=self._bench.redact)
        longest = Shown(text="x" * request.max_answer_bytes, chars=0)
        trial = _Trial(self._bench, request, self._bench.shown(primary, request), longest)
        return self._bench.call_usd(trial.question("primary_first")) * _CALLS_PER_PAIR

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:
        """Compare; the judgements come with the score, whatever it is."""
        request = request_of(primary, redact=self._bench.redact)
        of_primary, of_candidate = self._bench.shown(primary, request), self._bench.shown(candidate, request)
        if _identity(primary) == _identity(candidate):
            return self._identical(of_primary)
        hearing = Hearing(self._bench)
        score = await _Trial(self._bench, request, of_primary, of_candidate).run(hearing)
        judgements, cost_usd = hearing.judgements, hearing.cost_usd
        due = self._bench.terms.control_due(primary.exchange_id, candidate.model or "")
        if due and score.status == "scored":
            control = Hearing(self._bench)
            await self._control(control, primary, request, of_primary)
            judgements, cost_usd = [*judgements, *control.judgements], cost_usd + control.cost_usd
        self._losers.remember(primary, request)
        return Score(
            status=score.status,
            value=score.value,
            reason=score.reason,
            cost_usd=cost_usd,
            judgements=tuple(judgements),
        )

    async def examine(self, primary: EvalCase) -> Score:
        """Put one control before the judge, whatever its turn; not applicable where no answer can be made to lose."""
        request = request_of(primary, redact=self._bench.redact)
        hearing = Hearing(self._bench)
        await self._control(hearing, primary, request, self._bench.shown(primary, request))
        self._losers.remember(primary, request)
        return Score(
            status="not_applicable",
            reason="a test of the judge" if hearing.judgements else "no answer can be made to lose here",
            cost_usd=hearing.cost_usd,
            judgements=tuple(hearing.judgements),
        )

    def _identical(self, answer: Shown) -> Score:
        judgement = Judgement(
            model=self.judge_model,
            started_at=datetime.now(UTC),
            order="none",
            status="identical",
            winner="tie",
            reason="the answers are identical; the judge was not asked",
            primary_chars=answer.chars,
            candidate_chars=answer.chars,
        )
        return Score(status="scored", value=0.0, reason="identical answers", judgements=(judgement,))

    async def _control(self, hearing: Hearing, primary: EvalCase, request: Request, of_primary: Shown) -> None:
        """Put an answer before the judge that must lose; what comes of it is in the judgements."""
        chosen = self._losers.choose(primary, request)
        if chosen is None:
            return
        kind, loser = chosen
        await _Trial(self._bench, request, of_primary, loser, control=kind).run(hearing)


class _Trial:
    """One pair before the judge, in both orders."""

    def __init__(
        self, bench: Bench, request: Request, primary: Shown, candidate: Shown, *, control: Control | None = None
    ) -> None:
        self._bench = bench
        self._request = request
        self._primary = primary
        self._candidate = candidate
        self._control = control

    async def run(self, hearing: Hearing) -> Score:
        """Ask in both orders; an order without a ruling ends it."""
        winners: list[str] = []
        for order in ("primary_first", "candidate_first"):
            ruling = await self._ask(hearing, order)
            if ruling is None:
                return Score(status="failed", reason=f"no ruling: {hearing.reason}")
            winners.append(ruling["winner"])
        if winners[0] != winners[1]:
            told = " and ".join(winners)
            return Score(status="scored", value=0.0, reason=f"tie: the orders disagree ({told})")
        said = next(each.reason for each in reversed(hearing.judgements) if each.status == "ruled")
        return Score(status="scored", value=_VALUES[winners[0]], reason=f"{winners[0]}: {said}")

    async def _ask(self, hearing: Hearing, order: JudgementOrder) -> Ruling | None:
        return await hearing.ask(
            lambda: self.question(order),
            read=_reader(order),
            order=order,
            control=self._control,
            primary_chars=self._primary.chars,
            candidate_chars=self._candidate.chars,
        )

    def question(self, order: JudgementOrder) -> Question:
        """Write the question, with fences of its own."""
        first, second = self._primary, self._candidate
        if order == "candidate_first":
            first, second = second, first
        request = self._request
        nonce = nonce_for(first.text, second.text, request.system, request.turn, request.tools, request.expected or "")
        text = pairwise_prompt(request, first, second, nonce=nonce)
        return self._bench.question(text, name="verdict", schema=PAIRWISE_SCHEMA)


def _reader(order: JudgementOrder) -> Callable[[Mapping[str, Any]], Ruling | None]:
    sides = ("primary", "candidate") if order == "primary_first" else ("candidate", "primary")
    meant = {"A": sides[0], "B": sides[1], "tie": "tie"}

    def read(answer: Mapping[str, Any]) -> Ruling | None:
        winner, reason = answer.get("winner"), answer.get("reason")
        well_formed = answer.keys() == {"reason", "winner"} and isinstance(winner, str) and isinstance(reason, str)
        return {"winner": meant[winner]} if well_formed and winner in meant else None

    return read


def _identity(case: EvalCase) -> tuple[object, ...]:
    """What makes two answers the same: the text, and what tools were called with."""
    return (case.output, tuple((call.name, _canonical(call.arguments)) for call in case.tool_calls))


def _canonical(arguments: str) -> str:
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments), order="sorted").decode()
    except (ValueError, RecursionError):
        return arguments
