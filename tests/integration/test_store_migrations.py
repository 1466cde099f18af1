"""Stores of older versions open with all that is in them, and their rollups are made from it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from shadow.store import open_store, schema_of
from shadow.storekeeper import StoreKeeper
from tests.integration.test_store_rollups import AnyDay
from tests.support.older import VERSIONS, older_store
from tests.support.rolled import differences, told, truth
from tests.support.stored import NOW, exchange, rows, sampled, url

if TYPE_CHECKING:
    from pathlib import Path

    from shadow.store.sqlite.store import SqliteStore

NEWEST = VERSIONS[-1]
EVER = {"since": NOW - timedelta(days=9), "until": NOW + timedelta(days=9)}
KEPT = ("exchange", "shadow_job", "shadow_answer", "score", "counter")


def keeper(store: SqliteStore, name: str = "me") -> StoreKeeper:
    return StoreKeeper(
        rollups=store.rollups, reader=store.reader, room=store.room, holder=name, retention_days=30, now=lambda: NOW
    )


Contents = dict[str, list[tuple[object, ...]]]


def contents(path: Path, of: Contents | None = None) -> Contents:
    """Every row of the tables there have always been; with `of` only as many columns as there were then."""
    found = {table: sorted(rows(path, f"SELECT * FROM {table}"), key=repr) for table in KEPT}
    if of is None:
        return found
    return {table: sorted((row[: len(of[table][0])] for row in found[table]), key=repr) for table in KEPT}


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_older_version_opens_with_every_row_and_gets_its_rollups(tmp_path: Path, version: int) -> None:
    path = tmp_path / "shadow.db"
    older_store(path, version)
    before = contents(path)
    assert schema_of(url(path)) == version

    async with await open_store(url(path)) as store:
        assert schema_of(url(path)) == NEWEST
        assert contents(path, before) == before
        due = await store.rollups.due()
        await store.intake.write(sampled(700, started_at=NOW))  # an app does not wait for the rollups to be made
        while await store.rollups.due() is not None:
            await keeper(store).fold()
        await keeper(store).fold()
        if version < 7:
            assert due is not None
            assert differences(await told(store, **EVER), await truth(store, **EVER)) == []
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


async def test_a_store_whose_rollups_know_nothing_of_judges_gets_them_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as store:
        day = AnyDay(1, [store])
        for _ in range(120):
            await day.act()
        while await store.rollups.fold():
            pass
    unanswered = "SELECT exchange_id, candidate, unanswered FROM shadow_answer"
    before = rows(path, unanswered)
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        for statement in (
            "DELETE FROM rollup WHERE detail NOT LIKE '[\"score%' AND detail NOT IN ('', '[\"dropped\"]')",
            "DROP INDEX judgement_by_start",
            "CREATE INDEX judgement_by_start ON judgement (started_at)",
            "DROP INDEX shadow_answer_by_start",
            "DROP INDEX shadow_answer_by_loss",
            "ALTER TABLE shadow_answer DROP COLUMN unanswered",
            "CREATE INDEX shadow_answer_by_start ON shadow_answer (exchange_started_at, exchange_id, candidate)",
            "CREATE INDEX shadow_answer_by_loss ON shadow_answer (coalesce(quality_diff, 2.0), exchange_id, candidate)",
            "PRAGMA user_version = 11",
        ):
            older.execute(statement)

    async with await open_store(url(path)) as store:
        assert differences(await told(store, **EVER), await truth(store, **EVER)) != []
        while await store.rollups.due() is not None:
            await keeper(store).fold()
        assert differences(await told(store, **EVER), await truth(store, **EVER)) == []
    assert rows(path, unanswered) == before
    assert {row[2] for row in before} == {0, 1}


OPENS = """
import asyncio, sys
from shadow.store import open_store

async def main():
    async with await open_store(sys.argv[1]) as store:
        print((await store.reader.health())["schema"])

asyncio.run(main())
"""


async def test_many_processes_that_open_an_older_store_at_once_migrate_it_once(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    older_store(path, VERSIONS[0])
    before = contents(path)
    command = [sys.executable, "-c", OPENS, url(path)]
    processes = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(5)]

    told_schemas = [(await process.communicate())[0].decode().strip() for process in processes]

    assert told_schemas == [str(NEWEST)] * 5
    assert contents(path, before) == before


async def test_a_migration_that_fails_half_way_leaves_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shadow.store.sqlite import file  # noqa: PLC0415  (the list of migrations is what this test changes)

    path = tmp_path / "shadow.db"
    older_store(path, VERSIONS[0])
    before = contents(path)
    broken = [*file.load_migrations(), (9999, "CREATE TABLE half (a);\nSELECT no_such_function();\n")]
    monkeypatch.setattr(file, "load_migrations", lambda: broken)

    with pytest.raises(file.StoreError, match="no such function"):
        await open_store(url(path))

    assert schema_of(url(path)) == VERSIONS[0]
    assert contents(path) == before
    assert rows(path, "SELECT count(*) FROM sqlite_master WHERE name IN ('half', 'rollup')") == [(0,)]


async def test_an_answer_that_ends_between_migration_and_the_making_of_rollups_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    older_store(path, 2)
    async with await open_store(url(path)) as store:
        await store.reader.price_pending(_a_price)
        await store.rollups.fold()
        await keeper(store).fold()
        await keeper(store).fold()
        await keeper(store).fold()

        assert await store.rollups.due() is None
        assert differences(await told(store, **EVER), await truth(store, **EVER)) == []


def _a_price(_: object) -> object:
    from shadow.records import Cost  # noqa: PLC0415

    return Cost(billed_usd=0.25, uncached_usd=0.5, source="test")


def test_the_schema_of_a_store_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert schema_of(url(tmp_path / "none.db")) == 0
    assert not (tmp_path / "none.db").exists()
    assert exchange(1).id == "x0001"
