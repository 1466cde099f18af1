"""What all judging shares: the terms, asking within one retry, what a call costs, and what it may cost at most."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.dialects import estimate_input_tokens
from shadow.judge.client import NO_RULING, Question
from shadow.judge.prompt import Shown, answer_of, system_prompt
from shadow.records import NOISE_FLOOR, Judgement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.judge.client import Heard, JudgeClient
    from shadow.judge.prompt import Request
    from shadow.pricing import PriceBook
    from shadow.records import Control, EvalCase, JudgementOrder, ToolCall

DEFAULT_MODEL = "claude-haiku-4-5"
"""The judge of `evaluators: auto`: EzAI serves it, the price list knows it, and it takes a forced tool call."""

DEFAULT_MAX_TOKENS = 600
LEAST_MAX_TOKENS = 300
DEFAULT_CONTROL_RATE = 0.05
"""One judgement in twenty is accompanied by a control."""

PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
"""A provider that asks for a longer rest is not asked again for this pair."""

_TWO_TO_64 = 1 << 64

Ruling = dict[str, Any]
"""The fields of a `Judgement` that a ruling fills: `winner` or `grade`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a judge judges: the model, the user's own criteria, and its bounds."""

    model: str
    rubric: str | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    control_rate: float = DEFAULT_CONTROL_RATE

    def version(self, system: str, *more: str) -> str:
        """Name what a ruling depends on: with another model, prompt or rubric it is another evaluator."""
        parts = "\x1f".join((system_prompt(system, self.rubric), *more))
        return f"1:{self.model}:{hashlib.sha256(parts.encode()).hexdigest()[:8]}"

    def control_due(self, exchange_id: str, candidate: str) -> bool:
        """Tell whether a pair's judgement comes with a control: the same for the same pair, on every machine.

        Two answers of the primary test the judge as they are.
        """
        return candidate != NOISE_FLOOR and share("control", exchange_id, candidate) < self.control_rate


class Bench:
    """One judge model, its prices and its bounds."""

    def __init__(
        self, terms: Terms, *, client: JudgeClient, prices: PriceBook, redact: Callable[[str], str], system: str
    ) -> None:
        self.terms = terms
        self.redact = redact
        self._client = client
        self._prices = prices
        self._system = system_prompt(system, terms.rubric)
        self._overrun = 1.0

    def question(self, text: str, *, name: str, schema: Mapping[str, Any]) -> Question:
        """Put a prompt into the form the client takes."""
        terms = self.terms
        return Question(
            model=terms.model,
            system=self._system,
            text=text,
            name=name,
            schema=schema,
            max_tokens=terms.max_tokens,
        )

    def shown(self, case: EvalCase, request: Request) -> Shown:
        """Put an answer into the words a judge is shown."""
        return self.shown_answer(case.output, case.tool_calls, request)

    def shown_answer(self, text: str, tool_calls: Sequence[ToolCall], request: Request) -> Shown:
        """Put a text and tool calls into the words a judge is shown."""
        return answer_of(text, tool_calls, redact=self.redact, max_bytes=request.max_answer_bytes)

    def call_usd(self, question: Question) -> float:
        """Say what one call may cost at most: all input fresh, the answer up to its limit.

        More for a judge that was seen to keep to no limit.
        """
        asked = msgspec.json.encode((question.system, question.text, question.schema))
        worst_usd = self._prices.worst_case_usd(
            question.model, input_tokens=estimate_input_tokens(asked), output_tokens=question.max_tokens
        )
        if worst_usd is None:
            raise AssertionError("a judge without a price is not hired")
        return worst_usd * self._overrun

    async def ask(self, question: Question) -> tuple[Heard, float | None, float]:
        """Ask once: what was heard, what it cost (None: nobody says), and what is booked (then the worst case)."""
        worst_usd = self.call_usd(question)
        heard = await self._client.ask(question)
        if not heard.billed:
            return heard, 0.0, 0.0
        cost_usd = self._prices.cost(heard.usage, answered=heard.model_answered, asked=question.model).billed_usd
        if cost_usd is None:
            return heard, None, worst_usd
        if cost_usd > worst_usd > 0:
            self._overrun = max(self._overrun, self._overrun * cost_usd / worst_usd)
        return heard, cost_usd, cost_usd


class Hearing:
    """One case before a judge: what was asked so far, what it cost, and the one retry that is left."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._retries = 1
        self.judgements: list[Judgement] = []
        self.cost_usd = 0.0
        self.reason = ""
        """Why the last call gave no ruling; nothing of what was said is quoted in it."""

    async def ask(
        self,
        make: Callable[[], Question],
        *,
        read: Callable[[Mapping[str, Any]], Ruling | None],
        order: JudgementOrder,
        control: Control | None = None,
        primary_chars: int = 0,
        candidate_chars: int = 0,
    ) -> Ruling | None:
        """Ask until there is a ruling or no retry is left; None then, and `reason` says why."""
        attempt = 0
        while True:
            attempt += 1
            heard, cost_usd, booked_usd = await self._bench.ask(make())
            self.cost_usd += booked_usd
            answer = heard.answer
            ruling = read(answer) if answer is not None else None
            status, reason, again = heard.status, heard.reason, heard.try_again
            if answer is not None and ruling is None:
                status, reason, again = "unreadable", NO_RULING, True
            self.judgements.append(
                Judgement(
                    model=self._bench.terms.model,
                    started_at=heard.started_at,
                    order=order,
                    status=status,
                    control=control,
                    reason=_words(reason, heard) if answer is None or ruling is None else str(answer["reason"]),
                    attempt=attempt,
                    usage=heard.usage,
                    cost_usd=cost_usd,
                    latency_ms=heard.latency_ms,
                    primary_chars=primary_chars,
                    candidate_chars=candidate_chars,
                    **(ruling or {}),
                )
            )
            if ruling is not None:
                return ruling
            self.reason = reason
            pause_s = PAUSE_S if heard.rest_s is None else heard.rest_s
            if not again or self._retries == 0 or pause_s > LONGEST_PAUSE_S:
                return None
            self._retries -= 1
            if status == "error":
                await asyncio.sleep(pause_s)


def nonce_for(*texts: str) -> str:
    """Draw the mark of this call's fences: nobody can have written it, and it stands in none of the texts."""
    while True:
        nonce = secrets.token_hex(8)
        if not any(nonce in text for text in texts):
            return nonce


def share(*parts: str) -> float:
    """Give a number in [0, 1) that depends on `parts` only, spread evenly over them."""
    digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _TWO_TO_64


def _words(reason: str, heard: Heard) -> str:
    said = heard.said or ("" if heard.answer is None else msgspec.json.encode(heard.answer).decode()[:300])
    return f"{reason}: {said}" if said else reason
