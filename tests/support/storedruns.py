"""Benchmark runs as an engine hands them to the store, small and valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.records import CandidateAnswer, Cost, Dialect, Outcome, Score, StoredScore, Usage
from shadow.runs import Case, Cell, EvaluatorOfRun, RunAnswer, RunPlan
from tests.support.stored import NOW

if TYPE_CHECKING:
    from shadow.store.base import Store

DECIDES = {"default": [EvaluatorOfRun(name="equals", version="1", quality=True)]}
HELD: dict[str, Any] = {"worker": "w", "lease_s": 60, "now": NOW}


def case(number: int, **changes: Any) -> Case:
    values: dict[str, Any] = {
        "id": f"c{number}",
        "dialect": Dialect.ANTHROPIC_MESSAGES,
        "request": b'{"model":"x","messages":[{"role":"user","content":"question %d"}]}' % number,
        "expected": "42",
    }
    return Case(**values | changes)


def plan(run_id: str = "r1", **changes: Any) -> RunPlan:
    values: dict[str, Any] = {"id": run_id, "models": ("a", "b"), "cases": (case(1), case(2)), "evaluators": DECIDES}
    return RunPlan(**values | changes)


def answer(cell: Cell, *, cost_usd: float | None = 0.25, scoring_usd: float = 0.0, **changes: Any) -> RunAnswer:
    cost = Cost(billed_usd=cost_usd, uncached_usd=cost_usd, source="config")
    score = Score(status="scored", value=1.0, reason="as expected", cost_usd=scoring_usd)
    values: dict[str, Any] = {
        "answer": CandidateAnswer(
            exchange_id=cell.case_id,
            candidate=cell.model,
            started_at=NOW,
            outcome=Outcome.OK,
            status=200,
            latency_ms=12.5,
            ttft_ms=3.0,
            usage=Usage(input=10, output=5),
            cost=cost,
            streamed=True,
        ),
        "repeat": cell.repeat,
        "attempts": 2,
        "cost": cost,
        "output": "42 \ud800",
        "tool_calls": "[]",
        "scores": (StoredScore(evaluator="equals", version="1", quality=True, role="candidate", score=score),),
    }
    return RunAnswer(**values | changes)


async def add_run(store: Store, run_id: str = "run-1", **changes: Any) -> None:
    """A finished run with an answer to every question."""
    planned = plan(run_id, **changes)
    await store.runs.begin(planned, keep_content=True, **HELD)
    for each in planned.cases:
        for model in planned.models:
            cell = Cell(case_id=each.id, model=model)
            await store.runs.reserve(run_id, cell, worst_case_usd=1.0, worker="w", now=NOW)
            await store.runs.finish(run_id, answer(cell), now=NOW)
    await store.runs.end(run_id, state="done", reason=None, worker="w", now=NOW)
