"""The engine against the simulator and a real store: together, within its money, resumable, nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shadow.benchmark import RunLostError, Scorer, estimate
from shadow.benchmark.cases import read_cases
from shadow.benchmark.engine import LEASE_S
from shadow.evaluators.registry import EvaluatorSet, Named
from shadow.evaluators.services import Services
from shadow.records import EvaluatorSpec, Outcome, Score
from shadow.runs import Case
from shadow.simulator import FaultRate, LogEntry, Quality, Script, SimModel, Simulator, Timing
from tests.support.benching import PRICE, bench, sums
from tests.support.stored import NOW
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shadow.benchmark import Progress
    from shadow.records import EvalCase
    from shadow.runs import RunPlan
    from tests.support.benching import Bench

GOOD = SimModel(name="good", timing=Timing(ttft_ms=20, gap_ms=1))
BAD = SimModel(name="bad", quality=Quality(wrong=1.0))
SCRIPT = Script(models=(GOOD, BAD))


def most_at_once(entries: Sequence[LogEntry]) -> int:
    """How many requests were under way together at most."""
    moments = [(entry.arrived_at, 1) for entry in entries] + [(entry.ended_at or 0.0, -1) for entry in entries]
    open_, most = 0, 0
    for _, step in sorted(moments):
        open_ += step
        most = max(most, open_)
    return most


def everything_in(folder: Path) -> bytes:
    """All bytes of the store's files."""
    return b"".join(file.read_bytes() for file in folder.glob("shadow.db*"))


async def test_every_case_is_asked_of_every_model_scored_priced_and_timed(tmp_path: Path) -> None:
    told: list[Progress] = []
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        plan = on.plan("good", "bad", cases=sums(5), repeats=2)
        result = await on.engine("good", "bad", progress=told.append).run(plan)

    assert result is not None
    assert (result.run.state, result.run.reason, result.run.answered) == ("done", None, 20)
    quality = {
        model: [answer.scores[0].score.value for answer in result.answers if answer.cell.model == model]
        for model in ("good", "bad")
    }
    assert quality == {"good": [1.0] * 10, "bad": [0.0] * 10}
    for answer in result.answers:
        usage = answer.answer.usage
        assert usage is not None
        expected_usd = (usage.input * PRICE.input + usage.output * PRICE.output) / 1e6
        assert answer.cost.billed_usd == pytest.approx(expected_usd)
        assert answer.answer.ttft_ms is not None
        assert answer.answer.ttft_ms <= answer.answer.latency_ms
        assert answer.attempts == 1
    total = sum(answer.cost.billed_usd or 0 for answer in result.answers)
    assert result.run.spent_usd == pytest.approx(total, abs=1e-7)
    assert (told[0].done, told[-1].done, told[-1].cells) == (0, 20, 20)
    assert told[-1].spent_usd == pytest.approx(total)
    assert {entry.key for entry in simulator.log} == {"key-of-the-benchmark"}


async def test_models_are_asked_together_and_each_no_more_than_so_often_at_once(tmp_path: Path) -> None:
    slow = Script(models=tuple(SimModel(name=name, timing=Timing(ttft_ms=150)) for name in ("good", "bad")))
    async with Simulator(slow) as simulator, bench(tmp_path, simulator.base_url) as on:
        plan = on.plan("good", "bad", cases=sums(12))
        await on.engine("good", "bad", concurrency=3).run(plan)
        calls = simulator.log.calls()

    assert most_at_once([call for call in calls if call.model == "good"]) == 3
    assert most_at_once([call for call in calls if call.model == "bad"]) == 3
    assert most_at_once(calls) == 6


async def test_the_seed_orders_the_questions_alike_for_every_model(tmp_path: Path) -> None:
    orders = []
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        for at, seed in enumerate(("a", "a", "b")):
            plan = on.plan("good", "bad", cases=sums(8), id=f"r{at}", seed=seed)
            await on.engine("good", "bad", concurrency=1).run(plan)
            calls = simulator.log.calls()
            orders.append([[call.body[-80:] for call in calls if call.model == model] for model in ("good", "bad")])
            simulator.log.clear()

    bodies = [[sorted(one) for one in order] for order in orders]
    assert bodies[0] == bodies[1] == bodies[2]
    assert orders[0] == orders[1] != orders[2]


