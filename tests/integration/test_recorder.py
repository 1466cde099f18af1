"""The recorder over a real store file: what is written and when, and what it does when the store cannot be used."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.reading import ExchangeReader
from gateway.recorder import RecorderLimits, StoreRecorder
from gateway.recording import TeeBudget
from shadow.store import StoreError, open_intake, open_store
from shadow.store.base import UnstorableError
from tests.support.recordings import QUESTION, STREAM, recording, settings
from tests.support.stored import locked, rows, url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

    from shadow.records import Batch

QUICK = RecorderLimits(flush_interval_s=0.02)


@asynccontextmanager
async def recorder(path: Path, limits: RecorderLimits = QUICK, **changes: Any) -> AsyncIterator[StoreRecorder]:
    made = StoreRecorder(settings(store=url(path), **changes), limits=limits)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def until(holds: Callable[[], bool], *, timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110  (nothing tells when a file or a counter has changed)
            await asyncio.sleep(0.01)


# --- what is written ---


async def test_an_exchange_is_in_the_store_with_job_and_copy_soon_after_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    budget = TeeBudget(limit=1 << 20)
    async with recorder(path) as live:
        live.submit(recording(budget=budget))
        await until(lambda: live.counters["recorded"] == 1)
        written = rows(path, "SELECT exchange_id, candidate, state FROM shadow_job")
        copies = rows(path, "SELECT exchange_id FROM job_body")

    assert written == [("exchange-1", "rival", "pending")]
    assert copies == [("exchange-1",)]
    assert budget.used == 0


async def test_the_copies_of_unsampled_exchanges_are_freed_as_soon_as_they_are_read(tmp_path: Path) -> None:
    budget = TeeBudget(limit=1 << 20)
    async with recorder(tmp_path / "shadow.db", replace(QUICK, flush_interval_s=30), sample_rate=0.0) as live:
        live.submit(recording(budget=budget))
        assert budget.used > 0
        await until(lambda: budget.used == 0)
        assert live.counters.get("recorded", 0) == 0


async def test_a_full_batch_is_written_without_waiting_for_the_interval(tmp_path: Path) -> None:
    limits = RecorderLimits(flush_interval_s=60, batch_records=20)
    async with recorder(tmp_path / "shadow.db", limits) as live:
        live.submit(recording(id="first"))
        await asyncio.sleep(0.05)
        for number in range(20):
            live.submit(recording(id=f"x{number}"))
        await until(lambda: live.counters["recorded"] >= 20)


async def test_closing_writes_everything_that_was_submitted_and_reports_it(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    live = StoreRecorder(settings(store=url(path)), limits=RecorderLimits(flush_interval_s=60))
    await live.start()
    for number in range(1200):
        live.submit(recording(id=f"x{number}"))

    counters = await live.close()

    assert dict(counters) == {"recorded": 1200}
    assert rows(path, "SELECT count(*) FROM exchange") == [(1200,)]
    assert rows(path, "SELECT count(*) FROM shadow_job WHERE state = 'pending'") == [(1200,)]


async def test_what_is_submitted_after_the_end_is_counted_and_freed(tmp_path: Path) -> None:
    budget = TeeBudget(limit=1 << 20)
    async with recorder(tmp_path / "shadow.db") as live:
        pass
    live.submit(recording(budget=budget))

    assert live.counters["dropped_buffer_full"] == 1
    assert budget.used == 0


async def test_closing_without_a_start_says_what_was_not_written(tmp_path: Path) -> None:
    live = StoreRecorder(settings(store=url(tmp_path / "shadow.db")))
    live.submit(recording())

    assert dict(await live.close()) == {"dropped_unflushed": 1}


async def test_new_settings_hold_from_the_next_exchange_on_and_the_store_stays(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with recorder(path) as live:
        live.submit(recording(id="x1"))
        await until(lambda: live.counters["recorded"] == 1)
        live.replace(settings(store=url(path), sample_rate=0.0))
        live.submit(recording(id="x2"))
        with pytest.raises(ValueError, match="another store needs a restart"):
            live.replace(settings(store=url(tmp_path / "other.db")))

    assert rows(path, "SELECT exchange_id FROM shadow_job") == [("x1",)]
    assert rows(path, "SELECT count(*) FROM exchange") == [(2,)]


async def test_a_large_body_and_a_large_decoded_one_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    asked = QUESTION | {"messages": [{"role": "user", "content": "x" * (1 << 20)}]}
    async with recorder(path) as live:
        live.submit(recording(id="x1", request=asked))
        live.submit(recording(id="x2", response_headers={"content-encoding": "identity"}))

    assert rows(path, "SELECT id, model FROM exchange ORDER BY id") == [("x1", "primary"), ("x2", "primary")]


async def test_live_429s_and_lost_copies_reach_the_store(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with recorder(path) as live:
        live.submit(recording(id="x1", status=429, response_headers={"retry-after": "300"}))
        live.submit(recording(id="x2", budget=TeeBudget(limit=10)))

    assert rows(path, "SELECT origin FROM origin_rest") == [("https://api.example:443",)]
    assert rows(path, "SELECT name, value FROM counter") == [("tee_full", 1)]


async def test_reading_many_exchanges_leaves_the_event_loop_its_turns(tmp_path: Path) -> None:
    turns = 0

    async def count_turns(live: StoreRecorder) -> None:
        nonlocal turns
        while live.counters.get("recorded", 0) < 2000:
            turns += 1
            await asyncio.sleep(0)

    async with recorder(tmp_path / "shadow.db") as live:
        for number in range(2000):
            live.submit(recording(id=f"x{number}", slices=STREAM))
        async with asyncio.timeout(30):
            await count_turns(live)

    assert turns > 50


async def test_more_than_may_wait_to_be_read_is_counted_and_freed(tmp_path: Path) -> None:
    budget = TeeBudget(limit=1 << 20)
    async with recorder(tmp_path / "shadow.db", replace(QUICK, max_unread=3)) as live:
        for number in range(5):
            live.submit(recording(id=f"x{number}", budget=budget))

    assert dict(live.counters) == {"recorded": 3, "dropped_buffer_full": 2}
    assert budget.used == 0


# --- faults of ours ---


class Unreadable(ExchangeReader):
    def read(self, recording: Any) -> Any:
        raise ZeroDivisionError(recording.path)


async def test_a_fault_while_reading_leaves_a_record_by_status_and_time_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "shadow.db"
    async with recorder(path) as live:
        live._reader = Unreadable(settings())
        for number in range(3):
            live.submit(recording(id=f"x{number}"))

    assert live.counters["read_failed"] == 3
    assert rows(path, "SELECT count(*), max(path) FROM exchange") == [(3, "")]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "an exchange could not be read (ZeroDivisionError) and is recorded by status and time only"
    ]


async def test_a_record_the_store_can_never_hold_is_given_up_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "shadow.db"
    async with recorder(path, RecorderLimits(flush_interval_s=0.05)) as live:
        for number in range(9):
            live.submit(recording(id=f"x{number}", status=2**63 if number == 4 else 200))
        live.submit(recording(id="x9", budget=TeeBudget(limit=10)))

    assert dict(live.counters) == {"recorded": 9, "dropped_unstorable": 1, "dropped_tee_full": 1}
    assert rows(path, "SELECT count(*) FROM exchange WHERE id = 'x4'") == [(0,)]
    assert rows(path, "SELECT * FROM counter ORDER BY name") == [("tee_full", 1), ("unstorable", 1)]
    assert "refuses a value" in caplog.text


class Door:
    """A store's intake that fails as told."""

    def __init__(self, *, write: BaseException | None = None, close: BaseException | None = None) -> None:
        self.failure = write
        self.close_failure = close
        self.batches: list[Batch] = []
        self.expire_failure: BaseException | None = None
        self.expired: list[datetime] = []

    async def write(self, batch: Batch) -> None:
        if self.failure is not None:
            raise self.failure
        self.batches.append(batch)

    async def expire_jobs(self, *, before: datetime, now: datetime) -> int:  # noqa: ARG002  (the door's shape)
        if self.expire_failure is not None:
            raise self.expire_failure
        self.expired.append(before)
        return 0

    async def close(self) -> None:
        if self.close_failure is not None:
            raise self.close_failure


