"""Who keeps the store quick and small: one of several folds, old sums go, and a full disk still lets old rows go."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from shadow.records import Batch
from shadow.store import open_store
from shadow.store.base import FullStoreError
from shadow.store.sqlite.room import RESERVE_BYTES
from shadow.storekeeper import HOURS_KEPT, LEASE, LOW_BYTES, StoreKeeper, rebuild
from tests.support.measured import MIB, fill, small_disk
from tests.support.rolled import differences, told, truth
from tests.support.shadowing import eventually_async
from tests.support.stored import NOW, exchange, rows, sampled, url

if TYPE_CHECKING:
    from pathlib import Path

    from shadow.store.sqlite.connection import Statements
    from shadow.store.sqlite.store import SqliteStore

EVER = {"since": NOW - timedelta(days=200), "until": NOW + timedelta(days=9)}


def keeper(store: SqliteStore, name: str = "me", *, at: datetime = NOW, retention_days: float = 30) -> StoreKeeper:
    return StoreKeeper(
        rollups=store.rollups,
        reader=store.reader,
        room=store.room,
        holder=name,
        retention_days=retention_days,
        every_s=0.01,
        now=lambda: at,
    )


async def test_only_the_one_who_leads_folds_and_the_next_one_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as store:
        await store.intake.write(sampled(*range(5)))
        first = await keeper(store, "first").fold()
        await store.intake.write(sampled(7))
        second = await keeper(store, "second").fold()
        fenced = await store.rollups.fold(holder="second")
        later = await keeper(store, "second", at=NOW + timedelta(minutes=1)).fold()

    assert first > 0
    assert (second, fenced) == (0, 0)
    assert later > 0


async def test_it_runs_until_it_is_told_to_stop_and_folds_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as store:
        keeping = asyncio.create_task(keeper(store).run())
        await store.intake.write(sampled(*range(5)))
        await eventually_async(lambda: is_folded(path), what="rollups without deltas beside them")
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert differences(await told(store, **EVER), await truth(store, **EVER)) == []


async def is_folded(path: Path) -> bool:
    return rows(path, "SELECT (SELECT count(*) FROM rollup_delta) = 0 AND EXISTS (SELECT 1 FROM rollup)") == [(1,)]


async def test_minutes_go_after_two_days_hours_after_ninety_and_days_stay(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    ages = [timedelta(hours=1), timedelta(days=5), HOURS_KEPT + timedelta(days=5)]
    async with await open_store(url(path)) as store:
        await store.intake.write(Batch(exchanges=[exchange(n, started_at=NOW - age) for n, age in enumerate(ages)]))
        await keeper(store).fold()
        gone = await keeper(store).prune()
        kept = dict(rows(path, "SELECT grain, count(*) FROM rollup GROUP BY grain"))
        not_leading = await keeper(store, "other").prune()
        whole = (await store.rollups.window(**EVER)).totals()

    assert gone == 3
    assert not_leading == 0
    assert kept == {60: 1, 3600: 2, 86400: 3}
    assert [totals.count("requests") for totals in whole.values()] == [3]


async def test_hours_are_kept_as_long_as_raw_rows_are(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as store:
        await store.intake.write(Batch(exchanges=[exchange(1, started_at=NOW - timedelta(days=120))]))
        await keeper(store).fold()
        await keeper(store, retention_days=200).prune()

    assert rows(path, "SELECT count(*) FROM rollup WHERE grain = 3600") == [(1,)]


async def test_what_retention_deleted_stays_in_the_rollups_also_when_these_are_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    days: list[int] = []
    old = [exchange(n, started_at=NOW - timedelta(days=40, minutes=n)) for n in range(30)]
    new = [exchange(100 + n, started_at=NOW - timedelta(minutes=n)) for n in range(30)]
    async with await open_store(url(path)) as store:
        await store.intake.write(Batch(exchanges=old + new))
        await keeper(store).fold()
        pruned = await store.reader.prune(before=NOW - timedelta(days=30))
        read = await rebuild(store.rollups, holder="hand", since=None, until=None, told=lambda day, _: days.append(day))
        [totals] = (await store.rollups.window(**EVER)).totals().values()
        free = await keeper(store, "other").fold()

    assert pruned == 30
    assert read == 30
    assert len(days) == 1
    assert totals.count("requests") == 60
    assert free == 0
    assert rows(path, f"SELECT count(*) FROM lease WHERE name = '{LEASE}'") == [(1,)]  # given back, and taken anew


async def test_a_rebuild_by_hand_takes_the_lease_from_a_server_and_one_day_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as store:
        await store.intake.write(Batch(exchanges=[exchange(n, started_at=NOW - timedelta(days=n)) for n in range(5)]))
        await keeper(store).fold()
        await store._writer.fetch("UPDATE rollup SET numbers = '{}'")
        seen: list[int] = []
        await rebuild(
            store.rollups,
            holder="hand",
            since=(NOW - timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0),
            until=(NOW - timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0),
            told=lambda _, read: seen.append(read),
        )
        [totals] = (await store.rollups.window(**EVER)).totals().values()

    assert seen == [1]
    assert totals.count("requests") == 1


async def test_an_empty_store_has_nothing_to_make_anew(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        assert await rebuild(store.rollups, holder="h", since=None, until=None, told=lambda *_: None) == 0


# --- a full disk ---


class FullRoom:
    """A disk that is full until the reserve is given up."""

    def __init__(self) -> None:
        self.free = LOW_BYTES - 1
        self.reserve = True
        self.shrunk = 0

    async def free_bytes(self) -> int:
        return self.free

    async def keep_reserve(self) -> bool:
        self.reserve = True
        return True

    async def give_up_reserve(self) -> None:
        self.reserve = False

    async def empty_log(self) -> None:
        pass

    async def tend_log(self) -> bool:
        return False

    async def shrink(self) -> int:
        self.shrunk += 1
        return 0


async def test_on_a_full_disk_the_reserve_is_given_up_so_that_old_rows_can_go_and_taken_back_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room = FullRoom()
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        await store.intake.write(Batch(exchanges=[exchange(1, started_at=NOW - timedelta(days=40)), exchange(2)]))

        class Reader:
            async def prune(self, *, before: datetime, limit: int) -> int:
                if room.reserve:
                    raise FullStoreError("no room")
                return await store.reader.prune(before=before, limit=limit)

        one = keeper(store)
        one._room = room  # type: ignore[assignment]
        one._reader = Reader()  # type: ignore[assignment]
        with caplog.at_level(logging.WARNING):
            assert await one.make_room() is False
            room.reserve = True
            assert await one.make_room() is False
        assert [row["id"] for row in await store.reader.exchanges(**EVER)] == ["x0002"]
        assert (room.reserve, room.shrunk) == (False, 2)
        room.free = LOW_BYTES
        assert await one.make_room() is True
        assert room.reserve

    assert [record.message for record in caplog.records] == [
        "the disk of the store is full: its reserve is given up, so that old rows can be deleted"
    ]


async def test_on_a_disk_that_is_really_full_retention_still_works_and_writing_goes_on(tmp_path: Path) -> None:
    old = [exchange(n, started_at=NOW - timedelta(days=40), error="x" * 2000) for n in range(3000)]
    with small_disk(tmp_path / "disk", size_bytes=112 * MIB) as disk:
        async with await open_store(url(disk / "shadow.db")) as store:
            await store.intake.write(Batch(exchanges=old))
            one = keeper(store)
            assert await one.make_room() is True
            assert store.room.reserve.exists()
            fill(disk, leaving=0)
            number = len(old)

            async def write(batches: int) -> None:
                nonlocal number
                for _ in range(batches):
                    new = [exchange(number + n, started_at=NOW, error="y" * 2000) for n in range(100)]
                    await store.intake.write(Batch(exchanges=new))
                    number += 100

            with pytest.raises(FullStoreError):  # the log has a little room left
                await write(1000)
            kept = number - len(old)
            assert await one.make_room() is False
            assert not store.room.reserve.exists()
            assert rows(disk / "shadow.db", "SELECT count(*) FROM exchange") == [(kept,)]
            await write(15)
            assert rows(disk / "shadow.db", "SELECT count(*) FROM exchange") == [(kept + 1500,)]
            assert rows(disk / "shadow.db", "PRAGMA integrity_check") == [("ok",)]


async def test_a_log_that_somebody_always_reads_is_cut_when_it_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "shadow.db-wal"
    async with await open_store(url(tmp_path / "shadow.db")) as store, await open_store(store_url(store)) as other:
        await store.intake.write(Batch(exchanges=[exchange(n) for n in range(400)]))
        assert await keeper(store).make_room() is True
        assert log.stat().st_size > 0  # not long: left alone
        monkeypatch.setattr("shadow.store.sqlite.room.LONG_LOG_BYTES", 50_000)

        def look(seen: Statements) -> None:
            seen.run("SELECT count(*) FROM exchange")
            reading.set()
            go_on.wait(10)

        reading, go_on = threading.Event(), threading.Event()
        looking = asyncio.create_task(other._reader.look(look))
        await asyncio.to_thread(reading.wait, 10)
        assert await store.room.tend_log()
        assert log.stat().st_size > 50_000  # somebody reads
        go_on.set()
        await looking
        assert await store.room.tend_log()
        assert log.stat().st_size == 0
        assert not await store.room.tend_log()


def store_url(store: SqliteStore) -> str:
    return url(store._writer.path)


async def test_the_reserve_is_a_file_of_blocks_really_taken_that_only_we_may_read(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        reserve = store.room.reserve
        if await store.room.free_bytes() < 8 * RESERVE_BYTES:
            pytest.skip("this machine's disk is nearly full")
        assert await store.room.keep_reserve()
        assert await store.room.keep_reserve()
        found = reserve.stat()
        assert (found.st_size, found.st_mode & 0o777) == (RESERVE_BYTES, 0o600)
        assert found.st_blocks * 512 >= RESERVE_BYTES
        await store.room.give_up_reserve()
        await store.room.give_up_reserve()
        assert not reserve.exists()
        reserve.mkdir()  # something stands in its place
        assert await store.room.keep_reserve()
