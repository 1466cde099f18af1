"""What one conversation teaches about one candidate: its counted turns, each pair judged, averaged into one value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shadow.entry import Standing
from shadow.records import Outcome as Ending
from shadow.stats.figures import mean, total
from shadow.stats.quality import Judged, ScoreBook
from shadow.stats.rows import FAILURES, Answer, Row, read_answers, read_exchanges, read_scores
from shadow.verdict import Calls, faster, slo_difference

if TYPE_CHECKING:
    from datetime import datetime

    from shadow.stats.rows import ReadScore

NANO = 1_000_000_000
_UNFINISHED = frozenset({"pending", "leased", "sent"})
_OF_A_COMPARED_KIND = frozenset({"scored", "missing"})
SLO_GUARD = "latency SLO"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How an epoch judges: which evaluator in which version decides, and what else may not fall."""

    quality: str
    """Name of the deciding evaluator."""
    versions: Mapping[str, str]
    """Version of every evaluator of the task, the deciding one's among them."""
    definition: str
    """Fingerprint of everything about the evaluators: with another one another epoch begins."""
    pairwise: bool = False
    """The deciding evaluator compares two answers; no answer has a quality of its own."""
    format_only: bool = False
    """The deciding evaluator looks at the shape of answers, and the configuration does not say that this decides."""
    guards: Mapping[str, float] = field(default_factory=dict)
    """Evaluator -> by how much its scores may fall."""
    slo_ms: float | None = None
    """The candidate's answers may not come within this time less often than the primary's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Uncached costs (USD) and qualities of one conversation's pairs, added up; a failure has quality 0, and its cost.

    Of a pairwise evaluator, which gives no answer a quality of its own, both qualities are 0 and every pair is in.
    """

    pairs: int
    candidate_usd: float
    candidate_quality: float
    primary_usd: float
    primary_quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Turns the candidate was asked, by whether anything of their kind can be compared, whatever it answers.

    A call that failed tells it by the primary's score, and is in neither where that is not known.
    """

    compared: int = 0
    others: int = 0
    """The deciding evaluator does not apply to them, or what may be stored had to be changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one conversation taught. Shares lie in [0, 1], differences (candidate minus primary) in [-1, 1]."""

    standing: Standing
    turns: int = 0
    """Turns that count, asked or not."""
    pairs: int = 0
    """Turns both sides answered, or that the candidate could not take at all."""
    scored: int = 0
    difference: float | None = None
    """Mean over its scored turns; None where none is scored."""
    first_turn: float | None = None
    """The same over its first turn alone, which no earlier answer of the primary is part of."""
    missing: float = 0.0
    """Share of the turns to be scored whose score failed."""
    failures: float | None = None
    """Share of the candidate's answers that were none; None where it was not asked."""
    primary_failures: float | None = None
    """The same of the primary's live answers."""
    calls: Calls | None = None
    """The calls both shares are of; None in what an older version wrote."""
    kinds: Kinds | None = None
    """Likewise."""
    guards: Mapping[str, float] = field(default_factory=dict)
    candidate_usd: float | None = None
    """Mean uncached cost of a turn; None where one is not known."""
    primary_usd: float | None = None
    reserve_usd: float = 0.0
    """The most that was set aside for one of its turns before it was asked."""
    totals: Totals | None = None
    """None where a cost is not known, or no pair has qualities."""
    faster: float | None = None
    """Mean of 1 where the candidate was faster, -1 where it was slower; it is measured off the live path."""
    faster_ttft: float | None = None
    """The same of the first token, where both sides streamed."""
    spent_usd: float = 0.0
    """What asking and scoring its turns was billed, as far as it is known."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Turns that do not count, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One turn that counts: the exchange's row, the candidate's answer, and what it was judged to be."""

    row: Row
    answer: Answer
    judged: Judged


