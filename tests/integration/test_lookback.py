"""Drift where the evaluator that decides only compares: answers of two weekly runs before a judge of the simulator."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from shadow.alerts.lookout import drift_observations
from shadow.benchmark.scoring import NO_MONEY
from shadow.candidates import CallLimits
from shadow.evaluators import Services
from shadow.evaluators.llm_judges import LlmJudges
from shadow.judge.client import Network
from shadow.judge.hire import Agency, Home
from shadow.pricing import PriceBook
from shadow.records import EvaluatorSpec, Price
from shadow.redaction import Redactor
from shadow.simulator import Script, SimModel, Simulator
from shadow.trends import drifts_of
from tests.support.weekly import CANDIDATE, KEY, PRIMARY, WEEK, Weekly, weekly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from shadow.runs import Case, Cell, Earlier, RunLook, RunResult
    from shadow.trends import ModelDrift

pytestmark = pytest.mark.no_cover  # smaller tests cover the same lines

JUDGE = "judge-of-two"
SCRIPT = Script(
    models=(
        SimModel(name=PRIMARY),
        SimModel(name=CANDIDATE, phrase="That makes {number}."),
        SimModel(name=JUDGE, judge="truthful"),
    )
)
QUIET = Script(models=(SimModel(name=PRIMARY), SimModel(name=CANDIDATE), SimModel(name=JUDGE, judge="truthful")))
"""Candidate and primary say the same, so that no judge is asked about them."""

BUDGET = 0.035
"""Enough to ask, and for some of the comparisons."""

PAIRWISE = (EvaluatorSpec(type="llm-pairwise", quality=True, options={"model": JUDGE}),)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(SCRIPT) as simulator:
        yield simulator


@asynccontextmanager
async def services(base_url: str, *, judge: str = JUDGE) -> AsyncIterator[Services]:
    agency = Agency(
        home=Home(base_url=base_url, api_key=KEY),
        prices=PriceBook({judge: Price(input=1.0, output=5.0)}),
        redactor=Redactor([]),
        network=Network(limits=CallLimits(total_s=60)),
    )
    try:
        yield Services(judges=LlmJudges(agency))
    finally:
        await agency.aclose()


def addition(number: int) -> dict[str, Any]:
    text = f"What is {31 * number} + {number % 13 + 2}?"  # no answer is near another one
    return {"model": PRIMARY, "max_tokens": 60, "messages": [{"role": "user", "content": text}]}


async def change(simulator: Simulator, **models: Any) -> None:
    """Change a model behind its name."""
    async with httpx2.AsyncClient(base_url=simulator.base_url) as client:
        script = {"models": [{"name": name, "quality": quality} for name, quality in models.items()]}
        assert (await client.patch("/_sim/script", json=script)).status_code == 200


async def week(on: Weekly, number: int, made: Services, **rules: Any) -> RunResult:
    given = {"specs": PAIRWISE, "services": made, "sample": 12} | rules
    result = await on.rebenchmark(**given).run(period=f"week {number}")
    assert result is not None
    on.at += WEEK
    return result


def judged(simulator: Simulator) -> int:
    return sum(entry.model == JUDGE for entry in simulator.log)


def of(drifts: list[ModelDrift], model: str) -> ModelDrift:
    (found,) = (each for each in drifts if each.model == model and each.decides)
    return found


async def test_a_primary_that_begins_to_answer_wrong_is_caught_by_a_judge_that_only_compares(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on, services(simulator.base_url) as made:
        await on.traffic(0, 12, request=addition)
        first = await week(on, 0, made)
        calls = judged(simulator)
        assert await on.store.runs.looks(first.run.id) != []  # its own two answers: the noise
        second = await week(on, 1, made)
        assert (first.run.state, second.run.state) == ("done", "done")
        after = await on.store.runs.looks(second.run.id)
        steady = drifts_of(await on.store.trends.weekly_runs(limit=9))
        assert {look.score.reason for look in after} == {"identical answers"}
        # In the second run the same answers came: only candidates are judged against the primary, as in the first.
        assert judged(simulator) - calls <= calls

        await change(simulator, **{PRIMARY: {"wrong": 0.7}})
        third = await week(on, 2, made)
        runs = await on.store.trends.weekly_runs(limit=9)
    assert all(not each.report.drifts and each.reason is None for each in steady)
    assert of(steady, PRIMARY).report.noise.n == 24
    assert of(steady, PRIMARY).report.noise.discordance == 0.0

    drifts = drifts_of(runs)
    assert [(each.model, each.compared, len(each.report.drifts)) for each in drifts] == [
        (PRIMARY, True, 1), (CANDIDATE, True, 0),
    ]  # fmt: skip
    found = drifts[0]
    assert found.judge is not None
    assert found.judge.trusted, found.judge.reason
    (drift,) = found.report.drifts
    assert (drift.direction, drift.found_run, drift.change.since_run) == ("worse", 2, 2)
    assert drift.change.pairs == 12
    assert drift.change.interval[1] < 0
    assert -1.0 < drift.change.mean < -0.4
    assert {example.difference for example in drift.examples} == {-1.0}

    told = drift_observations(drifts, runs)[0]
    assert told.title == f"Drift: the primary {PRIMARY} answers worse than before"
    assert "by llm-pairwise (answers of now against those of before, wins minus losses): " in told.sentence
    assert "Noise floor: the judge tells two answers of one run apart in " in told.sentence
    assert "What is" not in f"{told.sentence}{told.details}{told.facts}"

    # Every call is kept with its cost, and all of it is in what the run spent, which its bound holds.
    with sqlite3.connect(tmp_path / "shadow.db") as database:
        (cost,) = database.execute(
            "SELECT sum(cost_usd) FROM run_judgement WHERE run_id = ?", (third.run.id,)
        ).fetchone()
    asked = sum(answer.cost.billed_usd or 0.0 for answer in third.answers)
    assert third.run.spent_usd == pytest.approx(asked + cost, abs=1e-6)
    assert third.run.max_cost_usd is not None
    assert third.run.spent_usd <= third.run.max_cost_usd


async def test_after_a_change_is_told_the_new_behaviour_is_the_measure(tmp_path: Path) -> None:
    with Simulator(QUIET) as simulator:
        async with weekly(tmp_path, simulator.base_url) as on, services(simulator.base_url) as made:
            await on.traffic(0, 8, request=addition)
            plan = await on.rebenchmark(specs=PAIRWISE, services=made).plan(period=None)
            on.golden = [_golden(case) for case in plan.cases[:2]]  # asked as traffic, too
            await change(simulator, **{PRIMARY: {"wrong": 1.0}})
            await week(on, 0, made)
            await change(simulator, **{PRIMARY: {"wrong": 0.0}})
            for number in (1, 2, 3, 4):
                await week(on, number, made)
            runs = await on.store.trends.weekly_runs(limit=9)
    report = of(drifts_of(runs), PRIMARY).report
    assert [(drift.direction, drift.found_run) for drift in report.drifts] == [("better", 1)]
    assert report.now is not None
    assert report.now.mean == 0.0
    used = [
        (run.id, look.model, look.case_id, look.repeat)
        for run in runs for look in run.looks if look.before_run != run.id
    ] + [
        (look.before_run, look.model, look.before_case_id, look.before_repeat)
        for run in runs for look in run.looks if look.before_run != run.id
    ]  # fmt: skip
    assert len(used) == len(set(used))  # each answer once
    assert sum(look.case_id.startswith("golden") for look in runs[1].looks if look.before_run == runs[0].id) == 4


@pytest.mark.parametrize("manner", ["always_a", "always_tie", "random"])
async def test_a_judge_that_does_not_look_tells_no_drift(tmp_path: Path, manner: Any) -> None:
    script = Script(models=(SimModel(name=PRIMARY), SimModel(name=CANDIDATE), SimModel(name=JUDGE, judge=manner)))
    with Simulator(script) as simulator:
        async with weekly(tmp_path, simulator.base_url) as on, services(simulator.base_url) as made:
            await on.traffic(0, 12, request=addition)
            await week(on, 0, made)
            await change(simulator, **{PRIMARY: {"empty": 0.9}})
            await week(on, 1, made)
            runs = await on.store.trends.weekly_runs(limit=9)
    found = of(drifts_of(runs), PRIMARY)
    assert found.withheld is not None
    assert "cannot be trusted: it passed" in found.withheld
    assert [seen for seen in drift_observations(drifts_of(runs), runs) if not seen.silent] == []


@pytest.mark.parametrize(("manner", "trusted"), [("truthful", True), ("always_a", False)])
async def test_a_judge_that_grades_single_answers_is_tested_too(tmp_path: Path, manner: Any, *, trusted: bool) -> None:
    """`always_a` gives everything a five, so that it finds no change either."""
    rubric = (EvaluatorSpec(type="llm-rubric", quality=True, options={"model": JUDGE}),)
    script = Script(models=(SimModel(name=PRIMARY), SimModel(name=CANDIDATE), SimModel(name=JUDGE, judge=manner)))
    with Simulator(script) as simulator:
        async with weekly(tmp_path, simulator.base_url) as on, services(simulator.base_url) as made:
            await on.traffic(0, 10, request=addition)
            await week(on, 0, made, specs=rubric)
            await change(simulator, **{PRIMARY: {"wrong": 1.0}})
            result = await week(on, 1, made, specs=rubric)
            runs = await on.store.trends.weekly_runs(limit=9)
    found = of(drifts_of(runs), PRIMARY)
    assert (found.compared, found.judge is not None and found.judge.trusted) == (False, trusted)
    assert [drift.direction for drift in found.report.drifts] == (["worse"] if trusted else [])
    assert [seen.silent for seen in drift_observations([found], runs)] == ([False] if trusted else [])
    (fact,) = runs[1].judged
    assert (fact.ruled, fact.failed, fact.grades, fact.controls) == (40, 0, True, 9 if trusted else fact.controls)
    asked = sum(answer.cost.billed_usd or 0.0 for answer in result.answers)
    assert result.run.spent_usd == pytest.approx(asked + fact.cost_usd, abs=1e-6)


async def test_where_no_answer_is_kept_the_reason_is_said(tmp_path: Path, simulator: Simulator) -> None:
    async with weekly(tmp_path, simulator.base_url) as on, services(simulator.base_url) as made:
        await on.traffic(0, 6, request=addition)
        plan = await on.rebenchmark(specs=PAIRWISE, services=made).plan(period=None)
        on.golden = [_golden(case) for case in plan.cases]
        for number in range(2):
            await week(on, number, made, content_kept=False, primary_model=PRIMARY)
        runs = await on.store.trends.weekly_runs(limit=9)
        first = of(drifts_of(runs[:1]), PRIMARY)
        second = of(drifts_of(runs), PRIMARY)
    assert first.reason == "this is the first weekly run: there is nothing yet to compare its answers with"
    assert second.reason is not None
    assert second.reason.startswith("the answers are not kept (shadow.content: none")
    assert second.report.now is None
    with sqlite3.connect(tmp_path / "shadow.db") as database:
        said = database.execute("SELECT DISTINCT reason FROM run_judgement").fetchall()
    assert said == [("what was said is not kept (content: none)",)]


def _golden(case: Case) -> Case:
    return replace(case, id=f"golden {case.prompt_hash[:8]}", source="golden", cluster=None)


async def test_money_that_ends_leaves_a_part_out_and_says_so_and_more_of_it_makes_the_run_whole(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on, services(simulator.base_url) as made:
        await on.traffic(0, 12, request=addition)
        await week(on, 0, made)
        await change(simulator, **{PRIMARY: {"wrong": 1.0}})
        short = await week(on, 1, made, budget_usd=BUDGET)
        runs = await on.store.trends.weekly_runs(limit=9)
        before = {_key(look): look.score for look in await on.store.runs.looks(short.run.id)}
        more = replace(short.run, max_cost_usd=1.0)
        whole = await on.rebenchmark(specs=PAIRWISE, services=made, sample=12).resume(more)
        after = {_key(look): look.score for look in await on.store.runs.looks(short.run.id)}
        with sqlite3.connect(tmp_path / "shadow.db") as database:
            tests = database.execute(
                "SELECT count(*) FROM run_judgement WHERE run_id = ? AND beside = 'a control' GROUP BY case_id",
                (short.run.id,),
            ).fetchall()

    assert (short.run.state, short.run.reason) == ("stopped", NO_MONEY)
    assert short.run.spent_usd <= BUDGET
    there = [
        cell
        for (cell, earlier), score in before.items()
        if score.status == "scored" and cell.model == PRIMARY and earlier.run_id != short.run.id
    ]
    assert 0 < len(there) < 12  # the primary had what there was
    drifts = drifts_of(runs)
    primary, candidate = of(drifts, PRIMARY), of(drifts, CANDIDATE)
    left_out = "comparisons of the latest run have no result: what scoring may cost does not fit under the run's bound"
    assert (primary.reason or "").startswith(f"{12 - len(there)} of 12 {left_out}")
    assert (candidate.reason or "").startswith(f"12 of 12 {left_out}")
    assert candidate.report.now is None
    assert primary.report.now is not None
    assert primary.report.now.pairs == len(there)

    assert whole is not None
    assert (whole.run.state, whole.run.reason) == ("done", None)
    assert before.keys() <= after.keys()  # the same answers meet
    scored = {key: score for key, score in before.items() if score.status == "scored"}
    assert {key: after[key] for key in scored} == scored  # and what was judged is not judged again
    assert {score.status for score in after.values()} == {"scored"}
    assert tests
    assert set(tests) == {(2,)}  # in both orders, and no test is taken again


def _key(look: RunLook) -> tuple[Cell, Earlier]:
    return look.cell, look.before