async def test_a_failure_that_passes_is_asked_again_and_counted(tmp_path: Path) -> None:
    shaky = SimModel(name="good", faults=(FaultRate(fault="529; retry-after-ms=5", rate=0.3),))
    async with Simulator(Script(models=(shaky,))) as simulator, bench(tmp_path, simulator.base_url) as on:
        result = await on.engine("good", asker=on.asker(retries=8)).run(on.plan("good", cases=sums(12)))
        calls = simulator.log.calls()

    assert result is not None
    assert {answer.answer.outcome for answer in result.answers} == {Outcome.OK}
    assert sum(answer.attempts for answer in result.answers) == len(calls) > 12
    assert all(answer.cost.billed_usd for answer in result.answers)


async def test_a_failure_that_stays_is_kept_and_takes_nothing_with_it(tmp_path: Path) -> None:
    script = Script(models=(GOOD, SimModel(name="down", faults=(FaultRate(fault="503", rate=1.0),))), other=None)
    priced = ("good", "down", "unknown")
    async with Simulator(script) as simulator, bench(tmp_path, simulator.base_url, priced=priced) as on:
        plan = on.plan(*priced, cases=sums(3))
        result = await on.engine(*priced, asker=on.asker(retries=0)).run(plan)

    assert result is not None
    ended = Counter((answer.cell.model, answer.answer.outcome) for answer in result.answers)
    assert ended == {
        ("good", Outcome.OK): 3,
        ("down", Outcome.ERROR_HTTP): 3,
        ("unknown", Outcome.INCOMPATIBLE): 3,
    }
    assert result.run.state == "done"
    assert {answer.cost.billed_usd for answer in result.answers if answer.cell.model != "good"} == {0.0}


async def test_a_stream_that_breaks_has_an_unknown_cost_and_its_retry_is_reserved_anew(tmp_path: Path) -> None:
    cut = SimModel(name="good", faults=(FaultRate(fault="cut; after=1", rate=1.0),))
    async with Simulator(Script(models=(cut,))) as simulator, bench(tmp_path, simulator.base_url) as on:
        plan = on.plan("good", cases=sums(1))
        worst = estimate(plan, asker=on.asker(), contestants={"good": on.contestants("good")[0]}).dearest_usd
        twice = await on.engine("good").run(replace(plan, max_cost_usd=2.5 * worst))
        thrice = await on.engine("good").run(replace(plan, id="run-2", max_cost_usd=4 * worst))

    for result, attempts in ((twice, 2), (thrice, 3)):
        assert result is not None
        [answer] = result.answers
        assert (answer.answer.outcome, answer.attempts) == (Outcome.ERROR_STREAM, attempts)
        assert answer.cost.billed_usd is None
        assert answer.cost.source == "unknown: the answer was cut short"
        assert result.run.spent_usd == pytest.approx(attempts * worst, abs=1e-8)


async def test_the_bound_stops_the_run_before_it_is_passed_and_resume_goes_on(tmp_path: Path) -> None:
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        plan = on.plan("good", "bad", cases=sums(20))
        contestants = {each.model: each for each in on.contestants("good", "bad")}
        cost = estimate(plan, asker=on.asker(), contestants=contestants)
        assert cost.worst_usd is not None
        bound = 1.1 * cost.dearest_usd
        first = await on.engine("good", "bad").run(replace(plan, max_cost_usd=bound))
        assert first is not None
        sent = len(simulator.log)
        again = await on.engine("good", "bad").resume(replace(plan, max_cost_usd=cost.worst_usd), first.run)
        sent_in_all = len(simulator.log)

    assert again is not None
    assert first.run.state == "stopped"
    assert "does not fit under" in str(first.run.reason)
    assert 0 < first.run.answered == sent < 40
    assert first.run.spent_usd <= bound
    assert first.run.reserved_usd == 0
    assert (again.run.state, again.run.answered, sent_in_all) == ("done", 40, 40)
    assert again.run.spent_usd <= cost.worst_usd