def conversation_outcome(
    rows: Sequence[Row],
    scores: Sequence[Row],
    *,
    judging: Judging,
    ends_at: datetime | None,
    given_up: bool = False,
) -> Outcome:
    """Say what a closed conversation taught.

    `rows` are its counted turns as `shadow.store.base.Book.turns` gives them, `scores` those of its answers. `ends_at`
    is when the next epoch began: what was asked later belongs to neither. `given_up`: what is to come is missing.
    """
    unfinished = sum(row["state"] in _UNFINISHED for row in rows)
    if unfinished and not given_up:
        return Outcome(standing="pending", turns=len(rows))
    exchanges = read_exchanges(rows)
    answers = {
        answer.exchange.id: answer
        for answer in read_answers([_answer_row(row) for row in rows if row["asked_at"] is not None], exchanges)
    }
    book = _book(scores, judging)
    counted: list[_Asked] = []
    left_out: Counter[str] = Counter()
    for row in rows:
        found = _turn(row, answers.get(row["id"]), book, scores, judging, ends_at=ends_at)
        if isinstance(found, _Asked):
            counted.append(found)
        elif found is not None:
            left_out[found] += 1
    outcome = _outcome(counted, left_out, book, judging, unfinished=unfinished)
    calls = _calls(rows, counted)
    scoring_usd = sum(row["cost_usd"] for row in scores if row["candidate"])
    asking_usd = math.fsum(answer.call.billed_usd or 0.0 for answer in answers.values())
    return replace(
        outcome,
        turns=len(rows),
        failures=calls.failed / calls.asked if calls.asked else None,
        primary_failures=calls.primary_failed / calls.primary if calls.primary else None,
        calls=calls,
        spent_usd=scoring_usd + asking_usd,
    )


def _book(scores: Sequence[Row], judging: Judging) -> ScoreBook:
    """Only scores of this epoch's evaluators in this epoch's versions."""
    return ScoreBook(read_scores(row for row in scores if judging.versions.get(row["evaluator"]) == row["version"]))


def _turn(
    row: Row,
    answer: Answer | None,
    book: ScoreBook,
    scores: Sequence[Row],
    judging: Judging,
    *,
    ends_at: datetime | None,
) -> _Asked | str | None:
    """Give the turn, or why it does not count; None where its answer is still to come."""
    if answer is None:
        return None if row["state"] in _UNFINISHED else str(row["reason"] or row["state"])
    if ends_at is not None and row["asked_at"] >= ends_at:
        return "epoch_changed"
    judged = book.judge(answer, pairwise=judging.pairwise)
    if judged.state in {"redaction_changed", "opted_in", "unfinished"}:
        return judged.state
    if judged.state == "missing" and _scored_otherwise(answer, scores, judging):
        return "other_evaluator"
    return _Asked(row=row, answer=answer, judged=judged)


def _scored_otherwise(answer: Answer, scores: Sequence[Row], judging: Judging) -> bool:
    """The pair was scored before or after the evaluators changed: it says nothing in this epoch's terms."""
    deciding = [
        row
        for row in scores
        if row["exchange_id"] == answer.exchange.id and row["quality"] and row["role"] != "primary"
    ]
    return bool(deciding) and all(
        row["evaluator"] != judging.quality or row["version"] != judging.versions[judging.quality] for row in deciding
    )


def _outcome(
    asked: Sequence[_Asked], left_out: Counter[str], book: ScoreBook, judging: Judging, *, unfinished: int
) -> Outcome:
    states = Counter(turn.judged.state for turn in asked)
    scored, failures, missing = states["scored"], states["failure"], states["missing"] + unfinished
    differences = [(turn.row, turn.judged.difference) for turn in asked if turn.judged.difference is not None]
    settled = scored or missing or failures
    both = [(turn.answer.call, turn.answer.exchange.call) for turn in asked if turn.answer.call.ended_well]
    return Outcome(
        standing="settled" if settled else "left_out",
        pairs=scored + states["missing"] + states["not_applicable"],
        scored=scored,
        difference=mean([value for _, value in differences]),
        first_turn=mean([value for row, value in differences if row["first_turn"]]),
        missing=missing / (scored + missing) if missing else 0.0,
        kinds=_kinds(asked, left_out, book),
        guards=_guards(asked, book, judging) if settled else {},
        candidate_usd=_mean_known([turn.answer.call.uncached_usd for turn in asked]),
        primary_usd=_mean_known([turn.answer.exchange.call.uncached_usd for turn in asked]),
        reserve_usd=max((turn.row["asking_nano_usd"] for turn in asked), default=0) / NANO,
        totals=_totals(asked, book, judging),
        faster=_mean_faster([(call.latency_ms, other.latency_ms) for call, other in both]),
        faster_ttft=_mean_faster([(call.ttft_ms, other.ttft_ms) for call, other in both]),
        left_out=dict(sorted((left_out + Counter({"not_applicable": states["not_applicable"]})).items())),
    )


def _calls(rows: Sequence[Row], asked: Sequence[_Asked]) -> Calls:
    """Count both sides' calls and failures; a hang-up of the client says nothing about the primary."""
    endings = [Ending(row["outcome"]) for row in rows]
    ended = [ending for ending in endings if ending is not Ending.ABORTED]
    return Calls(
        asked=len(asked),
        failed=sum(turn.judged.state == "failure" for turn in asked),
        primary=len(ended),
        primary_failed=sum(ending in FAILURES for ending in ended),
        refused=sum(turn.answer.call.outcome is Ending.INCOMPATIBLE for turn in asked),
    )


