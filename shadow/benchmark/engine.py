"""Runs a plan: every case asked of every model at the same time, within its money, and nothing lost when it ends.

Each model has a lane of its own, so a slow or resting one holds up none of the others; all lanes take the cases in one
order. Before a question leaves, its worst case is reserved in the store; an answer is stored as soon as it is scored.
What a failure, a stop or a crash leaves is taken up by `resume`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Literal

import msgspec

from shadow.benchmark.scoring import NO_MONEY, Scorer, kept_score, told_again, told_of
from shadow.benchmark.together import together
from shadow.candidates import UnsendableError
from shadow.records import Candidate, CandidateAnswer, Cost, EvalCase, Outcome
from shadow.runs import Cell, RunAnswer, RunPlan, RunResult
from shadow.store.base import StoreError, UnstorableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from shadow.benchmark.asking import Asker, Attempts, Question
    from shadow.benchmark.lookback import Lookback
    from shadow.records import StoredScore
    from shadow.runs import Case, Run
    from shadow.store.base import Runs

CONCURRENCY = 8
"""Questions to one model at once."""

LEASE_S = 60.0
_HOLD_EVERY_S = 15.0
_NOT_SENT = "not sent"
_TAKEN_OVER = "another process took this run up"
_STORE_DELAYS_S = (0.2, 1.0, 5.0)
"""A paid answer is offered to a store that is busy so often again."""


class RunLostError(Exception):
    """The run is not ours any more: another process took it up, or it was ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is. `spent_usd` is what is known; answers without a known cost are counted beside it."""

    done: int
    cells: int
    errors: int
    spent_usd: float
    unpriced: int
    resting: tuple[str, ...] = ()
    """Models that answered 429 and are waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a plan may cost before anything is sent."""

    worst_usd: float | None
    """Every answer up to its limit, retries and judges apart; None when a price is unknown."""
    by_model: Mapping[str, float | None]
    dearest_usd: float
    """The most that one answer may cost, of those whose price is known."""
    unpriced: Mapping[str, str]
    """Model -> why its worst case cannot be known."""
    expected_usd: float | None
    """By what the same prompts cost the same models in earlier runs; None unless all of them were asked before."""


def new_run_id(now: datetime) -> str:
    """Make an id that sorts by time and that people can say by its beginning."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{token_hex(3)}"


def estimate(
    plan: RunPlan,
    *,
    asker: Asker,
    contestants: Mapping[str, Candidate],
    costs_so_far: Mapping[tuple[str, str], float] | None = None,
) -> Estimate:
    """Add up what a plan may cost at most. CPU work for large plans: run it in a thread."""
    by_model: dict[str, float | None] = {}
    unpriced: dict[str, str] = {}
    dearest = 0.0
    for model in plan.models:
        total: float | None = 0.0
        for case in plan.cases:
            try:
                question = asker.question(contestants[model], case)
            except UnsendableError:
                continue  # it will not be sent, and costs nothing
            if question.worst_case_usd is None:
                unpriced.setdefault(model, question.unpriced or "price_unknown")
                total = None
            else:
                dearest = max(dearest, question.worst_case_usd)
                total = None if total is None else total + question.worst_case_usd * plan.repeats
        by_model[model] = total
    known = [total for total in by_model.values() if total is not None]
    return Estimate(
        worst_usd=sum(known) if len(known) == len(by_model) else None,
        by_model=by_model,
        dearest_usd=dearest,
        unpriced=unpriced,
        expected_usd=_expected(plan, costs_so_far or {}),
    )


def _expected(plan: RunPlan, costs_so_far: Mapping[tuple[str, str], float]) -> float | None:
    wanted = [(model, case.prompt_hash) for model in plan.models for case in plan.cases]
    if any(key not in costs_so_far for key in wanted):
        return None
    return plan.repeats * sum(costs_so_far[key] for key in wanted)


@dataclass(slots=True)
class _Lane:
    """One model: what is still to be asked of it, and until when it is left alone."""

    contestant: Candidate
    waiting: deque[Cell] = field(default_factory=deque)
    rest_until_s: float = 0.0


