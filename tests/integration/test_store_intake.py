"""Batches into a real store: whole or not at all, once, from several processes, and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from shadow.records import Batch, Dialect, ExchangeRecord, Outcome, Usage
from shadow.store import StoreError, open_intake, open_store
from shadow.store.base import UnstorableError
from tests.support.stored import DAY, NOW, body, exchange, job, locked, pair_result, rows, sampled, url
from tests.support.stored import Day as Budget

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "record",
    [
        exchange(1),
        exchange(1, usage=None, dialect=None, model=None, conversation=None, status=None, eligible=False),
        ExchangeRecord(
            id="x0001",
            started_at=NOW,
            method="POST",
            path="/openai/v1/chat/completions",
            status=529,
            outcome=Outcome.ERROR_HTTP,
            latency_ms=0.25,
            dialect=Dialect.OPENAI_CHAT,
            task="support",
            conversation="c1",
            model="größe",
            model_answered="größe-2",
            streamed=True,
            stop_reason="stop",
            ttft_ms=1.5,
            first_text_ms=2.5,
            usage=Usage(input=1, cache_read=2, cache_write_5m=3, cache_write_1h=4, output=5),
            request_bytes=6,
            response_bytes=7,
            first_turn=False,
            has_tools=True,
            client_retry=True,
            version="v2",
            eligible=True,
            error="overloaded",
            gateway_error="connect",
            overhead_us=140,
        ),
    ],
)
async def test_a_worker_gets_the_exchange_and_the_copy_as_the_recorder_wrote_them(
    tmp_path: Path, record: ExchangeRecord
) -> None:
    copy = body(record, request=b"\x00 any bytes \xff", response=b"")
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(Batch(exchanges=[record], jobs=[job(record, conversation="c")], bodies=[copy]))
        [leased] = await store.jobs.lease(worker="w", limit=5, lease_s=60, now=NOW)

    assert leased.exchange == record
    assert leased.body == copy
    assert leased.job == job(record, conversation="c", state="leased")


async def test_a_batch_that_arrives_twice_changes_nothing(tmp_path: Path) -> None:
    batch = sampled(1, 2, candidates=("a", "b"))
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(batch)
        before = await store.reader.coverage(**DAY)
        await store.intake.write(batch)
        after = await store.reader.coverage(**DAY)

    assert before == after
    assert sum(row["count"] for row in after if row["candidate"] is None) == 2


async def test_a_late_duplicate_revives_neither_a_finished_job_nor_its_copy(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as store:
        await store.intake.write(sampled(1))
        [leased] = await store.jobs.lease(worker="w", limit=1, lease_s=60, now=NOW)
        await store.jobs.reserve(leased, worst_case_usd=1, budget=Budget(), now=NOW)
        await store.jobs.finish(leased, result=pair_result(leased), reserved_usd=1, now=NOW)
        await store.intake.write(sampled(1))
        again = await store.jobs.lease(worker="w", limit=1, lease_s=60, now=NOW)

    assert again == []
    assert rows(path, "SELECT count(*) FROM job_body") == [(0,)]


async def test_a_copy_whose_jobs_all_ended_at_once_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    one = exchange(1)
    skipped = job(one, state="skipped", reason="same_model")
    async with await open_store(url(path)) as store:
        await store.intake.write(Batch(exchanges=[one], jobs=[skipped], bodies=[body(one)]))

    assert rows(path, "SELECT count(*) FROM job_body") == [(0,)]


async def test_a_batch_with_one_value_that_cannot_be_stored_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    huge = exchange(2, request_bytes=2**63)
    async with await open_store(url(path)) as store:
        with pytest.raises(UnstorableError, match="refuses a value"):
            await store.intake.write(Batch(exchanges=[exchange(1), huge], dropped={"tee_full": 1}))
        await store.intake.write(sampled(3))

    assert rows(path, "SELECT id FROM exchange") == [("x0003",)]
    assert rows(path, "SELECT * FROM counter") == []


async def test_a_constraint_of_the_schema_refuses_without_showing_the_value(tmp_path: Path) -> None:
    one = exchange(1)
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        with pytest.raises(UnstorableError) as refusal:
            await store.intake.write(Batch(exchanges=[one], jobs=[replace(job(one), state="secret")]))  # type: ignore[arg-type]

    assert "secret" not in str(refusal.value)


async def test_text_with_a_lone_surrogate_is_stored_with_a_mark_instead(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(Batch(exchanges=[exchange(1, model="a\ud800b", error="größe")]))
        found = await store.reader.exchange("x0001")

    assert found is not None
    assert (found["model"], found["error"]) == ("a?b", "größe")


async def test_what_was_lost_adds_up_by_reason(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(Batch(dropped={"tee_full": 2, "buffer_full": 1}))
        await store.intake.write(Batch(dropped={"tee_full": 3}))
        lost = await store.reader.dropped()

    assert lost == {"buffer_full": 1, "tee_full": 5}


async def test_the_longest_rest_of_an_origin_counts_and_ends(tmp_path: Path) -> None:
    soon, late = NOW + timedelta(seconds=10), NOW + timedelta(seconds=60)
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(Batch(origin_rests={"https://a:443": late, "https://b:443": soon}))
        await store.intake.write(Batch(origin_rests={"https://a:443": soon}))
        await store.jobs.rest_origin("https://c:443", until=late)
        resting = await store.jobs.origin_rests(now=soon)

    assert resting == {"https://a:443": late, "https://c:443": late}


async def test_jobs_nobody_takes_are_dropped_and_their_copies_deleted_by_the_live_process_itself(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shadow.db"
    intake = await open_intake(url(path))
    await intake.write(sampled(1, 2))
    expired = await intake.expire_jobs(before=exchange(2).started_at, now=NOW)
    await intake.close()

    assert expired == 1
    assert rows(path, "SELECT exchange_id, state, reason FROM shadow_job ORDER BY 1") == [
        ("x0001", "dropped", "too_old"),
        ("x0002", "pending", None),
    ]
    assert rows(path, "SELECT exchange_id FROM job_body") == [("x0002",)]


async def test_a_locked_store_is_told_within_about_a_second_and_takes_the_batch_later(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    intake = await open_intake(url(path))
    async with locked(path):
        with pytest.raises(StoreError, match="database is locked"):
            await intake.write(sampled(1))
    await intake.write(sampled(1))
    await intake.close()

    assert rows(path, "SELECT count(*) FROM exchange") == [(1,)]


async def test_a_write_that_is_cancelled_leaves_no_transaction_behind(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as store:
        for number in range(20):
            writing = asyncio.create_task(store.intake.write(sampled(number)))
            for _ in range(number):
                await asyncio.sleep(0.0005)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        await store.intake.write(sampled(100))
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")

    exchanges = rows(path, "SELECT id FROM exchange")
    assert ("x0100",) in exchanges
    assert (
        exchanges == rows(path, "SELECT exchange_id FROM shadow_job") == rows(path, "SELECT exchange_id FROM job_body")
    )


WRITES = """
import asyncio, sys
from shadow.store import open_intake
from tests.support.stored import sampled

