"""A benchmark engine on real things: the simulator over sockets, a store in a file, prices of our own."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shadow.benchmark import Asker, Engine, Scorer
from shadow.benchmark.cases import read_cases
from shadow.candidates import CallLimits, CandidateClient
from shadow.evaluators import build_evaluators
from shadow.pricing import PriceBook
from shadow.records import Candidate, EvaluatorSpec, Price
from shadow.redaction import Redactor, Scrubber
from shadow.runs import RunPlan
from shadow.store import Store, open_store
from tests.support.stored import url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from shadow.runs import Case

KEY = "key-of-the-benchmark"
PRICE = Price(input=1.0, output=5.0, cache_read=0.1, cache_write=1.25)
RIGHT = (EvaluatorSpec(type="python", options={"target": "shadow.simulator.truth:RightAnswer"}, quality=True),)


def sums(count: int, *, api: Any = "anthropic", **more: Any) -> tuple[Case, ...]:
    """Questions with a known answer: `What is 3 + 4?`, …"""
    lines = [
        json.dumps({"prompt": f"What is {at} + {at + 1}?", "expected": str(2 * at + 1), "max_tokens": 50, **more})
        for at in range(1, count + 1)
    ]
    return read_cases("\n".join(lines), api=api)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What makes engines and plans against one simulator and one store."""

    store: Store
    client: CandidateClient
    prices: PriceBook
    base_url: str

    def contestants(self, *models: str) -> list[Candidate]:
        return [Candidate(model=model, base_url=self.base_url, api_key=KEY, api_key_header="both") for model in models]

    def asker(self, **changes: Any) -> Asker:
        values: dict[str, Any] = {"client": self.client, "prices": self.prices, "redactor": Redactor([])}
        return Asker(**values | {"deployment_id": "bench"} | changes)

    def scorer(self, specs: Sequence[EvaluatorSpec] = RIGHT) -> Scorer:
        return Scorer(sets={"default": build_evaluators(tuple(specs), config_dir=".")})

    def engine(self, *models: str, specs: Sequence[EvaluatorSpec] = RIGHT, **changes: Any) -> Engine:
        values: dict[str, Any] = {
            "runs": self.store.runs,
            "asker": self.asker(),
            "contestants": self.contestants(*models),
            "scorer": self.scorer(specs),
            "keep": lambda text: text,
        }
        return Engine(**values | changes)

    def plan(
        self, *models: str, cases: Sequence[Case], specs: Sequence[EvaluatorSpec] = RIGHT, **changes: Any
    ) -> RunPlan:
        listed = self.scorer(specs).listed([case.task for case in cases])
        values: dict[str, Any] = {"id": "run-1", "models": models, "cases": tuple(cases), "evaluators": listed}
        return RunPlan(**values | changes)


@asynccontextmanager
async def bench(folder: Path, base_url: str, *, priced: Sequence[str] = ("good", "bad")) -> AsyncIterator[Bench]:
    """Everything open; `priced` are the models whose price is known."""
    prices = PriceBook(dict.fromkeys(priced, PRICE))
    client = CandidateClient(prices=prices, scrubber=Scrubber({KEY}), limits=CallLimits(total_s=60))
    async with await open_store(url(folder / "shadow.db")) as store:
        try:
            yield Bench(store=store, client=client, prices=prices, base_url=base_url)
        finally:
            await client.aclose()
