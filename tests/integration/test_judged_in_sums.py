"""Whether a judge may carry a verdict, and what people said beside it, read from sums: what the rows say."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.verdictplan import OutsideFacts
from shadow.judge.figures import JudgeBook
from shadow.ledger import Judging, Plan
from shadow.pricing import PriceBook
from shadow.records import Judgement, Score, StoredScore
from shadow.stats.rolled_besides import judging_rows, label_rows
from shadow.store import open_store
from shadow.store.base import Label
from shadow.verdict import Rules
from tests.integration.test_store_rollups import fold_all
from tests.support.admin import admin_port
from tests.support.stored import NOW, Day, pair_result, sampled, url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from shadow.records import LeasedJob
    from shadow.store.sqlite.store import SqliteStore

WINDOW: dict[str, Any] = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}


def call(model: str, held: LeasedJob, order: str, *, after_s: float = 1.0, **given: Any) -> Judgement:
    began = held.exchange.started_at + timedelta(seconds=after_s)
    return Judgement(model=model, started_at=began, order=order, status="ruled", **given)  # type: ignore[arg-type]


def graded(model: str, role: str, *calls: Judgement) -> StoredScore:
    score = Score(status="scored", value=0.75, judgements=calls)
    return StoredScore(evaluator="judge", version=model, quality=True, role=role, score=score)  # type: ignore[arg-type]


def by_grades(
    model: str, held: LeasedJob, *, again: bool, passes: bool = True, after_s: float = 1.0
) -> list[StoredScore]:
    """What a judge that grades says of a pair; beside a second candidate it knows the primary's grade already."""
    if again:
        primary = [call(model, held, "none", after_s=after_s, grade=4)]
    else:
        control = {"control": "half", "grade": 2 if passes else 5, "winner": "primary" if passes else "candidate"}
        primary = [call(model, held, "single", after_s=after_s, grade=4)]
        primary.append(call(model, held, "single", after_s=after_s, **control))
    candidate = call(model, held, "single", after_s=after_s, grade=3)
    return [graded(model, "primary", *primary), graded(model, "candidate", candidate)]


def by_pairs(model: str, held: LeasedJob, *, passes: bool, after_s: float = 1.0) -> list[StoredScore]:
    """What a judge that compares says of a pair, with a control."""
    orders, wins = ("primary_first", "candidate_first"), "primary" if passes else "candidate"
    calls = [call(model, held, order, after_s=after_s, winner="tie") for order in orders]
    calls += [call(model, held, order, after_s=after_s, winner=wins, control="half") for order in orders]
    return [graded(model, "pair", *calls)]


async def judge_all(store: SqliteStore, results: Callable[[LeasedJob], list[StoredScore]]) -> None:
    now, budget = NOW + timedelta(hours=2), Day(cap_usd=1000.0, paced_usd=1000.0)
    while leased := await store.jobs.lease(worker="w", limit=50, lease_s=30, now=now):
        for held in leased:
            await store.jobs.reserve(held, worst_case_usd=0.5, budget=budget, now=now)
            result = replace(pair_result(held), scores=results(held))
            await store.jobs.finish(held, result=result, reserved_usd=0.5, now=now)


async def tallies(store: SqliteStore) -> list[list[Mapping[str, Any]]]:
    """What judges did by rows, and by sums."""
    window = await store.rollups.window(**WINDOW)
    sums = judging_rows(window.totals(), await store.rollups.newest_judges(window))
    return [list(await store.reader.judge_tallies(**WINDOW)), list(sums)]


def figures(rows: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """All that is known of each judge by comparison, but when."""
    names = ("task", "primary", "candidate", "evaluator", "version", "model")
    return sorted(
        [*(row[name] for name in names), *(row[name] for name in sorted(row.keys() - {*names, "latest"}))]
        for row in rows
    )


async def withheld(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str]
) -> list[dict[tuple[str, str], tuple[str, ...]]]:
    """Why verdicts are held back by task and candidate, by rows and by sums. `versions`: the deciding one by task."""
    judging = {
        task: Judging(quality="judge", versions={"judge": version}, definition="") for task, version in versions.items()
    }
    plan = Plan(alpha=0.05, rules=Rules(), judging=judging, candidates={})
    told = []
    for row_by_row in (10**6, 0):
        monkeypatch.setattr("gateway.verdictplan.ROW_BY_ROW", row_by_row)
        source = OutsideFacts(
            PriceBook({}), store.reader, plan=plan, judged=True, unusable={}, now=lambda: NOW + timedelta(hours=3)
        )
        await source.refresh()
        told.append(
            {
                (task, candidate): source.facts(task=task, primary="primary", candidate=candidate).withheld[:-1]
                for task in versions
                for candidate in ("a", "b")
            }
        )
    return told