async def main():
    intake = await open_intake(sys.argv[1])
    first = int(sys.argv[2])
    for start in range(first, first + 400, 20):
        await intake.write(sampled(*range(start, start + 20), candidates=("a", "b")))
    await intake.close()

asyncio.run(main())
"""


def test_several_processes_write_one_file_without_losing_a_row(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES, url(path), str(1000 * n)], stderr=subprocess.PIPE)
        for n in range(4)
    ]

    ends = [(writer.communicate()[1].decode(), writer.returncode) for writer in writers]

    assert ends == [("", 0)] * 4
    assert rows(path, "SELECT count(*), count(DISTINCT id) FROM exchange") == [(1600, 1600)]
    assert rows(path, "SELECT count(*) FROM shadow_job") == [(3200,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


KILLED = """
import asyncio, sys
from shadow.store import open_intake
from tests.support.stored import sampled

async def main():
    intake = await open_intake(sys.argv[1])
    for start in range(0, 9000, 5):
        await intake.write(sampled(*range(start, start + 5)))
        print(start + 5, flush=True)

asyncio.run(main())
"""


def test_a_writer_that_is_killed_leaves_every_written_batch_and_no_half_of_one(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, url(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        confirmed = 0
        until = time.monotonic() + 30
        while confirmed < 200 and time.monotonic() < until:
            confirmed = int(writer.stdout.readline())
        writer.kill()
        rest = writer.stdout.read().split()
    confirmed = int(rest[-1]) if rest else confirmed

    [(exchanges,)] = rows(path, "SELECT count(*) FROM exchange")
    assert confirmed <= exchanges <= confirmed + 5
    assert exchanges % 5 == 0
    assert rows(path, "SELECT count(*) FROM shadow_job") == [(exchanges,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