def behind(door: Door, limits: RecorderLimits = QUICK) -> StoreRecorder:
    async def connect(_: str) -> Door:
        await asyncio.sleep(0)
        return door

    return StoreRecorder(settings(), limits=limits, connect=connect)


@pytest.mark.parametrize("error", [UnstorableError("no"), RuntimeError("a fault of ours")])
async def test_a_store_that_refuses_everything_loses_the_records_but_not_the_recorder(error: Exception) -> None:
    door = Door(write=error)
    live = behind(door)
    await live.start()
    for number in range(4):
        live.submit(recording(id=f"x{number}"))
    await until(lambda: live.counters["dropped_unstorable"] == 4)
    door.failure = None
    live.submit(recording(id="x9"))
    await live.close()

    assert [record.id for batch in door.batches for record in batch.exchanges] == ["x9"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(StoreError("is gone"), "is gone"), (RuntimeError("x"), "old jobs cannot be expired (RuntimeError)")],
)
async def test_old_jobs_are_expired_now_and_then_and_a_failure_there_is_told(
    caplog: pytest.LogCaptureFixture, error: Exception, sentence: str
) -> None:
    door = Door(close=StoreError("cannot even be closed"))
    live = behind(door, replace(QUICK, expire_interval_s=0))
    await live.start()
    live.submit(recording(id="x1"))
    await until(lambda: len(door.expired) >= 1)
    door.expire_failure = error
    live.submit(recording(id="x2"))
    await until(lambda: sentence in caplog.text)
    await live.close()

    assert live.counters["recorded"] == 2


