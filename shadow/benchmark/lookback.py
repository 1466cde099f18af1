"""Sets a weekly run's answers beside the same model's earlier ones, where the evaluator that decides only compares.

Such an evaluator (a judge of two answers) says nothing of one answer alone, so "does the model still answer as it did"
is put before it: last time's answer and this time's to the same prompt, blind, in both orders, and which of them stands
in for the candidate is drawn. So a judge that leans to one side leans as often for now as for before. Which answers
meet is decided before any of them is judged, and each is used once (see `shadow.drift`).

Both are taken as they are kept: redaction must not make a difference. What a model's two answers of one run differ in
is its noise. A judge that has not shown yet that it looks is put to the test first; what it says counts only then.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import msgspec

from shadow.benchmark.scoring import NO_MONEY, kept_score, told_again
from shadow.benchmark.together import together
from shadow.drift import REACH
from shadow.evaluators import PairEvaluator
from shadow.evaluators.base import Examinable, Paid, compared, failed
from shadow.evaluators.registry import Named
from shadow.judge.figures import tally_of
from shadow.judge.trust import LEAST_CONTROL_PASS_RATE, controls_needed, rate_interval
from shadow.records import NOISE_FLOOR, EvalCase, Outcome
from shadow.runs import Cell, Earlier, RunControl, RunLook

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from shadow.benchmark.scoring import Scorer
    from shadow.records import Judgement, Score
    from shadow.runfacts import RunFacts
    from shadow.runs import Case, RunAnswer, RunPlan, RunResult
    from shadow.store.base import Runs, Trends

    Used = set[tuple[str, str, str, str, int]]

NOISE_PROMPTS = 20
"""In how many prompts of a run, for each model and task, its two answers are set beside one another."""

MOST_CONTROLS = 40
"""Tests of one judge in one run at most, beside those that come with pairs of candidate and primary."""

PAIRS_PER_CONTROL = 20
"""One test in so many comparisons goes on for ever."""

CONCURRENCY = 8
"""Comparisons at once."""

KNOWN_RUNS = 104
"""How many runs back a judge's tests count."""

_ROLE = re.compile(r"\b(primary|candidate)(?=:)")


class Till(Protocol):
    """The run's money, as those who score see it."""

    @property
    def stopped(self) -> str | None:
        """Why nothing may be sent any more; None while it may."""
        ...

    def scoring(self, run_id: str, worst_usd: float) -> AbstractAsyncContextManager[bool]:
        """Hold so much while something is scored; gives False where it does not fit: the run stops then."""
        ...

    def spend(self, usd: float) -> None:
        """Tell what was spent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One comparison to be made."""

    cell: Cell
    before: Earlier
    member: Named
    now: EvalCase
    earlier: EvalCase
    swapped: bool
    """True: the later answer stands where the primary's would."""

    @property
    def differs(self) -> bool:
        """False: the same words and tool calls, so that no judge is asked."""
        return (self.now.output, self.now.tool_calls) != (self.earlier.output, self.earlier.tool_calls)

    @property
    def sides(self) -> tuple[EvalCase, EvalCase]:
        """Give who stands for the primary and who for the candidate, as where a model is asked twice.

        A judge's tests are held apart from it: which answer is the good one is not known here.
        """
        one, other = (self.now, self.earlier) if self.swapped else (self.earlier, self.now)
        return replace(one, role="primary"), replace(other, role="candidate", model=NOISE_FLOOR)

    def worst_case_usd(self) -> float:
        """Say what it may cost at most; nothing where no judge is asked."""
        evaluator, (one, other) = self.member.evaluator, self.sides
        if not self.differs or not isinstance(evaluator, Paid):
            return 0.0
        return evaluator.worst_case_usd(one, candidate=other.model or NOISE_FLOOR)

    async def made(self) -> RunLook:
        """Make it; the same answer twice differs in nothing, whoever would be asked."""
        evaluator = self.member.evaluator
        if not self.differs:
            return self.told(compared(0.0, "identical answers"))
        if not isinstance(evaluator, PairEvaluator):
            raise TypeError(f"{self.member.name} does not compare")
        return self.told(await evaluator.compare(*self.sides))

    def told(self, score: Score) -> RunLook:
        """Put what was said of primary and candidate into terms of before and now."""
        value = None if score.value is None else score.value * (-1 if self.swapped else 1)
        when = {"primary": "now", "candidate": "before"} if self.swapped else {"primary": "before", "candidate": "now"}
        reason = _ROLE.sub(lambda found: when[found[0]], score.reason)
        score = replace(score, value=None if value is None else value + 0.0, reason=reason)
        return RunLook(
            cell=self.cell,
            before=self.before,
            evaluator=self.member.name,
            version=self.member.version,
            score=score,
        )


