"""Benchmark runs in a real store: begun once, held by one process, money that cannot be overshot, read back whole."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shadow.benchmark.between import compare_runs
from shadow.records import Dialect, Judgement, Outcome, Score, StoredContent, StoredScore
from shadow.runs import Cell, RunControl, prompt_hash
from shadow.store import open_store
from tests.support.stored import DAY, NOW, Day, pair_result, rows, sampled, url
from tests.support.storedruns import DECIDES, HELD, answer, case, plan

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_judge_that_failed_a_test_has_failed_it_whatever_it_says_later(tmp_path: Path) -> None:
    cell = Cell(case_id="c1", model="a")
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.runs.begin(plan(kind="weekly", period="a week"), keep_content=True, **HELD)
        for status, winner in (("timeout", None), ("ruled", "candidate"), ("ruled", "primary")):
            calls = tuple(
                Judgement(model="j", started_at=NOW, order=order, status=status, control="half", winner=winner)
                for order in ("primary_first", "candidate_first")
            )
            score = Score(status="not_applicable", judgements=calls)
            await store.runs.add_control("r1", cell, evaluator="judge", version="1", score=score)
        controls = await store.runs.controls("r1")
        await store.runs.end("r1", state="done", reason=None, worker="w", now=NOW)
        ((judged,),) = [run.judged for run in await store.trends.weekly_runs(limit=1)]

    assert controls == [
        RunControl(
            case_id="c1",
            evaluator="judge",
            version="1",
            winners={"primary_first": "candidate", "candidate_first": "candidate"},
        )
    ]
    assert (judged.controls, judged.controls_passed, judged.controls_failed_to_rule) == (1, 0, 0)
    assert (judged.calls, judged.failed_calls) == (6, 2)


async def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    cell = Cell(case_id="c1", model="a")
    clustered = plan(cases=(case(1, cluster="talk", headers={"anthropic-beta": "x"}, source="line 1"), case(2)))
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        assert await store.runs.begin(clustered, keep_content=True, **HELD)
        assert await store.runs.reserve("r1", cell, worst_case_usd=1.0, worker="w", now=NOW) == "ok"
        await store.runs.finish("r1", answer(cell), now=NOW)
        assert await store.runs.end("r1", state="stopped", reason="enough", worker="w", now=NOW)
        result = await store.runs.result("r1")

    assert result is not None
    assert result.cases == clustered.cases
    assert result.answers == (replace(answer(cell), output="42 ?"),)
    assert (result.run.state, result.run.reason, result.run.finished_at) == ("stopped", "enough", NOW)
    assert (result.run.cells, result.run.answered, result.run.evaluators) == (4, 1, DECIDES)
    assert (result.run.spent_usd, result.run.reserved_usd) == (0.25, 0.0)


async def test_without_content_neither_questions_nor_expected_texts_are_kept(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.runs.begin(plan(), keep_content=False, **HELD)
        result = await store.runs.result("r1")

    assert result is not None
    assert [(each.request, each.expected) for each in result.cases] == [(b"", None)] * 2
    assert rows(tmp_path / "shadow.db", "SELECT prompt_hash FROM run_case") == [
        (each.prompt_hash,) for each in plan().cases
    ]


async def test_a_scheduled_run_begins_once_a_period_however_many_ask(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "a.db")) as one, await open_store(url(tmp_path / "a.db")) as other:
        begun = await asyncio.gather(
            *(
                store.runs.begin(
                    plan(f"r{at}", kind="weekly", period="2026-W48"), keep_content=True, **HELD | {"worker": str(at)}
                )
                for at, store in enumerate((one, other) * 4)
            )
        )
        assert sorted(begun) == [False] * 7 + [True]
        assert await one.runs.begin(plan("next", kind="weekly", period="2026-W49"), keep_content=True, **HELD)


async def test_the_bound_holds_whatever_many_workers_ask_at_once(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.runs.begin(plan(max_cost_usd=1.0), keep_content=True, **HELD)
        cells = [Cell(case_id=f"c{at}", model="a") for at in range(40)]
        got = await asyncio.gather(
            *(store.runs.reserve("r1", cell, worst_case_usd=0.1, worker="w", now=NOW) for cell in cells)
        )
        unpriced = await store.runs.reserve("r1", Cell(case_id="u", model="a"), worst_case_usd=None, **_held())
        run = await store.runs.find("r1")

    assert (got.count("ok"), got.count("over_budget"), unpriced) == (10, 30, "over_budget")
    assert run is not None
    assert run.reserved_usd == 1.0


async def test_what_is_settled_makes_room_and_an_unknown_cost_does_not(tmp_path: Path) -> None:
    one, two, three = (Cell(case_id="c1", model="a", repeat=at) for at in range(3))
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.runs.begin(plan(max_cost_usd=1.0), keep_content=True, **HELD)
        await store.runs.reserve("r1", one, worst_case_usd=0.6, **_held())
        assert await store.runs.reserve("r1", two, worst_case_usd=0.6, **_held()) == "over_budget"
        await store.runs.finish("r1", answer(one, cost_usd=0.1, scoring_usd=0.05), now=NOW)
        assert await store.runs.reserve("r1", two, worst_case_usd=0.6, **_held()) == "ok"
        await store.runs.finish("r1", answer(two, cost_usd=None), now=NOW)
        assert await store.runs.reserve("r1", three, worst_case_usd=0.3, **_held()) == "over_budget"
        assert await store.runs.reserve("r1", three, worst_case_usd=0.2, **_held()) == "ok"
        await store.runs.give_back("r1", three)
        run = await store.runs.find("r1")

    assert run is not None
    assert (run.spent_usd, run.reserved_usd, run.answered) == (pytest.approx(0.75), 0.0, 2)


async def test_a_run_is_held_by_one_process_and_taken_over_when_that_one_is_gone(tmp_path: Path) -> None:
    sent = Cell(case_id="c1", model="a")
    taken: dict[str, Any] = {"evaluators": DECIDES, "max_cost_usd": 2.0, "worker": "new", "lease_s": 60}
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.runs.begin(plan(), keep_content=True, **HELD)
        await store.runs.reserve("r1", sent, worst_case_usd=0.5, **_held())
        assert await store.runs.reserve("r1", sent, worst_case_usd=0.5, **_held()) == "taken"
        assert await store.runs.hold("r1", worker="w", lease_s=60, now=NOW)
        assert await store.runs.reopen("r1", now=NOW + timedelta(seconds=59), **taken) is None
        assert await store.runs.reopen("r1", now=NOW + timedelta(seconds=61), **taken) == 1
        assert await store.runs.reopen("unknown", now=NOW, **taken) is None
        assert not await store.runs.hold("r1", worker="w", lease_s=60, now=NOW)
        assert await store.runs.reserve("r1", sent, worst_case_usd=0.5, **_held()) == "gone"
        assert not await store.runs.end("r1", state="done", reason=None, worker="w", now=NOW)
        await store.runs.finish("r1", answer(sent), now=NOW)  # the lost one's late answer
        run = await store.runs.find("r1")

    assert run is not None
    assert (run.spent_usd, run.reserved_usd, run.answered, run.max_cost_usd) == (0.5, 0.0, 0, 2.0)


async def test_answers_are_forgotten_and_scored_anew_but_their_money_stays_spent(tmp_path: Path) -> None:
    cell = Cell(case_id="c1", model="a")
    judged = StoredScore(
        evaluator="judge", version="2", quality=True, role="candidate", score=Score(status="failed", cost_usd=0.5)
    )
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.runs.begin(plan(), keep_content=True, **HELD)
        await store.runs.reserve("r1", cell, worst_case_usd=0.5, **_held())
        await store.runs.finish("r1", answer(cell), now=NOW)
        await store.runs.rescore("r1", cell, [judged])
        rescored = await store.runs.result("r1")
        await store.runs.forget("r1", [cell])
        forgotten = await store.runs.result("r1")

    assert rescored is not None
    assert forgotten is not None
    assert rescored.answers[0].scores == (judged,)
    assert (forgotten.answers, forgotten.run.spent_usd) == ((), 0.75)


async def test_runs_are_paged_newest_first_and_found_by_id_beginning_or_name(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        for at in range(5):
            begun: dict[str, Any] = HELD | {"now": NOW + timedelta(hours=at)}
            kind = "weekly" if at == 0 else "bench"
            await store.runs.begin(plan(f"r{at}x", name="faq.jsonl", kind=kind), keep_content=True, **begun)
        pages, cursor = [], None
        while True:
            page, cursor = await store.runs.page(limit=2, cursor=cursor)
            pages.append([run.id for run in page])
            if cursor is None:
                break
        assert pages == [["r4x", "r3x"], ["r2x", "r1x"], ["r0x"]]
        assert [run.id for run in (await store.runs.page(limit=9, kind="weekly"))[0]] == ["r0x"]
        same = (await store.runs.page(limit=9, fingerprint=plan().fingerprint))[0]
        assert len(same) == 5
        found = {text: await store.runs.find(text) for text in ("r2x", "r2", "faq.jsonl", "r", "%")}
        assert {text: run and run.id for text, run in found.items()} == {
            "r2x": "r2x",
            "r2": "r2x",
            "faq.jsonl": "r4x",
            "r": None,
            "%": None,
        }
        assert await store.runs.result("r2") is None
        with pytest.raises(ValueError, match="not one that a page of runs gave"):
            await store.runs.page(limit=1, cursor="nonsense")


async def test_stored_production_prompts_become_cases_once_an_exchange(tmp_path: Path) -> None:
    kept = StoredContent(prompt='{"messages":[]}', primary_output="p", candidate_output="c")
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(sampled(1, 2, 3))
        for held in await store.jobs.lease(worker="w", limit=1000, lease_s=60, now=NOW):
            await store.jobs.reserve(held, worst_case_usd=0.01, budget=Day(), now=NOW)
            content = StoredContent() if held.job.exchange_id == "x0003" else kept
            result = pair_result(held, cost_usd=0.001, candidate=1.0, content=content)
            await store.jobs.finish(held, result=result, reserved_usd=0.01, now=NOW)
        prompts = await store.runs.prompts(**DAY)
        cases = await store.runs.prompt_cases(prompts[::-1])
        none = await store.runs.prompts(**DAY, task="other")

    assert [prompt.exchange_id for prompt in prompts] == ["x0001", "x0002"]
    assert [(each.id, each.cluster, each.request, each.path) for each in cases] == [
        ("x0002", "c0002", b'{"messages":[]}', "/v1/messages"),
        ("x0001", "c0001", b'{"messages":[]}', "/v1/messages"),
    ]
    assert none == []


async def test_earlier_answers_tell_what_a_prompt_costs(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.runs.begin(plan(repeats=2), keep_content=True, **HELD)
        for repeat, cost_usd in enumerate((0.1, 0.3)):
            cell = Cell(case_id="c1", model="a", repeat=repeat)
            await store.runs.reserve("r1", cell, worst_case_usd=1, **_held())
            await store.runs.finish("r1", answer(cell, cost_usd=cost_usd), now=NOW)
        costs = await store.runs.costs_so_far([case(1).prompt_hash, case(2).prompt_hash])

    assert costs == {("a", case(1).prompt_hash): pytest.approx(0.2)}


async def test_old_content_is_forgotten_and_figures_stay(tmp_path: Path) -> None:
    cell = Cell(case_id="c1", model="a")
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.runs.begin(plan(), keep_content=True, **HELD)
        await store.runs.reserve("r1", cell, worst_case_usd=0.5, **_held())
        await store.runs.finish("r1", answer(cell), now=NOW)
        await store.runs.end("r1", state="done", reason=None, worker="w", now=NOW)
        assert await store.runs.forget_content(before=NOW) == 0
        assert await store.runs.forget_content(before=NOW + timedelta(days=1)) == 4
        result = await store.runs.result("r1")
        await store.runs.begin(plan("r2"), keep_content=True, **HELD)
        await store.runs.reserve("r2", cell, worst_case_usd=0.5, **_held())
        await store.runs.finish("r2", answer(cell), now=NOW)
        later = await store.runs.result("r2")

    assert result is not None
    assert later is not None
    [kept] = result.answers
    assert (kept.output, kept.tool_calls, kept.scores[0].score.reason) == (None, None, "")
    assert (kept.cost.billed_usd, kept.scores[0].score.value) == (0.25, 1.0)
    assert [each.request for each in result.cases] == [b"", b""]
    # What was asked is known by its hash: the runs can be compared as before.
    assert [each.prompt_hash for each in result.cases] == [case(1).prompt_hash, case(2).prompt_hash]
    compared = compare_runs(result, later)
    assert (compared["shared_cases"], [each["pairs"] for each in compared["models"]]) == (2, [1, 0])


def test_a_prompt_keeps_its_hash_whoever_is_asked_and_however_it_is_written() -> None:
    one = prompt_hash(Dialect.OPENAI_CHAT, b'{"model": "a", "temperature": 0, "messages": [{"role":"user"}]}')
    same = prompt_hash(Dialect.OPENAI_CHAT, b'{"messages":[{"role":"user"}],"stream":true,"temperature":0,"model":"b"}')
    warmer = prompt_hash(Dialect.OPENAI_CHAT, b'{"messages":[{"role":"user"}],"temperature":1}')
    elsewhere = prompt_hash(Dialect.OPENAI_RESPONSES, b'{"messages":[{"role":"user"}],"temperature":0}')
    broken = {prompt_hash(Dialect.OPENAI_CHAT, body) for body in (b"[1]", b"[2]", b"\xff", b"[" * 100_000)}

    assert one == same
    assert len({one, warmer, elsewhere, *broken}) == 7


def test_a_fingerprint_is_of_the_questions_and_who_is_asked() -> None:
    same = plan("other", cases=(case(2), case(1)), models=("b", "a"), seed="s", max_cost_usd=3.0, name="n")
    assert plan().fingerprint == same.fingerprint
    others = [
        plan(cases=(case(1),)),
        plan(models=("a",)),
        plan(repeats=2),
        plan(cases=(case(1), case(2, expected="43"))),
        plan(base_urls={"a": "http://elsewhere"}),
    ]
    assert len({plan().fingerprint, *(each.fingerprint for each in others)}) == 6
    assert plan(repeats=3).cells == 12


def test_errors_are_what_asking_again_may_mend() -> None:
    cell = Cell(case_id="c1", model="a", repeat=1)
    ended = {
        outcome: replace(answer(cell), answer=replace(answer(cell).answer, outcome=outcome)) for outcome in Outcome
    }
    assert ended[Outcome.OK].cell == cell
    assert {outcome for outcome, each in ended.items() if each.ended_well} == {
        Outcome.OK,
        Outcome.REFUSAL,
        Outcome.TRUNCATED,
    }
    assert {outcome for outcome, each in ended.items() if each.is_error} == {
        Outcome.PAUSED,
        Outcome.ABORTED,
        Outcome.ERROR_CONNECT,
        Outcome.ERROR_HTTP,
        Outcome.ERROR_STREAM,
        Outcome.TIMEOUT,
    }


def _held() -> dict[str, Any]:
    return {"worker": "w", "now": NOW}
