"""A candidate beside the primary it was measured against, pair by pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from shadow.stats.conversations import ConversationRules, Extent, extent
from shadow.stats.figures import difference, mean, nearest_rank, ratio, total
from shadow.stats.quality import NO_INTERVAL, Judged
from shadow.stats.rows import FAILURES, Answer, Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from shadow.records import Outcome
    from shadow.stats.quality import ScoreBook
    from shadow.stats.rows import Exchange

NOT_DECIDED = "not decided: verdicts are not built yet; the numbers beside this are what is known so far"

_COMPARED = frozenset({"scored", "missing", "not_applicable"})
"""Pairs in which both sides gave an answer, or the candidate could not take the request at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One exchange, the candidate's answer to it, and what the pair teaches."""

    answer: Answer
    judged: Judged
    conversation: Extent
    late: bool
    """A turn after its conversation had closed: shown, not counted."""

    @property
    def primary(self) -> Call:
        """The live call the candidate's is measured against."""
        return self.answer.exchange.call

    @property
    def counted(self) -> bool:
        """True when the pair enters the comparison, as a difference or as a failure."""
        return not self.late and (self.judged.state in _COMPARED or self.judged.state == "failure")


class Conversations:
    """The conversations of one task with one primary, and which of their turns count."""

    def __init__(self, exchanges: Sequence[Exchange], rules: ConversationRules, *, as_of: datetime) -> None:
        turns: dict[str, list[Exchange]] = {}
        for exchange in sorted(exchanges, key=lambda each: (each.started_at, each.id)):
            turns.setdefault(exchange.conversation, []).append(exchange)
        self._extents = {
            name: extent([turn.started_at for turn in found], rules, as_of=as_of) for name, found in turns.items()
        }
        self._turn_numbers = {turn.id: number for found in turns.values() for number, turn in enumerate(found)}

    def place(self, answer: Answer, judged: Judged) -> Pair:
        """Put a judged answer where it belongs in its conversation."""
        conversation = self._extents[answer.exchange.conversation]
        late = self._turn_numbers[answer.exchange.id] >= conversation.turns
        return Pair(answer=answer, judged=judged, conversation=conversation, late=late)


def comparison(
    *,
    primary: str | None,
    candidate: str,
    answers: Sequence[Answer],
    exchanges: Sequence[Exchange],
    scores: ScoreBook,
    conversations: Conversations,
    pairwise: bool,
    coverage: Mapping[str, Any],
    price_line: str | None,
    noise_floor: Mapping[str, Any],
    judge: Mapping[str, Any],
) -> dict[str, Any]:
    """Compare one candidate with one primary.

    `answers` are the candidate's, `exchanges` all of the primary's in the task. `price_line` is
    the line to add to `prices:` when the candidate's price is unknown, `judge` the block of `shadow.judge.figures`.
    """
    pairs = [conversations.place(answer, scores.judge(answer, pairwise=pairwise)) for answer in answers]
    counted = [pair for pair in pairs if pair.counted]
    scored = [pair for pair in counted if pair.judged.state == "scored"]
    answered = [pair for pair in counted if pair.answer.call.ended_well]
    by_conversation = _differences_by_conversation(scored)
    closed = [found for found in by_conversation if not found[0].conversation.open]
    return {
        "primary": primary,
        "candidate": candidate,
        "epoch": {"number": None, "started": None, "reason": "epochs are not built yet"},
        "pairs": sum(pair.judged.state in _COMPARED for pair in counted),
        "scored": len(scored),
        "conversations": len(closed),
        "open": len({pair.answer.exchange.conversation for pair in counted if pair.conversation.open}),
        "left_out": _left_out(pairs),
        "verdict": None,
        "why": _why(pairs, price_line=price_line),
        "add_to_config": price_line,
        "quality_diff": _quality_diff(by_conversation, closed),
        **_win_rates(scored, pairwise=pairwise),
        "cost_ratio": _cost_ratio(answered),
        "projected_saving_usd_per_month": {"value": None, "ci": None, "reason": "projections are not built yet"},
        "latency_diff_ms": _latency_diff(answered),
        "ttft_diff_ms": _ttft_diff(answered),
        "failure_rate": _failure_rate(exchanges, counted),
        "noise_floor": dict(noise_floor),
        "judge": dict(judge),
        "more_needed": {
            "conversations": {"low": None, "high": None},
            "days": None,
            "usd": None,
            "advice": None,
            "reason": "estimates come with the verdict",
        },
        "representative": _representative(counted),
        "coverage": dict(coverage),
    }


def _why(pairs: Sequence[Pair], *, price_line: str | None) -> str:
    if price_line is not None:
        return f"{NOT_DECIDED}; not shadowed: the price of this candidate is unknown, add {price_line}"
    return NOT_DECIDED if pairs else f"{NOT_DECIDED}; this candidate has no pairs in this window"


def _left_out(pairs: Sequence[Pair]) -> dict[str, int]:
    """Why answers are not among `scored`, with counts; `failure` ones are compared in `failure_rate`."""
    why = Counter("later_turn" if pair.late else pair.judged.state for pair in pairs)
    return {reason: count for reason, count in sorted(why.items()) if reason != "scored"}


