"""From one shadow call to a finished pair: both replies read, scored and priced, and what may be kept of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shadow.dialects import read_reply
from shadow.golden import NOTHING, Golden
from shadow.pricing import price_exchange
from shadow.records import (
    ENDED_WELL,
    Cost,
    EvalCase,
    ExchangeRecord,
    JobBody,
    Judgement,
    LeasedJob,
    Outcome,
    PairResult,
    Reply,
    StoredContent,
    StoredScore,
    ToolCall,
)
from shadow.redaction import Redactor, Scrubber

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.candidates import Asked
    from shadow.evaluators import EvaluatorSet
    from shadow.pricing import PriceBook

ContentMode = Literal["none", "redacted", "full"]

MAX_REASON_CHARS = 2_000
"""Most that is kept of what a judge says about one pair."""

_GIVEN_UP = frozenset({Outcome.PAUSED, Outcome.ABORTED})
"""Answers that never came to an end: such a pair enters no comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Decides what of prompts and answers is kept: nothing, the redacted text, or all of it; never a key."""

    mode: ContentMode
    redactor: Redactor
    scrubber: Scrubber

    def content(self, body: JobBody, primary: Reply, candidate: Reply) -> StoredContent:
        """Choose what is stored of one pair."""
        if self.mode == "none":
            return StoredContent()
        return StoredContent(
            prompt=self._json(body.request),
            primary_output=self._text(primary.text),
            primary_tool_calls=self._json(_tool_calls(primary.tool_calls)),
            candidate_output=self._text(candidate.text),
            candidate_tool_calls=self._json(_tool_calls(candidate.tool_calls)),
        )

    def score(self, stored: StoredScore) -> StoredScore:
        """Cut a score's reason to what the mode allows: evaluators quote what they saw."""
        score = stored.score
        reason = "" if self.mode == "none" and score.status == "scored" else self._text(score.reason)
        judgements = tuple(map(self._judgement, score.judgements))
        return replace(stored, score=replace(score, reason=reason, judgements=judgements))

    def reference(self, text: str) -> tuple[str, bool]:
        """Cut what somebody says is right to what the mode allows, and tell whether that changed it."""
        kept = self._text(text)
        return kept, kept != text

    def error(self, asked: Asked) -> str | None:
        """Cut an answer's error to what the mode allows: providers quote the request they refuse."""
        error = asked.answer.error
        if error is None:
            return None
        if self.mode == "none" and asked.reply.error is not None:
            return "what the provider said is not kept (content: none)"
        return self._text(error)

    def _judgement(self, judgement: Judgement) -> Judgement:
        """Cut what a judge said, or its provider: both quote what they were shown."""
        if self.mode == "none":
            return replace(judgement, reason="what was said is not kept (content: none)")
        return replace(judgement, reason=self._text(judgement.reason[:MAX_REASON_CHARS]))

    def _text(self, text: str) -> str:
        kept = text if self.mode == "full" else self.redactor.redact_text(text)[0]
        return self.scrubber.scrub(kept)

    def _json(self, body: bytes) -> str:
        kept = body if self.mode == "full" else self.redactor.redact_json(body)[0]
        return self.scrubber.scrub(kept.decode("utf-8", "replace"))


