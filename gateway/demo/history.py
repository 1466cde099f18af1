"""Twelve weeks of weekly runs that never happened: what the demo shows of trends, drift and a lead at once.

Every run says in its note that it is made up. The figures follow from a fixed seed: the primary loses quality in the
sixth week and is as it was from the tenth on, so that it ends where the demo's live traffic finds it; one candidate
keeps a lead at a sixth of the price, and one is fast, cheap and worse. Live traffic is not touched: verdicts rest on
what the demo really sends.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from gateway.demo.cast import CALCULATOR, CANDIDATES, PRIMARY
from shadow.records import CandidateAnswer, Cost, Dialect, Outcome, Score, StoredScore, Usage
from shadow.runs import Case, EvaluatorOfRun, RunAnswer, RunPlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from shadow.simulator import SimModel
    from shadow.store.base import Runs

WEEKS = 12
NOTE = "DEMO: this run never happened; its answers and scores are made up."

_EVERY_WEEK, _NEW_EACH_WEEK = 16, 7
"""Prompts that are asked in every run, so that drift can be seen, and prompts of that week alone."""
_REPEATS = 2
"""How often each prompt is asked in a run: drift is told from a model's own scatter."""
_DRIFTED = range(5, 9)
"""The runs, counted from 0, in which the primary answers worse."""
_EVALUATOR = EvaluatorOfRun(name="right-answer", version="1", quality=True)
_WORKER = "demo-history"
_LEASE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Habits:
    """How a made-up model does: share of right answers, as a rule and during the drift, and how long it takes."""

    right: float
    right_meanwhile: float
    latency_ms: float


_HABITS = {
    PRIMARY.name: _Habits(right=0.97, right_meanwhile=0.5, latency_ms=480),
    "demo-oak": _Habits(right=0.97, right_meanwhile=0.97, latency_ms=310),
    "demo-swift": _Habits(right=0.4, right_meanwhile=0.4, latency_ms=150),
    "demo-summit": _Habits(right=0.99, right_meanwhile=0.99, latency_ms=900),
}


async def fill(runs: Runs, *, now: datetime, weeks: int = WEEKS) -> int:
    """Put the history into a store that has none of it; returns how many runs were made.

    `now` is aware UTC: the last run lies a day before it, the others a week apart. A run whose week is there already
    is left alone.
    """
    made = 0
    for week in range(weeks):
        began = (now - timedelta(days=1, weeks=weeks - 1 - week)).replace(hour=3, minute=0, second=0, microsecond=0)
        plan = _plan(week, began)
        if await runs.begin(plan, worker=_WORKER, lease_s=_LEASE_S, now=began, keep_content=True):
            for answer in _answers(plan, week, began):
                reserve_usd = _worst_case_usd(answer)
                await runs.reserve(plan.id, answer.cell, worst_case_usd=reserve_usd, worker=_WORKER, now=began)
                await runs.finish(plan.id, answer, now=began)
            await runs.end(plan.id, state="done", reason=None, worker=_WORKER, now=began + timedelta(minutes=4))
            made += 1
    return made


def _worst_case_usd(answer: RunAnswer) -> float:
    """Twice what it cost: short prompts with a low limit are reserved so."""
    return 2 * (answer.cost.billed_usd or 0.0)


def _plan(week: int, began: datetime) -> RunPlan:
    names = tuple(model.name for model in _models())
    return RunPlan(
        id=f"demo-week-{week + 1:02}",
        kind="weekly",
        name=f"DEMO week {week + 1}",
        period=f"{began:%Y-%m-%dT%H:%M:%SZ}",
        models=names,
        primary=PRIMARY.name,
        cases=tuple(_cases(week)),
        evaluators={CALCULATOR: (_EVALUATOR,)},
        repeats=_REPEATS,
        seed="demo",
        max_cost_usd=5.0,
        note=NOTE,
    )


def _models() -> Sequence[SimModel]:
    return (PRIMARY, *CANDIDATES)


def _cases(week: int) -> Iterator[Case]:
    for number in range(_EVERY_WEEK):
        yield _case(f"every-{number:02}", number, source=f"golden:{number}")
    for number in range(_NEW_EACH_WEEK):
        yield _case(f"week-{week:02}-{number:02}", 1000 + 100 * week + number, source=None)


def _case(case_id: str, number: int, *, source: str | None) -> Case:
    question = f"What is {17 + number} + {25 + 3 * number}?"
    request = {"max_tokens": 100, "messages": [{"role": "user", "content": question}]}
    return Case(
        id=case_id,
        dialect=Dialect.ANTHROPIC_MESSAGES,
        request=msgspec.json.encode(request),
        expected=str(42 + 4 * number),
        task=CALCULATOR,
        source=source,
    )


def _answers(plan: RunPlan, week: int, began: datetime) -> Iterator[RunAnswer]:
    for case in plan.cases:
        for model in _models():
            answer = _answer(case, model, week, began)
            yield from (replace(answer, repeat=repeat) for repeat in range(_REPEATS))


def _answer(case: Case, model: SimModel, week: int, began: datetime) -> RunAnswer:
    # seeded by what is asked and when, so that the same history is made everywhere
    chance = random.Random(f"{case.id} {model.name} {week if case.source is None else week in _DRIFTED}")  # noqa: S311
    habits = _HABITS[model.name]
    right = chance.random() < (habits.right_meanwhile if week in _DRIFTED else habits.right)
    usage = Usage(input=40 + chance.randrange(20), output=20 + chance.randrange(30))
    usd = (usage.input * model.price.input + usage.output * model.price.output) / 1e6
    cost = Cost(billed_usd=usd, uncached_usd=usd, source="config")
    latency_ms = habits.latency_ms * (0.7 + 0.6 * chance.random())
    answer = CandidateAnswer(
        exchange_id=case.id,
        candidate=model.name,
        started_at=began + timedelta(seconds=chance.randrange(200)),
        outcome=Outcome.OK,
        status=200,
        latency_ms=latency_ms,
        ttft_ms=latency_ms * 0.4,
        usage=usage,
        cost=cost,
        model_answered=model.name,
        streamed=True,
    )
    said = case.expected if right else "I am not sure."
    told = "the right number" if right else "another number, or none"
    score = Score(status="scored", value=1.0 if right else 0.0, reason=f"DEMO: {told}")
    stored = StoredScore(
        evaluator=_EVALUATOR.name, version=_EVALUATOR.version, quality=True, role="candidate", score=score
    )
    return RunAnswer(answer=answer, cost=cost, output=said, tool_calls="[]", scores=(stored,))