async def shown_judges(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> list[dict[tuple[str, str], tuple[str | None, bool | None]]]:
    """Whose judgements `/stats` shows of each comparison, and whether it trusts them, by rows and by sums."""
    query = {name: moment.isoformat().replace("+00:00", "Z") for name, moment in WINDOW.items()}
    told = []
    for row_by_row in (10**6, 0):
        monkeypatch.setattr("shadow.web.app.ROW_BY_ROW", row_by_row)
        async with admin_port(store.reader, now=lambda: NOW + timedelta(hours=3)) as client:
            stats = (await client.get("/stats", params=query)).json()
        told.append(
            {
                (task["task"], one["candidate"]): (one["judge"]["model"], one["judge"]["trusted"])
                for task in stats["tasks"]
                for one in task["comparisons"]
                if one["judge"]["model"]
            }
        )
    return told


async def test_a_judge_that_grades_is_trusted_by_its_controls_also_beside_a_second_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(sampled(*range(40), candidates=("a", "b")))
        await judge_all(store, lambda held: by_grades("new", held, again=held.job.candidate == "b"))
        for candidate in "ab":
            of = {"exchange_id": "x0001", "candidate": candidate, "labeller": "me", "winner": "primary"}
            await store.reader.keep_label(
                Label(**of, choice="A", side_a=None, seed=None, source="api", labelled_at=NOW)  # type: ignore[arg-type]
            )
        rows, sums = await tallies(store)
        labels = await store.reader.label_tallies(**WINDOW), label_rows((await store.rollups.window(**WINDOW)).totals())
        held_back = await withheld(store, monkeypatch, {"default": "new"})

    assert figures(rows) == figures(sums)
    for book in (JudgeBook(rows), JudgeBook(sums)):
        for candidate in "ab":
            tally = book.tally("default", "primary", candidate)
            assert tally is not None
            assert (tally.ruled, tally.identical, tally.failed) == (40, 0, 0)
            assert (tally.controls, tally.controls_passed, tally.controls_failed_to_rule) == (40, 40, 0)
    for said in labels:
        assert [(row["candidate"], row["judge"], row["count"]) for row in said] == [
            ("a", "primary", 1),
            ("b", "primary", 1),
        ]
    assert held_back == [{("default", "a"): (), ("default", "b"): ()}] * 2


async def test_a_judge_that_fails_is_not_trusted_for_another_one_that_rules_last_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(sampled(*range(80), candidates=("a",), task="moved"))
        await store.intake.write(sampled(*range(200, 210), candidates=("a",), task="stayed"))

        def results(held: LeasedJob) -> list[StoredScore]:
            is_old = not 40 <= int(held.exchange.id[1:]) < 80
            return by_pairs("old" if is_old else "new", held, passes=is_old)

        await judge_all(store, results)
        rows, sums = await tallies(store)
        held_back = await withheld(store, monkeypatch, {"default": "old", "moved": "new", "stayed": "old"})

    newest = [JudgeBook(each).tally("moved", "primary", "a") for each in (rows, sums)]
    assert newest[0] == newest[1]
    assert newest[1] is not None
    assert (newest[1].model, newest[1].controls_passed) == ("new", 0)
    assert held_back[0] == held_back[1]
    assert "new cannot be trusted" in held_back[1]["moved", "a"][0]


@pytest.mark.parametrize("seed", range(4))
async def test_whoever_judged_what_and_when_rows_and_sums_trust_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    tasks = ("x", "y", "z")
    passes = {model: chance.random() < 0.6 for model in ("old", "new", "third")}
    compares = {task: chance.random() < 0.5 for task in tasks}
    asked: set[tuple[str, str]] = set()

    def results(held: LeasedJob) -> list[StoredScore]:
        task, after_s = held.exchange.task, chance.choice([1.0, 1.0, 4000.0])
        model = chance.choice(list(passes))
        if compares[task]:
            return by_pairs(model, held, passes=passes[model], after_s=after_s)
        again = (held.exchange.id, model) in asked
        asked.add((held.exchange.id, model))
        return by_grades(model, held, again=again, passes=passes[model], after_s=after_s)

    async with await open_store(url(tmp_path / "shadow.db")) as store:
        for number, task in enumerate(tasks):
            numbers = range(100 * number, 100 * number + chance.choice([10, 60, 90]))
            await store.intake.write(sampled(*numbers, candidates=("a", "b"), task=task))
        await judge_all(store, results)
        for is_folded in (False, True):
            if is_folded:
                await fold_all(store)
            rows, sums = await tallies(store)
            assert figures(rows) == figures(sums)
            books = [JudgeBook(rows), JudgeBook(sums)]
            assert [
                [book.block(task, "primary", name)["model"] for task in tasks for name in "ab"] for book in books
            ] == [
                [max(_of(rows, task, name), key=lambda row: row["latest"])["model"] for task in tasks for name in "ab"]
            ] * 2
            shown = await shown_judges(store, monkeypatch)
            assert shown[0] == shown[1] != {}
            for model, is_good in passes.items():
                held_back = await withheld(store, monkeypatch, {"default": model, **dict.fromkeys(tasks, model)})
                assert held_back[0] == held_back[1]
                if not is_good:
                    assert any("cannot be trusted" in said for each in held_back[1].values() for said in each)


def _of(rows: Iterable[Mapping[str, Any]], task: str, candidate: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if (row["task"], row["candidate"]) == (task, candidate)]
