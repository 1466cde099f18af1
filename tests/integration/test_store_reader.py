"""What the stats side asks of a real store, and its upkeep: prices, retention."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest

from shadow.records import Batch, Cost, Dialect, ExchangeRecord, Outcome, StoredContent
from shadow.store import open_store
from shadow.store.sqlite.queries import load_migrations
from shadow.store.sqlite.rows import micros
from tests.support.stored import DAY, NOW, Day, exchange, job, pair_result, rows, sampled, url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shadow.store.sqlite.store import SqliteStore

CONTENT = StoredContent(
    prompt="{}", primary_output="p", primary_tool_calls="[]", candidate_output="c", candidate_tool_calls="[]"
)


@asynccontextmanager
async def stored(tmp_path: Path, *batches: Batch) -> AsyncIterator[SqliteStore]:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        for batch in batches:
            await store.intake.write(batch)
        yield store


async def finish_all(store: SqliteStore, *, quality: dict[str, float | None] | None = None) -> None:
    """Finish every pending job; `quality` is the candidate's by exchange id."""
    for held in await store.jobs.lease(worker="w", limit=1000, lease_s=60, now=NOW):
        await store.jobs.reserve(held, worst_case_usd=0.01, budget=Day(), now=NOW)
        value = (quality or {}).get(held.job.exchange_id, 1.0)
        result = pair_result(held, cost_usd=0.001, candidate=value, content=CONTENT)
        await store.jobs.finish(held, result=result, reserved_usd=0.01, now=NOW)


# --- windows ---


async def test_a_window_holds_its_beginning_and_not_its_end_and_only_recognised_exchanges(tmp_path: Path) -> None:
    strange = exchange(3, dialect=None, eligible=False)
    async with stored(tmp_path, sampled(1, 2, 4), Batch(exchanges=[strange])) as store:
        since, until = exchange(2).started_at, exchange(4).started_at
        found = await store.reader.exchanges(since=since, until=until)

    assert [row["id"] for row in found] == ["x0002"]
    assert found[0]["started_at"] == since
    assert found[0]["started_at"].tzinfo is UTC
    assert found[0]["first_turn"] is True
    assert found[0]["input_tokens"] == 12


async def test_a_task_narrows_every_question(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2, task="support"), sampled(3)) as store:
        await finish_all(store)
        for ask in (store.reader.exchanges, store.reader.answers, store.reader.scores, store.reader.coverage):
            everything, support = await ask(**DAY), await ask(**DAY, task="support")
            assert {row["task"] for row in everything} == {"support", "default"}
            assert {row["task"] for row in support} == {"support"}


async def test_an_answer_stands_beside_what_the_primary_did(tmp_path: Path) -> None:
    first_turn = sampled(1, ttft_ms=30.0, first_turn=False, version="v2", has_tools=True)
    async with stored(tmp_path, first_turn) as store:
        await finish_all(store)
        await store.reader.price_pending(lambda _: Cost(billed_usd=0.5, uncached_usd=0.75, source="list"))
        [row] = await store.reader.answers(**DAY)

    assert (
        row
        | {
            "exchange_id": "x0001",
            "candidate": "rival",
            "primary": "primary",
            "conversation": "c0001",
            "first_turn": False,
            "has_tools": True,
            "version": "v2",
            "counted": True,
            "exchange_started_at": exchange(1).started_at,
            "started_at": NOW,
            "outcome": "ok",
            "latency_ms": 80.0,
            "primary_latency_ms": 120.5,
            "primary_ttft_ms": 30.0,
            "primary_outcome": "ok",
            "primary_streamed": False,
            "primary_cost_billed_usd": 0.5,
            "primary_cost_uncached_usd": 0.75,
            "primary_price_source": "list",
        }
        == row
    )


async def test_the_primarys_own_score_is_kept_once_for_all_candidates(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, candidates=("a", "b"))) as store:
        await finish_all(store)
        scores = await store.reader.scores(**DAY)

    assert [(row["candidate"], row["role"]) for row in scores] == [
        ("", "primary"),
        ("a", "candidate"),
        ("b", "candidate"),
    ]
    assert all(row["quality"] is True and row["value"] == 1.0 for row in scores)


