"""Weekly runs against the simulator and a real store: what is asked, once a period, and a silent change is found."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx2
import pytest

from shadow.alerts.lookout import drift_observations
from shadow.benchmark.cases import read_cases
from shadow.leads import leads_of
from shadow.rebenchmark import NothingToAskError
from shadow.runs import Case
from shadow.schedule import schedule_of
from shadow.simulator import Script, SimModel, Simulator
from shadow.trends import drifts_of, trend_points
from tests.support.runfacts import plan
from tests.support.waiting import eventually
from tests.support.weekly import CANDIDATE, PRIMARY, SUNDAY, WEEK, extraction, remember, weekly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEDULE = schedule_of("0 3 * * sun")
SCRIPT = Script(models=(SimModel(name=PRIMARY), SimModel(name=CANDIDATE)))


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(SCRIPT) as simulator:
        yield simulator


def golden(*prompts: str) -> list[Case]:
    lines = "\n".join(f'{{"id": "golden {prompt}", "prompt": "{prompt}", "expected": "x"}}' for prompt in prompts)
    return [
        Case(
            id=case.id, dialect=case.dialect, request=case.request, expected=case.expected, headers=case.headers,
            source="golden",
        )
        for case in read_cases(lines)
    ]  # fmt: skip


async def test_a_run_asks_a_sample_of_recent_prompts_twice_of_everyone_and_says_what_it_is(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        await on.traffic(0, 60)
        await remember(on.store, 900, at=on.at - timedelta(hours=2), request=extraction(0))  # a prompt that came twice
        await remember(on.store, 901, at=on.at - timedelta(days=20))  # too long ago
        await remember(on.store, 902, at=on.at - timedelta(hours=2), model="another-model")
        on.golden = golden("Is it JSON?")
        result = await on.rebenchmark(sample=20).run(period="2026-11-01T03:00:00Z")

    assert result is not None
    assert (result.run.kind, result.run.state, result.run.primary, result.run.models) == (
        "weekly", "done", PRIMARY, (PRIMARY, CANDIDATE),
    )  # fmt: skip
    assert result.run.answered == result.run.cells == 21 * 2 * 2
    assert result.run.period == "2026-11-01T03:00:00Z"
    assert result.run.spent_usd > 0
    assert result.run.estimate_usd is not None
    assert result.run.note == (
        "20 fresh prompts of the recent traffic, 0 of the last run again, 1 golden; only sampled conversations are "
        "stored (sample_rate 0.05); prompts that other models answered are not asked (another-model 1)"
    )
    asked = [case for case in result.cases if case.source != "golden"]
    assert len({case.prompt_hash for case in asked}) == 20
    ids = sorted(int(case.id[-4:]) for case in asked)
    assert max(ids) > 30  # random over the window, not the newest, which are the lowest numbers here
    assert 902 not in ids
    assert 901 not in ids
    assert {answer.answer.model_answered for answer in result.answers} == {PRIMARY, CANDIDATE}
    assert {stored.version for answer in result.answers for stored in answer.scores} != {""}


async def test_the_next_run_asks_the_same_prompts_again_and_fresh_ones_that_push_the_oldest_out(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        runs = []
        for week in range(3):
            await on.traffic(100 * week, 60)
            result = await on.rebenchmark(sample=20).run(period=f"week {week}")
            assert result is not None
            runs.append({case.id for case in result.cases})
            on.at += WEEK
        assert [len(run) for run in runs] == [20, 25, 25]
        assert runs[0] < runs[1]
        assert len(runs[2] & runs[1]) == 20
        assert runs[1] - runs[0] <= runs[2]  # what joined last stays


async def test_whole_conversations_are_taken_and_their_turns_are_one_unit(tmp_path: Path, simulator: Simulator) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        for number in range(40):
            await remember(on.store, number, at=on.at - timedelta(hours=2), conversation=f"talk-{number // 4}")
        result = await on.rebenchmark(sample=10).run(period=None)
        assert result is not None
        turns = Counter(case.cluster for case in result.cases)
        assert set(turns.values()) == {4}
        (run,) = await on.store.trends.weekly_runs(limit=9)
    points = trend_points([run], [])
    assert [(point["role"], point["conversations"], point["answers"]) for point in points] == [
        ("candidate", 3, 24), ("primary", 3, 24),
    ]  # fmt: skip


async def test_with_content_none_the_golden_set_alone_is_asked_and_the_run_says_so(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        await on.traffic(0, 5)
        with pytest.raises(NothingToAskError, match=r"not known which model is the primary"):
            await on.rebenchmark(content_kept=False).run(period=None)
        with pytest.raises(NothingToAskError, match=r"shadow.content: none"):
            await on.rebenchmark(content_kept=False, primary_model=PRIMARY).run(period=None)
        on.golden = golden("a", "b")
        result = await on.rebenchmark(content_kept=False, primary_model=PRIMARY).run(period=None)
        assert result is not None
        assert [case.source for case in result.cases] == ["golden", "golden"]
        assert {answer.output for answer in result.answers} == {None}
        assert "shadow.content is none, so no production prompt is stored: the golden set alone" in result.run.note


async def test_a_prompt_that_the_traffic_no_longer_keeps_is_not_asked_again(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        await on.traffic(0, 20)
        first = await on.rebenchmark(sample=20).run(period=None)
        assert first is not None
        on.at += WEEK
        while await on.store.reader.prune(before=on.at - timedelta(days=7, hours=10)):
            pass
        kept = {prompt.exchange_id for prompt in await on.store.runs.prompts(since=SUNDAY - 9 * WEEK, until=on.at)}
        second = await on.rebenchmark(sample=20).run(period=None)
        assert second is not None
        assert 0 < len(second.cases) < 20
        assert {case.id for case in second.cases} <= kept


async def test_a_silent_change_to_fenced_json_is_found_in_the_run_in_which_it_happens(
    tmp_path: Path, simulator: Simulator
) -> None:
    """The case of gpt-4o-2024-08-06: the same name, and suddenly every answer stands in a Markdown fence."""
    async with weekly(tmp_path, simulator.base_url) as on:
        for week in range(3):
            await on.traffic(100 * week, 40)
            if week == 2:
                change = {"models": [{"name": PRIMARY, "quality": {"fenced": 0.6}}]}
                async with httpx2.AsyncClient(base_url=simulator.base_url) as client:
                    assert (await client.patch("/_sim/script", json=change)).status_code == 200
            assert await on.rebenchmark(sample=40).run(period=f"week {week}") is not None
            on.at += WEEK
        runs = await on.store.trends.weekly_runs(limit=9)

    found = drifts_of(runs)
    assert [(each.model, each.evaluator, [drift.direction for drift in each.report.drifts]) for each in found] == [
        (PRIMARY, "is-json", ["worse"]),
        (PRIMARY, "contains-json", []),  # the lenient one is blind to it
        (CANDIDATE, "is-json", []),
        (CANDIDATE, "contains-json", []),
    ]
    (drift,) = found[0].report.drifts
    assert (drift.found_run, drift.change.since_run) == (2, 2)
    assert -0.8 < drift.change.mean < -0.4
    assert drift.change.interval[1] < 0
    assert {(example.before.quality, example.now.quality) for example in drift.examples} == {(1.0, 0.0)}

    (told, *others) = drift_observations(found, runs)
    assert told.title == f"Drift: the primary {PRIMARY} answers worse than before"
    assert "The provider names the same model as before." in told.sentence
    assert "lamp" not in f"{told.sentence}{told.details}{told.facts}"  # no word of a prompt or an answer
    assert told.facts["examples"][0]["now"]["run"] == runs[2].id
    assert all(other.silent for other in others)


async def test_equal_models_lead_nowhere_and_a_cheaper_one_that_answers_as_well_is_seen(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        for week in range(2):
            await on.traffic(200 * week, 70)
            assert await on.rebenchmark(sample=60).run(period=f"week {week}") is not None
            on.at += WEEK
        runs = await on.store.trends.weekly_runs(limit=9)
    (lead,) = leads_of(runs, plan=plan(runs[-1].deciders["default"]))
    assert lead.n == 75  # each prompt once
    assert (lead.difference, lead.failures, lead.missing) == (0.0, 0, 0)
    assert lead.cost_ratio == pytest.approx(1 / 3, rel=0.1)
    assert lead.state in {"undecided", "promote"}


async def test_a_run_is_made_once_a_period_by_whichever_process_and_downtime_is_caught_up_once(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on, weekly(tmp_path, simulator.base_url) as other:
        on.at = other.at = SUNDAY - timedelta(days=1)
        await on.traffic(0, 10)
        tables = [on.timetable(SCHEDULE, holder="one"), other.timetable(SCHEDULE, holder="two")]
        made = [await asyncio.gather(*(table.step() for table in tables))]
        for at in (SUNDAY, SUNDAY + timedelta(seconds=5), SUNDAY + timedelta(minutes=5), SUNDAY + 4 * WEEK / 3):
            on.at = other.at = at
            made.append(await asyncio.gather(*(table.step() for table in tables)))
        on.at = other.at = SUNDAY + 4 * WEEK + timedelta(days=2)  # everything was down for weeks
        await on.traffic(50, 10)
        made.append(await asyncio.gather(*(table.step() for table in tables)))
        made.append(await asyncio.gather(*(table.step() for table in tables)))
        runs, _ = await on.store.runs.page(limit=9, kind="weekly")
    assert [sum(each) for each in made] == [0, 1, 0, 0, 1, 1, 0]
    assert [run.period for run in reversed(runs)] == [
        "2026-11-01T03:00:00Z", "2026-11-08T03:00:00Z", "2026-11-29T03:00:00Z",
    ]  # fmt: skip


async def test_a_period_without_a_prompt_is_skipped_and_told_once(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        table = on.timetable(SCHEDULE)
        on.at = SUNDAY - timedelta(days=1)
        assert await table.step() == 0
        on.at = SUNDAY + timedelta(minutes=1)
        assert [await table.step(), await table.step()] == [0, 0]
        on.at = SUNDAY + WEEK + timedelta(minutes=1)
        await on.traffic(0, 3)
        assert await table.step() == 1
    (told,) = [record.message for record in caplog.records if "not made" in record.message]
    assert told == (
        "weekly run of 2026-11-01T03:00:00Z not made: no prompt of the recent traffic is stored, so it is not known "
        "which model is the primary; set primary.model, or wait for a sampled conversation"
    )


async def test_a_run_that_its_process_left_is_taken_up_and_paid_once(tmp_path: Path, simulator: Simulator) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        await on.traffic(0, 30)
        on.at = SUNDAY - timedelta(days=1)
        table = on.timetable(SCHEDULE, sample=30)
        await table.step()
        on.at = SUNDAY
        running = asyncio.create_task(table.run())
        await asyncio.to_thread(eventually, lambda: len(simulator.log) >= 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        (left,), _ = await on.store.runs.page(limit=1, kind="weekly")
        assert (left.state, left.reason) == ("stopped", "the measuring process ended")
        assert left.answered < left.cells
        on.at += timedelta(minutes=10)
        assert await on.timetable(SCHEDULE, sample=30, holder="next").step() == 1
        (whole,), _ = await on.store.runs.page(limit=1, kind="weekly")
    assert (whole.id, whole.state, whole.answered) == (left.id, "done", whole.cells)
    assert len(simulator.log) == whole.cells  # nothing was asked twice


async def test_money_that_does_not_reach_stops_the_run_with_a_reason_and_it_is_not_taken_up(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        await on.traffic(0, 30)
        result = await on.rebenchmark(sample=30, budget_usd=0.01).run(period="p")
        assert result is not None
        assert result.run.state == "stopped"
        assert "does not fit under $0.01" in (result.run.reason or "")
        assert result.run.spent_usd <= 0.01
        table = on.timetable(None)
        assert await table.step() == 0


async def test_a_run_can_be_asked_for_at_any_time_but_not_twice_at_once(tmp_path: Path, simulator: Simulator) -> None:
    async with weekly(tmp_path, simulator.base_url) as on:
        await on.traffic(0, 5)
        table = on.timetable(None)
        assert table.next_at is None
        assert table.ask()
        assert not table.ask()
        assert await table.step() == 1
        assert table.ask()
        (run,), _ = await on.store.runs.page(limit=9, kind="weekly")
        assert run.period is None
