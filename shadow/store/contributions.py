"""What stored rows add to the rollups: pure functions from rows to sums.

What a row adds depends on nothing but the rows of its exchange (a *bundle*), so every change is told as a delta: what
the bundle adds after the change, less what it added before. Whatever the order of writes, retries and compactions, the
sum of all deltas is what the raw rows say, which `db rebuild-rollups` checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shadow.records import ENDED_WELL, FAILURES, Outcome
from shadow.rollups import WHOLE, Deltas, Key, Row, Sums, minute_of, score_detail
from shadow.store.judged import add_judged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from shadow.records import ExchangeRecord

_FREE = frozenset({Outcome.ERROR_HTTP, Outcome.INCOMPATIBLE})
"""Refused by status: no provider bills these, so without token counts they cost nothing."""
_NOT_CONNECTED = "connect"
"""Our own error where no connection came about: nothing was sent, nothing is billed."""
_OUTCOMES = {outcome: f"outcome.{outcome}" for outcome in Outcome}
_ENDS = {outcome: (name, outcome in ENDED_WELL) for outcome, name in _OUTCOMES.items()}
_JOB_STATES = {"pending": "job.pending", "leased": "job.pending", "sent": "job.sent", "done": "job.sent"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One exchange's rows: of tables `exchange`, `shadow_job`, `shadow_answer`, and what was said of the answers."""

    exchange: Row
    jobs: Sequence[Row] = ()
    answers: Sequence[Row] = ()
    scores: Sequence[Row] = ()
    judgements: Sequence[Row] = ()
    labels: Sequence[Row] = ()
    feedback: Sequence[Row] = ()


PARTS = ("jobs", "answers", "scores", "judgements", "labels", "feedback")
"""The parts of a bundle beside the exchange itself."""


def bundles(exchanges: Iterable[Row], parts: Mapping[str, Iterable[Row]]) -> list[Bundle]:
    """Put the rows of several exchanges together; `parts` are those of PARTS by name."""
    by_exchange: dict[str, dict[str, list[Row]]] = {}
    for name, rows in parts.items():
        for row in rows:
            by_exchange.setdefault(row["exchange_id"], {}).setdefault(name, []).append(row)
    return [Bundle(exchange=exchange, **by_exchange.get(exchange["id"], {})) for exchange in exchanges]


def add_exchange(deltas: Deltas, record: ExchangeRecord, *, model: str | None) -> None:
    """Add an exchange that has no jobs: the way of nearly all, so it takes the shortest. `model` is as stored."""
    if record.dialect is None and not record.eligible:
        return
    sums = deltas.at(Key(minute_of(record.started_at), record.task, model, ""))
    numbers, usage, outcome = sums.numbers, record.usage, record.outcome
    if record.eligible:
        numbers["eligible"] += 1
    if record.dialect is None:
        return
    name, ended_well = _ENDS[outcome]
    numbers["requests"] += 1
    numbers[name] += 1
    _add_overhead(sums, record.overhead_us)
    if record.client_retry:
        numbers["retries"] += 1
    if ended_well:
        if isfinite(record.latency_ms):
            sums.observe("latency_ms", record.latency_ms)
        if record.streamed and record.ttft_ms is not None and isfinite(record.ttft_ms):
            sums.observe("ttft_ms", record.ttft_ms)
    if usage is not None:
        numbers["tokens.input"] += usage.input
        numbers["tokens.cache_read"] += usage.cache_read
        numbers["tokens.cache_write"] += usage.cache_write_5m + usage.cache_write_1h
        numbers["tokens.output"] += usage.output
        return
    numbers["tokens.unknown"] += ended_well
    if outcome in _FREE or record.gateway_error == _NOT_CONNECTED:
        numbers["billed.n"] += 1
        numbers["billed.first_tries"] += not record.client_retry
        numbers["billed.well"] += ended_well
        numbers["uncached.n"] += 1