async def test_an_unknown_price_is_no_cost_and_never_fits_under_a_bound(tmp_path: Path) -> None:
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url, priced=("good",)) as on:
        plan = on.plan("good", "bad", cases=sums(2))
        contestants = {each.model: each for each in on.contestants("good", "bad")}
        cost = estimate(plan, asker=on.asker(), contestants=contestants)
        free = await on.engine("good", "bad").run(plan)
        bound = await on.engine("good", "bad").run(replace(plan, id="run-2", max_cost_usd=5.0))

    assert (cost.worst_usd, cost.unpriced, cost.by_model["bad"]) == (None, {"bad": "price_unknown"}, None)
    assert free is not None
    assert bound is not None
    unknown = [answer for answer in free.answers if answer.cell.model == "bad"]
    assert [(answer.cost.billed_usd, answer.cost.source) for answer in unknown] == [(None, "price unknown")] * 2
    assert [answer.scores[0].score.value for answer in unknown] == [0.0, 0.0]
    assert bound.run.state == "stopped"
    assert "price is unknown" in str(bound.run.reason)
    assert not [answer for answer in bound.answers if answer.cell.model == "bad"]


async def test_a_stop_keeps_what_is_under_way_and_resume_asks_only_the_rest(tmp_path: Path) -> None:
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        engine = on.engine(
            "good", "bad", concurrency=2, progress=lambda at: at.done >= 6 and engine.stop("interrupted")
        )
        plan = on.plan("good", "bad", cases=sums(20))
        first = await engine.run(plan)
        assert first is not None
        second = await on.engine("good", "bad").resume(plan, first.run)
        bodies = Counter((entry.model, entry.body) for entry in simulator.log)

    assert second is not None
    assert (first.run.state, first.run.reason) == ("stopped", "interrupted")
    assert 6 <= first.run.answered < 40
    assert (second.run.id, second.run.state, second.run.answered) == ("run-1", "done", 40)
    assert set(bodies.values()) == {1}
    assert len(bodies) == 40


async def test_a_process_that_dies_loses_only_what_was_under_way(tmp_path: Path) -> None:
    slow = Script(models=(replace(GOOD, timing=Timing(ttft_ms=200)),))
    async with Simulator(slow) as simulator, bench(tmp_path, simulator.base_url) as on:
        plan = on.plan("good", cases=sums(12), max_cost_usd=1.0)
        dying = asyncio.create_task(on.engine("good", concurrency=3, now=lambda: NOW).run(plan))

        async def some() -> bool:
            run = await on.store.runs.find("run-1")
            return run is not None and run.answered >= 3 and run.reserved_usd > 0

        await eventually_async(some)
        await _kill(dying, on.store)
        run = await on.store.runs.find("run-1")
        assert run is not None
        assert await on.engine("good", now=lambda: NOW).resume(plan, run) is None  # still held
        later = NOW + timedelta(seconds=LEASE_S + 1)
        result = await on.engine("good", now=lambda: later).resume(plan, run)

    assert result is not None
    assert (result.run.state, result.run.answered) == ("done", 12)
    assert run.reserved_usd > 0  # what the dead one had sent
    answers_usd = sum(answer.cost.billed_usd or 0.0 for answer in result.answers)
    assert result.run.spent_usd == pytest.approx(answers_usd + run.reserved_usd, abs=1e-7)


async def _kill(task: asyncio.Task[Any], store: Any) -> None:
    """End an engine as a killed process ends: it writes nothing more."""
    end, finish = store.runs.end, store.runs.finish

    async def nothing(*_: object, **__: object) -> bool:
        return True

    store.runs.end = store.runs.finish = nothing
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    store.runs.end, store.runs.finish = end, finish


async def test_errors_are_asked_again_when_that_is_wanted(tmp_path: Path) -> None:
    down = Script(models=(SimModel(name="good", faults=(FaultRate(fault="500", rate=1.0),)),))
    async with Simulator(down) as ill, Simulator(SCRIPT) as well, bench(tmp_path, ill.base_url) as on:
        plan = on.plan("good", cases=sums(6))
        first = await on.engine("good", asker=on.asker(retries=0)).run(plan)
        assert first is not None
        cured = [replace(each, base_url=well.base_url) for each in on.contestants("good")]
        kept = await on.engine("good", contestants=cured).resume(plan, first.run)
        assert kept is not None
        mended = await on.engine("good", contestants=cured).resume(plan, first.run, retry_errors=True)

    assert mended is not None
    assert sum(answer.is_error for answer in first.answers) == sum(answer.is_error for answer in kept.answers) == 6
    assert not any(answer.is_error for answer in mended.answers)
    assert mended.run.answered == 6


