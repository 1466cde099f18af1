"""`/stats` out of rollups beside `/stats` out of raw rows: equal in all that both can know, percentiles within 1 %."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.verdictplan import OutsideFacts
from gateway.weekly import Looks
from shadow.alerts.lookout import coverage_sums
from shadow.ledger import Judging, Plan
from shadow.pricing import PriceBook
from shadow.records import Batch, Cost, Outcome, Usage
from shadow.rollups import DROPPED
from shadow.stats import ConversationRules, RolledRows, StatsRows, build_stats, latency_curves
from shadow.stats.brief import brief
from shadow.store import open_store
from shadow.verdict import Rules
from tests.integration.test_store_rollups import AnyDay, fold_all
from tests.support.ledger import Books
from tests.support.stored import NOW, url

if TYPE_CHECKING:
    from pathlib import Path

    from shadow.store.sqlite.store import SqliteStore

START = NOW.replace(second=0, microsecond=0) - timedelta(hours=26)
WINDOWS = [
    {"since": START, "until": START + timedelta(hours=52)},
    {"since": START + timedelta(minutes=7), "until": START + timedelta(hours=26, minutes=41)},
]
PERCENTILES = {"p50", "p95", "p99", "p50_ci", "p95_ci", "p99_ci", "input_tokens_p50"}
ITS_OWN = {
    "quality_diff",
    "conversations",
    "open",
    "window",
    "ci",
    "level",
    "conversation_avg",
    "projected_saving_usd_per_month",
    "read",
    "reason",
}
"""What the ledger tells by conversation, the words, and a month's saving: it counts the hours of the whole gateway."""


def options(window: dict[str, Any], **given: Any) -> dict[str, Any]:
    rules = ConversationRules(idle_s=10**9, max_turns=10**6, max_age_s=10**9)
    fixed = {
        "rules": rules,
        "missing_line": lambda model: None if model == "a" else f"{model}: …",
        "candidates": ("a",),
    }
    return {**window, **fixed, "now": NOW, "budget_usd_per_day": 5.0, **given}


async def both(
    store: SqliteStore, window: dict[str, Any], *, task: str | None = None, **given: Any
) -> list[dict[str, Any]]:
    reader, day = store.reader, NOW.astimezone(UTC).date().isoformat()
    money = {"dropped": await reader.dropped(), "budget": await reader.budget(day=day), "budget_day": day}
    raw = StatsRows(
        exchanges=await reader.exchanges(**window, task=task),
        answers=await reader.answers(**window, task=task),
        scores=await reader.scores(**window, task=task),
        coverage=await reader.coverage(**window, task=task),
        judging=await reader.judge_tallies(**window, task=task),
        labels=await reader.label_tallies(**window, task=task),
        feedback=await reader.feedback(**window, task=task),
        noise_floor=await reader.noise_floor(**window, task=task),
        **money,
    )
    found = await reader.rollups.window(**window, task=task)
    rolled = RolledRows(
        window=found,
        began=await reader.rollups.began(found),
        conversations=await reader.rollups.newest_conversations(found, task=task, limit=10**6),
        newest_judges=await reader.rollups.newest_judges(found),
        **money,
    )
    curves = [latency_curves(rows) for rows in (raw, rolled)]
    assert [shape(each) for each in curves] == [shape(curves[0])] * 2
    told = [build_stats(rows, **options(window, task=task, **given)) for rows in (raw, rolled)]
    if task is None:  # and what is said of tasks that there is no room for is what the whole would have been cut to
        for rows, whole in zip((raw, rolled), told, strict=True):
            narrow = build_stats(rows, **options(window, task=task, **given), room=1)
            assert narrow["tasks"] + narrow["more_tasks"] == [
                each if number < len(narrow["tasks"]) else brief(each) for number, each in enumerate(whole["tasks"])
            ]
    return told


def shape(curves: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Whose curves there are, of how many values, and the shares of their points."""
    found = [
        (
            task["task"],
            model["model"] or "",
            model["role"],
            model[name]["n"],
            tuple(y for _, y in model[name]["points"]),
        )
        for task in curves
        for model in task["models"]
        for name in ("latency_ms", "ttft_ms")
    ]
    return sorted(found)


AT_EDGES = {"noise_floor", "aa_evidence", "trusted"}
"""Of conversations of second answers, which a window's edge may cut in rows and never cuts in sums."""


def unequal(one: Any, other: Any, path: str = "", *, but: frozenset[str] = frozenset()) -> list[str]:
    """Where two answers differ in what both can know."""
    name = path.rpartition(".")[2].partition("[")[0]
    if name in ITS_OWN | but:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted(one.keys() | other.keys())
        return [found for each in names for found in unequal(one.get(each), other.get(each), f"{path}.{each}", but=but)]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            found
            for at, pair in enumerate(zip(one, other, strict=True))
            for found in unequal(*pair, f"{path}[{at}]", but=but)
        ]
    if (name in PERCENTILES and not isinstance(one, list)) or ".representative.p95" in path:
        near = one == other or (None not in {one, other} and math.isclose(one, other, rel_tol=0.0101, abs_tol=1e-9))
        return [] if near else [f"{path}: {one} and {other}"]
    if isinstance(one, float) and isinstance(other, int | float):
        return [] if math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) else [f"{path}: {one} and {other}"]
    return [] if one == other else [f"{path}: {one} and {other}"]


