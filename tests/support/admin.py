"""An admin port over a real store on a real socket, and a way to put finished pairs into that store."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import uvicorn
from msgspec.structs import replace

from shadow.budget import budget_day
from shadow.pricing import PriceBook
from shadow.records import (
    Batch,
    CandidateAnswer,
    Dialect,
    ExchangeRecord,
    JobBody,
    Outcome,
    PairResult,
    Price,
    Score,
    ShadowJob,
    StoredContent,
    StoredScore,
    Usage,
)
from shadow.web import AdminSettings, VerdictApi, WeeklyApi, build_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from shadow.store.base import FeedbackDoor, Reader, Runs, Store

PRIMARY, CANDIDATE = "claude-sonnet-4-5", "openai/gpt-4o"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


PRICES = PriceBook({PRIMARY: Price(input=100, output=100), CANDIDATE: Price(input=20, output=20)})
"""Per million tokens: 100 tokens cost 0.01 USD of the primary and 0.002 USD of the candidate."""


def settings(**given: Any) -> AdminSettings:
    """Settings of a port on loopback; every field can be set."""
    return AdminSettings(**({"version": "1.2.3", "prices": PRICES, "candidates": (CANDIDATE,)} | given))


class Server(uvicorn.Server):
    """A server inside a test: it leaves the signals to the test runner."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextlib.asynccontextmanager
async def admin_port(
    reader: Reader,
    chosen: Callable[[], AdminSettings] = settings,
    *,
    verdicts: VerdictApi | None = None,
    reload: Callable[[], None] | None = None,
    feedback: FeedbackDoor | None = None,
    now: Callable[[], datetime] = lambda: NOW,
    address: str = "127.0.0.1",
    runs: Runs | None = None,
    weekly: WeeklyApi | None = None,
) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the admin app on a free port and give a client of it."""
    listening = socket.socket()
    listening.bind((address, 0))
    app = build_app(
        reader=reader,
        settings=chosen,
        verdicts=verdicts,
        reload=reload,
        feedback=feedback,
        runs=runs,
        weekly=weekly,
        now=now,
    )
    server = Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await server.listening.wait()
        base_url = f"http://{address}:{listening.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=base_url, trust_env=False, verify=False, timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


def exchange(number: int, **given: Any) -> ExchangeRecord:
    """One live exchange, `number` minutes before NOW."""
    values: dict[str, Any] = {
        "id": f"x{number}",
        "started_at": NOW - timedelta(minutes=number),
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "outcome": Outcome.OK,
        "latency_ms": 1000.0 + number,
        "dialect": Dialect.ANTHROPIC_MESSAGES,
        "conversation": f"c{number}",
        "model": PRIMARY,
        "usage": Usage(input=90, output=10),
        "eligible": True,
    }
    return ExchangeRecord(**(values | given))


async def add_exchange(store: Store, record: ExchangeRecord, *, job: bool = True, **given: Any) -> None:
    """Store an exchange as a live process would, with one pending shadow job unless told otherwise."""
    shadow_job = ShadowJob(
        exchange_id=record.id,
        candidate=CANDIDATE,
        conversation=record.conversation or record.id,
        task=record.task,
        primary=record.model or "",
        created_at=record.started_at,
    )
    body = JobBody(
        exchange_id=record.id,
        dialect=Dialect.ANTHROPIC_MESSAGES,
        path=record.path,
        query="",
        request_headers={},
        request=b"{}",
        response=b"{}",
        response_status=200,
        response_streamed=False,
    )
    jobs, bodies = ([replace(shadow_job, **given)], [body]) if job else ([], [])
    await store.intake.write(Batch(exchanges=[record], jobs=jobs, bodies=bodies))


async def add_pair(
    store: Store,
    record: ExchangeRecord,
    *,
    q_prim: float,
    q_cand: float,
    content: StoredContent | None = None,
    redaction_changed: bool = False,
    **given: Any,
) -> None:
    """Store an exchange and finish its shadow job as a worker would."""
    await add_exchange(store, record)
    (leased,) = await store.jobs.lease(worker="w", limit=1, lease_s=60, now=NOW)
    budget = budget_day(NOW, cap_usd=100)
    assert await store.jobs.reserve(leased, worst_case_usd=0.01, budget=budget, now=NOW) == "ok"
    values: dict[str, Any] = {
        "exchange_id": record.id,
        "candidate": CANDIDATE,
        "started_at": record.started_at,
        "outcome": Outcome.OK,
        "status": 200,
        "latency_ms": record.latency_ms - 400,
        "usage": Usage(input=90, output=10),
        "cost": PRICES.cost(Usage(input=90, output=10), answered=None, asked=CANDIDATE),
    }
    result = PairResult(
        answer=CandidateAnswer(**(values | given)),
        scores=[quality("primary", q_prim), quality("candidate", q_cand)],
        content=content or StoredContent(),
        redaction_changed=redaction_changed,
    )
    await store.jobs.finish(leased, result=result, reserved_usd=0.01, now=NOW)


def quality(role: Any, value: float) -> StoredScore:
    """The deciding evaluator's score."""
    score = Score(status="scored", value=value, reason="it is")
    return StoredScore(evaluator="is-json", version="1", quality=True, role=role, score=score)


def url_of(folder: Path) -> str:
    """The address of a store in this folder."""
    return f"sqlite:///{folder}/shadow.db"