def _kinds(asked: Sequence[_Asked], left_out: Counter[str], book: ScoreBook) -> Kinds:
    states = Counter(_kind(turn, book) for turn in asked)
    compared = sum(states[state] for state in _OF_A_COMPARED_KIND)
    return Kinds(compared=compared, others=states["not_applicable"] + left_out["redaction_changed"])


def _kind(turn: _Asked, book: ScoreBook) -> str:
    """Say as what a turn would count had the candidate answered: where it did not, as the primary's answer does."""
    if turn.judged.state != "failure":
        return turn.judged.state
    primary = book.primary_quality(turn.answer.exchange.id)
    return "unknown" if primary is None else {"failed": "missing"}.get(primary.status, primary.status)


def _guards(asked: Sequence[_Asked], book: ScoreBook, judging: Judging) -> dict[str, float]:
    found: dict[str, list[float | None]] = {
        name: [_difference_by(name, book, turn.answer) for turn in asked] for name in judging.guards
    }
    if judging.slo_ms is not None:
        found[SLO_GUARD] = [_within_slo(turn.answer, judging.slo_ms) for turn in asked]
    means = {name: mean([value for value in values if value is not None]) for name, values in sorted(found.items())}
    return {name: value for name, value in means.items() if value is not None}


def _difference_by(name: str, book: ScoreBook, answer: Answer) -> float | None:
    candidate = _scored(book.of_candidate(answer), name)
    if candidate is None or candidate.value is None:
        return None
    if candidate.role == "pair":
        return candidate.value
    primary = _scored(book.of_primary(answer.exchange.id), name)
    return None if primary is None or primary.value is None else candidate.value - primary.value


def _scored(scores: Sequence[ReadScore], name: str) -> ReadScore | None:
    return next((score for score in scores if score.evaluator == name and score.status == "scored"), None)


def _within_slo(answer: Answer, slo_ms: float) -> float | None:
    """An answer that never came was not in time."""
    primary, candidate = answer.exchange.call.latency_ms, answer.call.latency_ms
    if primary is None:
        return None
    if not answer.call.ended_well or candidate is None:
        candidate = math.inf
    return slo_difference(candidate, primary, slo_ms=slo_ms)


def _mean_faster(times: Sequence[tuple[float | None, float | None]]) -> float | None:
    return mean([faster(one, other) for one, other in times if one is not None and other is not None])


def _totals(asked: Sequence[_Asked], book: ScoreBook, judging: Judging) -> Totals | None:
    """Add up the pairs whose qualities are known; None where there is none, or a cost of one is not known."""
    pairs = []
    for turn in asked:
        qualities = (0.0, 0.0) if judging.pairwise else _qualities(turn, book)
        if qualities is not None:
            pairs.append((turn.answer.call.uncached_usd, turn.answer.exchange.call.uncached_usd, *qualities))
    costs = [_sum_known([pair[side] for pair in pairs]) for side in (0, 1)]
    if costs[0] is None or costs[1] is None:
        return None
    return Totals(
        pairs=len(pairs),
        candidate_usd=costs[0],
        candidate_quality=math.fsum(pair[2] for pair in pairs),
        primary_usd=costs[1],
        primary_quality=math.fsum(pair[3] for pair in pairs),
    )


def _qualities(turn: _Asked, book: ScoreBook) -> tuple[float, float] | None:
    """Candidate's and primary's quality; 0 for an answer that never came, where the primary's could be judged."""
    judged = turn.judged
    if judged.state == "failure":
        primary = book.primary_quality(turn.answer.exchange.id)
        return None if primary is None or primary.value is None else (0.0, primary.value)
    return None if judged.q_cand is None or judged.q_prim is None else (judged.q_cand, judged.q_prim)


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def _sum_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return total(known) if len(known) == len(values) else None


def _answer_row(row: Row) -> Row:
    """Give the candidate's answer of a turn as the stats read it."""
    own: dict[str, Any] = {
        name: row[f"candidate_{name}"] for name in ("outcome", "latency_ms", "ttft_ms", "streamed", "input_tokens")
    }
    costs = {name: row[f"candidate_{name}"] for name in ("cost_billed_usd", "cost_uncached_usd")}
    tokens = {"cache_read_tokens": 0, "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0, "output_tokens": 0}
    fixed = {name: row[name] for name in ("candidate", "counted", "redaction_changed")}
    return {"exchange_id": row["id"], **fixed, **own, **costs, **tokens}