@pytest.mark.parametrize("seed", range(6))
async def test_stats_of_a_random_day_are_what_the_raw_rows_say(tmp_path: Path, seed: int) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        day = AnyDay(seed, [store])
        for _ in range(220):
            await day.act()
        for _ in range(2):
            for window in WINDOWS:
                for given in ({}, {"task": "support"}, {"model": "a"}, {"model": "primary", "task": "default"}):
                    raw, rolled = await both(store, window, **given)
                    but = frozenset() if window is WINDOWS[0] else frozenset(AT_EDGES)
                    assert unequal(raw, rolled, but=but) == [], (seed, window, given)
            await fold_all(store)
        models = rolled["tasks"] and [row["model"] for task in raw["tasks"] for row in task["models"]]

    assert models


async def test_whether_a_judge_is_trusted_is_the_same_out_of_rows_and_of_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging = Judging(quality="is-json", versions={"is-json": "1"}, definition="")
    plan = Plan(alpha=0.05, rules=Rules(), judging={"default": judging}, candidates={})
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        day = AnyDay(3, [store])
        for _ in range(220):
            await day.act()
        told = []
        for row_by_row in (10**6, 0):
            monkeypatch.setattr("gateway.verdictplan.ROW_BY_ROW", row_by_row)
            source = OutsideFacts(
                PriceBook({}), store.reader, plan=plan, judged=True, unusable={}, now=lambda: START + timedelta(days=3)
            )
            await source.refresh()
            told.append(
                [
                    (
                        source.facts(task=task, primary=primary, candidate=candidate),
                        source._differences(task, primary) or None,
                    )
                    for task in ("default", "support")
                    for primary in ("primary", "other")
                    for candidate in ("a", "b")
                ]
            )
    assert told[0] == told[1]
    assert any(found.withheld and differences for found, differences in told[0])


async def test_jobs_are_counted_alike_out_of_rows_and_of_sums(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        day = AnyDay(4, [store])
        for _ in range(150):
            await day.act()
        told = []
        for row_by_row in (10**6, 0):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("gateway.weekly.ROW_BY_ROW", row_by_row)
                looks = Looks(None, plan=None, reader=store.reader, trends=store.trends, ledger=store.ledger)  # type: ignore[arg-type]
                told.append(coverage_sums(await looks._coverage(**WINDOWS[0])))
    assert told[0] == told[1]
    assert told[0][0] > 0


async def test_sums_not_made_yet_are_said(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        window = WINDOWS[0]
        found = await store.rollups.window(**window)
        for due, said in ((None, False), (START - timedelta(days=1), False), (START + timedelta(hours=1), True)):
            rows = RolledRows(
                window=found, began=None, conversations=(), dropped={},
                budget={"spent_usd": 0.0, "reserved_usd": 0.0, "closed": 0.0}, budget_day="2026-11-23", due_before=due,
            )  # fmt: skip
            reason = build_stats(rows, **options(window))["read"]["reason"]
            assert (reason is not None) is said


async def test_what_was_dropped_is_of_no_task(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(Batch(dropped={"tee_full": 3}))
        now = datetime.now(UTC)
        _, rolled = await both(store, {"since": now - timedelta(hours=1), "until": now})
        found = await store.rollups.window(since=now - timedelta(hours=1), until=now)
    assert [series.detail for series in found.totals()] == [DROPPED]
    assert rolled["dropped"] == {"tee_full": 3}
    assert [(task["task"], task["models"]) for task in rolled["tasks"]] == [("default", [])]


async def test_a_changed_evaluator_and_repeats_of_lost_tries_read_alike_out_of_rows_and_of_sums(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        books = Books(store=store, now=NOW - timedelta(hours=40))
        await books.conversations(5, candidate=0.5)
        await books.turn("failed")
        await books.answer(candidate=None, primary=None)
        books.later(30 * 3600)
        await books.conversations(3, start=10, version="2", candidate=0.0)
        await books.turn("compared", task="judged")
        await books.answer(primary=None, candidate=None)
        for outcome, repeat in ((Outcome.TIMEOUT, False), (Outcome.OK, True)):
            usage = Usage(input=1, output=1) if repeat else None
            await books.turn("lost", candidates=(), outcome=outcome, client_retry=repeat, usage=usage)
        await store.reader.price_pending(lambda _: Cost(billed_usd=0.5, uncached_usd=0.5, source="config"))
        window = {"since": NOW - timedelta(days=3), "until": NOW + timedelta(hours=1)}
        for _ in range(2):
            raw, rolled = await both(store, window)
            assert unequal(raw, rolled) == []
            await fold_all(store)

    (task,) = (each for each in rolled["tasks"] if each["task"] == "default")
    primary, candidate = task["models"]
    assert (candidate["quality"]["avg"], candidate["quality"]["n"], candidate["quality"]["missing"]) == (0.0, 3, 0)
    assert (primary["quality"]["avg"], primary["quality"]["n"]) == (1.0, 3)
    assert candidate["quality"]["by_evaluator"]["is-json"]["versions"] == ["1", "2"]
    assert "of is-json together" in candidate["cost_per_quality_point_usd"]["reason"]
    assert task["insights"][0]["reading"] == "evaluator_changed"
    cost = primary["cost_usd"]
    assert cost["per_request"] == pytest.approx(cost["total"] / (primary["requests"] - primary["client_retries"]))
