"""Shadow jobs as the recorder writes them, and the measuring side's parts put together over a real store."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from gateway.settings import RedactionRule
from shadow.candidates import CallLimits, CandidateClient
from shadow.compare import Comparer, Keeper
from shadow.evaluators import build_evaluators
from shadow.evaluators.llm_judges import LlmJudges
from shadow.evaluators.services import Services
from shadow.golden import NOTHING, Golden
from shadow.judge.client import Network
from shadow.judge.hire import Agency, Home
from shadow.pricing import PriceBook
from shadow.records import (
    Batch,
    Candidate,
    Dialect,
    EvaluatorSpec,
    ExchangeRecord,
    JobBody,
    Outcome,
    Price,
    ShadowJob,
    Usage,
)
from shadow.redaction import Redactor, Scrubber
from shadow.stats.build import build_stats
from shadow.stats.conversations import ConversationRules
from shadow.stats.rows import StatsRows
from shadow.store import Store, open_store
from shadow.worker import NoiseFloor, Upkeep, Worker, WorkerLimits
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

PRICE = Price(input=1.0, output=5.0, cache_read=0.1, cache_write=1.25, cache_write_1h=2.0)
KEY = "sk-candidate-0123456789abcdef"
PRIMARY = "primary-model"

ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": PRIMARY,
        "content": [{"type": "text", "text": '{"answer": 4}'}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 6},
    }
).encode()
"""What the primary said to every exchange of these tests."""


def question(*, prompt: str = "What is 2 + 2? Answer as JSON.", stream: bool = False, max_tokens: int = 64) -> bytes:
    """A Messages API request."""
    asked: dict[str, Any] = {
        "model": PRIMARY,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": prompt}],
    }
    return json.dumps(asked | ({"stream": True} if stream else {})).encode()


def batch(
    number: int,
    *candidates: str,
    request: bytes | None = None,
    conversation: str | None = None,
    path: str = "/v1/messages",
    query: str = "",
    dialect: Dialect = Dialect.ANTHROPIC_MESSAGES,
    headers: Mapping[str, str] | None = None,
    response: bytes = ANSWER,
    model: str = PRIMARY,
    task: str = "default",
    at: datetime | None = None,
) -> Batch:
    """One sampled exchange with a job for each candidate, as one transaction of the recorder."""
    at = at or datetime.now(UTC)
    exchange = ExchangeRecord(
        id=f"exchange-{number:04}",
        started_at=at,
        method="POST",
        path=path,
        status=200,
        outcome=Outcome.OK,
        latency_ms=120.0,
        dialect=dialect,
        task=task,
        conversation=conversation or f"conversation-{number:04}",
        model=model,
        model_answered=model,
        usage=Usage(input=12, output=6),
        eligible=True,
    )
    body = JobBody(
        exchange_id=exchange.id,
        dialect=dialect,
        path=path,
        query=query,
        request_headers=headers or {"content-type": "application/json", "anthropic-version": "2023-06-01"},
        request=request or question(),
        response=response,
        response_status=200,
        response_streamed=False,
    )
    jobs = [
        ShadowJob(
            exchange_id=exchange.id,
            candidate=candidate,
            conversation=exchange.conversation or "",
            task=task,
            primary=model,
            created_at=at,
        )
        for candidate in candidates
    ]
    return Batch(exchanges=[exchange], jobs=jobs, bodies=[body])


@dataclass(kw_only=True)
class Workshop:
    """A store and a worker on it; settings are given once, the worker can be made anew."""

    store: Store
    client: CandidateClient
    candidates: Sequence[Candidate]
    prices: PriceBook
    redactor: Redactor
    comparer: Comparer
    limits: WorkerLimits
    now: Callable[[], datetime]
    workers: list[Worker] = field(default_factory=list)

    def worker(self, name: str = "tester", *, noise_floor: NoiseFloor | None = None) -> Worker:
        """Make a worker."""
        made = Worker(
            name=name,
            deployment_id="deployment-1",
            jobs=self.store.jobs,
            client=self.client,
            candidates=self.candidates,
            comparer=self.comparer,
            prices=self.prices,
            redactor=self.redactor,
            limits=self.limits,
            noise_floor=noise_floor,
            now=self.now,
        )
        self.workers.append(made)
        return made

    def upkeep(self, *, queue_size: int = 10_000, retention_days: float = 30, every_s: float = 0.02) -> Upkeep:
        """Make the one who tidies up."""
        return Upkeep(
            jobs=self.store.jobs,
            reader=self.store.reader,
            prices=self.prices,
            queue_size=queue_size,
            max_job_age_s=self.limits.max_job_age_s,
            retention_days=retention_days,
            every_s=every_s,
            now=self.now,
        )

    async def add(self, *batches: Batch) -> None:
        """Hand batches in, as the live process does."""
        for each in batches:
            await self.store.intake.write(each)

    async def tally(self) -> Counter[tuple[str, str, str | None]]:
        """Count jobs by (candidate, state, reason)."""
        counted: Counter[tuple[str, str, str | None]] = Counter()
        for row in await self.store.reader.coverage(since=self._long_ago, until=self._far_ahead):
            if row["candidate"] is not None:
                counted[row["candidate"], row["state"], row["reason"]] += row["count"]
        return counted

    async def ended(self, count: int, *, within_s: float = 20.0) -> Counter[tuple[str, str, str | None]]:
        """Wait until so many jobs have ended, and count all."""

        async def look() -> Counter[tuple[str, str, str | None]] | None:
            tally = await self.tally()
            done = sum(n for (_, state, _), n in tally.items() if state in {"done", "skipped", "dropped"})
            return tally if done >= count else None

        return await eventually_async(look, within_s=within_s, what=f"the end of {count} jobs")

    async def answers(self) -> list[dict[str, Any]]:
        """All candidate answers."""
        return await self.store.reader.answers(since=self._long_ago, until=self._far_ahead)

    async def spent(self) -> Mapping[str, float]:
        """The money of the day."""
        return await self.store.reader.budget(day=self.now().date().isoformat())

    async def stats(self, **given: Any) -> Mapping[str, Any]:
        """`/stats` over all there is; `given` goes to `build_stats`."""
        since, until = self._long_ago, self._far_ahead
        reader = self.store.reader
        found = StatsRows(
            exchanges=await reader.exchanges(since=since, until=until),
            answers=await reader.answers(since=since, until=until),
            scores=await reader.scores(since=since, until=until),
            coverage=await reader.coverage(since=since, until=until),
            feedback=await reader.feedback(since=since, until=until),
            noise_floor=await reader.noise_floor(since=since, until=until),
            dropped=await reader.dropped(),
            budget=await self.spent(),
            budget_day=self.now().date().isoformat(),
            judging=await reader.judge_tallies(since=since, until=until),
            labels=await reader.label_tallies(since=since, until=until),
        )
        return build_stats(
            found,
            since=since,
            until=until,
            now=self.now(),
            rules=ConversationRules(),
            missing_line=lambda _model: None,
            budget_usd_per_day=self.limits.budget_usd_per_day,
            **given,
        )

    @property
    def _long_ago(self) -> datetime:
        return self.now() - timedelta(days=400)

    @property
    def _far_ahead(self) -> datetime:
        return self.now() + timedelta(days=1)


def candidate(model: str, base_url: str, **given: Any) -> Candidate:
    """A candidate with the test's key, unless another is given."""
    return Candidate(model=model, base_url=base_url, **({"api_key": KEY} | given))


