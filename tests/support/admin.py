"""An admin port over a real store on a real socket, and a way to put finished pairs into that store."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import uvicorn

from shadow.budget import budget_day
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
from shadow.web import AdminSettings, build_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from shadow.store.base import Reader, Store

PRIMARY, CANDIDATE = "claude-sonnet-4-5", "openai/gpt-4o"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class ListPrices:
    """The shape of `shadow.pricing.PriceBook`: USD per token of each known model, one price for every bucket."""

    usd_per_token: dict[str, float]

    def cost(self, usage: Usage | None, *, answered: str | None, asked: str | None) -> Cost:
        price = self.price_of(answered or "") or self.price_of(asked or "")
        if usage is None or price is None:
            return Cost(billed_usd=None, uncached_usd=None, source="price unknown")
        usd = (usage.total_input + usage.output) * price
        return Cost(billed_usd=usd, uncached_usd=usd, source="list")

    def price_of(self, model: str) -> float | None:
        return self.usd_per_token.get(model)

    def missing_line(self, model: str) -> str:
        return f"prices: {{{model}: {{input: 0, output: 0}}}}"


PRICES = ListPrices({PRIMARY: 1e-4, CANDIDATE: 2e-5})


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
    reload: Callable[[], None] | None = None,
    now: Callable[[], datetime] = lambda: NOW,
) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the admin app on a free port of 127.0.0.1 and give a client of it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    app = build_app(reader=reader, settings=chosen, reload=reload, now=now)
    server = Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await server.listening.wait()
        base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=base_url, trust_env=False, timeout=20) as client:
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