def add_price(deltas: Deltas, exchange: Row, *, billed_usd: float | None, uncached_usd: float | None) -> None:
    """Add what a price decision changes about an exchange with token counts that no candidate answered."""
    if exchange["dialect"] is None:
        return
    call = _call_of({**exchange, "cost_billed_usd": billed_usd, "cost_uncached_usd": uncached_usd})
    sums = deltas.at(Key(minute_of(exchange["started_at"]), exchange["task"], exchange["model"], ""))
    _add_costs(sums.numbers, call, is_retry=bool(exchange["client_retry"]))


def add_move(
    deltas: Deltas,
    of: Row,
    candidate: str,
    *,
    before: tuple[str, str | None],
    after: tuple[str, str | None],
    counted: bool,
) -> None:
    """Add that a job went from one state (and reason) to another; `of`: its exchange's started_at, task, model."""
    if counted:
        numbers = deltas.at(Key(minute_of(of["started_at"]), of["task"], of["model"], candidate)).numbers
        numbers[job_measure(*before)] -= 1
        numbers[job_measure(*after)] += 1


def add_bundle(deltas: Deltas, bundle: Bundle) -> None:
    """Add an exchange with all that belongs to it."""
    exchange = bundle.exchange
    minute = minute_of(exchange["started_at"])

    def key(candidate: str, detail: str = WHOLE) -> Key:
        return Key(minute, exchange["task"], exchange["model"], candidate, detail)

    if exchange["eligible"]:
        deltas.at(key("")).numbers["eligible"] += 1
    for job in bundle.jobs:
        if job["counted"]:
            deltas.at(key(job["candidate"])).numbers[job_measure(job["state"], job["reason"])] += 1
    add_judged(deltas, bundle)
    if exchange["dialect"] is None:
        return
    read = _Read(bundle)
    _add_call(deltas.at(key("")), read.primary)
    _add_overhead(deltas.at(key("")), exchange["overhead_us"])
    read.add_primary_quality(deltas.at(key("")))
    for answer in read.answers:
        sums = deltas.at(key(answer.candidate))
        _add_call(sums, answer.call)
        read.add_candidate_quality(sums, answer)
        read.add_pair(sums, answer)
    for candidate, score, in_population in read.scores_to_keep():
        _add_score(
            deltas.at(key(candidate, score_detail(score.evaluator, score.version))), score, in_population=in_population
        )


def job_measure(state: str, reason: str | None) -> str:
    """Name the sum in which a job of this state is counted."""
    return _JOB_STATES.get(state) or f"job.{state}.{reason or 'unknown'}"


# --- one call ---