@contextlib.asynccontextmanager
async def workshop(
    folder: Path,
    *candidates: Candidate,
    limits: WorkerLimits | None = None,
    call: CallLimits | None = None,
    content: Literal["none", "redacted", "full"] = "redacted",
    evaluators: tuple[EvaluatorSpec, ...] | None = (EvaluatorSpec(type="is-json", quality=True),),
    priced: Sequence[str] | None = None,
    price: Price = PRICE,
    redact: Sequence[str] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    config_dir: str = ".",
    golden: Golden = NOTHING,
    judges_at: str = "http://127.0.0.1:9",
    judges: Sequence[str] = (),
) -> AsyncIterator[Workshop]:
    """Open a store in `folder`, put the parts together, and close all of it.

    `judges` are the judge models whose price is known (the same as everybody's), asked at `judges_at` with the key;
    without any, nobody judges.
    """
    names = [each.model for each in candidates] if priced is None else priced
    prices = PriceBook(dict.fromkeys((PRIMARY, *names, *judges), price))
    redactor = Redactor(tuple(RedactionRule(name=name) for name in redact))
    scrubber = Scrubber([KEY])
    agency = Agency(
        home=Home(base_url=judges_at, api_key=KEY),
        prices=prices,
        redactor=redactor,
        network=Network(limits=call or CallLimits(), deployment_id="deployment-1"),
    )
    services = Services(judges=LlmJudges(agency)) if judges else Services()
    comparer = Comparer(
        evaluators={"default": build_evaluators(evaluators, config_dir=config_dir, services=services)},
        prices=prices,
        keeper=Keeper(mode=content, redactor=redactor, scrubber=scrubber),
        golden=golden,
    )
    client = CandidateClient(prices=prices, scrubber=scrubber, limits=call or CallLimits())
    async with await open_store(f"sqlite:///{folder / 'shadow.db'}") as store:
        try:
            yield Workshop(
                store=store,
                client=client,
                candidates=candidates,
                prices=prices,
                redactor=redactor,
                comparer=comparer,
                limits=limits or WorkerLimits(budget_usd_per_day=1000.0),
                now=now,
            )
        finally:
            await client.aclose()
            await agency.aclose()


@contextlib.asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Let workers work, and stop them at the end."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*tasks)
