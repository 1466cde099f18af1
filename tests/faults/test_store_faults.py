"""The store's disk is full, its file read-only, locked, corrupt or unreachable: apps notice nothing, the books hold."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import stat
import subprocess
import sys
from asyncio import sleep
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.doctor import filesystem_of
from shadow.records import LeasedJob
from shadow.store.sqlite.file import prepare
from tests.support.measured import (
    MIB,
    App,
    books,
    complaints,
    configured,
    fill,
    is_whole,
    may_write,
    primary,
    rows,
    small_disk,
    stats,
    stored,
    wait_until_done,
    wait_until_stored,
)
from tests.support.serving import SCRIPT, Serve, ask, command_line, plain_environment
from tests.support.shadowing import batch, candidate, eventually_async, running, workshop
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.upstream import Upstream

FULL = "database or disk is full"
A_FEW_LINES = 12
"""What one fault may say in all: each of the loops that meet it once at its begin and once at its end."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with primary() as running_upstream:
        yield running_upstream


def on(folder: Path, upstream: Upstream, **shadow: object) -> str:
    """A configuration whose store is in this folder; nothing of prompts is kept, so that the file stays small."""
    kept = {"content": "none"} | shadow
    return json.dumps(configured(upstream, store=f"sqlite:///{folder}/shadow.db", shadow=kept))


def the_admin_port_says_why(serving: Serve, why: str) -> None:
    """Live ports are ready for traffic; the stats are not, and say so in a sentence."""
    assert ask(serving.listen, "GET", "/healthz") == (200, b"ok\n")
    assert ask(serving.listen, "GET", "/readyz") == (200, b"ok\n")
    assert ask(serving.admin, "GET", "/healthz") == (200, b'{"status":"ok"}')
    status, body = ask(serving.admin, "GET", "/readyz")
    assert (status, json.loads(body)["ready"]) == (503, False)
    for path in ("/stats", "/pairs", "/verdicts"):
        status, body = ask(serving.admin, "GET", path)
        assert (status, json.loads(body)["error"]["type"]) == (503, "store")
        assert why in json.loads(body)["error"]["message"]


# Row 22: no room, or no right, to write.


def test_a_full_disk_is_not_felt_is_told_once_and_all_is_written_when_there_is_room(
    tmp_path: Path, upstream: Upstream
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=24 * MIB) as disk, Serve(tmp_path, on(disk, upstream)) as serving:
        app = App(serving, upstream)
        app.ask(4)
        wait_until_stored(disk, 4)
        wait_until_done(disk)
        for leaving in (0, 100_000):  # with room for little things the worker goes on longer than the scribe
            ballast = fill(disk, leaving=leaving)
            app.ask(40, padding=20_000)
            eventually(lambda: FULL in serving.stderr, what="a word about the full disk")
            app.ask(20, padding=20_000)
            ballast.unlink()
            wait_until_stored(disk, app.count)
            wait_until_done(disk)
        assert is_whole(disk)
        coverage = books(serving)["rival"]
        assert serving.stop() == 0
        told = complaints(serving)
    assert (coverage["sent"], coverage["dropped"]) == (app.count, {})
    assert "the store takes records again" in told
    assert max(told.values()) <= 2, told
    assert sum(told.values()) <= 2 * A_FEW_LINES, told


