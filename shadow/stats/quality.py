"""Quality out of stored scores: how good each answer was, and how two answers to one question differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shadow.records import Outcome
from shadow.stats.figures import finite, mean
from shadow.stats.rows import FAILURES
from shadow.verdict.headline import mean_quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shadow.stats.rows import Answer, ReadScore, ScoreKey

ALPHA = 0.05
"""The intervals of a model's quality miss with at most this probability, at every moment at once."""

PAIRWISE = "a pairwise evaluator gives no answer an absolute quality; see q_cand and q_prim of the comparison"

PairState = Literal["scored", "missing", "not_applicable", "failure", "opted_in", "redaction_changed", "unfinished"]
"""Why a pair counts or does not. `failure`: the candidate gave no answer (429, 5xx, timeout, broken stream), compared
apart. `unfinished`: it paused or was given up by us. Opted-in and redaction-changed pairs are shown, never compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One pair with its quality difference (candidate minus primary, -1 to 1), present exactly when it is `scored`."""

    state: PairState
    difference: float | None = None
    q_cand: float | None = None
    q_prim: float | None = None


class ScoreBook:
    """All scores of a window, asked by answer."""

    def __init__(self, scores: Mapping[ScoreKey, Sequence[ReadScore]]) -> None:
        self._scores = scores

    def of_primary(self, exchange_id: str) -> Sequence[ReadScore]:
        """Scores of the primary's answer."""
        return self._scores.get((exchange_id, ""), ())

    def of_candidate(self, answer: Answer) -> list[ReadScore]:
        """Scores of the candidate's answer and of the pair."""
        return list(self._scores.get((answer.exchange.id, answer.candidate), ()))

    def primary_quality(self, exchange_id: str) -> ReadScore | None:
        """Give the deciding evaluator's score of the primary's answer; None when there is none."""
        return _deciding(self.of_primary(exchange_id))

    def candidate_quality(self, answer: Answer) -> ReadScore | None:
        """Give the deciding evaluator's score of the candidate's answer, or of the pair; None when there is none."""
        return _deciding(self.of_candidate(answer))

    def judge(self, answer: Answer, *, pairwise: bool) -> Judged:
        """Say what a pair teaches. `pairwise`: the deciding evaluator compares answers (for refused requests)."""
        left_out = _left_out(answer)
        if left_out is not None:
            return Judged(state=left_out)
        if answer.call.outcome is Outcome.INCOMPATIBLE:
            return self._refused(answer, pairwise=pairwise)
        quality = self.candidate_quality(answer)
        if quality is None or quality.value is None:
            return Judged(state="not_applicable" if quality and quality.status == "not_applicable" else "missing")
        if quality.role == "pair":
            return Judged(state="scored", difference=quality.value)
        return _absolute(quality.value, self._primary_by(quality.evaluator, answer.exchange.id))

    def _refused(self, answer: Answer, *, pairwise: bool) -> Judged:
        """Judge a request the candidate cannot take at all: after a switch the app would get that 400: quality 0."""
        if pairwise:
            return Judged(state="scored", difference=-1.0)
        return _absolute(0.0, self.primary_quality(answer.exchange.id))

    def _primary_by(self, evaluator: str, exchange_id: str) -> ReadScore | None:
        return _deciding(score for score in self.of_primary(exchange_id) if score.evaluator == evaluator)


def quality_figures(
    answers: Sequence[Sequence[ReadScore]],
    *,
    conversations: Sequence[str],
    ended_well: int,
    not_counted: int,
    whose: str,
    is_compared: bool = False,
) -> dict[str, Any]:
    """`quality` of one model. `answers` are the scores of each counted answer that ended well, `conversations` whose.

    Only `scored` is averaged. `missing` are answers whose deciding score failed or is not there; answers to which the
    evaluator does not apply leave the population and are counted beside it. Both come oldest first: what an evaluator
    said in an older version than its newest is another measure and left out. `is_compared`: other answers are judged
    against these, pair by pair.
    """
    by_evaluator = _by_evaluator(answers)
    kept = [at for at, scores in enumerate(answers) if not _is_older(_deciding(scores), by_evaluator)]
    answers, conversations = [answers[at] for at in kept], [conversations[at] for at in kept]
    deciding = [_deciding(scores) for scores in answers]
    absolute = [score.value for score in deciding if score and score.value is not None and score.role != "pair"]
    inapplicable = [score for score in deciding if score is not None and score.status == "not_applicable"]
    pairwise = sum(score is not None and score.role == "pair" for score in deciding)
    missing = sum(score is None or score.status == "failed" for score in deciding)
    values = [
        (conversation, score.value)
        for conversation, score in zip(conversations, deciding, strict=True)
        if score and score.value is not None and score.role != "pair"
    ]
    return {
        "avg": mean(absolute),
        **_interval(values),
        "n": len(absolute),
        "missing": missing,
        "not_applicable": len(inapplicable),
        "not_counted": not_counted,
        "reason": _why(
            scored=len(absolute),
            is_pairwise=pairwise > 0 or is_compared,
            missing=missing,
            answers=len(answers),
            ended_well=ended_well,
            whose=whose,
            inapplicable=inapplicable,
        ),
        "by_evaluator": by_evaluator,
    }


