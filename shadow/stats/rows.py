"""The store's rows as stats read them: the only place that knows the columns' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

from shadow.records import ENDED_WELL, Outcome, ScoreStatus
from shadow.records import FAILURES as FAILURES  # noqa: PLC0414  (known by this name to all of stats)
from shadow.rollups import Window as RolledWindow
from shadow.stats.figures import finite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shadow.rollups import Series, Totals


Row = dict[str, Any]

_NEVER_BILLED = frozenset({Outcome.ERROR_HTTP, Outcome.INCOMPATIBLE})
"""Refused by status: no provider bills these, so without token counts they cost nothing."""

_NOT_CONNECTED = "connect"
"""Our own error where no connection came about: nothing was sent, nothing is billed. A connection that was lost later
leaves the cost unknown, because the provider may have worked on the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRows:
    """What `shadow.store.base.Reader` gave for one window; `budget_day` is the UTC day `budget` is about."""

    exchanges: Sequence[Row] = ()
    answers: Sequence[Row] = ()
    scores: Sequence[Row] = ()
    coverage: Sequence[Row] = ()
    feedback: Sequence[Row] = ()
    noise_floor: Sequence[Row] = ()
    dropped: Mapping[str, int]
    budget: Mapping[str, float]
    budget_day: str
    judging: Sequence[Row] = ()
    """What judges did, by comparison."""
    labels: Sequence[Row] = ()
    """What people said about pairs, by what the judge ruled."""
    judge_spent_usd: float = 0.0
    """What judges cost on `budget_day`; it is part of what `budget` says was spent."""


@dataclass(frozen=True, kw_only=True)
class RolledRows:
    """The same out of rollups. `began` is when the window's first exchange began, `conversations` are of its newest."""

    window: RolledWindow
    began: datetime | None
    conversations: Sequence[Row]
    dropped: Mapping[str, int]
    budget: Mapping[str, float]
    budget_day: str
    newest_judges: Sequence[Row] = ()
    """Which judges ruled last, by comparison; where several were asked, the newest one's figures are shown."""
    judge_spent_usd: float = 0.0
    due_before: datetime | None = None
    """Before then, an older version left no rollups, and they are not made yet."""

    @cached_property
    def totals(self) -> Mapping[Series, Totals]:
        """The window added up, once for all that is asked of it; nothing is added to it afterwards."""
        return self.window.totals()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token counts of one call; `cache_write` holds both lifetimes."""

    input: int
    cache_read: int
    cache_write: int
    output: int

    @property
    def total_input(self) -> int:
        """All tokens the model read."""
        return self.input + self.cache_read + self.cache_write


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question put to one model, live or as a shadow, and how it ended. Costs are USD, None when not known."""

    model: str | None
    outcome: Outcome
    latency_ms: float | None
    ttft_ms: float | None
    tokens: Tokens | None
    billed_usd: float | None
    uncached_usd: float | None
    is_retry: bool = False

    @property
    def ended_well(self) -> bool:
        """True when there is an answer to look at: ok, refusal or truncated."""
        return self.outcome in ENDED_WELL


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One live exchange as far as stats need it."""

    id: str
    started_at: datetime
    task: str
    conversation: str
    first_turn: bool
    has_tools: bool
    overhead_ms: float | None
    call: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A candidate's answer beside the exchange it was asked about."""

    exchange: Exchange
    candidate: str
    opted_in: bool
    redaction_changed: bool
    call: Call

    @property
    def counted(self) -> bool:
        """False for opted-in exchanges and for copies that redaction changed: shown, never compared."""
        return not self.opted_in and not self.redaction_changed


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadScore:
    """One evaluator's word on one answer. A value outside the evaluator's range is `failed`, never bent into it."""

    evaluator: str
    version: str
    decides: bool
    role: Literal["primary", "candidate", "pair"]
    status: ScoreStatus
    value: float | None
    reason: str = ""


ScoreKey = tuple[str, str]
"""Exchange id and candidate, the candidate "" for the primary's own scores."""


def read_exchanges(rows: Iterable[Row]) -> dict[str, Exchange]:
    """Exchanges by id."""
    return {row["id"]: _exchange(row) for row in rows}


def read_answers(rows: Iterable[Row], exchanges: Mapping[str, Exchange]) -> list[Answer]:
    """Answers whose exchange is known; one that was stored after the exchanges were read waits for the next look."""
    return [_answer(row, exchanges[row["exchange_id"]]) for row in rows if row["exchange_id"] in exchanges]


def read_scores(rows: Iterable[Row]) -> dict[ScoreKey, list[ReadScore]]:
    """Scores by whose answer they are about; a pair's own scores stand with the candidate."""
    scores: dict[ScoreKey, list[ReadScore]] = {}
    for row in rows:
        scores.setdefault((row["exchange_id"], row["candidate"]), []).append(_score(row))
    return scores


def _exchange(row: Row) -> Exchange:
    return Exchange(
        id=row["id"],
        started_at=row["started_at"],
        task=row["task"],
        conversation=row["conversation"] or row["id"],
        first_turn=bool(row["first_turn"]),
        has_tools=bool(row["has_tools"]),
        overhead_ms=_milliseconds(row.get("overhead_us")),  # not of the ledger's rows
        call=_call(row, model=row["model"], is_retry=bool(row["client_retry"])),
    )


def _answer(row: Row, exchange: Exchange) -> Answer:
    return Answer(
        exchange=exchange,
        candidate=row["candidate"],
        opted_in=not row["counted"],
        redaction_changed=bool(row["redaction_changed"]),
        call=_call(row, model=row["candidate"]),
    )


def _call(row: Row, *, model: str | None, is_retry: bool = False) -> Call:
    outcome = Outcome(row["outcome"])
    tokens = _tokens(row)
    unbilled = outcome in _NEVER_BILLED or row.get("gateway_error") == _NOT_CONNECTED
    free = 0.0 if tokens is None and unbilled else None
    billed, uncached = finite(row["cost_billed_usd"]), finite(row["cost_uncached_usd"])
    return Call(
        model=model,
        outcome=outcome,
        latency_ms=finite(row["latency_ms"]),
        ttft_ms=finite(row["ttft_ms"]) if row["streamed"] else None,
        tokens=tokens,
        billed_usd=free if billed is None else billed,
        uncached_usd=free if uncached is None else uncached,
        is_retry=is_retry,
    )


def _tokens(row: Row) -> Tokens | None:
    if row["input_tokens"] is None:
        return None
    return Tokens(
        input=row["input_tokens"],
        cache_read=row["cache_read_tokens"],
        cache_write=row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"],
        output=row["output_tokens"],
    )


def _score(row: Row) -> ReadScore:
    value, lowest = finite(row["value"]), -1 if row["role"] == "pair" else 0
    usable = row["status"] == "scored" and value is not None and lowest <= value <= 1
    unusable_status = "failed" if row["status"] == "scored" else row["status"]
    return ReadScore(
        evaluator=row["evaluator"],
        version=row["version"],
        decides=bool(row["quality"]),
        role=row["role"],
        status=cast("ScoreStatus", "scored" if usable else unusable_status),
        value=value if usable else None,
        reason=row.get("reason") or "",
    )


def _milliseconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1000