@dataclass(slots=True, kw_only=True)
class Exam:
    """The tests that a judge still needs about one task."""

    member: Named
    answers: deque[tuple[Cell, EvalCase]]
    """Answers of the primary to test it with: earlier ones where there are any; those of now may be bad ones."""
    passed: int
    controls: int
    due: int
    """How many there must be in this run in any case: one in twenty comparisons."""

    def needed(self) -> int:
        """Say how many more are due, or would show that it looks, all passed; 0 when it is shown that it does not."""
        if rate_interval(self.passed, self.controls)[1] < LEAST_CONTROL_PASS_RATE:
            return 0
        return max(controls_needed(self.passed, self.controls) or 0, self.due)

    def note(self, winners: Mapping[str, str | None]) -> None:
        """Count one test by whom was ruled for in which order; it has a result by both, or by a grade."""
        self.due -= 1
        if winners.keys() in ({"primary_first", "candidate_first"}, {"single"}):
            self.controls += 1
            self.passed += set(winners.values()) == {"primary"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """What is to be looked at, in the order in which the run's money is spent on it."""

    exams: Sequence[Exam] = ()
    of_primary: Sequence[Look] = ()
    of_others: Sequence[Look] = ()


class Lookback:
    """Plans and makes the comparisons of a run with those before it. The store is the only memory."""

    def __init__(
        self,
        *,
        runs: Runs,
        trends: Trends,
        scorer: Scorer,
        keep: Callable[[str], str] | None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._runs = runs
        self._trends = trends
        self._scorer = scorer
        self._keep = keep
        self._concurrency = concurrency

    async def agenda(self, plan: RunPlan) -> Agenda:
        """Choose what is compared and who is tested; nothing where no judge decides, or no answer is kept."""
        result = await self._runs.result(plan.id)
        if result is None or not any(self._judged(case) for case in result.cases):
            return Agenda()
        facts = [
            run for run in await self._trends.weekly_runs(limit=KNOWN_RUNS) if run.started_at < result.run.started_at
        ]
        shelf = await _Shelf.of(self._runs, [run.id for run in facts[-REACH:]], plan.id)
        looks = await asyncio.to_thread(self._looks, plan, result, shelf)
        return Agenda(
            exams=await asyncio.to_thread(self._exams, plan, result, looks, shelf, facts),
            of_primary=[look for look in looks if look.cell.model == plan.primary],
            of_others=[look for look in looks if look.cell.model != plan.primary],
        )

    async def examine(self, run_id: str, exams: Iterable[Exam], till: Till) -> None:
        """Put judges to the test until they are proved, disproved, or out of money."""
        for exam in exams:
            while exam.answers and till.stopped is None and (needed := exam.needed()):
                size = min(needed, self._concurrency, len(exam.answers))
                async with together() as group:
                    for _ in range(size):
                        group.create_task(self._examine(run_id, exam, *exam.answers.popleft(), till))

    async def look(self, run_id: str, looks: Iterable[Look], till: Till) -> None:
        """Make comparisons; those the money does not reach are kept as such. Raises StoreError."""
        waiting = deque(looks)

        async def work() -> None:
            while waiting:
                await self._look(run_id, waiting.popleft(), till)

        async with together() as group:
            for _ in range(min(self._concurrency, len(waiting))):
                group.create_task(work())

    async def _look(self, run_id: str, look: Look, till: Till) -> None:
        if till.stopped is None:
            worst_usd = look.worst_case_usd()
            async with till.scoring(run_id, worst_usd) as fits:
                if fits:
                    made = await look.made()
                    kept = replace(made, score=kept_score(made.score, self._keep))
                    await self._runs.add_look(run_id, kept, reserved_usd=worst_usd)
                    till.spend(made.score.cost_usd)
                    return
        if till.stopped == NO_MONEY:
            await self._runs.add_look(run_id, look.told(failed(NO_MONEY)))

    async def _examine(self, run_id: str, exam: Exam, cell: Cell, primary: EvalCase, till: Till) -> None:
        judge = exam.member.evaluator
        if not isinstance(judge, Examinable):
            raise TypeError(f"{exam.member.name} cannot be tested")
        worst_usd = judge.examination_usd(primary)
        async with till.scoring(run_id, worst_usd) as fits:
            if fits:
                score = await judge.examine(primary)
                exam.note(_winners(score.judgements))
                await self._runs.add_control(
                    run_id,
                    cell,
                    evaluator=exam.member.name,
                    version=exam.member.version,
                    score=kept_score(score, self._keep),
                    reserved_usd=worst_usd,
                )
                till.spend(score.cost_usd)

    def _judged(self, case: Case) -> bool:
        """Tell whether a case is decided by comparing, or by a judge that can be tested."""
        return isinstance(self._scorer.of_task(case.task).quality.evaluator, PairEvaluator | Examinable)

    def _compared(self, case: Case) -> bool:
        return isinstance(self._scorer.of_task(case.task).quality.evaluator, PairEvaluator)

    def _looks(self, plan: RunPlan, result: RunResult, shelf: _Shelf) -> list[Look]:
        """Pair answers up, in the order of the run's seed: money that ends leaves a random part out."""
        by_model: dict[tuple[str, str], list[RunAnswer]] = defaultdict(list)
        for answer in result.answers:
            by_model[answer.cell.case_id, answer.cell.model].append(answer)
        beside, noise = list[Look](), list[Look]()
        noisy: dict[tuple[str, str], int] = defaultdict(int)
        for case in sorted(filter(self._compared, result.cases), key=lambda each: _place(plan.seed, each.id)):
            member = self._scorer.of_task(case.task).quality
            for model in plan.models:
                kept = [_Kept(answer, run_id=plan.id) for answer in by_model[case.id, model]]
                there = sorted((each for each in kept if each.is_kept), key=lambda each: each.before.repeat)
                if not there:
                    continue
                pair = shelf.pair(case, member, model, there)
                if pair is not None:
                    beside.extend(self._look_of(case, member, *pair, run_id=plan.id))
                if len(there) > 1 and noisy[model, case.task] < NOISE_PROMPTS:
                    noisy[model, case.task] += 1
                    noise.extend(self._look_of(case, member, there[1], there[0], run_id=plan.id))
        return [look for look in (*beside, *noise) if not shelf.is_made(look)]

    def _look_of(self, case: Case, member: Named, now: _Kept, before: _Kept, *, run_id: str) -> list[Look]:
        told, earlier = told_again(case, now.answer), told_again(case, before.answer)
        if told is None or earlier is None:
            return []
        # By the run, too: another prompt of it is drawn for the judge's tests each time.
        told, earlier = (replace(each, exchange_id=f"{run_id} {case.id}") for each in (told, earlier))
        is_noise = before.before.run_id == run_id
        drawn = _place(run_id, case.id, now.answer.cell.model)[0] % 2 == 1
        return [
            Look(
                cell=now.answer.cell,
                before=before.before,
                member=member,
                now=told,
                earlier=earlier,
                swapped=drawn and not is_noise,
            )
        ]

    def _exams(
        self, plan: RunPlan, result: RunResult, looks: Sequence[Look], shelf: _Shelf, facts: Sequence[RunFacts]
    ) -> list[Exam]:
        """See which judges are to be tested: those of tasks in which some answers differ."""
        tasks = {case.id: case.task for case in result.cases}
        judged = Counter(tasks[look.cell.case_id] for look in looks if look.differs)
        # One that grades single answers grades every one, also where all are the same.
        judged.update(case.task for case in result.cases if self._judged(case) and not self._compared(case))
        asked = {*judged, *(tasks[case_id] for case_id in _contested(result, plan.primary))}
        exams = []
        for task in sorted(asked):
            member = self._scorer.of_task(task).quality
            if isinstance(member.evaluator, Examinable):
                tally = tally_of(
                    fact
                    for run in facts
                    for fact in run.judged
                    if (fact.task, fact.evaluator, fact.version) == (task, member.name, member.version)
                )
                # A run that is taken up again takes no test again, nor leaves out how it went.
                taken = [each for each in shelf.controls_of(member) if tasks.get(each.case_id) == task]
                answers = self._good_answers(plan, result, shelf, task, taken={each.case_id for each in taken})
                exam = Exam(
                    member=member,
                    answers=deque(answers[: max(0, MOST_CONTROLS - len(taken))]),
                    passed=0 if tally is None else tally.controls_passed,
                    controls=0 if tally is None else tally.controls,
                    due=math.ceil(judged[task] / PAIRS_PER_CONTROL),
                )
                for control in taken:
                    exam.note(control.winners)
                exams.append(exam)
        return exams

    def _good_answers(
        self, plan: RunPlan, result: RunResult, shelf: _Shelf, task: str, *, taken: Container[str]
    ) -> list[tuple[Cell, EvalCase]]:
        """Give answers of the primary that ended by themselves, each prompt's earlier one if there is one.

        Cases of `taken` are left out: the judge was tested on them.
        """
        model = plan.primary or ""
        own = {
            answer.cell.case_id: answer
            for answer in result.answers
            if answer.cell.model == model and not answer.repeat and _is_good(answer)
        }
        found = []
        for case in sorted(result.cases, key=lambda each: _place(plan.id, each.id)):
            earlier = [
                kept.answer for kept in shelf.answers.get((case.prompt_hash, model), []) if _is_good(kept.answer)
            ]
            answer = earlier[-1] if earlier else own.get(case.id)
            is_free = case.task == task and case.id not in taken
            told = told_again(case, answer) if answer is not None and is_free else None
            if told is not None:
                told = replace(told, exchange_id=f"{plan.id} {case.id}", role="primary")
                found.append((Cell(case_id=case.id, model=model), told))
        return found


def _is_good(answer: RunAnswer) -> bool:
    """Tell whether an answer is whole and says something, so that another one can be made to lose against it."""
    return answer.answer.outcome is Outcome.OK and bool(answer.output or (answer.tool_calls or "[]") != "[]")


def _winners(judgements: Iterable[Judgement]) -> dict[str, str | None]:
    """Say whom a judge that is tested ruled for, by order."""
    return {each.order: each.winner for each in judgements if each.status == "ruled" and each.control is not None}


def _contested(result: RunResult, primary: str | None) -> Iterator[str]:
    """Give the cases in which a model said something else than the primary."""
    said: dict[tuple[str, int], dict[str, tuple[str | None, str | None]]] = defaultdict(dict)
    for answer in result.answers:
        if answer.ended_well and answer.output is not None:
            said[answer.cell.case_id, answer.repeat][answer.cell.model] = (answer.output, answer.tool_calls)
    for (case_id, _), by_model in said.items():
        if primary in by_model and len(set(by_model.values())) > 1:
            yield case_id


class _Kept:
    """One answer with the run it is of."""

    def __init__(self, answer: RunAnswer, *, run_id: str) -> None:
        self.answer = answer
        self.before = Earlier(run_id=run_id, case_id=answer.cell.case_id, repeat=answer.repeat)

    @property
    def is_kept(self) -> bool:
        return self.answer.ended_well and self.answer.output is not None


@dataclass(slots=True, kw_only=True)
class _Shelf:
    """Earlier answers that are kept, the oldest first, and which answers were compared already."""

    answers: dict[tuple[str, str], list[_Kept]] = field(default_factory=lambda: defaultdict(list))
    """(prompt hash, model) -> answers."""
    used: Used = field(default_factory=set)
    """(evaluator's name and version, run, case or model with case, repeat) that were part of a comparison over time."""
    made: dict[tuple[str, str, Cell, Earlier], str] = field(default_factory=dict)
    """Comparisons of this very run that are there, with their status."""
    controls: Sequence[RunControl] = ()
    """Tests of judges in this very run."""
    run_id: str

    @classmethod
    async def of(cls, runs: Runs, earlier: Sequence[str], run_id: str) -> _Shelf:
        """Read what is kept of these runs."""
        shelf = cls(run_id=run_id)
        for each in earlier:
            result = await runs.result(each)
            if result is not None:
                shelf._take(result)
        for each in (*earlier, run_id):
            for look in await runs.looks(each):
                shelf._note(each, look)
        shelf.controls = await runs.controls(run_id)
        return shelf

    def _take(self, result: RunResult) -> None:
        hashes = {case.id: case.prompt_hash for case in result.cases if case.request}
        for answer in sorted(result.answers, key=lambda each: each.repeat):
            kept = _Kept(answer, run_id=result.run.id)
            if kept.is_kept and answer.cell.case_id in hashes:
                self.answers[hashes[answer.cell.case_id], answer.cell.model].append(kept)

    def _note(self, run_id: str, look: RunLook) -> None:
        if run_id == self.run_id:
            self.made[look.evaluator, look.version, look.cell, look.before] = look.score.status
        if look.before.run_id != run_id:
            by, model = (look.evaluator, look.version), look.cell.model
            self.used.add((*by, run_id, f"{model} {look.cell.case_id}", look.cell.repeat))
            self.used.add((*by, look.before.run_id, f"{model} {look.before.case_id}", look.before.repeat))

    def controls_of(self, member: Named) -> list[RunControl]:
        """Give the tests of one judge."""
        return [each for each in self.controls if (each.evaluator, each.version) == (member.name, member.version)]

    def pair(self, case: Case, member: Named, model: str, there: Sequence[_Kept]) -> tuple[_Kept, _Kept] | None:
        """Give this run's first answer and the oldest one it may be compared with; those of a look that is there.

        The earlier one is taken off the shelf: another case may ask the same prompt (live traffic, and golden).
        """
        earlier = self.answers.get((case.prompt_hash, model), [])
        for now in there:
            for before in earlier:
                if (member.name, member.version, now.answer.cell, before.before) in self.made:
                    return now, before
        for before in earlier:
            of = before.before
            key = (member.name, member.version, of.run_id, f"{model} {of.case_id}", of.repeat)
            if key not in self.used:
                self.used.add(key)
                return there[0], before
        return None

    def is_made(self, look: Look) -> bool:
        """Tell whether this comparison is there; one that failed is made again."""
        status = self.made.get((look.member.name, look.member.version, look.cell, look.before))
        return status is not None and status != "failed"


def _place(*parts: str) -> bytes:
    """Give a place in a random order that depends on `parts` only."""
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=8).digest()
