"""The store's file: its modes, its checks at start, several processes at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from shadow.store import StoreError, check_store_modes, check_store_url, open_intake, open_store
from shadow.store.sqlite.file import APPLICATION_ID, prepare
from shadow.store.sqlite.queries import load_migrations, load_queries, statements
from tests.support.stored import DAY, NOW, rows, sampled, url

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def corrupt_asides(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.corrupt-*"))


def overwrite(path: Path, at: int, with_bytes: bytes) -> bytes:
    """Damage the file from another process: closing it in this one would drop locks. Returns what it is now."""
    script = (
        "import sys\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    file.seek(int(sys.argv[2]))\n"
        "    file.write(bytes.fromhex(sys.argv[3]))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path), str(at), with_bytes.hex()], check=True)
    return path.read_bytes()


async def test_the_file_and_its_side_files_are_for_us_alone_and_so_is_a_folder_we_made(tmp_path: Path) -> None:
    path = tmp_path / "made" / "by us" / "shadow.db"

    async with await open_store(url(path)) as store:
        await store.intake.write(sampled(1))
        modes = {name: mode(path.with_name(name)) for name in ("shadow.db", "shadow.db-wal", "shadow.db-shm")}

    assert modes == {"shadow.db": 0o600, "shadow.db-wal": 0o600, "shadow.db-shm": 0o600}
    assert mode(path.parent) == mode(path.parent.parent) == 0o700


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    prepare(tmp_path / "shadow.db")

    assert mode(tmp_path) == 0o755


def test_a_folder_in_the_place_of_the_file_is_named_and_nobody_is_told_to_change_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    with pytest.raises(StoreError) as told:
        check_store_modes(url(tmp_path))

    assert str(told.value) == f"{tmp_path} is a folder; name a file in it: {tmp_path}/shadow.db"


def test_nobody_is_told_to_change_the_mode_of_a_device() -> None:
    with pytest.raises(StoreError) as told:
        check_store_modes("sqlite:////dev/null")
    assert str(told.value) == "/dev/null is no file that can hold a store; name another"


async def test_an_existing_file_that_everyone_may_read_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    path.touch()
    path.chmod(0o644)

    with pytest.raises(StoreError, match=r"may be read by others \(mode 644\); run: chmod 600 .*shadow\.db"):
        await open_store(url(path))

    assert rows(path, "SELECT name FROM sqlite_master") == []


async def test_the_file_is_in_wal_mode_frees_pages_bit_by_bit_and_knows_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)):
        pass

    newest = load_migrations()[-1][0]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA auto_vacuum") == [(2,)]
    assert rows(path, "PRAGMA user_version") == [(newest,)]
    assert rows(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert rows(path, "SELECT key FROM meta") == [("made_at",)]


async def test_the_connection_wipes_what_it_deletes_and_syncs_at_checkpoints(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        assert await store._writer.fetch("PRAGMA secure_delete") == [{"secure_delete": 1}]
        assert await store._writer.fetch("PRAGMA synchronous") == [{"synchronous": 1}]


async def test_a_newer_schema_is_refused_with_a_sentence_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    await asyncio.to_thread(prepare, path)
    rows(path, "PRAGMA user_version = 999")

    with pytest.raises(StoreError, match=r"has schema 999, this version knows schemas up to \d+: start the newer"):
        await open_store(url(path))

    assert rows(path, "PRAGMA user_version") == [(999,)]


async def test_another_programs_database_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    rows(path, "CREATE TABLE theirs (x)")
    path.chmod(0o600)

    with pytest.raises(StoreError, match="another program's SQLite database; name another file"):
        await open_store(url(path))

    assert rows(path, "SELECT name FROM sqlite_master") == [("theirs",)]


@pytest.mark.parametrize(("at", "damage"), [(0, b"no SQLite header"), (4096 * 3, b"\xa5" * 4096 * 9)])
async def test_a_corrupt_file_is_moved_aside_loudly_and_a_new_one_is_made(
    tmp_path: Path, at: int, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as store:
        for start in range(1, 400, 50):
            await store.intake.write(sampled(*range(start, start + 50)))
    broken = await asyncio.to_thread(overwrite, path, at, damage)

    with caplog.at_level(logging.CRITICAL):
        async with await open_store(url(path)) as store:
            await store.intake.write(sampled(1))
            kept = await store.reader.exchanges(**DAY)

    [aside] = corrupt_asides(path)
    assert aside.read_bytes() == broken
    assert [row["id"] for row in kept] == ["x0001"]
    assert "is corrupt: moved aside to shadow.db.corrupt-" in caplog.text
    assert mode(path) == 0o600


async def test_a_file_that_becomes_corrupt_while_in_use_is_moved_aside_and_work_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    kept: list[str] = []
    async with await open_store(url(path)) as store:
        await store.intake.write(sampled(*range(1, 200)))
        await store._writer.checkpoint()
        await asyncio.to_thread(overwrite, path, 0, b"\xa5" * 40_000)
        for number in range(1000, 1010):
            with contextlib.suppress(StoreError):
                await store.intake.write(sampled(number))
                kept = [row["id"] for row in await store.reader.exchanges(**DAY)]

    assert kept
    assert kept[-1] == "x1009"
    assert corrupt_asides(path)


async def test_a_file_that_was_replaced_under_us_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(url(path)) as ours:
        await ours.intake.write(sampled(1))
        path.rename(tmp_path / "elsewhere.db")
        path.with_name("shadow.db-wal").rename(tmp_path / "elsewhere.db-wal")
        path.with_name("shadow.db-shm").rename(tmp_path / "elsewhere.db-shm")
        await ours.intake.write(sampled(2))
        async with await open_store(url(path)) as theirs:
            seen = await theirs.reader.exchanges(**DAY)
        also_seen = await ours.reader.exchanges(**DAY)

    assert [row["id"] for row in seen] == [row["id"] for row in also_seen] == ["x0002"]


async def test_a_folder_that_cannot_be_made_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"store .*file/shadow\.db cannot be opened: /.*/file: File exists$"):
        await open_store(url(tmp_path / "file" / "shadow.db"))


def test_many_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    script = (
        "import asyncio, sys\n"
        "from shadow.store import open_store\n"
        "from tests.support.stored import sampled\n"
        "async def main():\n"
        "    async with await open_store(sys.argv[1]) as store:\n"
        "        await store.intake.write(sampled(int(sys.argv[2])))\n"
        "asyncio.run(main())\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, url(path), str(n)], stderr=subprocess.PIPE) for n in range(6)
    ]

    ends = [(process.communicate()[1].decode(), process.returncode) for process in processes]

    assert ends == [("", 0)] * 6
    assert rows(path, "SELECT count(*) FROM exchange") == [(6,)]
    assert not list(tmp_path.glob("*corrupt*"))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("postgresql://user@host/db", "postgresql: is not built yet"),
        ("postgres://user@host/db", "postgresql: is not built yet"),
        ("mysql://host/db", "the scheme 'mysql' is unknown"),
        ("shadow.db", "the scheme 'shadow.db' is unknown"),
        ("sqlite:///", "expected sqlite:///relative.db"),
        ("sqlite://host/shadow.db", "expected sqlite:///relative.db"),
        ("sqlite:///:memory:", "cannot be shared by processes"),
        ("sqlite:///shadow.db?mode=ro", "options are not understood"),
    ],
)
async def test_an_address_we_cannot_open_is_told_with_what_would_be_right(address: str, sentence: str) -> None:
    for opens in (open_store, open_intake):
        with pytest.raises(StoreError, match=sentence):
            await opens(address)
    with pytest.raises(StoreError, match=sentence):
        check_store_url(address)


async def test_a_closed_store_says_so_and_closing_again_is_fine(tmp_path: Path) -> None:
    store = await open_store(url(tmp_path / "shadow.db"))
    await store.close()
    await store.close()

    with pytest.raises(StoreError, match="is closed"):
        await store.intake.write(sampled(1))
    assert (await store.reader.health())["ok"] is False


async def test_a_store_locked_at_its_opening_is_told_and_opens_later(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        path.chmod(0o600)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="cannot be opened: database is locked"):
            await open_store(url(path))
        other.execute("ROLLBACK")

    async with await open_store(url(path)) as store:
        assert (await store.reader.health())["ok"] is True


def test_every_query_has_a_name_and_a_sentence() -> None:
    for name in ("intake.sql", "jobs.sql", "reader.sql"):
        for query, sql in load_queries(name).items():
            assert query.isidentifier()
            assert sql.startswith("-- "), (name, query)
            assert sql.splitlines()[0].endswith("."), (name, query)
            assert len(list(statements(sql))) == 1, (name, query)


async def test_prompts_never_reach_the_log_of_the_database_library(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with await open_store(url(tmp_path / "shadow.db")) as store:
            await store.intake.write(sampled(1, path="/a-path-that-shows"))
            await store.jobs.lease(worker="w", limit=1, lease_s=1, now=NOW)

    assert "a-path-that-shows" not in caplog.text