async def test_another_evaluator_scores_what_is_stored_without_asking_again(tmp_path: Path) -> None:
    contains = (EvaluatorSpec(type="icontains", quality=True),)
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        plan = on.plan("good", "bad", cases=sums(4))
        first = await on.engine("good", "bad").run(plan)
        assert first is not None
        simulator.log.clear()
        again = on.plan("good", "bad", cases=sums(4), specs=contains)
        second = await on.engine("good", "bad", specs=contains).resume(again, first.run)
        asked = len(simulator.log)
        await on.store.runs.forget_content(before=NOW + timedelta(days=4000))
        gone = await on.engine("good", "bad").resume(plan, first.run)

    assert second is not None
    assert gone is not None
    assert asked == 0
    assert {score.evaluator for answer in second.answers for score in answer.scores} == {"icontains"}
    assert {answer.scores[0].score.value for answer in second.answers if answer.cell.model == "good"} == {1.0}
    assert {answer.scores[0].score.status for answer in gone.answers} == {"failed"}
    assert "not kept" in gone.answers[0].scores[0].score.reason


class Longer:
    """Prefers the longer answer."""

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:
        value = float(len(candidate.output) > len(primary.output)) - float(len(candidate.output) < len(primary.output))
        return Score(status="scored", value=value, reason="by length")


async def test_evaluators_that_compare_set_every_candidate_beside_the_primary(tmp_path: Path) -> None:
    specs = (
        EvaluatorSpec(type="python", options={"target": f"{__name__}:Longer"}, quality=True, name="longer"),
        EvaluatorSpec(type="finish-reason"),
    )
    wordy = Script(models=(SimModel(name="good", words=5), SimModel(name="bad", words=50)))
    cases = tuple(replace(case, request=case.request.replace(b"What is", b"Tell me")) for case in sums(4))
    async with Simulator(wordy) as simulator, bench(tmp_path, simulator.base_url) as on:
        plan = on.plan("good", "bad", cases=cases, specs=specs, primary="good")
        result = await on.engine("good", "bad", specs=specs).run(plan)
        simulator.log.clear()
        assert result is not None
        unchanged = await on.engine("good", "bad", specs=specs).resume(plan, result.run)

    by_model = {
        model: [score for answer in result.answers if answer.cell.model == model for score in answer.scores]
        for model in ("good", "bad")
    }
    assert [score.score.value for score in by_model["bad"] if score.role == "pair"] == [1.0] * 4
    assert not [score for score in by_model["good"] if score.role == "pair"]
    assert unchanged is not None
    assert unchanged.answers == result.answers
    assert len(simulator.log) == 0


async def test_both_wires_and_whole_conversations_travel_as_they_are(tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "The answer is 4."},
        {"role": "user", "content": "Add 3 to that."},
    ]
    line = json.dumps({"messages": talk, "system": "Be short.", "expected": "7", "temperature": 0})
    contains = (EvaluatorSpec(type="icontains", quality=True),)
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        for at, api in enumerate(("anthropic", "openai")):
            cases = read_cases(line, api=api)
            plan = on.plan("good", cases=cases, specs=contains, id=f"r{at}")
            result = await on.engine("good", specs=contains).run(plan)
            assert result is not None
            assert [answer.scores[0].score.value for answer in result.answers] == [1.0]
        messages, chat = [(entry.path, json.loads(entry.body)) for entry in simulator.log]

    assert messages[0] == "/v1/messages"
    assert messages[1] == {
        "max_tokens": 2048,
        "messages": talk,
        "stream": True,
        "temperature": 0,
        "system": "Be short.",
        "model": "good",
    }
    assert chat[0] == "/v1/chat/completions"
    assert chat[1]["messages"][0] == {"role": "system", "content": "Be short."}
    assert chat[1]["max_completion_tokens"] == 2048
    assert chat[1]["stream_options"] == {"include_usage": True}


async def test_what_cannot_be_sent_is_kept_as_not_asked(tmp_path: Path) -> None:
    broken = Case(id="odd", dialect=sums(1)[0].dialect, request=b"[1, 2]")
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        result = await on.engine("good").run(on.plan("good", cases=(broken, *sums(1))))
        asked = len(simulator.log)

    assert result is not None
    told = {answer.cell.case_id: (answer.answer.outcome, answer.answer.error) for answer in result.answers}
    assert told["odd"] == (Outcome.ABORTED, "not asked: unreadable")
    assert (result.run.answered, asked) == (2, 1)


