"""Records as a recorder hands them to the store, small and valid, and what a worker brings back."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shadow.records import (
    Batch,
    CandidateAnswer,
    Cost,
    Dialect,
    ExchangeRecord,
    JobBody,
    Outcome,
    PairResult,
    Score,
    ShadowJob,
    StoredContent,
    StoredScore,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shadow.records import LeasedJob

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
DAY = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}
"""The window of everything these tests write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day's budget as `reserve` takes it."""

    day: str = "2026-11-23"
    cap_usd: float = 5.0
    paced_usd: float = 5.0


def exchange(number: int, **changes: Any) -> ExchangeRecord:
    """Exchange `x<number>`, one second after the one before."""
    values: dict[str, Any] = {
        "id": f"x{number:04}",
        "started_at": NOW + timedelta(seconds=number),
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "outcome": Outcome.OK,
        "latency_ms": 120.5,
        "dialect": Dialect.ANTHROPIC_MESSAGES,
        "conversation": f"c{number:04}",
        "model": "primary",
        "usage": Usage(input=12, output=6),
        "eligible": True,
    }
    return ExchangeRecord(**(values | changes))


def job(of: ExchangeRecord, candidate: str = "rival", **changes: Any) -> ShadowJob:
    """A pending job."""
    values: dict[str, Any] = {
        "exchange_id": of.id,
        "candidate": candidate,
        "conversation": of.conversation or "",
        "task": of.task,
        "primary": of.model or "",
        "created_at": of.started_at,
    }
    return ShadowJob(**(values | changes))


def body(of: ExchangeRecord, *, request: bytes = b'{"model":"primary"}', response: bytes = b"{}") -> JobBody:
    """The copy the jobs of an exchange share."""
    return JobBody(
        exchange_id=of.id,
        dialect=Dialect.ANTHROPIC_MESSAGES,
        path=of.path,
        query="beta=true",
        request_headers={"content-type": "application/json"},
        request=request,
        response=response,
        response_status=200,
        response_streamed=False,
        origin="https://api.example:443",
    )


def sampled(*numbers: int, candidates: tuple[str, ...] = ("rival",), **changes: Any) -> Batch:
    """Sampled exchanges with their jobs and copies, as one transaction."""
    exchanges = [exchange(number, **changes) for number in numbers]
    return Batch(
        exchanges=exchanges,
        jobs=[job(one, candidate) for one in exchanges for candidate in candidates],
        bodies=[body(one) for one in exchanges],
    )


def answer(to: LeasedJob, *, cost_usd: float | None = 0.01, **changes: Any) -> CandidateAnswer:
    """What a candidate said."""
    values: dict[str, Any] = {
        "exchange_id": to.job.exchange_id,
        "candidate": to.job.candidate,
        "started_at": NOW,
        "outcome": Outcome.OK,
        "status": 200,
        "latency_ms": 80.0,
        "cost": Cost(billed_usd=cost_usd, uncached_usd=cost_usd, source="config"),
    }
    return CandidateAnswer(**(values | changes))


def pair_result(
    to: LeasedJob,
    *,
    cost_usd: float | None = 0.01,
    primary: float | None = 1.0,
    candidate: float | None = 1.0,
    content: StoredContent | None = None,
    **changes: Any,
) -> PairResult:
    """A finished job, scored on both sides; None leaves a side unscored."""
    scores = [
        StoredScore(evaluator="is-json", version="1", quality=True, role=role, score=_score(value))
        for role, value in (("primary", primary), ("candidate", candidate))
    ]
    return PairResult(
        answer=answer(to, cost_usd=cost_usd), scores=scores, content=content or StoredContent(), **changes
    )


def _score(value: float | None) -> Score:
    return Score(status="failed", reason="no answer") if value is None else Score(status="scored", value=value)


def url(path: Path) -> str:
    """The address of a store's file."""
    return f"sqlite:///{path}"


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold the file as another program would; the event loop goes on, because whoever writes now may need it to end."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        while True:
            try:
                other.execute("BEGIN EXCLUSIVE")
                break
            except sqlite3.OperationalError:
                await asyncio.sleep(0.005)
        yield
        other.execute("ROLLBACK")


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the file itself."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def rows_of(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a query gives; nothing while the store is only being made. Looking never makes the file itself."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        if str(error).startswith(("no such table", "unable to open")):
            return []
        raise