class _Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One question put to one model, live or as a shadow, and how it ended. Costs are USD, None when not known."""

    outcome: str
    latency_ms: float | None
    ttft_ms: float | None
    tokens: tuple[int, int, int, int] | None
    """Fresh input, cache read, cache write, output."""
    billed_usd: float | None
    uncached_usd: float | None
    is_retry: bool = False

    @property
    def ended_well(self) -> bool:
        return self.outcome in ENDED_WELL


def _add_call(sums: Sums, call: _Call) -> None:
    numbers = sums.numbers
    ended_well = call.ended_well
    numbers["requests"] += 1
    numbers[_OUTCOMES[call.outcome]] += 1  # type: ignore[index]  # a StrEnum's member and its value are one key
    if call.is_retry:
        numbers["retries"] += 1
    if ended_well:
        if call.latency_ms is not None:
            sums.observe("latency_ms", call.latency_ms)
        if call.ttft_ms is not None:
            sums.observe("ttft_ms", call.ttft_ms)
    if call.tokens is not None:
        numbers["tokens.input"] += call.tokens[0]
        numbers["tokens.cache_read"] += call.tokens[1]
        numbers["tokens.cache_write"] += call.tokens[2]
        numbers["tokens.output"] += call.tokens[3]
    elif ended_well:
        numbers["tokens.unknown"] += 1
    _add_costs(numbers, call, is_retry=call.is_retry)


def _add_overhead(sums: Sums, overhead_us: int | None) -> None:
    if overhead_us is not None:
        sums.observe("overhead_ms", overhead_us / 1000)


def _add_costs(numbers: dict[str, float], call: _Call, *, is_retry: bool) -> None:
    if call.billed_usd is not None:
        numbers["billed.n"] += 1
        numbers["billed.first_tries"] += not is_retry
        numbers["billed.well"] += call.ended_well
        numbers["billed.sum"] += call.billed_usd
    if call.uncached_usd is not None:
        numbers["uncached.n"] += 1
        numbers["uncached.sum"] += call.uncached_usd
        numbers["uncached.sq"] += call.uncached_usd * call.uncached_usd


def _call_of(row: Row, *, is_retry: bool = False) -> _Call:
    outcome, tokens = row["outcome"], _tokens_of(row)
    unbilled = outcome in _FREE or row.get("gateway_error") == _NOT_CONNECTED
    free = 0.0 if tokens is None and unbilled else None
    billed, uncached = _finite(row["cost_billed_usd"]), _finite(row["cost_uncached_usd"])
    return _Call(
        outcome=outcome,
        latency_ms=_finite(row["latency_ms"]),
        ttft_ms=_finite(row["ttft_ms"]) if row["streamed"] else None,
        tokens=tokens,
        billed_usd=free if billed is None else billed,
        uncached_usd=free if uncached is None else uncached,
        is_retry=is_retry,
    )


def _tokens_of(row: Row) -> tuple[int, int, int, int] | None:
    if row["input_tokens"] is None:
        return None
    cache_write = row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"]
    return (row["input_tokens"], row["cache_read_tokens"], cache_write, row["output_tokens"])


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


# --- scores and pairs ---


class _Score(NamedTuple):
    """One evaluator's word. A value outside the evaluator's range is `failed`, never bent into it."""

    evaluator: str
    version: str
    decides: bool
    role: str
    status: str
    value: float | None
    cost_usd: float


class _Answer(NamedTuple):
    """A candidate's answer; `counted` is false for opted-in exchanges and copies that redaction changed."""

    candidate: str
    call: _Call
    opted_in: bool
    redaction_changed: bool
    scores: list[_Score]

    @property
    def counted(self) -> bool:
        return not self.opted_in and not self.redaction_changed

    @property
    def deciding(self) -> _Score | None:
        return _deciding(self.scores)


