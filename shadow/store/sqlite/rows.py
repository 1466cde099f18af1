"""Records to columns and back: pure functions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.records import ENDED_WELL, Dialect, ExchangeRecord, JobBody, Outcome, ShadowJob, Usage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from shadow.records import CandidateAnswer, Cost, Judgement, LeasedJob, PairResult, StoredContent, StoredScore

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NANO = 1_000_000_000

NO_USAGE = "no usage"
"""Price source of an exchange whose answer did not say its token counts."""


def micros(when: datetime) -> int:
    """Turn an aware time into microseconds since the epoch. Raises TypeError for a naive one."""
    since = when - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(value: int) -> datetime:
    """Invert `micros`: aware UTC."""
    return _EPOCH + value * _MICROSECOND


def nano_up(usd: float) -> int:
    """USD as whole nano-dollars, rounded up: what is reserved or spent is never understated."""
    return math.ceil(usd * _NANO)


def nano_down(usd: float) -> int:
    """USD as whole nano-dollars, rounded down: a limit is never overstated."""
    return math.floor(usd * _NANO)


def usd(nano: int) -> float:
    """Nano-dollars as USD."""
    return nano / _NANO


_TIMES = (
    "started_at",
    "exchange_started_at",
    "created_at",
    "sent_at",
    "finished_at",
    "lease_until",
    "rest_until",
    # the ledger's
    "asked_at",
    "changed_at",
    "due_at",
    "entered_at",
    "entered_until",
    "first_started_at",
    "joined_at",
    "last_started_at",
    "stopped_at",
    "given_at",
    "rescored_at",
    "labelled_at",
)
_TRUTHS = (
    "streamed",
    "first_turn",
    "has_tools",
    "client_retry",
    "eligible",
    "counted",
    "redaction_changed",
    "unanswered",
    "quality",
    "absolute",
    "identical",
    "expected_changed",
    "response_streamed",
    "primary_streamed",
)
_READ: Mapping[str, Callable[[int], Any]] = dict.fromkeys(_TIMES, moment) | dict.fromkeys(_TRUTHS, bool)


def as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    """Make rows dicts (a row factory): column name -> value, with times as aware UTC and truth values as bool."""
    named = {column[0]: value for column, value in zip(cursor.description, row, strict=True)}
    for name in named.keys() & _READ.keys():
        if named[name] is not None:
            named[name] = _READ[name](named[name])
    return named


def _text(value: str | None) -> str | None:
    """Text SQLite can hold: a lone surrogate (from a JSON escape) becomes U+FFFD."""
    if value is None or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode() if _has_surrogate(value) else value


def text_of(value: str | None) -> str | None:
    """Give text as it can be stored."""
    return _text(value)


def _has_surrogate(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def _usage_columns(usage: Usage | None) -> tuple[int | None, ...]:
    if usage is None:
        return (None,) * 5
    return (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output)


def exchange_row(exchange: ExchangeRecord) -> tuple[Any, ...]:
    """Values for `insert_exchange`, in its order. One without token counts gets its price decision right away."""
    return (
        exchange.id,
        micros(exchange.started_at),
        _text(exchange.method),
        _text(exchange.path),
        exchange.status,
        exchange.outcome,
        exchange.latency_ms,
        exchange.dialect,
        exchange.task,
        exchange.conversation,
        _text(exchange.model),
        _text(exchange.model_answered),
        exchange.streamed,
        _text(exchange.stop_reason),
        exchange.ttft_ms,
        exchange.first_text_ms,
        *_usage_columns(exchange.usage),
        NO_USAGE if exchange.usage is None else None,
        exchange.request_bytes,
        exchange.response_bytes,
        exchange.first_turn,
        exchange.has_tools,
        exchange.client_retry,
        _text(exchange.version),
        exchange.eligible,
        _text(exchange.error),
        _text(exchange.gateway_error),
        exchange.prompt,
        exchange.overhead_us,
    )


def exchange_of(row: Mapping[str, Any]) -> ExchangeRecord:
    """Rebuild the record from a row of table `exchange`."""
    return ExchangeRecord(
        id=row["id"],
        started_at=row["started_at"],
        method=row["method"],
        path=row["path"],
        status=row["status"],
        outcome=Outcome(row["outcome"]),
        latency_ms=row["latency_ms"],
        dialect=None if row["dialect"] is None else Dialect(row["dialect"]),
        task=row["task"],
        conversation=row["conversation"],
        model=row["model"],
        model_answered=row["model_answered"],
        streamed=row["streamed"],
        stop_reason=row["stop_reason"],
        ttft_ms=row["ttft_ms"],
        first_text_ms=row["first_text_ms"],
        usage=usage_of(row),
        request_bytes=row["request_bytes"],
        response_bytes=row["response_bytes"],
        first_turn=row["first_turn"],
        has_tools=row["has_tools"],
        client_retry=row["client_retry"],
        version=row["version"],
        eligible=row["eligible"],
        error=row["error"],
        gateway_error=row["gateway_error"],
        prompt=row["prompt"],
        overhead_us=row["overhead_us"],
    )


def usage_of(row: Mapping[str, Any]) -> Usage | None:
    """Read the token counts of a row; None when the answer did not say them."""
    if row["input_tokens"] is None:
        return None
    return Usage(
        input=row["input_tokens"],
        cache_read=row["cache_read_tokens"],
        cache_write_5m=row["cache_write_5m_tokens"],
        cache_write_1h=row["cache_write_1h_tokens"],
        output=row["output_tokens"],
    )


def job_row(job: ShadowJob) -> tuple[Any, ...]:
    """Values for `insert_job`, in its order."""
    return (
        job.exchange_id,
        job.candidate,
        job.conversation,
        job.task,
        _text(job.primary),
        micros(job.created_at),
        job.state,
        job.reason,
        job.counted,
    )


def job_of(row: Mapping[str, Any]) -> ShadowJob:
    """Rebuild the record, in its present state, from a row of table `shadow_job`."""
    return ShadowJob(
        exchange_id=row["exchange_id"],
        candidate=row["candidate"],
        conversation=row["conversation"],
        task=row["task"],
        primary=row["primary"],
        created_at=row["created_at"],
        state=row["state"],
        reason=row["reason"],
        counted=row["counted"],
    )


def body_row(body: JobBody) -> tuple[Any, ...]:
    """Values for `insert_body`, in its order; the exchange id comes twice."""
    return (
        body.exchange_id,
        body.dialect,
        _text(body.path),
        _text(body.query),
        _text(msgspec.json.encode(dict(body.request_headers)).decode()),
        body.request,
        body.response,
        body.response_status,
        body.response_streamed,
        _text(body.origin),
        body.exchange_id,
    )


def body_of(row: Mapping[str, Any]) -> JobBody:
    """Rebuild the record from a row of table `job_body`."""
    return JobBody(
        exchange_id=row["exchange_id"],
        dialect=Dialect(row["dialect"]),
        path=row["path"],
        query=row["query"],
        request_headers=msgspec.json.decode(row["request_headers"], type=dict[str, str]),
        request=row["request"],
        response=row["response"],
        response_status=row["response_status"],
        response_streamed=row["response_streamed"],
        origin=row["origin"],
    )


def answer_row(result: PairResult, *, exchange: ExchangeRecord, task: str) -> tuple[Any, ...]:
    """Values for `insert_answer`, in its order."""
    answer = result.answer
    primary, candidate, difference = qualities(result)
    return (
        answer.exchange_id,
        answer.candidate,
        micros(exchange.started_at),
        task,
        micros(answer.started_at),
        answer.outcome,
        answer.status,
        answer.latency_ms,
        answer.ttft_ms,
        answer.first_text_ms,
        _text(answer.stop_reason),
        _text(answer.model_answered),
        answer.streamed,
        *_usage_columns(answer.usage),
        *cost_columns(answer.cost),
        _text(answer.error),
        result.redaction_changed,
        primary,
        candidate,
        difference,
        not {answer.outcome, exchange.outcome} <= ENDED_WELL,
    )


def qualities(result: PairResult) -> tuple[float | None, float | None, float | None]:
    """Quality of the primary, of the candidate, and candidate minus primary; None where it was not scored.

    A pairwise quality evaluator gives the difference itself. Of several quality scores of one side the first counts.
    """
    of = {role: _quality_of(result, role) for role in ("primary", "candidate", "pair")}
    difference = of["pair"]
    if difference is None and of["primary"] is not None and of["candidate"] is not None:
        difference = of["candidate"] - of["primary"]
    return of["primary"], of["candidate"], difference


def _quality_of(result: PairResult, role: str) -> float | None:
    return next((stored.score.value for stored in result.scores if stored.quality and stored.role == role), None)


def cost_columns(cost: Cost) -> tuple[float | None, float | None, str]:
    """Billed USD, uncached USD, source."""
    return (cost.billed_usd, cost.uncached_usd, cost.source)


def score_row(answer: CandidateAnswer, stored: StoredScore) -> tuple[Any, ...]:
    """Values for `insert_score`, in its order; the primary's own score belongs to no candidate."""
    return _score_row(answer.exchange_id, answer.candidate, stored)