class Comparer:
    """Makes a pair of a live and a candidate's answer. `evaluators` are the sets by task name, `default` among them.

    What is right for an exchange is what its users said, else what a golden case of the same prompt says.
    """

    def __init__(
        self,
        *,
        evaluators: Mapping[str, EvaluatorSet],
        prices: PriceBook,
        keeper: Keeper,
        golden: Golden = NOTHING,
    ) -> None:
        self._evaluators = evaluators
        self._golden = golden
        self._prices = prices
        self._keeper = keeper

    def scoring_worst_case_usd(self, leased: LeasedJob, body: JobBody) -> float:
        """Say what scoring one job's pair may cost at most; 0 where no model is asked. Takes time: not for the loop."""
        evaluators = self._evaluators.get(leased.job.task) or self._evaluators["default"]
        if not evaluators.costs_money:
            return 0.0
        primary = _primary_reply(body)
        if primary.outcome not in ENDED_WELL:
            return 0.0
        cost = price_exchange(leased.exchange, prices=self._prices)
        live = _primary_case(msgspec.json.decode(body.request), primary, leased.exchange, cost)
        return evaluators.worst_case_usd(live, candidate=leased.job.candidate)

    async def pair(self, leased: LeasedJob, body: JobBody, asked: Asked, *, redaction_changed: bool) -> PairResult:
        """Read the live answer, score both where both ended well, and keep what may be kept.

        Where the candidate failed or refused the request, the live answer is scored all the same: a refused request
        counts as quality 0 against it, and whether the evaluator would have applied is known only from it.
        """
        primary = await asyncio.to_thread(_primary_reply, body)
        cost = price_exchange(leased.exchange, prices=self._prices)
        scores: Sequence[StoredScore] = ()
        if primary.outcome in ENDED_WELL and asked.answer.outcome not in _GIVEN_UP:
            scores = await self._score(leased, body, primary, asked, cost)
        return PairResult(
            answer=replace(asked.answer, error=self._keeper.error(asked)),
            scores=tuple(self._keeper.score(score) for score in scores),
            content=await asyncio.to_thread(self._keeper.content, body, primary, asked.reply),
            redaction_changed=redaction_changed,
            primary_cost=cost,
            identical=_identical(primary, asked),
        )

    async def _score(
        self, leased: LeasedJob, body: JobBody, primary: Reply, asked: Asked, cost: Cost
    ) -> tuple[StoredScore, ...]:
        evaluators = self._evaluators.get(leased.job.task) or self._evaluators["default"]
        request = await asyncio.to_thread(msgspec.json.decode, body.request)
        expected = leased.expected
        if expected is None:
            expected = await asyncio.to_thread(self._golden.expected, request, task=leased.job.task)
        live = replace(_primary_case(request, primary, leased.exchange, cost), expected=expected)
        if asked.answer.outcome not in ENDED_WELL:
            return await evaluators.score_primary(live)
        candidate = replace(_candidate_case(request, asked, leased), expected=expected)
        return await evaluators.score_pair(live, candidate, dialect=body.dialect)


def _primary_reply(body: JobBody) -> Reply:
    return read_reply(body.dialect, body.response, status=body.response_status, streamed=body.response_streamed)


def _identical(primary: Reply, asked: Asked) -> bool | None:
    """Tell whether both said the same, word for word; None when one of them gave no answer."""
    if primary.outcome not in ENDED_WELL or asked.answer.outcome not in ENDED_WELL:
        return None
    said, again = (
        (reply.text, [(call.name, call.arguments) for call in reply.tool_calls]) for reply in (primary, asked.reply)
    )
    return said == again


def _primary_case(request: Mapping[str, Any], reply: Reply, exchange: ExchangeRecord, cost: Cost) -> EvalCase:
    return EvalCase(
        request=request,
        output=reply.text,
        tool_calls=reply.tool_calls,
        stop_reason=reply.stop_reason,
        usage=exchange.usage,
        latency_ms=exchange.latency_ms,
        ttft_ms=exchange.ttft_ms,
        cost_usd=cost.billed_usd,
        exchange_id=exchange.id,
        task=exchange.task,
        model=exchange.model,
        role="primary",
    )


def _candidate_case(request: Mapping[str, Any], asked: Asked, leased: LeasedJob) -> EvalCase:
    answer = asked.answer
    return EvalCase(
        request=request,
        output=asked.reply.text,
        tool_calls=asked.reply.tool_calls,
        stop_reason=asked.reply.stop_reason,
        usage=answer.usage,
        latency_ms=answer.latency_ms,
        ttft_ms=answer.ttft_ms,
        cost_usd=answer.cost.billed_usd,
        exchange_id=answer.exchange_id,
        task=leased.job.task,
        model=leased.job.candidate,  # by this name its money was reserved, also where the primary is asked again
        role="candidate",
    )


def _tool_calls(calls: Sequence[ToolCall]) -> bytes:
    return msgspec.json.encode([{"name": call.name, "arguments": call.arguments} for call in calls])
