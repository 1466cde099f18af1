"""Weekly runs on real things: production prompts in a store, the simulator as provider, time that is set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shadow.benchmark import Asker, Engine, Lookback, Scorer
from shadow.budget import budget_day
from shadow.candidates import CallLimits, CandidateClient
from shadow.evaluators import Services, build_evaluators
from shadow.pricing import PriceBook
from shadow.rebenchmark import Rebenchmark, WeeklyRules, WeeklyRuns
from shadow.records import Candidate, CandidateAnswer, Cost, EvaluatorSpec, Outcome, PairResult, Price, StoredContent
from shadow.redaction import Redactor, Scrubber
from shadow.runs import Case
from shadow.store import Store, open_store
from tests.support.shadowing import batch
from tests.support.stored import url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from shadow.schedule import Schedule

KEY = "key-of-the-weekly-run"
PRIMARY, CANDIDATE = "claude-sonnet-4-5", "gpt-4o"
SUNDAY = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
PRICES = {
    PRIMARY: Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75),
    CANDIDATE: Price(input=1.0, output=5.0, cache_read=0.1, cache_write=1.25),
}
SPECS = (
    EvaluatorSpec(type="is-json", quality=True),
    EvaluatorSpec(type="contains-json"),
    EvaluatorSpec(type="agreement"),
)


def extraction(number: int) -> dict[str, Any]:
    """A request whose answer is JSON."""
    text = f"item: lamp {number}; quantity: {number}. Give it as JSON."
    return {"model": PRIMARY, "max_tokens": 200, "messages": [{"role": "user", "content": text}]}


async def remember(
    store: Store,
    number: int,
    *,
    at: datetime,
    request: dict[str, Any] | None = None,
    conversation: str | None = None,
    task: str = "default",
    model: str = PRIMARY,
) -> None:
    """Store one shadowed exchange with its prompt, as a worker does."""
    body = json.dumps(request or extraction(number)).encode()
    made = batch(number, CANDIDATE, request=body, conversation=conversation, task=task, model=model, at=at)
    await store.intake.write(made)
    (leased,) = await store.jobs.lease(worker="w", limit=1, lease_s=60, now=at)
    budget = budget_day(at, cap_usd=1000)
    assert await store.jobs.reserve(leased, worst_case_usd=0.0001, budget=budget, now=at) == "ok"
    answer = CandidateAnswer(
        exchange_id=leased.job.exchange_id,
        candidate=CANDIDATE,
        started_at=at,
        outcome=Outcome.OK,
        status=200,
        latency_ms=1.0,
        cost=Cost(billed_usd=0.0, uncached_usd=0.0, source="test"),
    )
    result = PairResult(answer=answer, scores=(), content=StoredContent(prompt=body.decode()))
    await store.jobs.finish(leased, result=result, reserved_usd=0.0001, now=at)


@dataclass(kw_only=True)
class Weekly:
    """A store, a provider, and the time."""

    store: Store
    client: CandidateClient
    prices: PriceBook
    base_url: str
    at: datetime = SUNDAY
    golden: Sequence[Case] = ()

    def now(self) -> datetime:
        return self.at

    def rebenchmark(
        self, *, specs: Sequence[EvaluatorSpec] | None = SPECS, services: Services | None = None, **rules: Any
    ) -> Rebenchmark:
        asker = Asker(client=self.client, prices=self.prices, redactor=Redactor([]), deployment_id="weekly")
        chosen = None if specs is None else tuple(specs)
        scorer = Scorer(sets={"default": build_evaluators(chosen, config_dir=".", services=services)})
        kept = rules.get("content_kept", True)
        keep = (lambda text: text) if kept else None
        lookback = Lookback(runs=self.store.runs, trends=self.store.trends, scorer=scorer, keep=keep)

        def engine(contestants: Sequence[Candidate], progress: Any) -> Engine:
            return Engine(
                runs=self.store.runs,
                asker=asker,
                contestants=contestants,
                scorer=scorer,
                keep=keep,
                lookback=lookback,
                progress=progress,
                now=self.now,
            )

        home = Candidate(model="", base_url=self.base_url, api_key=KEY, api_key_header="both")
        candidate = Candidate(model=CANDIDATE, base_url=self.base_url, api_key=KEY, api_key_header="both")
        return Rebenchmark(
            runs=self.store.runs,
            trends=self.store.trends,
            asker=asker,
            scorer=scorer,
            bench=engine,
            home=home,
            candidates=[candidate],
            golden=lambda: self.golden,
            rules=WeeklyRules(**({"sample": 40, "budget_usd": 50.0} | rules)),
            now=self.now,
        )

    def timetable(self, schedule: Schedule | None, *, holder: str = "us", **rules: Any) -> WeeklyRuns:
        return WeeklyRuns(
            holder=holder,
            rebenchmark=self.rebenchmark(**rules),
            runs=self.store.runs,
            watching=self.store.watching,
            schedule=schedule,
            poll_s=0.01,
            now=self.now,
        )

    async def traffic(self, start: int, count: int, *, request: Callable[[int], dict[str, Any]] | None = None) -> None:
        """Live prompts of the week before now."""
        for number in range(start, start + count):
            at = self.at - timedelta(hours=1 + number % 160)
            await remember(self.store, number, at=at, request=None if request is None else request(number))


@asynccontextmanager
async def weekly(folder: Path, base_url: str) -> AsyncIterator[Weekly]:
    """Everything open, at three on a Sunday."""
    prices = PriceBook(PRICES)
    client = CandidateClient(prices=prices, scrubber=Scrubber({KEY}), limits=CallLimits(total_s=60))
    async with await open_store(url(folder / "shadow.db")) as store:
        try:
            yield Weekly(store=store, client=client, prices=prices, base_url=base_url)
        finally:
            await client.aclose()