async def test_without_content_figures_and_scores_are_kept_and_nothing_that_was_said(tmp_path: Path) -> None:
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        result = await on.engine("good", keep=None).run(on.plan("good", cases=sums(3)))
    stored = everything_in(tmp_path)

    assert result is not None
    assert [answer.scores[0].score.value for answer in result.answers] == [1.0] * 3
    assert b"What is" not in stored
    assert b"The answer is" not in stored


async def test_a_run_that_is_taken_over_stops_asking(tmp_path: Path) -> None:
    slow = Script(models=(replace(GOOD, timing=Timing(ttft_ms=100)),))
    async with Simulator(slow) as simulator, bench(tmp_path, simulator.base_url) as on:
        plan = on.plan("good", cases=sums(20))
        losing = asyncio.create_task(on.engine("good", concurrency=2, now=lambda: NOW).run(plan))

        async def begun() -> Any:
            return await on.store.runs.find("run-1")

        run = await eventually_async(begun)
        later = NOW + timedelta(seconds=LEASE_S + 1)
        result = await on.engine("good", now=lambda: later).resume(plan, run)
        with pytest.raises(RunLostError, match="taken up by another process"):
            await losing

    assert result is not None
    assert (result.run.state, result.run.answered) == ("done", 20)


# ---- judges that are paid


class PaidGrade:
    """Grades 1 for $0.001; may cost three times as much."""

    version, measures, absolute = "1", "content", True

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:
        assert primary.model == candidate
        return 0.003

    async def evaluate(self, case: EvalCase) -> Score:
        return Score(status="scored", value=1.0, reason=case.output, cost_usd=0.001)


class PaidComparison:
    """Prefers the candidate for $0.002; may cost twice as much."""

    version, measures, absolute = "1", "content", False

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:
        assert (primary.role, primary.model, candidate) == ("primary", "good", "bad")
        return 0.004

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:
        assert (candidate.role, candidate.exchange_id) == ("candidate", primary.exchange_id)
        return Score(status="scored", value=1.0, cost_usd=0.002)


def paid(evaluator: Any) -> Scorer:
    named = Named(
        name="paid", version="1", quality=True, measures="content", absolute=evaluator.absolute, evaluator=evaluator
    )
    return Scorer(sets={"default": EvaluatorSet((named,), services=Services())})


def judged(on: Bench, scorer: Scorer, **changes: Any) -> RunPlan:
    listed = scorer.listed(["default"])
    return replace(on.plan("good", "bad", cases=sums(6), primary="good"), evaluators=listed, **changes)


async def test_what_a_judge_costs_is_paid_out_of_the_runs_bound(tmp_path: Path) -> None:
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        for run_id, evaluator, scoring_usd in (("grade", PaidGrade(), 0.012), ("pair", PaidComparison(), 0.012)):
            scorer = paid(evaluator)
            result = await on.engine("good", "bad", scorer=scorer).run(judged(on, scorer, id=run_id, max_cost_usd=5.0))
            assert result is not None
            answers_usd = sum(answer.cost.billed_usd or 0.0 for answer in result.answers)
            assert result.run.spent_usd == pytest.approx(answers_usd + scoring_usd, abs=1e-7)
            assert (result.run.state, result.run.reserved_usd) == ("done", 0.0)


async def test_a_judge_whose_money_does_not_fit_is_not_asked_and_the_run_stops(tmp_path: Path) -> None:
    async with Simulator(SCRIPT) as simulator, bench(tmp_path, simulator.base_url) as on:
        worst = estimate(
            on.plan("good", cases=sums(1)), asker=on.asker(), contestants={"good": on.contestants("good")[0]}
        ).dearest_usd
        for run_id, evaluator in (("grade", PaidGrade()), ("pair", PaidComparison())):
            scorer = paid(evaluator)
            bound = worst + 0.0025
            plan = judged(on, scorer, id=run_id, max_cost_usd=bound)
            stopped = await on.engine("good", "bad", scorer=scorer).run(plan)
            assert stopped is not None
            wider = replace(plan, max_cost_usd=1.0)
            whole = await on.engine("good", "bad", scorer=scorer).resume(wider, stopped.run)
            assert whole is not None
            assert stopped.run.state == "stopped"
            assert "does not fit under" in str(stopped.run.reason)
            assert stopped.run.spent_usd <= bound
            assert (whole.run.state, whole.run.answered) == ("done", 12)
            scored = [score for answer in whole.answers for score in answer.scores if score.score.status == "scored"]
            assert len(scored) == (12 if run_id == "grade" else 6)