def _differences_by_conversation(scored: Sequence[Pair]) -> list[list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for pair in scored:
        found.setdefault(pair.answer.exchange.conversation, []).append(pair)
    return list(found.values())


def _quality_diff(by_conversation: Sequence[Sequence[Pair]], closed: Sequence[Sequence[Pair]]) -> dict[str, Any]:
    """Each conversation weighs the same, however many turns it has: its turns are not independent of one another."""
    first_turns = [[pair for pair in pairs if pair.answer.exchange.first_turn] for pairs in by_conversation]
    return {
        "mean": _mean_of_means(by_conversation),
        "closed_mean": _mean_of_means(closed),
        "ci": None,
        "level": None,
        "first_turn": _mean_of_means([pairs for pairs in first_turns if pairs]),
        "reason": f"ci is null: {NO_INTERVAL}" if by_conversation else "no pair is scored yet",
    }


def _mean_of_means(by_conversation: Sequence[Sequence[Pair]]) -> float | None:
    means = [mean([_difference(pair) for pair in pairs]) for pairs in by_conversation]
    return mean([value for value in means if value is not None])


def _difference(pair: Pair) -> float:
    return pair.judged.difference or 0.0


def _win_rates(scored: Sequence[Pair], *, pairwise: bool) -> dict[str, Any]:
    """Shares of pairs, a difference below 0.005 being a tie; `q_*` are both sides' quality over the same pairs."""
    differences = [round(_difference(pair), 2) for pair in scored]
    win = ratio(sum(difference > 0 for difference in differences), len(differences))
    loss = ratio(sum(difference < 0 for difference in differences), len(differences))
    tie = ratio(sum(difference == 0 for difference in differences), len(differences))
    q_cand = mean([pair.judged.q_cand for pair in scored if pair.judged.q_cand is not None])
    q_prim = mean([pair.judged.q_prim for pair in scored if pair.judged.q_prim is not None])
    if pairwise and win is not None and tie is not None and loss is not None:
        q_cand, q_prim = win + tie / 2, loss + tie / 2
    return {"win_rate": win, "tie_rate": tie, "loss_rate": loss, "q_cand": q_cand, "q_prim": q_prim}


def _cost_ratio(answered: Sequence[Pair]) -> dict[str, Any]:
    """Candidate's cost by primary's over pairs that both answered, both at uncached prices."""
    both = [(pair.answer.call.uncached_usd, pair.primary.uncached_usd) for pair in answered]
    known = [(cand, prim) for cand, prim in both if cand is not None and prim is not None]
    value = ratio(total([cand for cand, _ in known]), total([prim for _, prim in known]))
    left_out = len(both) - len(known)
    if value is None:
        reason = (
            "the costs of both sides are known for no pair" if left_out else "no pair was answered by both sides yet"
        )
    else:
        reason = f"ci is null: {NO_INTERVAL}" + (f"; {left_out} pairs of unknown cost are left out" if left_out else "")
    return {"value": value, "ci": None, "n": len(known), "basis": "uncached", "reason": reason}


def _latency_diff(answered: Sequence[Pair]) -> dict[str, Any]:
    return _quantiles([difference(pair.answer.call.latency_ms, pair.primary.latency_ms) for pair in answered])


def _ttft_diff(answered: Sequence[Pair]) -> dict[str, Any]:
    return _quantiles([difference(pair.answer.call.ttft_ms, pair.primary.ttft_ms) for pair in answered])


def _quantiles(differences: Sequence[float | None]) -> dict[str, Any]:
    ordered = sorted(value for value in differences if value is not None)
    return {"n": len(ordered), "p50": nearest_rank(ordered, 50), "p95": nearest_rank(ordered, 95)}


def _failure_rate(exchanges: Sequence[Exchange], counted: Sequence[Pair]) -> dict[str, Any]:
    """Give the primary's share over its live traffic and the candidate's over its counted answers.

    A request the candidate cannot take at all is no failure here: it counts as quality 0.
    """
    return {
        "primary": _share_of_failures([exchange.call.outcome for exchange in exchanges]),
        "candidate": _share_of_failures([pair.answer.call.outcome for pair in counted]),
    }


def _share_of_failures(outcomes: Sequence[Outcome]) -> float | None:
    ended = [outcome for outcome in outcomes if outcome != "aborted"]
    return ratio(sum(outcome in FAILURES for outcome in ended), len(ended))


def _representative(counted: Sequence[Pair]) -> dict[str, Any]:
    """Describe the counted pairs: size of prompts, share with tools, and how many of the 24 UTC hours they began in."""
    exchanges = [pair.answer.exchange for pair in counted]
    sizes = sorted(exchange.call.tokens.total_input for exchange in exchanges if exchange.call.tokens is not None)
    return {
        "n": len(exchanges),
        "input_tokens_p50": nearest_rank(sizes, 50),
        "p95": nearest_rank(sizes, 95),
        "tools_share": ratio(sum(exchange.has_tools for exchange in exchanges), len(exchanges)),
        "hours": len({exchange.started_at.astimezone(UTC).hour for exchange in exchanges}),
    }