# --- a store that cannot be used ---


async def test_a_locked_store_loses_nothing_is_told_once_and_recovers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "shadow.db"
    async with recorder(path) as live:
        live.submit(recording(id="x0"))
        await until(lambda: live.counters["recorded"] == 1)
        async with locked(path):
            for number in range(1, 50):
                live.submit(recording(id=f"x{number}"))
            await until(lambda: "records wait in memory" in caplog.text)
            await asyncio.sleep(1.2)
        await until(lambda: live.counters["recorded"] == 50)

    assert dict(live.counters) == {"recorded": 50}
    assert caplog.text.count("records wait in memory") == 1
    assert caplog.text.count("the store takes records again") == 1


async def test_in_a_long_outage_bodies_go_first_then_the_oldest_records_and_the_counts_are_stored_later(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shadow.db"
    budget = TeeBudget(limit=1 << 20)
    limits = replace(QUICK, max_records=40, max_body_bytes=4000)
    prepared = await open_intake(url(path))
    await prepared.close()
    async with recorder(path, limits) as live:
        async with locked(path):
            for number in range(60):
                live.submit(recording(id=f"x{number:02}", budget=budget))
            # all are read, and what was on its way to the store has come back: only then do the bounds hold for all
            await until(lambda: live.unread == 0 and live.settled == 20)
            await until(lambda: budget.used <= 4000)
        await until(lambda: live.counters["recorded"] >= 40)

    kept = rows(path, "SELECT id FROM exchange ORDER BY id")
    assert kept == [(f"x{number:02}",) for number in range(20, 60)]
    fates = dict(rows(path, "SELECT coalesce(reason, state), count(*) FROM shadow_job GROUP BY 1"))
    assert set(fates) == {"buffer_full", "pending"}
    assert sum(fates.values()) == 40
    [(counted,)] = rows(path, "SELECT value FROM counter WHERE name = 'buffer_full'")
    assert counted == live.counters["dropped_buffer_full"]
    assert budget.used == 0


async def test_a_store_that_cannot_be_opened_is_tried_again_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "shadow.db"
    path.touch()
    path.chmod(0o644)
    async with recorder(path) as live:
        live.submit(recording())
        await until(lambda: "may be read by others" in caplog.text)
        path.chmod(0o600)
        await until(lambda: live.counters["recorded"] == 1)


async def test_closing_gives_up_on_a_store_that_stays_locked_and_counts_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    budget = TeeBudget(limit=1 << 20)
    limits = replace(QUICK, close_timeout_s=0.3)
    live = StoreRecorder(settings(store=url(path)), limits=limits)
    await live.start()
    live.submit(recording(id="x0", budget=budget))
    await until(lambda: live.counters["recorded"] == 1)
    async with locked(path):
        for number in range(1, 6):
            live.submit(recording(id=f"x{number}", budget=budget))
        begin = time.monotonic()
        counters = await live.close()
        took = time.monotonic() - begin

    assert dict(counters) == {"recorded": 1, "dropped_unflushed": 5}
    assert took < 5


async def test_closing_waits_for_a_store_that_is_locked_only_for_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    live = StoreRecorder(settings(store=url(path)), limits=QUICK)
    await live.start()
    live.submit(recording(id="x0"))
    await until(lambda: live.counters["recorded"] == 1)
    async with locked(path):
        live.submit(recording(id="x1"))
        end = asyncio.create_task(live.close())
        await asyncio.sleep(1.5)
    counters = await end

    assert dict(counters) == {"recorded": 2}


FULL_DISK = """
import asyncio, os, resource, signal, sys
from gateway.recorder import RecorderLimits, StoreRecorder
from tests.support.recordings import QUESTION, recording, settings

async def until(holds):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  (nothing tells when a file or a counter has changed)
            await asyncio.sleep(0.01)

async def main():
    # Writes beyond the limit fail as on a full disk, instead of ending the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = sys.argv[1]
    live = StoreRecorder(settings(store=f"sqlite:///{path}"), limits=RecorderLimits(flush_interval_s=0.02))
    await live.start()
    live.submit(recording(id="x0"))
    await until(lambda: live.counters["recorded"] == 1)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path + "-wal") + 20_000, hard))
    large = QUESTION | {"messages": [{"role": "user", "content": "x" * 60_000}]}
    for number in range(1, 20):
        live.submit(recording(id=f"x{number}", request=large))
    await asyncio.sleep(0.5)
    before = live.counters["recorded"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await until(lambda: live.counters["recorded"] == 20)
    await live.close()
    print(before, dict(live.counters))

asyncio.run(main())
"""


def test_a_full_disk_loses_nothing_within_the_bounds_and_is_recovered_from(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout == "1 {'recorded': 20}\n"
    assert run.stderr.count("records wait in memory") == 1
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


KILLED = """
import asyncio, time
from gateway.recorder import StoreRecorder
from tests.support.recordings import recording, settings
import sys

async def main():
    live = StoreRecorder(settings(store=f"sqlite:///{sys.argv[1]}"))
    await live.start()
    number = 0
    while True:
        live.submit(recording(id=f"x{number:06}"))
        print(number, time.monotonic(), flush=True)
        number += 1
        await asyncio.sleep(0.004)

asyncio.run(main())
"""


def test_a_kill_loses_at_most_the_last_half_second(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        submitted: list[tuple[int, float]] = []
        late_s = 0.0
        while not submitted or submitted[-1][1] < submitted[0][1] + 2 + 4 * late_s:
            number, at = process.stdout.readline().split()
            submitted.append((int(number), float(at)))
            if len(submitted) > 1:  # where it submits late, a busy machine lets it write late
                late_s = max(late_s, submitted[-1][1] - submitted[-2][1] - 0.004)
        killed_at = time.monotonic()
        process.kill()

    stored = {row[0] for row in rows(path, "SELECT id FROM exchange")}
    due = {f"x{number:06}" for number, at in submitted if at < killed_at - 0.5 - 2 * late_s}
    assert due
    assert due <= stored
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


async def test_several_live_processes_and_a_worker_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    script = (
        "import asyncio, sys\n"
        "from gateway.recorder import StoreRecorder\n"
        "from tests.support.recordings import recording, settings\n"
        "async def main():\n"
        "    live = StoreRecorder(settings(store=f'sqlite:///{sys.argv[1]}'))\n"
        "    await live.start()\n"
        "    for number in range(600):\n"
        "        live.submit(recording(id=f'{sys.argv[2]}-{number}'))\n"
        "        await asyncio.sleep(0)\n"
        "    print(dict(await live.close()))\n"
        "asyncio.run(main())\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(path), str(number), stdout=subprocess.PIPE
        )
        for number in range(3)
    ]
    async with await open_store(url(path)) as store:
        waiting = asyncio.gather(*(process.communicate() for process in processes))
        while not waiting.done():
            await store.jobs.enforce_queue_size(limit=100)
            await asyncio.sleep(0.05)
        outputs = [out.decode() for out, _ in await waiting]

    assert outputs == ["{'recorded': 600}\n"] * 3
    assert rows(path, "SELECT count(*) FROM exchange") == [(1800,)]
    assert rows(path, "SELECT count(*) FROM shadow_job") == [(1800,)]


def test_the_recorder_brings_no_heavy_library_into_the_live_process() -> None:
    script = (
        "import sys, asyncio, gateway.recorder, shadow.store.sqlite.store\n"
        "heavy = ('re2', 'pydantic', 'yaml', 'httpx2', 'starlette', 'typer', 'rich', 'structlog', 'numpy',\n"
        "         'genai_prices', 'anthropic', 'openai', 'jsonschema_rs')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout == "[]\n"