async def test_coverage_counts_what_counts_by_the_model_that_went_upstream(tmp_path: Path) -> None:
    one, unknown, opted = exchange(1), exchange(2, model=None), exchange(3)
    jobs = [
        job(one, state="skipped", reason="same_model"),
        job(unknown, state="dropped", reason="tee_full", primary="unknown"),
        job(opted, counted=False),
    ]
    aborted = exchange(4, eligible=False)
    async with stored(tmp_path, Batch(exchanges=[one, unknown, opted, aborted], jobs=jobs)) as store:
        coverage = await store.reader.coverage(**DAY)

    seen = {(row["primary"], row["candidate"], row["state"], row["reason"]): row["count"] for row in coverage}
    assert seen == {
        (None, None, "eligible", None): 1,
        ("primary", None, "eligible", None): 2,
        ("primary", "rival", "skipped", "same_model"): 1,
        (None, "rival", "dropped", "tee_full"): 1,
    }


# --- one exchange, one pair ---


async def test_one_exchange_comes_with_its_jobs_answers_and_scores(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, candidates=("a", "b"))) as store:
        await finish_all(store)
        found = await store.reader.exchange("x0001")
        unknown = await store.reader.exchange("x9999")

    assert unknown is None
    assert found is not None
    assert [row["candidate"] for row in found["jobs"]] == ["a", "b"]
    assert [row["state"] for row in found["jobs"]] == ["done", "done"]
    assert found["jobs"][0]["sent_at"] == NOW
    assert [row["candidate"] for row in found["answers"]] == ["a", "b"]
    assert len(found["scores"]) == 3


async def test_a_pair_shows_what_was_kept_of_its_content(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, candidates=("a", "b"))) as store:
        await finish_all(store)
        pair = await store.reader.pair("x0001:a")
        unknown = [await store.reader.pair(name) for name in ("x0001:z", "x0001", "", "x0001:a:")]

    assert unknown == [None] * 4
    assert pair is not None
    assert pair["id"] == "x0001:a"
    assert pair["content"] == {
        "prompt": "{}",
        "primary_output": "p",
        "primary_tool_calls": "[]",
        "candidate_output": "c",
        "candidate_tool_calls": "[]",
    }
    assert [(row["role"], row["candidate"]) for row in pair["scores"]] == [("candidate", "a"), ("primary", "")]


async def test_a_pair_without_kept_content_says_so(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with stored(tmp_path, sampled(1)) as store:
        [held] = await store.jobs.lease(worker="w", limit=1, lease_s=60, now=NOW)
        await store.jobs.reserve(held, worst_case_usd=0.01, budget=Day(), now=NOW)
        await store.jobs.finish(held, result=pair_result(held), reserved_usd=0.01, now=NOW)
        pair = await store.reader.pair("x0001:rival")

    assert pair is not None
    assert pair["content"] is None
    assert rows(path, "SELECT count(*) FROM content") == [(0,)]


# --- pages ---


@pytest.mark.parametrize("sort", ["newest", "worst"])
async def test_pages_show_every_pair_once_in_order_while_new_ones_arrive(tmp_path: Path, sort: str) -> None:
    qualities = {f"x{n:04}": value for n, value in enumerate([0.5, 0.0, 1.0, 0.5, None, 0.0, 0.25])}
    async with stored(tmp_path, sampled(*range(7), candidates=("a", "b"))) as store:
        await finish_all(store, quality=qualities)
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page, cursor = await store.reader.pairs(task=None, candidate=None, sort=sort, limit=3, cursor=cursor)  # type: ignore[arg-type]
            seen += page
            pages += 1
            if pages == 2:
                await store.intake.write(sampled(100))
                await finish_all(store)

    old = [row for row in seen if row["exchange_id"] != "x0100"]
    assert len({row["id"] for row in seen}) == len(seen)
    assert len(old) == 14
    if sort == "newest":
        assert (
            old == sorted(old, key=lambda row: (row["exchange_started_at"], row["exchange_id"], row["candidate"]))[::-1]
        )
    else:
        losses = [row["quality_diff"] for row in old]
        assert losses == [-1.0] * 4 + [-0.75] * 2 + [-0.5] * 4 + [0.0] * 2 + [None] * 2
    assert "content" not in seen[0]


async def test_a_pair_without_an_answer_is_worse_than_every_loss(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(*range(6))) as store:
        for number, held in enumerate(await store.jobs.lease(worker="w", limit=6, lease_s=60, now=NOW)):
            await store.jobs.reserve(held, worst_case_usd=0.01, budget=Day(), now=NOW)
            found = pair_result(held, cost_usd=0.001, candidate=(0.0, 1.0, None)[number % 3])
            if number < 2:
                failed = replace(found.answer, outcome=Outcome.TIMEOUT)
                found = replace(found, answer=failed, scores=[each for each in found.scores if each.role == "primary"])
            await store.jobs.finish(held, result=found, reserved_usd=0.01, now=NOW)
        listed, cursor = [], None
        while not listed or cursor is not None:
            page, cursor = await store.reader.pairs(task=None, candidate=None, sort="worst", limit=1, cursor=cursor)
            listed += page
        lost, _ = await store.reader.pairs(
            task=None, candidate=None, sort="worst", limit=9, cursor=None, show="regressed"
        )

    told = [(row["outcome"], row["quality_diff"]) for row in listed]
    assert told == [("timeout", None)] * 2 + [("ok", -1.0), ("ok", 0.0), ("ok", None), ("ok", None)]
    assert [row["quality_diff"] for row in lost] == [-1.0]


async def test_pairs_are_narrowed_by_task_and_candidate_and_the_last_page_has_no_cursor(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2, candidates=("a", "b"), task="t"), sampled(3, candidates=("a",))) as store:
        await finish_all(store)
        page, cursor = await store.reader.pairs(task="t", candidate="a", sort="newest", limit=2, cursor=None)
        nothing = await store.reader.pairs(task="other", candidate=None, sort="worst", limit=2, cursor=None)

    assert [row["id"] for row in page] == ["x0002:a", "x0001:a"]
    assert cursor is None
    assert nothing == ([], None)