def rescored_rows(exchange_id: str, scores: Sequence[tuple[str, StoredScore]]) -> list[tuple[Any, ...]]:
    """Values for `insert_score`, in its order, of (candidate, score) pairs."""
    return [_score_row(exchange_id, candidate, stored) for candidate, stored in scores]


def _score_row(exchange_id: str, candidate: str, stored: StoredScore) -> tuple[Any, ...]:
    return (
        exchange_id,
        "" if stored.role == "primary" else candidate,
        stored.evaluator,
        stored.version,
        stored.quality,
        stored.role,
        stored.score.status,
        stored.score.value,
        _text(stored.score.reason),
        stored.score.cost_usd,
        stored.measures,
        stored.absolute,
    )


def noise_row(job: LeasedJob, result: PairResult) -> tuple[Any, ...]:
    """Values for `insert_noise`, in its order."""
    decides = next((stored for stored in result.scores if stored.quality), None)
    return (
        job.job.exchange_id,
        micros(job.exchange.started_at),
        job.job.task,
        _text(job.job.primary),
        job.job.conversation,
        result.answer.outcome,
        result.identical,
        qualities(result)[2],
        None if decides is None else decides.evaluator,
        None if decides is None else decides.version,
        result.answer.cost.billed_usd,
        sum(stored.score.cost_usd for stored in result.scores),
    )