def test_without_root_a_limit_on_the_size_of_files_stands_in_for_a_full_disk(
    tmp_path: Path, upstream: Upstream
) -> None:
    with Serve(tmp_path, on(tmp_path, upstream)) as serving:
        app = App(serving, upstream)
        app.ask(4)
        wait_until_stored(tmp_path, 4)
        wait_until_done(tmp_path)
        writers = [serving.child("gateway.measuring"), *scribes_of(serving.child("gateway.live"))]
        assert len(writers) == 2
        log = tmp_path / "shadow.db-wal"
        before = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in writers]
        for pid, (_, hard) in zip(writers, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
        app.ask(10, padding=20_000)
        eventually(lambda: "records wait in memory" in serving.stderr, within_s=20, what="a word about it")
        app.ask(10, padding=20_000)
        for pid, limit in zip(writers, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
        wait_until_stored(tmp_path, app.count)
        wait_until_done(tmp_path)
        assert is_whole(tmp_path)
        coverage = books(serving)["rival"]
        assert serving.stop() == 0
        told = complaints(serving)
    assert (coverage["sent"], coverage["dropped"]) == (app.count, {})
    assert sum(told.values()) <= A_FEW_LINES, told


def scribes_of(live: int) -> list[int]:
    found = Path(f"/proc/{live}/task/{live}/children").read_text().split()
    return [int(pid) for pid in found if "gateway.scribe" in command_line(int(pid))]


def test_a_start_on_a_full_disk_serves_at_once_and_records_when_there_is_room(
    tmp_path: Path, upstream: Upstream
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=8 * MIB) as disk:
        ballast = fill(disk)
        with Serve(tmp_path, on(disk, upstream, tee_memory_mb=1)) as serving:
            app = App(serving, upstream)
            app.ask(20)
            the_admin_port_says_why(serving, FULL)
            app.ask(30, padding=20_000)
            ballast.unlink()
            wait_until_stored(disk, app.count)
            wait_until_done(disk)
            assert is_whole(disk)
            coverage = books(serving)["rival"]
            lost = stats(serving)["dropped"]
            assert serving.stop() == 0
            told = complaints(serving)
    # A quarter of tee_memory_mb is for what waits for the store: older copies are given up, their records are not.
    assert coverage["dropped"].keys() == lost.keys() == {"buffer_full"}
    assert coverage["dropped"] == lost
    assert coverage["sent"] == app.count - lost["buffer_full"] > 0
    assert sum(told.values()) <= A_FEW_LINES, told


def test_a_start_on_a_read_only_disk_serves_at_once_and_records_when_it_may_write(
    tmp_path: Path, upstream: Upstream
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=8 * MIB) as disk:
        prepare(disk / "shadow.db")
        may_write(disk, allowed=False)
        with Serve(tmp_path, on(disk, upstream)) as serving:
            app = App(serving, upstream)
            app.ask(20)
            the_admin_port_says_why(serving, "cannot be opened")
            may_write(disk, allowed=True)
            wait_until_stored(disk, app.count)
            wait_until_done(disk)
            assert is_whole(disk)
            assert books(serving)["rival"]["sent"] == app.count
            assert serving.stop() == 0
            told = complaints(serving)
    assert sum(told.values()) <= A_FEW_LINES, told


# Row 23: another process holds the file.


def test_a_lock_is_not_felt_and_copies_beyond_the_memory_for_them_are_given_up_and_counted(
    tmp_path: Path, upstream: Upstream
) -> None:
    with Serve(tmp_path, on(tmp_path, upstream, tee_memory_mb=1)) as serving:
        app = App(serving, upstream)
        app.ask(3)
        wait_until_stored(tmp_path, 3)
        wait_until_done(tmp_path)
        with closing(sqlite3.connect(tmp_path / "shadow.db", isolation_level=None, timeout=30)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            app.ask(40, padding=20_000)
            eventually(lambda: "database is locked" in serving.stderr, within_s=20, what="a word about the lock")
            app.ask(5, padding=20_000)
            holder.execute("ROLLBACK")
        wait_until_stored(tmp_path, app.count)
        wait_until_done(tmp_path)
        assert is_whole(tmp_path)
        coverage = books(serving)["rival"]
        lost = stats(serving)["dropped"]
        assert serving.stop() == 0
        told = complaints(serving)
    assert coverage["dropped"] == lost == {"buffer_full": app.count - coverage["sent"]}
    # A quarter of tee_memory_mb, and no more, is what waits; nothing that was stored before is touched.
    assert 3 < coverage["sent"] <= 3 + MIB // 4 // 20_000
    first = "SELECT state FROM shadow_job JOIN exchange ON id = exchange_id ORDER BY started_at LIMIT 3"
    assert rows(tmp_path, first) == [("done",)] * 3
    assert sum(told.values()) <= A_FEW_LINES, told


async def test_a_job_whose_reserve_met_a_lock_is_done_by_the_same_worker_when_the_lock_is_gone(
    tmp_path: Path, upstream: Upstream
) -> None:
    async with workshop(tmp_path, candidate("rival", upstream.base_url)) as shop:
        await shop.add(*(batch(number, "rival") for number in range(4)))
        await shop.store._writer.fetch("PRAGMA busy_timeout = 50")
        with closing(sqlite3.connect(tmp_path / "shadow.db", isolation_level=None, timeout=30)) as holder:
            lease, leased = shop.store.jobs.lease, list[LeasedJob]()

            async def lease_and_lock(**given: Any) -> list[LeasedJob]:
                found = await lease(**given)
                if found and not leased:
                    holder.execute("BEGIN EXCLUSIVE")
                leased.extend(found)
                return found

            shop.store.jobs.lease = lease_and_lock  # type: ignore[method-assign]  # the lock comes right after it
            worker = shop.worker()
            async with running(worker):
                await eventually_async(lambda: sleep(0, worker._left), what="jobs that could not be reserved")
                holder.execute("ROLLBACK")
                tally = await shop.ended(4)
    assert tally == {("rival", "done", None): 4}
    assert len(upstream.requests) == 4


# Row 24: the file is no database any more.


def damage(path: Path, *, at: int = 0) -> bytes:
    """Overwrite pages from another process (closing the file in one that uses it would drop its locks)."""
    script = "import sys\nwith open(sys.argv[1], 'r+b') as f:\n f.seek(int(sys.argv[2]))\n f.write(b'\\xa5' * 40_000)"
    subprocess.run([sys.executable, "-c", script, str(path), str(at)], check=True)
    return path.read_bytes()


def empty_the_log(folder: Path) -> None:
    """Bring all that is in the write-ahead log into the file."""
    with closing(sqlite3.connect(folder / "shadow.db", timeout=30)) as connection:
        eventually(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, what="no reader")


def asides(folder: Path) -> list[Path]:
    return sorted(folder.glob("shadow.db.corrupt-*"))


def test_a_file_that_is_corrupt_at_the_start_is_moved_aside_whole_and_said_loudly(
    tmp_path: Path, upstream: Upstream
) -> None:
    prepare(tmp_path / "shadow.db")
    broken = damage(tmp_path / "shadow.db")
    with Serve(tmp_path, on(tmp_path, upstream)) as serving:
        app = App(serving, upstream)
        app.ask(5)
        wait_until_stored(tmp_path, 5)
        wait_until_done(tmp_path)
        assert books(serving)["rival"]["sent"] == 5
        assert serving.stop() == 0
        loud = [line["message"] for line in serving.logged if line["level"] == "critical"]
    (aside,) = asides(tmp_path)
    assert aside.read_bytes() == broken
    assert len(loud) == 1
    assert f"shadow.db is corrupt: moved aside to {aside.name}, starting with an empty store" in loud[0]


def settled(serving: Serve) -> dict[str, Any] | None:
    """What became of the copies, once none of them waits."""
    coverage: dict[str, Any] = books(serving)["rival"]
    return None if coverage["pending"] else coverage


def test_a_file_that_becomes_corrupt_costs_what_was_in_it_and_no_answer(tmp_path: Path, upstream: Upstream) -> None:
    with Serve(tmp_path, on(tmp_path, upstream)) as serving:
        app = App(serving, upstream)
        app.ask(20)
        wait_until_stored(tmp_path, 20)
        wait_until_done(tmp_path)
        with app.asking():
            empty_the_log(tmp_path)  # what is still in it would heal the damage
            damage(tmp_path / "shadow.db")
            eventually(lambda: asides(tmp_path), within_s=30, what="the corrupt file moved aside")
            eventually(lambda: stored(tmp_path) >= 10, within_s=30, what="records in a new file")
        wait_until_done(tmp_path)
        eventually(lambda: ask(serving.admin, "GET", "/readyz")[0] == 200, within_s=30, what="the stats again")
        assert is_whole(tmp_path)
        # How many records were lost nobody can tell, so the last ones may come after the last look at the jobs.
        coverage = eventually(lambda: settled(serving), within_s=30, what="the last jobs' end")
        assert serving.stop() == 0
    assert coverage["sent"] + sum(coverage["dropped"].values()) == coverage["eligible"] <= app.count - 20
    assert [line for line in serving.logged if line["level"] == "critical" and "moved aside" in line["message"]]


# Row 25: there is no such place, or it goes away.


def test_a_place_that_cannot_be_written_is_told_and_used_as_soon_as_it_can(tmp_path: Path, upstream: Upstream) -> None:
    place = tmp_path / "place"
    place.write_text("a file where the folder should be")
    with Serve(tmp_path, on(place, upstream)) as serving:
        why = f"store {place}/shadow.db cannot be opened: {place}: File exists"
        said = serving.stdout.splitlines()
        assert f"not recording to sqlite:///{place}/shadow.db: {why}; it is tried again and again" in said
        assert not [line for line in said if line.startswith("recording to")]
        app = App(serving, upstream)
        app.ask(10)
        the_admin_port_says_why(serving, f"store {place}/shadow.db cannot be opened")
        place.unlink()
        wait_until_stored(place, 10)
        wait_until_done(place)
        assert books(serving)["rival"]["sent"] == 10
        assert serving.stop() == 0
        told = complaints(serving)
    assert sum(told.values()) <= A_FEW_LINES, told
    assert {mode(place), mode(place / "shadow.db")} == {0o700, 0o600}


# Who may read it.


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_store_is_for_this_user_alone_whatever_the_umask_and_a_folder_that_was_not_there_or_went_away_is_made(
    tmp_path: Path, upstream: Upstream
) -> None:
    place = tmp_path / "not" / "there"
    before = os.umask(0)
    try:
        with Serve(tmp_path, on(place, upstream)) as serving:
            app = App(serving, upstream)
            for _ in range(2):
                app.ask(4)
                wait_until_stored(place, 4)
                wait_until_done(place)
                found = {file.name: mode(file) for file in place.iterdir()}
                assert found.pop("shadow.db-reserve", 0o600) == 0o600  # put aside within seconds
                assert found == dict.fromkeys(("shadow.db", "shadow.db-wal", "shadow.db-shm"), 0o600)
                assert {mode(place), mode(place.parent)} == {0o700}
                place.parent.rename(tmp_path / f"away {app.count}")
            said = serving.stdout
            assert serving.stop() == 0
    finally:
        os.umask(before)
    assert f"the store's folder {place} was not there; it is made for this user alone (mode 700)" in said
    assert [stored(tmp_path / f"away {count}" / "there") for count in (4, 8)] == [4, 4]


@pytest.mark.parametrize(
    ("command", "name", "loose"),
    [("serve", "shadow.db", 0o644), ("check", "shadow.db-wal", 0o604), ("doctor", "shadow.db", 0o602)],
)
def test_a_store_that_others_may_read_is_refused_by_each_command_that_looks_and_nothing_is_bound(
    tmp_path: Path, upstream: Upstream, command: str, name: str, loose: int
) -> None:
    prepare(tmp_path / "shadow.db")
    (tmp_path / name).touch()
    (tmp_path / name).chmod(loose)
    (tmp_path / "config.yaml").write_text(on(tmp_path, upstream))
    file = tmp_path / name
    why = f"{file} holds prompts and may be read by others (mode {loose:o}); run: chmod 600 {file}"
    asked = [SCRIPT, command, "-c", "config.yaml"]
    ended = subprocess.run(asked, cwd=tmp_path, env=plain_environment(), capture_output=True, text=True, check=False)
    if command == "doctor":
        assert ended.returncode == 1
        assert f"fail store: {why}\n" in ended.stdout
    else:
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"config.yaml: store: {why}\n")


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / /srv rw - nfs4 host:/srv rw
41 40 8:2 / /srv/local rw - xfs /dev/sdb rw
42 22 0:36 / /mnt/my\\040share rw,noexec shared:7 master:2 - cifs //host/share rw
43 22 0:37 / /over rw - nfs host:/a rw
44 22 0:38 / /over rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/shadow.db", "ext4"),
        ("/srv/data/shadow.db", "nfs4"),
        ("/srv/local/shadow.db", "xfs"),
        ("/srvx/shadow.db", "ext4"),
        ("/mnt/my share/shadow.db", "cifs"),
        ("/over/shadow.db", "tmpfs"),
    ],
)
def test_the_file_system_of_a_store_is_the_innermost_mount_it_lies_on(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


def test_where_the_kernel_tells_of_no_mounts_nothing_is_said() -> None:
    assert filesystem_of(Path("/shadow.db"), "") is None