@pytest.mark.parametrize(
    "cursor", ["", "nonsense!", "é", "e30", base64.urlsafe_b64encode(b'["newest","x","y","z"]').decode(), "A" * 5]
)
async def test_a_cursor_that_did_not_come_from_here_is_told(tmp_path: Path, cursor: str) -> None:
    async with stored(tmp_path) as store:
        with pytest.raises(ValueError, match="is not one that a page of pairs gave"):
            await store.reader.pairs(task=None, candidate=None, sort="newest", limit=2, cursor=cursor)


async def test_a_cursor_of_the_other_order_is_told(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2)) as store:
        await finish_all(store)
        _, cursor = await store.reader.pairs(task=None, candidate=None, sort="newest", limit=1, cursor=None)
        with pytest.raises(ValueError, match="belongs to sort=newest, not to sort=worst; begin again without it"):
            await store.reader.pairs(task=None, candidate=None, sort="worst", limit=1, cursor=cursor)


# --- prices ---


async def test_every_exchange_with_token_counts_is_priced_once_and_the_others_say_why_not(tmp_path: Path) -> None:
    asked: list[str] = []

    def price(record: ExchangeRecord) -> Cost:
        asked.append(record.id)
        known = record.model == "primary"
        return Cost(
            billed_usd=0.5 if known else None, uncached_usd=1.0 if known else None, source="list" if known else "?"
        )

    silent = exchange(9, usage=None)
    async with stored(tmp_path, sampled(1, 2), sampled(3, model="odd"), Batch(exchanges=[silent])) as store:
        done = [await store.reader.price_pending(price, limit=2) for _ in range(3)]
        found = await store.reader.exchanges(**DAY)

    assert done == [2, 1, 0]
    assert asked == ["x0001", "x0002", "x0003"]
    assert [(row["cost_billed_usd"], row["cost_uncached_usd"], row["price_source"]) for row in found] == [
        (0.5, 1.0, "list"),
        (0.5, 1.0, "list"),
        (None, None, "?"),
        (None, None, "no usage"),
    ]