class _Read:
    """A bundle, understood."""

    def __init__(self, bundle: Bundle) -> None:
        exchange = bundle.exchange
        self._exchange = exchange
        scores: dict[str, list[_Score]] = {}
        for row in sorted(bundle.scores, key=lambda row: (row["candidate"], row["evaluator"], row["version"])):
            scores.setdefault(row["candidate"], []).append(_score_of(row))
        opted_in = {job["candidate"]: not job["counted"] for job in bundle.jobs}
        self.primary = _call_of(exchange, is_retry=bool(exchange["client_retry"]))
        self.answers = [
            _Answer(
                candidate=row["candidate"],
                call=_call_of(row),
                opted_in=opted_in[row["candidate"]],
                redaction_changed=bool(row["redaction_changed"]),
                scores=scores.get(row["candidate"], []),
            )
            for row in bundle.answers
            if row["candidate"] in opted_in
        ]
        self._primary_scores = scores.get("", [])
        self._primary_quality = _deciding(self._primary_scores)
        self._primary_counts = self.primary.ended_well and any(answer.counted for answer in self.answers)

    def add_primary_quality(self, sums: Sums) -> None:
        """Add what the evaluators say of the primary's answer, when it stands beside a counted one of a candidate."""
        if not self._primary_scores or not self.primary.ended_well:
            return
        if not self._primary_counts:
            sums.numbers["quality.not_counted"] += 1
            return
        _add_quality(sums, self._primary_quality)
        if self._primary_quality is not None and self._primary_quality.value is not None:
            _add_graded(sums, self.primary, self._primary_quality.value)

    def add_candidate_quality(self, sums: Sums, answer: _Answer) -> None:
        """Add what the evaluators say of one candidate's answer."""
        for score in answer.scores:
            sums.numbers["scoring_usd"] += score.cost_usd
        if answer.deciding is not None and answer.deciding.role == "pair":
            sums.numbers["decided_by_pair"] += 1
        if answer.call.ended_well:
            if answer.counted:
                _add_quality(sums, answer.deciding)
            else:
                sums.numbers["quality.not_counted"] += 1
        quality = self._quality_of(answer) if answer.counted else None
        if quality is not None:
            _add_graded(sums, answer.call, quality)

    def _quality_of(self, answer: _Answer) -> float | None:
        """Absolute quality of a counted answer; 0 for a failure, unless the evaluator would not have applied anyway."""
        if answer.call.outcome in FAILURES or answer.call.outcome == Outcome.INCOMPATIBLE:
            primary = self._primary_quality
            return 0.0 if primary is None or primary.status == "scored" else None
        score = answer.deciding
        return score.value if score is not None and score.role != "pair" else None

    def scores_to_keep(self) -> Iterator[tuple[str, _Score, bool]]:
        """Give candidate ("" for the primary), score, and whether it is among those that are averaged."""
        for score in self._primary_scores:
            yield "", score, self._primary_counts
        for answer in self.answers:
            for score in answer.scores:
                yield answer.candidate, score, answer.counted and answer.call.ended_well

    def add_pair(self, sums: Sums, answer: _Answer) -> None:
        """Add what both answers together teach."""
        state, difference, q_cand, q_prim = self._judge(answer)
        numbers = sums.numbers
        numbers[f"pair.{state}"] += 1
        if difference is not None:
            _add_difference(sums, difference, first_turn=bool(self._exchange["first_turn"]))
        if state.startswith("refused.") and q_prim is not None:
            numbers["refused_q_prim.sum"] += q_prim
            numbers["refused_loss"] += round(q_prim, 2) > 0
            if self._exchange["first_turn"]:
                numbers["first_turn.n"] += 1
                numbers["first_turn.sum"] -= q_prim
        if q_cand is not None and q_prim is not None:
            numbers["q_pair.n"] += 1
            numbers["q_cand.sum"] += q_cand
            numbers["q_prim.sum"] += q_prim
        if state not in {"opted_in", "redaction_changed", "unfinished"}:
            self._add_representative(sums)
            if answer.call.ended_well:
                self._add_both(sums, answer.call)

    def _judge(self, answer: _Answer) -> tuple[str, float | None, float | None, float | None]:
        """State, difference, quality of both. `refused…`: requests the candidate cannot take, by the primary's score.

        Whether those count as quality 0 or as lost to the primary depends on the evaluator, which readers know.
        """
        left_out = _left_out(answer)
        if left_out is not None:
            return left_out, None, None, None
        if answer.call.outcome == Outcome.INCOMPATIBLE:
            return f"refused.{_state_of(self._primary_quality)}", None, 0.0, _value_of(self._primary_quality)
        quality = answer.deciding
        if quality is None or quality.value is None:
            return _state_of(quality), None, None, None
        if quality.role == "pair":
            return "scored", quality.value, None, None
        primary = _deciding(score for score in self._primary_scores if score.evaluator == quality.evaluator)
        if primary is None or primary.value is None:
            return _state_of(primary), None, None, None
        return "scored", quality.value - primary.value, quality.value, primary.value

    def _add_representative(self, sums: Sums) -> None:
        """Describe the traffic for which a comparison speaks."""
        sums.numbers["counted"] += 1
        sums.numbers["with_tools"] += bool(self._exchange["has_tools"])
        sums.numbers[f"hour.{self._exchange['started_at'].hour}"] += 1
        if self.primary.tokens is not None:
            sums.spread("input_tokens", sum(self.primary.tokens[:3]))

    def _add_both(self, sums: Sums, call: _Call) -> None:
        """Add costs and times of an exchange that both sides answered."""
        numbers = sums.numbers
        cand, prim = call.uncached_usd, self.primary.uncached_usd
        if cand is None or prim is None:
            numbers["both.unpriced"] += 1
        else:
            numbers["both.n"] += 1
            numbers["both.cand"] += cand
            numbers["both.prim"] += prim
            numbers["both.cand_sq"] += cand * cand
            numbers["both.prim_sq"] += prim * prim
            numbers["both.cross"] += cand * prim
        if call.latency_ms is not None and self.primary.latency_ms is not None:
            sums.observe("latency_diff_ms", call.latency_ms - self.primary.latency_ms)
        if call.ttft_ms is not None and self.primary.ttft_ms is not None:
            sums.observe("ttft_diff_ms", call.ttft_ms - self.primary.ttft_ms)