def judgement_rows(answer: CandidateAnswer, stored: StoredScore) -> list[tuple[Any, ...]]:
    """Values for `insert_judgement`, in its order: one row a call, also for the primary's own score."""
    return [
        (
            answer.exchange_id,
            answer.candidate,
            stored.evaluator,
            stored.version,
            stored.role,
            number,
            stored.quality,
            *judgement_columns(each),
        )
        for number, each in enumerate(stored.score.judgements)
    ]


def judgement_columns(each: Judgement) -> tuple[Any, ...]:
    """Values of one call of a judge, from the judge's model on."""
    return (
        _text(each.model),
        micros(each.started_at),
        each.order,
        each.status,
        each.control,
        each.winner,
        each.grade,
        _text(each.reason),
        each.attempt,
        *_usage_columns(each.usage),
        each.cost_usd,
        each.latency_ms,
        each.primary_chars,
        each.candidate_chars,
    )


def content_rows(answer: CandidateAnswer, content: StoredContent) -> list[tuple[Any, ...]]:
    """Values for `insert_content`, in its order; none when nothing is kept."""
    texts = (
        content.prompt,
        content.primary_output,
        content.primary_tool_calls,
        content.candidate_output,
        content.candidate_tool_calls,
    )
    if all(text is None for text in texts):
        return []
    return [(answer.exchange_id, answer.candidate, *map(_text, texts))]