async def test_two_processes_that_price_at_once_agree_on_the_first_decision(tmp_path: Path) -> None:
    batch = Batch(exchanges=[exchange(n) for n in range(450)])
    async with stored(tmp_path, batch) as one, stored(tmp_path) as two:
        await asyncio.gather(
            one.reader.price_pending(lambda _: Cost(billed_usd=1.0, uncached_usd=1.0, source="one")),
            two.reader.price_pending(lambda _: Cost(billed_usd=1.0, uncached_usd=1.0, source="two")),
        )
        left = await one.reader.price_pending(lambda _: Cost(billed_usd=2.0, uncached_usd=2.0, source="late"))
        found = await two.reader.exchanges(**DAY)

    assert left == 0
    assert len(found) == 450
    assert {row["cost_billed_usd"] for row in found} == {1.0}


# --- retention ---


async def test_pruning_really_deletes_the_old_in_chunks_and_gives_the_space_back(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with stored(tmp_path, sampled(*range(300), candidates=("a", "b")), sampled(900)) as store:
        await finish_all(store)
        while await store.rollups.fold():
            pass
        await store._writer.checkpoint()
        before = rows(path, "PRAGMA page_count")[0][0]
        old = exchange(900).started_at
        chunks = [await store.reader.prune(before=old, limit=120) for _ in range(4)]
        for _ in range(4):
            await store.reader.prune(before=old, limit=120)
        after = rows(path, "PRAGMA page_count")[0][0]

    assert chunks == [120, 120, 60, 0]
    assert after < before / 2
    counts = {
        table: rows(path, f"SELECT count(*) FROM {table}")[0][0]
        for table in ("exchange", "shadow_job", "shadow_answer", "score", "content", "job_body")
    }
    assert counts == {
        "exchange": 1, "shadow_job": 1, "shadow_answer": 1, "score": 2, "content": 1, "job_body": 0
    }  # fmt: skip


async def test_much_content_is_deleted_in_several_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stored(tmp_path, sampled(*range(10))) as store:
        for held in await store.jobs.lease(worker="w", limit=99, lease_s=60, now=NOW):
            await store.jobs.reserve(held, worst_case_usd=0.01, budget=Day(), now=NOW)
            result = pair_result(held, content=StoredContent(prompt="p" * 600, primary_output="o" * 400))
            await store.jobs.finish(held, result=result, reserved_usd=0.01, now=NOW)
        chunks = []
        for at_once in (3000, 999, 10**6):
            monkeypatch.setattr("shadow.store.sqlite.reader._CHARACTERS_AT_ONCE", at_once)
            chunks.append(await store.reader.prune(before=NOW + timedelta(days=1), limit=100))
    assert chunks == [3, 1, 6]
    assert rows(tmp_path / "shadow.db", "SELECT count(*) FROM content") == [(0,)]


async def test_an_exchange_with_an_unfinished_job_stays_and_old_admissions_go(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    later = NOW + timedelta(days=2)
    async with stored(tmp_path, sampled(1, 2)) as store:
        held, _ = await store.jobs.lease(worker="w", limit=2, lease_s=60, now=NOW)
        await store.jobs.reserve(held, worst_case_usd=0.01, budget=Day(), now=NOW)
        before = await store.reader.prune(before=later)
        admissions = rows(path, "SELECT count(*) FROM admission")
        await store.jobs.recover(now=later, max_job_age_s=600)
        after = await store.reader.prune(before=later)

    assert (before, after) == (0, 2)
    assert admissions == [(0,)]


# --- health ---


async def test_health_tells_the_schema_and_the_queue(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2)) as store:
        healthy = await store.reader.health()

    assert healthy == {"ok": True, "reason": None, "schema": load_migrations()[-1][0], "pending_jobs": 2}


async def test_the_reading_connection_cannot_write(tmp_path: Path) -> None:
    async with stored(tmp_path) as store:
        assert await store._reader.fetch("PRAGMA query_only") == [{"query_only": 1}]


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(TypeError):
        micros(NOW.replace(tzinfo=None))


async def test_every_wire_format_comes_back_as_what_it_was(tmp_path: Path) -> None:
    records = [exchange(n, dialect=dialect) for n, dialect in enumerate(Dialect)]
    seen: list[ExchangeRecord] = []

    def price(record: ExchangeRecord) -> Cost:
        seen.append(record)
        return Cost(billed_usd=None, uncached_usd=None, source="unknown")

    async with stored(tmp_path, Batch(exchanges=records)) as store:
        await store.reader.price_pending(price)

    assert seen == records
