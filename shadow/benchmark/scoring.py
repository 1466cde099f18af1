"""Scores of a run's answers: each by itself, and beside the primary's where an evaluator compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shadow.dialects.untrusted import UnreadableError, decode_any
from shadow.evaluators import EvaluatorSet, PairEvaluator
from shadow.evaluators.base import AgainstPrimary, failed
from shadow.records import EvalCase, StoredScore, ToolCall
from shadow.runs import EvaluatorOfRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shadow.benchmark.asking import Attempts
    from shadow.records import Score
    from shadow.runs import Case, RunAnswer

NO_MONEY = "what scoring may cost does not fit under the run's bound any more"
NO_CONTENT = "the answer's content is not kept, so it cannot be scored any more"


NOT_KEPT = "what was said is not kept (content: none)"

MAX_REASON_CHARS = 2_000
"""Most that is kept of what a judge says in one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """The evaluators of every task; a task without its own uses the `default` ones."""

    sets: Mapping[str, EvaluatorSet]

    def of_task(self, task: str) -> EvaluatorSet:
        """Give a task's evaluators."""
        return self.sets.get(task) or self.sets["default"]

    def listed(self, tasks: Sequence[str]) -> dict[str, list[EvaluatorOfRun]]:
        """Name the evaluators that these tasks are scored by."""
        return {
            task: [
                EvaluatorOfRun(
                    name=member.name,
                    version=member.version,
                    quality=member.quality,
                    measures=member.measures,
                    absolute=member.absolute,
                )
                for member in self.of_task(task).members
            ]
            for task in sorted(set(tasks))
        }

    async def alone(self, case: Case, told: EvalCase) -> tuple[StoredScore, ...]:
        """Score one answer by every evaluator that needs no other; never raises."""
        scores = await self.of_task(case.task).score_primary(told)
        return tuple(replace(stored, role="candidate") for stored in scores)

    def compares(self, task: str) -> bool:
        """Tell whether a task has an evaluator that sets two answers side by side."""
        return self.of_task(task).compares

    async def beside(self, case: Case, primary: EvalCase, candidate: EvalCase) -> tuple[StoredScore, ...]:
        """Score an answer beside the primary's by every evaluator that does so; never raises."""
        return await self.of_task(case.task).score_beside(primary, candidate)

    def unscored(self, case: Case, answer: RunAnswer) -> bool:
        """Tell whether an answer lacks a score of an evaluator in its present version, or has one that failed."""
        return not self._wanted(case, beside=False) <= _there(answer)

    def uncompared(self, case: Case, answer: RunAnswer) -> bool:
        """Tell the same of the evaluators that set two answers side by side."""
        return not self._wanted(case, beside=True) <= _there(answer)

    def _wanted(self, case: Case, *, beside: bool) -> set[tuple[str, str]]:
        return {
            (member.name, member.version)
            for member in self.of_task(case.task).members
            if isinstance(member.evaluator, PairEvaluator | AgainstPrimary) == beside
        }

    def content_is_gone(self, case: Case) -> tuple[StoredScore, ...]:
        """Say of every evaluator that needs one answer that it cannot look at it."""
        return tuple(
            StoredScore(
                evaluator=member.name,
                version=member.version,
                quality=member.quality,
                role="candidate",
                score=failed(NO_CONTENT),
                measures=member.measures,
            )
            for member in self.of_task(case.task).members
            if not isinstance(member.evaluator, PairEvaluator | AgainstPrimary)
        )

    def over_budget(self, case: Case) -> tuple[StoredScore, ...]:
        """Say of every evaluator that needs one answer that its money did not fit any more."""
        return tuple(replace(stored, score=failed(NO_MONEY)) for stored in self.content_is_gone(case))


def kept_score(score: Score, keep: Callable[[str], str] | None) -> Score:
    """Cut a score's reason and what its judge said to what may be kept: both quote what they saw. None: nothing."""
    if keep is None:
        reason = "" if score.status == "scored" else score.reason
        said = tuple(replace(each, reason=NOT_KEPT) for each in score.judgements)
        return replace(score, reason=reason, judgements=said)
    said = tuple(replace(each, reason=keep(each.reason[:MAX_REASON_CHARS])) for each in score.judgements)
    return replace(score, reason=keep(score.reason), judgements=said)


def _there(answer: RunAnswer) -> set[tuple[str, str]]:
    return {(stored.evaluator, stored.version) for stored in answer.scores if stored.score.status != "failed"}


def told_of(case: Case, attempts: Attempts) -> EvalCase:
    """Make what an evaluator sees of a fresh answer."""
    reply, answer = attempts.asked.reply, attempts.asked.answer
    return EvalCase(
        request={**request_of(case), "model": answer.candidate},
        output=reply.text,
        tool_calls=reply.tool_calls,
        stop_reason=reply.stop_reason,
        expected=case.expected,
        usage=answer.usage,
        latency_ms=answer.latency_ms,
        ttft_ms=answer.ttft_ms,
        cost_usd=attempts.cost.billed_usd,
        exchange_id=case.id,
        task=case.task,
        model=answer.candidate,
    )


def told_again(case: Case, kept: RunAnswer) -> EvalCase | None:
    """Make the same of a stored answer; None when its content is not kept."""
    if kept.output is None or not case.request:
        return None
    answer = kept.answer
    return EvalCase(
        request={**request_of(case), "model": answer.candidate},
        output=kept.output,
        tool_calls=_calls(kept.tool_calls),
        stop_reason=answer.stop_reason,
        expected=case.expected,
        usage=answer.usage,
        latency_ms=answer.latency_ms,
        ttft_ms=answer.ttft_ms,
        cost_usd=kept.cost.billed_usd,
        exchange_id=case.id,
        task=case.task,
        model=answer.candidate,
    )


def request_of(case: Case) -> Mapping[str, Any]:
    """Read the request's JSON; empty when it is none."""
    try:
        request = decode_any(case.request)
    except UnreadableError:
        return {}
    return request if isinstance(request, dict) else {}


def _calls(text: str | None) -> tuple[ToolCall, ...]:
    try:
        calls = decode_any((text or "[]").encode())
    except UnreadableError:  # redaction may have cut it
        return ()
    return tuple(ToolCall(name=str(call["name"]), arguments=str(call["arguments"])) for call in calls)
