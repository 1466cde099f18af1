"""Conversations written into a real store as the recorder and the worker write them, with a clock of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shadow.bookkeeper import Bookkeeper, Routine
from shadow.ledger import Facts, Judging, LedgerState, Plan
from shadow.records import (
    Batch,
    CandidateAnswer,
    Cost,
    Outcome,
    PairResult,
    Score,
    ShadowJob,
    StoredContent,
    StoredScore,
)
from shadow.stats import ConversationRules
from shadow.store import Store
from shadow.verdict import Rules
from tests.support.stored import exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.records import LeasedJob

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
EVALUATOR = "is-json"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFacts:
    """The same facts for everybody."""

    known: Facts = field(default_factory=lambda: Facts(prices="p1"))

    async def refresh(self) -> None:
        pass

    def facts(self, **_: str) -> Facts:
        return self.known


def judging(**given: Any) -> Judging:
    values: dict[str, Any] = {"quality": EVALUATOR, "versions": {EVALUATOR: "1"}, "definition": "d1"}
    return Judging(**(values | given))


def plan(*candidates: str, **given: Any) -> Plan:
    values: dict[str, Any] = {
        "alpha": 0.05,
        "rules": Rules(margin=0.1, min_conversations=10, failure_margin=0.2),
        "judging": {"default": judging()},
        "candidates": dict.fromkeys(candidates or ("rival",), "v1"),
    }
    return Plan(**(values | given))


@dataclass(kw_only=True)
class Books:
    """A store, a clock that stands still until told, and bookkeepers on both."""

    store: Store
    now: datetime = START
    rules: ConversationRules = field(default_factory=lambda: ConversationRules(idle_s=60, max_turns=5, max_age_s=600))
    number: int = 0

    def bookkeeper(
        self,
        plan_: Plan | None = None,
        *,
        facts: Facts | None = None,
        sample_rates: Mapping[str, float] | None = None,
    ) -> Bookkeeper:
        return Bookkeeper(
            ledger=self.store.ledger,
            plan=plan_ or plan(),
            routine=Routine(
                conversations=self.rules,
                max_job_age_s=600,
                sample_rates={} if sample_rates is None else dict(sample_rates),
            ),
            facts=KnownFacts() if facts is None else KnownFacts(known=facts),
            now=lambda: self.now,
        )

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def turn(
        self,
        conversation: str,
        *,
        candidates: Sequence[str] = ("rival",),
        at: datetime | None = None,
        counted: bool = True,
        job: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """One exchange of the app with its jobs, as the recorder writes it. Returns its id."""
        self.number += 1
        values = {"started_at": at or self.now, "conversation": conversation} | changes
        one = exchange(self.number, **values)
        jobs = [
            ShadowJob(
                exchange_id=one.id,
                candidate=candidate,
                conversation=conversation,
                task=one.task,
                primary=one.model or "",
                created_at=one.started_at,
                counted=counted,
                **(job or {}),
            )
            for candidate in candidates
        ]
        await self.store.intake.write(Batch(exchanges=[one], jobs=jobs))
        return one.id

    async def answer(self, **given: Any) -> None:
        """Every job that waits is done by the worker; `given` is what `result` takes."""
        while leased := await self.store.jobs.lease(worker="w", limit=50, lease_s=3600, now=self.now):
            for job in leased:
                await self.finish(job, **given)

    async def finish(self, job: LeasedJob, **given: Any) -> None:
        """One job is sent and its answer kept."""
        budget = _Day(day=self.now.date().isoformat())
        reserved = 0.005
        assert await self.store.jobs.reserve(job, worst_case_usd=reserved, budget=budget, now=self.now) == "ok"
        found = result(job, at=self.now, **given)
        await self.store.jobs.finish(job, result=found, reserved_usd=reserved, now=self.now)

    async def conversations(
        self, count: int, *, start: int = 0, every_s: float = 1.0, candidates: Sequence[str] = ("rival",), **given: Any
    ) -> None:
        """So many conversations of one turn each, answered at once; then the pause that closes them."""
        for number in range(start, start + count):
            await self.turn(f"c{number:05}", candidates=candidates)
            await self.answer(**given)
            self.later(every_s)
        self.later(self.rules.idle_s + 1)

    async def states(self) -> dict[str, LedgerState]:
        """What is known about each candidate in its newest epoch."""
        views = await self.store.ledger.views()
        return {view["candidate"]: LedgerState.loaded(view["state"]) for view in views}

    async def view(self, candidate: str = "rival") -> dict[str, Any]:
        """The newest row about a candidate."""
        return [view for view in await self.store.ledger.views() if view["candidate"] == candidate][-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    day: str
    cap_usd: float = 1000.0
    paced_usd: float = 1000.0


def result(
    to: LeasedJob,
    *,
    at: datetime = START,
    primary: float | None = 1.0,
    candidate: float | None = 1.0,
    outcome: Outcome = Outcome.OK,
    cost_usd: float | None = 0.001,
    primary_usd: float | None = 0.004,
    version: str = "1",
    evaluator: str = EVALUATOR,
    status: str = "failed",
    others: Mapping[str, tuple[float, float]] | None = None,
    redaction_changed: bool = False,
    latency_ms: float = 80.0,
) -> PairResult:
    """A finished job. None as a quality: its score is `status`. `others`: name -> (primary, candidate)."""
    sides = {"primary": primary, "candidate": candidate}
    if outcome is not Outcome.OK:
        del sides["candidate"]
    scores = [
        StoredScore(evaluator=evaluator, version=version, quality=True, role=role, score=_score(value, status))  # type: ignore[arg-type]
        for role, value in sides.items()
    ]
    for name, values in (others or {}).items():
        scores += [
            StoredScore(evaluator=name, version="1", quality=False, role=role, score=_score(value, status))  # type: ignore[arg-type]
            for role, value in zip(("primary", "candidate"), values, strict=True)
        ]
    return PairResult(
        answer=CandidateAnswer(
            exchange_id=to.job.exchange_id,
            candidate=to.job.candidate,
            started_at=at,
            outcome=outcome,
            status=200 if outcome is Outcome.OK else 500,
            latency_ms=latency_ms,
            cost=Cost(billed_usd=cost_usd, uncached_usd=cost_usd, source="config"),
        ),
        scores=scores,
        content=StoredContent(),
        redaction_changed=redaction_changed,
        primary_cost=Cost(billed_usd=primary_usd, uncached_usd=primary_usd, source="config"),
    )


def _score(value: float | None, status: str) -> Score:
    return Score(status=status, reason="told") if value is None else Score(status="scored", value=value)  # type: ignore[arg-type]
