"""A candidate beside the primary it was measured against, pair by pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from shadow.stats.conversations import ConversationRules, Extent, extent
from shadow.stats.figures import difference, finite, mean, nearest_rank, ratio, total
from shadow.stats.quality import Judged
from shadow.stats.rows import FAILURES, Answer, Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from shadow.records import Outcome
    from shadow.stats.quality import ScoreBook
    from shadow.stats.rows import Exchange

NO_EPOCH = "no verdict yet: an epoch begins with the first sampled conversation"

NO_INTERVAL = "of this window alone: an interval comes with the first conversation that enters the epoch"

MIN_HOURS = 1.0
"""Less traffic than that is no basis for a month."""

HOURS_PER_MONTH = 730.5
"""A twelfth of a year of 365.25 days."""

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
    epoch: Mapping[str, Any],
    as_of: datetime,
    price_line: str | None,
    noise_floor: Mapping[str, Any],
    judge: Mapping[str, Any],
) -> dict[str, Any]:
    """Compare one candidate with one primary.

    `answers` are the candidate's, `exchanges` all of the primary's in the task. `epoch` is what the ledger knows about
    both, or `no_epoch()`. `price_line` is the line to add to `prices:` when the candidate's price is unknown, `judge`
    the block of `shadow.judge.figures`.
    """
    pairs = [conversations.place(answer, scores.judge(answer, pairwise=pairwise)) for answer in answers]
    counted = [pair for pair in pairs if pair.counted]
    scored = [pair for pair in counted if pair.judged.state == "scored"]
    answered = [pair for pair in counted if pair.answer.call.ended_well]
    by_conversation = _differences_by_conversation(scored)
    figures = told(epoch, _window(by_conversation, counted, answered))
    return {
        "primary": primary,
        "candidate": candidate,
        **figures,
        "switch": epoch.get("switch"),
        "why": why(epoch["why"], pairs=len(pairs), price_line=price_line),
        "projected_saving_usd_per_month": _projected_saving(exchanges, figures["cost_ratio"], as_of=as_of),
        "pairs": sum(pair.judged.state in _COMPARED for pair in counted),
        "scored": len(scored),
        "left_out": _left_out(pairs),
        "add_to_config": price_line,
        **_win_rates(scored, pairwise=pairwise),
        "latency_diff_ms": _latency_diff(answered),
        "ttft_diff_ms": _ttft_diff(answered),
        "failure_rate": _failure_rate(exchanges, counted),
        "noise_floor": dict(noise_floor),
        "judge": dict(judge),
        "representative": _representative(counted),
        "coverage": dict(coverage),
    }


def no_epoch() -> dict[str, Any]:
    """Say that nothing is decided, and why, where a comparison has no epoch yet."""
    more = {"conversations": {"low": None, "high": None}, "days": None, "usd": None, "advice": None}
    return {
        "epoch": {"number": None, "started": None, "reason": NO_EPOCH},
        "verdict": None,
        "why": NO_EPOCH,
        "more_needed": {**more, "reason": NO_EPOCH},
        "proofs": [],
        "guards": {},
        "missing": {"conversations": 0.0, "share": None, "effective_margin": None},
        "entry": None,
        "spent_usd": None,
        "stopped": {"because": None, "at": None},
        "ended": None,
    }


def told(epoch: Mapping[str, Any], window: Mapping[str, Any]) -> dict[str, Any]:
    """Put both together: what the epoch does not know yet is told of the window, and `scope` says which is which."""
    known = {
        name: epoch[name]
        for name in epoch
        if name not in {"task", "primary", "candidate", "pairs"} and not _is_empty(epoch[name])
    }
    of_window = [name for name in window if name not in known]
    return {
        **window,
        **known,
        "scope": {"epoch": sorted(known), "window": ["all other fields", *of_window]},
        "window": dict(window),
    }


def _is_empty(figures: Any) -> bool:
    """Tell whether these are a mean or a ratio of nothing."""
    return isinstance(figures, dict) and figures.get("n") == 0


def why(decided: str, *, pairs: int, price_line: str | None) -> str:
    """Say why there is this verdict, or that the candidate cannot be asked for want of a price."""
    if price_line is not None and not pairs:
        return f"{decided}; not shadowed: the price of this candidate is unknown, add {price_line}"
    return decided


def _projected_saving(
    exchanges: Sequence[Exchange], cost_ratio: Mapping[str, Any], *, as_of: datetime
) -> dict[str, Any]:
    known = [cost for exchange in exchanges if (cost := exchange.call.uncached_usd) is not None]
    began = min((exchange.started_at for exchange in exchanges), default=as_of)
    return projected_saving(total(known), cost_ratio, hours=(as_of - began).total_seconds() / 3600)


def projected_saving(spent: float | None, cost_ratio: Mapping[str, Any], *, hours: float) -> dict[str, Any]:
    """Project this window's live cost to a month, times what the candidate saves of it in the epoch.

    The window's time begins with its first exchange: a gateway of yesterday says nothing about the days before.
    """
    value, ci = cost_ratio["value"], cost_ratio["ci"]
    figures = {"value": None, "ci": None, "level": None, "live_usd_per_month": None, "hours": hours, "reason": None}
    if spent is None or hours < MIN_HOURS:
        return {
            **figures,
            "reason": f"needs {MIN_HOURS:g} h of priced live traffic in this window, not {hours:.1f} h",
        }
    per_month = finite(spent / hours * HOURS_PER_MONTH)
    figures |= {"live_usd_per_month": per_month}
    if value is None or per_month is None:
        return {**figures, "reason": "the cost ratio is not known yet"}
    interval = None if ci is None else [per_month * (1 - ci[1]), per_month * (1 - ci[0])]
    return {**figures, "value": finite(per_month * (1 - value)), "ci": interval, "level": cost_ratio["level"]}


def _left_out(pairs: Sequence[Pair]) -> dict[str, int]:
    """Why answers are not among `scored`, with counts; `failure` ones are compared in `failure_rate`."""
    why = Counter("later_turn" if pair.late else pair.judged.state for pair in pairs)
    return {reason: count for reason, count in sorted(why.items()) if reason != "scored"}


def _differences_by_conversation(scored: Sequence[Pair]) -> list[list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for pair in scored:
        found.setdefault(pair.answer.exchange.conversation, []).append(pair)
    return list(found.values())


def _window(
    by_conversation: Sequence[Sequence[Pair]], counted: Sequence[Pair], answered: Sequence[Pair]
) -> dict[str, Any]:
    """Give what this window tells, conversations that are still open included; none of it is a verdict's.

    Each conversation weighs the same, however many turns it has: its turns are not independent of one another.
    """
    first_turns = [[pair for pair in pairs if pair.answer.exchange.first_turn] for pairs in by_conversation]
    return {
        "conversations": sum(not pairs[0].conversation.open for pairs in by_conversation),
        "open": len({pair.answer.exchange.conversation for pair in counted if pair.conversation.open}),
        "quality_diff": {
            "mean": _mean_of_means(by_conversation),
            "ci": None,
            "level": None,
            "n": len(by_conversation),
            "first_turn": _mean_of_means([pairs for pairs in first_turns if pairs]),
            "reason": NO_INTERVAL if by_conversation else "no pair is scored yet",
        },
        "cost_ratio": _cost_ratio(answered),
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
    return cost_ratio_figures(value, n=len(known), left_out=len(both) - len(known))


def cost_ratio_figures(value: float | None, *, n: int, left_out: int) -> dict[str, Any]:
    """Give a ratio of costs of the window, or why there is none."""
    if value is None:
        reason = (
            "the costs of both sides are known for no pair" if left_out else "no pair was answered by both sides yet"
        )
    else:
        reason = NO_INTERVAL + (f"; {left_out} pairs of unknown cost are left out" if left_out else "")
    return {"value": value, "ci": None, "level": None, "n": n, "basis": "uncached", "reason": reason}


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