class Engine:
    """Runs plans, one at a time. Everything it needs is handed in; the store is the only memory.

    `keep` makes of a text what may be stored of it; None: nothing of prompts and answers is. `stop` ends a run early.
    `lookback` compares a run's answers with those of the runs before it; None: nothing is.
    """

    def __init__(
        self,
        *,
        runs: Runs,
        asker: Asker,
        contestants: Sequence[Candidate],
        scorer: Scorer,
        keep: Callable[[str], str] | None,
        lookback: Lookback | None = None,
        concurrency: int = CONCURRENCY,
        progress: Callable[[Progress], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        worker: str | None = None,
    ) -> None:
        self._runs = runs
        self._asker = asker
        self._lanes = {contestant.model: _Lane(contestant) for contestant in contestants}
        self._scorer = scorer
        self._keep = keep
        self._lookback = lookback
        self._concurrency = concurrency
        self._progress = progress
        self._now = now
        self._worker = worker or f"bench:{token_hex(8)}"
        self._stopped: str | None = None
        self._busy = 0
        """Answers whose money is being reserved, or is reserved and not settled yet."""
        self._wake = asyncio.Event()
        self._told: dict[Cell, EvalCase] = {}
        """What evaluators that compare need once both answers are there."""
        self._counts: Counter[str] = Counter()
        self._spent_usd = 0.0

    def stop(self, reason: str) -> None:
        """Send nothing more; what is under way ends, is scored and kept."""
        self._stopped = self._stopped or reason
        self._signal()

    def _signal(self) -> None:
        """Wake everyone who waits for money, rest or the end; who comes later waits for the next signal."""
        woken, self._wake = self._wake, asyncio.Event()
        woken.set()

    async def run(self, plan: RunPlan) -> RunResult | None:
        """Run a plan from its beginning. None: a run of this kind and period is there already. Raises RunLostError."""
        begun = await self._runs.begin(
            plan, worker=self._worker, lease_s=LEASE_S, now=self._now(), keep_content=self._keep is not None
        )
        return await self._work(plan, answers=()) if begun else None

    async def resume(self, plan: RunPlan, run: Run, *, retry_errors: bool = False) -> RunResult | None:
        """Take a run up again: ask what has no answer, score what the present evaluators have not scored.

        `plan` has the run's cases with their requests. `retry_errors` also asks again what ended in an error. None:
        another process works on it. Raises RunLostError.
        """
        lost = await self._runs.reopen(
            run.id,
            evaluators=plan.evaluators,
            max_cost_usd=plan.max_cost_usd,
            worker=self._worker,
            lease_s=LEASE_S,
            now=self._now(),
        )
        if lost is None:
            return None
        result = await self._runs.result(run.id)
        answers = () if result is None else result.answers
        if retry_errors:
            again = [answer.cell for answer in answers if answer.is_error]
            await self._runs.forget(run.id, again)
            answers = tuple(answer for answer in answers if not answer.is_error)
        self._spent_usd = 0.0 if result is None else result.run.spent_usd
        return await self._work(replace(plan, id=run.id), answers=answers)

    async def _work(self, plan: RunPlan, *, answers: Sequence[RunAnswer]) -> RunResult:
        cases = {case.id: case for case in plan.cases}
        there = {answer.cell for answer in answers}
        self._counts.clear()
        self._told.clear()
        self._counts.update(done=len(answers), errors=sum(answer.is_error for answer in answers), cells=plan.cells)
        for cell in _ordered(plan):
            if cell not in there:
                self._lanes[cell.model].waiting.append(cell)
        holding = asyncio.create_task(self._hold(plan.id))
        state: Literal["done", "stopped", "failed"] = "failed"
        reason: str | None = "broke off"
        try:
            await self._score_again(plan, cases, answers)
            await self._ask_all(plan, cases)
            await self._judge_all(plan, cases)
            unfinished = self._counts["done"] < plan.cells or self._stopped is not None
            state, reason = ("stopped" if unfinished else "done"), self._stopped if unfinished else None
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
            await self._runs.end(plan.id, state=state, reason=reason, worker=self._worker, now=self._now())
        result = await self._runs.result(plan.id)
        if result is None:
            raise RunLostError(f"run {plan.id} is not in the store any more")
        return result

    async def _hold(self, run_id: str) -> None:
        while True:
            await asyncio.sleep(_HOLD_EVERY_S)
            with contextlib.suppress(StoreError):  # a busy store: the lease lasts for some more of these
                if not await self._runs.hold(run_id, worker=self._worker, lease_s=LEASE_S, now=self._now()):
                    self.stop(_TAKEN_OVER)
                    return

    async def _ask_all(self, plan: RunPlan, cases: Mapping[str, Case]) -> None:
        self._report()
        async with together() as group:
            for model in plan.models:
                lane = self._lanes[model]
                for _ in range(min(self._concurrency, len(lane.waiting))):
                    group.create_task(self._drain(plan, lane, cases))

    async def _drain(self, plan: RunPlan, lane: _Lane, cases: Mapping[str, Case]) -> None:
        while lane.waiting and self._stopped is None:
            await self._rest(lane)
            if lane.waiting and self._stopped is None:
                cell = lane.waiting.popleft()
                await self._one(plan, lane, cell, cases[cell.case_id])

    async def _one(self, plan: RunPlan, lane: _Lane, cell: Cell, case: Case) -> None:
        try:
            question = await asyncio.to_thread(self._asker.question, lane.contestant, case)
        except UnsendableError as error:
            await self._keep_unsent(plan, cell, case, reason=error.reason)
            return
        if not await self._reserved(plan, cell, question):
            return
        try:
            attempts = await self._asker.ask(
                lane.contestant,
                case,
                question,
                may_pay_again=lambda: self._reserved_more(plan.id, cell, question.worst_case_usd),
                rested=lambda seconds: self._note_rest(lane, seconds),
                pause=self._pause,
            )
            told = await asyncio.to_thread(told_of, case, attempts)
            answer = await self._scored(plan.id, case, cell, attempts, told)
            await self._finish(plan.id, answer)
        finally:
            self._busy -= 1
            self._signal()
        if answer.ended_well and plan.primary is not None and self._scorer.compares(case.task):
            self._told[cell] = told
        self._note(answer)

    async def _scored(self, run_id: str, case: Case, cell: Cell, attempts: Attempts, told: EvalCase) -> RunAnswer:
        answer, keep = attempts.asked.answer, self._keep
        error = answer.error if answer.error is None or keep is None else keep(answer.error)
        calls = msgspec.json.encode([{"name": call.name, "arguments": call.arguments} for call in told.tool_calls])
        made = RunAnswer(
            answer=replace(answer, error=error),
            repeat=cell.repeat,
            attempts=attempts.count,
            cost=attempts.cost,
            output=None if keep is None else keep(told.output),
            tool_calls=None if keep is None else keep(calls.decode()),
        )
        if not made.ended_well:
            return made
        worst_usd = self._scorer.of_task(case.task).worst_case_alone_usd(told)
        if worst_usd and not await self._reserved_more(run_id, cell, worst_usd):
            self.stop(NO_MONEY)
            return replace(made, scores=self._scorer.over_budget(case))
        return replace(made, scores=self._kept(await self._scorer.alone(case, told)))

    def _kept(self, scores: Sequence[StoredScore]) -> tuple[StoredScore, ...]:
        """Cut reasons to what may be kept: evaluators quote what they saw."""
        return tuple(replace(stored, score=kept_score(stored.score, self._keep)) for stored in scores)

    async def _finish(self, run_id: str, answer: RunAnswer) -> None:
        """Store a paid answer, again while the store is busy. Raises StoreError when it stays so."""
        for delay_s in _STORE_DELAYS_S:
            try:
                await self._runs.finish(run_id, answer, now=self._now())
            except UnstorableError:
                raise
            except StoreError:
                await asyncio.sleep(delay_s)
            else:
                return
        await self._runs.finish(run_id, answer, now=self._now())

    async def _keep_unsent(self, plan: RunPlan, cell: Cell, case: Case, *, reason: str) -> None:
        """Keep that a question could not be put to a model at all: no fault of the model's."""
        if await self._runs.reserve(plan.id, cell, worst_case_usd=0.0, worker=self._worker, now=self._now()) != "ok":
            return
        free = Cost(billed_usd=0.0, uncached_usd=0.0, source=_NOT_SENT)
        answer = RunAnswer(
            answer=CandidateAnswer(
                exchange_id=case.id,
                candidate=cell.model,
                started_at=self._now(),
                outcome=Outcome.ABORTED,
                status=None,
                latency_ms=0.0,
                cost=free,
                error=f"not asked: {reason}",
            ),
            repeat=cell.repeat,
            attempts=0,
            cost=free,
        )
        await self._runs.finish(plan.id, answer, now=self._now())
        self._note(answer)

    async def _reserved(self, plan: RunPlan, cell: Cell, question: Question) -> bool:
        """Reserve the worst case, waiting for others to settle where that may make room; False: this one is not asked.

        Where nothing is under way any more, nothing will make room: the run stops for all models alike. Cheaper
        questions might still fit, but a run of the cheap ones would be about other prompts.
        """
        while self._stopped is None:
            wake = self._wake
            self._busy += 1
            got = await self._runs.reserve(
                plan.id, cell, worst_case_usd=question.worst_case_usd, worker=self._worker, now=self._now()
            )
            if got == "ok":
                return True
            self._busy -= 1
            if got == "taken":
                return False
            if got == "gone":
                self.stop(_TAKEN_OVER)
                raise RunLostError(f"run {plan.id} was taken up by another process, or ended")
            if self._busy == 0 and not wake.is_set():
                self.stop(_out_of_money(question, plan))
            else:
                await wake.wait()
        return False

    async def _reserved_more(self, run_id: str, cell: Cell, worst_case_usd: float | None) -> bool:
        got = await self._runs.reserve_again(run_id, cell, worst_case_usd=worst_case_usd, worker=self._worker)
        return got == "ok"

    def _note_rest(self, lane: _Lane, seconds: float) -> None:
        lane.rest_until_s = max(lane.rest_until_s, time.monotonic() + seconds)
        self._report()

    async def _rest(self, lane: _Lane) -> None:
        """Leave a model alone that asked for it; a stop ends the wait."""
        while self._stopped is None and (left_s := lane.rest_until_s - time.monotonic()) > 0:
            await self._pause(left_s)

    async def _pause(self, seconds: float) -> bool:
        """Wait, unless the run is stopped; tells whether to go on."""
        until_s = time.monotonic() + seconds
        while self._stopped is None and (left_s := until_s - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left_s)
        return self._stopped is None

    async def _score_again(self, plan: RunPlan, cases: Mapping[str, Case], answers: Sequence[RunAnswer]) -> None:
        """Score stored answers by evaluators, or versions of them, that have not scored them yet."""
        for answer in answers:
            case = cases.get(answer.cell.case_id)
            if case is None or not answer.ended_well:
                continue
            told = told_again(case, answer)
            if told is not None and plan.primary is not None and self._scorer.uncompared(case, answer):
                self._told[answer.cell] = told
            if self._scorer.unscored(case, answer):
                await self._rescore(plan.id, case, answer.cell, told)

    async def _rescore(self, run_id: str, case: Case, cell: Cell, told: EvalCase | None) -> None:
        if told is None:
            await self._runs.rescore(run_id, cell, self._scorer.content_is_gone(case))
            return
        worst_usd = self._scorer.of_task(case.task).worst_case_alone_usd(told)
        async with self.scoring(run_id, worst_usd) as fits:
            if fits:
                scores = await self._scorer.alone(case, told)
                await self._runs.rescore(run_id, cell, self._kept(scores), reserved_usd=worst_usd)
                self._spent_usd += sum(stored.score.cost_usd for stored in scores)

    async def _reserved_scoring(self, run_id: str, worst_usd: float) -> bool:
        while worst_usd and self._stopped is None:
            wake = self._wake
            self._busy += 1
            got = await self._runs.reserve_scoring(run_id, worst_case_usd=worst_usd, worker=self._worker)
            if got == "ok":
                return True
            self._busy -= 1
            if got != "over_budget":
                self.stop(_TAKEN_OVER)
            elif self._busy == 0 and not wake.is_set():
                self.stop(NO_MONEY)
            else:
                await wake.wait()
        return self._stopped is None

    async def _judge_all(self, plan: RunPlan, cases: Mapping[str, Case]) -> None:
        """Set answers side by side: the primary's and its own earlier ones, candidates and the primary, then theirs.

        Everything rests on the primary, so it has the money first.
        """
        if self._lookback is None or self._stopped not in {None, NO_MONEY}:
            await self._compare_all(plan, cases)
            return
        agenda = await self._lookback.agenda(plan)
        await self._lookback.examine(plan.id, agenda.exams, self)
        await self._lookback.look(plan.id, agenda.of_primary, self)
        await self._compare_all(plan, cases)
        await self._lookback.look(plan.id, agenda.of_others, self)

    @property
    def stopped(self) -> str | None:
        """Why nothing is sent any more; None while it is."""
        return self._stopped

    def spend(self, usd: float) -> None:
        """Count what scoring cost."""
        self._spent_usd += usd
        self._report()

    @contextlib.asynccontextmanager
    async def scoring(self, run_id: str, worst_usd: float) -> AsyncIterator[bool]:
        """Reserve what scoring stored answers may cost, and wait for others to settle where that may make room.

        Gives False where it does not fit: the run stops then. Whoever scores settles before leaving.
        """
        fits = await self._reserved_scoring(run_id, worst_usd)
        try:
            yield fits
        finally:
            if fits and worst_usd:
                self._busy -= 1
                self._signal()

    async def _compare_all(self, plan: RunPlan, cases: Mapping[str, Case]) -> None:
        """Compare every candidate's answer with the primary's, where an evaluator does so."""
        if plan.primary is None:
            return
        room = asyncio.Semaphore(self._concurrency)
        async with together() as group:
            for cell in self._told:
                beside = replace(cell, model=plan.primary)
                if cell != beside and beside in self._told:
                    group.create_task(self._compare(plan.id, cases[cell.case_id], cell, beside, room))

    async def _compare(self, run_id: str, case: Case, cell: Cell, beside: Cell, room: asyncio.Semaphore) -> None:
        async with room:
            if self._stopped is not None:
                return
            one, other = replace(self._told[beside], role="primary"), replace(self._told[cell], role="candidate")
            worst_usd = self._scorer.of_task(case.task).worst_case_beside_usd(one, candidate=cell.model)
            async with self.scoring(run_id, worst_usd) as fits:
                if fits:
                    scores = await self._scorer.beside(case, one, other)
                    await self._runs.add_scores(run_id, cell, self._kept(scores), reserved_usd=worst_usd)
                    self.spend(sum(stored.score.cost_usd for stored in scores))

    def _note(self, answer: RunAnswer) -> None:
        self._counts.update(done=1, errors=answer.is_error, unpriced=answer.cost.billed_usd is None)
        self._spent_usd += (answer.cost.billed_usd or 0.0) + sum(stored.score.cost_usd for stored in answer.scores)
        self._report()

    def _report(self) -> None:
        at_s = time.monotonic()
        self._progress(
            Progress(
                done=self._counts["done"],
                cells=self._counts["cells"],
                errors=self._counts["errors"],
                spent_usd=self._spent_usd,
                unpriced=self._counts["unpriced"],
                resting=tuple(model for model, lane in self._lanes.items() if lane.rest_until_s > at_s),
            )
        )


def _ordered(plan: RunPlan) -> list[Cell]:
    """All of a plan's cells in the order of its seed; one case and repeat stands at the same place for every model."""
    keyed = [
        (hashlib.blake2b(msgspec.json.encode((plan.seed, case.id, repeat)), digest_size=8).digest(), case.id, repeat)
        for repeat in range(plan.repeats)
        for case in plan.cases
    ]
    return [
        Cell(case_id=case_id, model=model, repeat=repeat)
        for _, case_id, repeat in sorted(keyed)
        for model in plan.models
    ]


def _out_of_money(question: Question, plan: RunPlan) -> str:
    bound = plan.max_cost_usd or 0.0
    if question.worst_case_usd is None:
        return f"an answer's price is unknown ({question.unpriced}), so it cannot be kept below ${bound:g}"
    return (
        f"the next answer may cost up to ${question.worst_case_usd:.4f}, which does not fit under ${bound:g} any more"
    )