def _score_of(row: Row) -> _Score:
    value, lowest = _finite(row["value"]), -1 if row["role"] == "pair" else 0
    usable = row["status"] == "scored" and value is not None and lowest <= value <= 1
    unusable_status = "failed" if row["status"] == "scored" else row["status"]
    return _Score(
        evaluator=row["evaluator"],
        version=row["version"],
        decides=bool(row["quality"]),
        role=row["role"],
        status="scored" if usable else unusable_status,
        value=value if usable else None,
        cost_usd=_finite(row["cost_usd"]) or 0.0,
    )


def _left_out(answer: _Answer) -> str | None:
    """Say why a pair is not scored whatever its scores are; None when they decide."""
    if not answer.counted:
        return "opted_in" if answer.opted_in else "redaction_changed"
    if answer.call.outcome in FAILURES:
        return "failure"
    settled = answer.call.ended_well or answer.call.outcome == Outcome.INCOMPATIBLE
    return None if settled else "unfinished"


def _deciding(scores: Iterable[_Score]) -> _Score | None:
    return next((score for score in scores if score.decides), None)


def _state_of(quality: _Score | None) -> str:
    """Say why there is no value, or that there is one."""
    if quality is None or quality.status == "failed":
        return "missing"
    return quality.status


def _value_of(quality: _Score | None) -> float | None:
    return None if quality is None else quality.value


def _add_quality(sums: Sums, quality: _Score | None) -> None:
    """Add one counted answer that ended well, by what the deciding evaluator says."""
    numbers = sums.numbers
    numbers["quality.answers"] += 1
    if quality is None or quality.status == "failed":
        numbers["quality.missing"] += 1
    elif quality.status == "not_applicable":
        numbers["quality.not_applicable"] += 1
    if quality is not None and quality.role == "pair":
        numbers["quality.pairwise"] += 1
    elif quality is not None and quality.value is not None:
        numbers["quality.n"] += 1
        numbers["quality.sum"] += quality.value
        numbers["quality.sq"] += quality.value * quality.value


def _add_graded(sums: Sums, call: _Call, quality: float) -> None:
    """Add what cost per quality point is made of, with the cross sum its interval needs."""
    numbers = sums.numbers
    if call.uncached_usd is None:
        numbers["graded.unpriced"] += 1
        return
    numbers["graded.n"] += 1
    numbers["graded.cost"] += call.uncached_usd
    numbers["graded.quality"] += quality
    numbers["graded.cost_sq"] += call.uncached_usd * call.uncached_usd
    numbers["graded.quality_sq"] += quality * quality
    numbers["graded.cross"] += call.uncached_usd * quality


def _add_difference(sums: Sums, difference: float, *, first_turn: bool) -> None:
    numbers = sums.numbers
    numbers["quality_diff.n"] += 1
    numbers["quality_diff.sum"] += difference
    numbers["quality_diff.sq"] += difference * difference
    rounded = round(difference, 2)
    numbers["win" if rounded > 0 else "loss" if rounded < 0 else "tie"] += 1
    if first_turn:
        numbers["first_turn.n"] += 1
        numbers["first_turn.sum"] += difference


def _add_score(sums: Sums, score: _Score, *, in_population: bool) -> None:
    numbers = sums.numbers
    numbers["cost_usd"] += score.cost_usd
    if not in_population:
        return
    numbers["seen"] += 1
    numbers["decides"] += score.decides
    numbers["pairwise"] += score.role == "pair"
    if score.value is not None:
        numbers["n"] += 1
        numbers["sum"] += score.value
        numbers["sq"] += score.value * score.value
    elif score.status == "failed":
        numbers["missing"] += 1
    else:
        numbers["not_applicable"] += 1