def _is_older(score: ReadScore | None, by_evaluator: Mapping[str, Any]) -> bool:
    return score is not None and score.version != by_evaluator[score.evaluator]["versions"][-1]


def _interval(values: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Give the interval of the mean over conversations, each weighing the same: turns depend on one another."""
    by_conversation: dict[str, list[float]] = {}
    for conversation, value in values:
        by_conversation.setdefault(conversation, []).append(value)
    means = [sum(found) / len(found) for found in by_conversation.values()]
    if not means:
        return {"ci": None, "level": None, "conversations": 0, "conversation_avg": None}
    low, high = mean_quality(Counter(round(value, 2) for value in means), ALPHA)
    return {
        "ci": [low, high],
        "level": 1 - ALPHA,
        "conversations": len(means),
        "conversation_avg": mean(means),
    }


def feedback_figures(scores: Iterable[float | None]) -> dict[str, Any]:
    """What users said about a primary's answers, beside its evaluators: shown, and never about a candidate."""
    values = [value for score in scores if (value := finite(score)) is not None]
    return feedback_figures_of(n=len(values), average=mean(values))


def feedback_figures_of(*, n: int, average: float | None) -> dict[str, Any]:
    """Build the same from the number of scores and their mean."""
    return {
        "avg": average,
        "n": n,
        "missing": 0,
        "not_applicable": 0,
        "decides": False,
        "pairwise": False,
        "versions": ["1"],
    }


def _why(
    *,
    scored: int,
    is_pairwise: bool,
    missing: int,
    answers: int,
    ended_well: int,
    whose: str,
    inapplicable: Sequence[ReadScore],
) -> str | None:
    if scored:
        return None
    if is_pairwise:
        return PAIRWISE
    if not ended_well:
        return "no answer ended well yet"
    if not answers:
        return whose
    if missing:
        return f"none of the {answers} answers has a score: {missing} missing"
    told, _ = Counter(score.reason for score in inapplicable).most_common(1)[0]
    names = ", ".join(sorted({score.evaluator for score in inapplicable}))
    return f"the deciding evaluator ({names}) applies to none of the {answers} answers" + (f": {told}" if told else "")


def _by_evaluator(answers: Sequence[Sequence[ReadScore]]) -> dict[str, Any]:
    named: dict[str, list[ReadScore]] = {}
    for score in (score for scores in answers for score in scores):
        named.setdefault(score.evaluator, []).append(score)
    return {name: _one_evaluator(named[name]) for name in sorted(named)}


def _one_evaluator(told: Sequence[ReadScore]) -> dict[str, Any]:
    """Give the figures of the newest version alone: another one is another measure."""
    newest_first = list(dict.fromkeys(score.version for score in reversed(told)))
    scores = [score for score in told if score.version == newest_first[0]]
    values = [score.value for score in scores if score.value is not None]
    return {
        "avg": mean(values),
        "n": len(values),
        "missing": sum(score.status == "failed" for score in scores),
        "not_applicable": sum(score.status == "not_applicable" for score in scores),
        "decides": any(score.decides for score in scores),
        "pairwise": any(score.role == "pair" for score in scores),
        "versions": newest_first[::-1],
    }


def _left_out(answer: Answer) -> PairState | None:
    """Say why a pair is not scored whatever its scores are; None when they decide."""
    if not answer.counted:
        return "opted_in" if answer.opted_in else "redaction_changed"
    if answer.call.outcome in FAILURES:
        return "failure"
    settled = answer.call.ended_well or answer.call.outcome is Outcome.INCOMPATIBLE
    return None if settled else "unfinished"


def _absolute(q_cand: float, primary: ReadScore | None) -> Judged:
    if primary is None or primary.value is None:
        return Judged(state="not_applicable" if primary and primary.status == "not_applicable" else "missing")
    return Judged(state="scored", difference=q_cand - primary.value, q_cand=q_cand, q_prim=primary.value)


def _deciding(scores: Iterable[ReadScore]) -> ReadScore | None:
    return next((score for score in scores if score.decides), None)
