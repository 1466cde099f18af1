"""A real courier with real scribes: everything arrives, nothing waits, and what is lost is counted."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gateway.courier import Courier
from gateway.recording import Recording, TeeBudget
from gateway.settings import RecordingSettings
from shadow.records import Dialect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REQUEST = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hello"}]}'
ANSWER = (
    b'{"type":"message","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn",'
    b'"usage":{"input_tokens":3,"output_tokens":1}}'
)


def settings(folder: Path, **changes: object) -> RecordingSettings:
    fields: dict[str, object] = {"store": f"sqlite:///{folder / 'shadow.db'}", "tee_memory_bytes": 8 << 20}
    return RecordingSettings(**{**fields, **changes})  # type: ignore[arg-type]


def ended(number: int, budget: TeeBudget, *, padding: int = 0) -> Recording:
    now = time.monotonic()
    recording = Recording(
        id=f"{number:032x}",
        started_at=datetime.now(UTC),
        method="POST",
        path="/v1/messages",
        query="",
        dialect=Dialect.ANTHROPIC_MESSAGES,
        origin="http://127.0.0.1:1",
        budget=budget,
        max_body_bytes=4 << 20,
        t_start=now,
        t_sent=now,
        t_first_byte=now,
        t_end=now,
        request_headers=[(b"content-type", b"application/json")],
        status=200,
        response_headers=[(b"content-type", b"application/json")],
        ending="complete",
    )
    recording.request_slice(REQUEST + b" " * padding)
    recording.response_slice(ANSWER, now)
    return recording


@asynccontextmanager
async def courier(folder: Path, **changes: object) -> AsyncIterator[tuple[Courier, TeeBudget]]:
    asked = settings(folder, **changes)
    budget = TeeBudget(limit=asked.tee_memory_bytes)
    live = Courier(asked, budget=budget)
    await live.start()
    try:
        yield live, budget
    finally:
        await live.close()


def stored(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "shadow.db") as connection:
        return [row[0] for row in connection.execute("select id from exchange order by id")]


async def wait_until_stored(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (folder / "shadow.db").exists() and (folder / "shadow.db").stat().st_size:
            try:
                if len(stored(folder)) >= count:
                    return
            except sqlite3.OperationalError:
                pass  # the table is being made
        await asyncio.sleep(0.05)
    pytest.fail(f"{count} exchanges were not stored in time")


def scribe_of(live: Courier) -> int:
    assert live._scribe is not None
    return live._scribe.pid


def buffered(live: Courier) -> int:
    return 0 if live._transport is None else live._transport.get_write_buffer_size()


async def test_every_exchange_is_stored_and_its_memory_given_back(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        for number in range(500):
            live.submit(ended(number, budget))
        assert budget.used == 0
    assert len(stored(tmp_path)) == 500
    assert (live.counters["handed_over"], live.counters["recorded"]) == (500, 500)


async def test_closing_at_once_writes_everything(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        live.submit(ended(1, budget))
    assert len(stored(tmp_path)) == 1


async def test_a_scribe_that_dies_is_started_again_and_told_the_settings(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        live.submit(ended(1, budget))
        await wait_until_stored(tmp_path, 1)
        os.kill(scribe_of(live), signal.SIGKILL)
        for number in range(2, 12):
            live.submit(ended(number, budget))
            await asyncio.sleep(0.05)
        await wait_until_stored(tmp_path, 2)
    assert live.counters["scribe_restarts"] == 1
    # Those written into the dead scribe's socket may be lost; those that came after it was missed are not.
    assert stored(tmp_path)[-1] == f"{11:032x}"


async def test_a_scribe_that_stands_still_costs_copies_then_nothing_else(tmp_path: Path) -> None:
    async with courier(tmp_path, tee_memory_bytes=2 << 20) as (live, budget):
        live.submit(ended(0, budget))
        await wait_until_stored(tmp_path, 1)
        os.kill(scribe_of(live), signal.SIGSTOP)
        try:
            for number in range(1, 301):
                live.submit(ended(number, budget, padding=20_000))
                if number % 10 == 0:
                    await asyncio.sleep(0.006)
        finally:
            os.kill(scribe_of(live), signal.SIGCONT)
    assert len(stored(tmp_path)) == 301
    with sqlite3.connect(tmp_path / "shadow.db") as connection:
        (kept,) = connection.execute("select count(*) from exchange where model is not null").fetchone()
        (lost,) = connection.execute("select coalesce(sum(value), 0) from counter where name = 'tee_full'").fetchone()
    assert 1 < kept < 301
    assert kept + lost == 301


async def test_losses_that_were_not_told_yet_are_counted_at_the_end(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        live.submit(ended(1, budget))
        await wait_until_stored(tmp_path, 1)
        live._lost["buffer_full"] += 3
    with sqlite3.connect(tmp_path / "shadow.db") as connection:
        assert connection.execute("select value from counter where name = 'buffer_full'").fetchone() == (3,)


async def test_other_settings_hold_from_then_on_and_another_store_is_refused(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        live.replace(settings(tmp_path, seed="new", tee_memory_bytes=4 << 20))
        assert budget.limit == 4 << 20
        with pytest.raises(ValueError, match="needs a restart"):
            live.replace(settings(tmp_path, store="sqlite:////elsewhere.db"))
        live.submit(ended(1, budget))
    assert len(stored(tmp_path)) == 1


LIVE = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.integration.test_courier import courier, ended

async def main():
    async with courier(Path(sys.argv[1])) as (live, budget):
        for number in range(200):
            live.submit(ended(number, budget))
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_killed_live_process_loses_nothing_it_handed_over(tmp_path: Path) -> None:
    process = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", LIVE, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    await wait_until_stored(tmp_path, 200)
    assert len(stored(tmp_path)) == 200


async def test_nothing_is_lost_to_a_scribe_that_dies_while_it_starts(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        for number in range(4):
            live.submit(ended(number, budget))
            await asyncio.sleep(0.02)  # the batch is due; nobody reads yet
            os.kill(scribe_of(live), signal.SIGKILL)
            while live.counters["scribe_restarts"] == number or live._transport is None:  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0.01)
        await wait_until_stored(tmp_path, 4)
    assert live.counters["recorded"] == 4


async def test_nothing_is_lost_to_a_scribe_that_dies_while_it_writes(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        for number in range(300):
            live.submit(ended(number, budget))
            if number % 100 == 50:  # some are written by now, some wait in the scribe, some on the way to it
                await wait_until_stored(tmp_path, 1)
                while live._transport is None:  # noqa: ASYNC110  (no event)
                    await asyncio.sleep(0.001)
                os.kill(scribe_of(live), signal.SIGKILL)
            await asyncio.sleep(0.005)
        await wait_until_stored(tmp_path, 300)
        while live._unwritten:  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.01)
        assert live._unwritten_bytes == 0
    assert live.counters["scribe_restarts"] >= 2
    assert live.counters["handed_over"] == len(stored(tmp_path)) == 300


async def test_what_is_kept_for_the_next_scribe_is_bounded(tmp_path: Path) -> None:
    async with courier(tmp_path, tee_memory_bytes=2 << 20) as (live, budget):
        live.submit(ended(0, budget))
        await wait_until_stored(tmp_path, 1)
        os.kill(scribe_of(live), signal.SIGSTOP)
        for number in range(1, 200):
            live.submit(ended(number, budget, padding=10_000))
            await asyncio.sleep(0)
        assert live._unwritten_bytes <= (2 << 20) // 16
        os.kill(scribe_of(live), signal.SIGCONT)
    assert len(stored(tmp_path)) == 200


async def test_closing_while_the_scribe_is_dead_writes_what_waits(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        live.submit(ended(1, budget))
        await wait_until_stored(tmp_path, 1)
        os.kill(scribe_of(live), signal.SIGKILL)
        while live._transport is not None:  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.001)
        live.submit(ended(2, budget))
    assert len(stored(tmp_path)) == 2
    assert live.counters["scribe_unanswered"] == 0


async def test_a_live_process_that_was_killed_before_it_read_the_last_word_loses_nothing(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        live.submit(ended(1, budget))
        await wait_until_stored(tmp_path, 1)
        transport = live._transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()  # so that an acknowledgement is left unread
        live.submit(ended(2, budget))
        await wait_until_stored(tmp_path, 2)
        await asyncio.sleep(0.3)
        live.submit(ended(3, budget))
        live._send()
        scribe = live._scribe
        assert scribe is not None
        live._scribe, live._closing = None, True
        transport.abort()
        assert await asyncio.to_thread(scribe.wait, 20) == 0
    assert len(stored(tmp_path)) == 3


async def test_a_scribe_that_cannot_be_started_again_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with courier(tmp_path) as (live, budget):
        live.submit(ended(1, budget))
        await wait_until_stored(tmp_path, 1)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(tmp_path / "nothing"))  # as when no process can be made
            os.kill(scribe_of(live), signal.SIGKILL)
            while "cannot be started" not in caplog.text:  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0.01)
            live.submit(ended(2, budget))
        await wait_until_stored(tmp_path, 2)
    assert live.counters["scribe_unanswered"] == 0


async def test_closing_while_no_scribe_can_be_started_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with courier(tmp_path) as (live, budget):
        live.submit(ended(1, budget))
        await wait_until_stored(tmp_path, 1)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
        os.kill(scribe_of(live), signal.SIGKILL)
        while live._transport is not None:  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.001)
    assert live.counters["scribe_unanswered"] == 1


async def test_what_waited_for_a_scribe_is_sent_in_pieces_that_hold_up_nothing(tmp_path: Path) -> None:
    async with courier(tmp_path, tee_memory_bytes=64 << 20) as (live, budget):
        live.submit(ended(0, budget))
        await wait_until_stored(tmp_path, 1)
        live._pause_s = 0.5
        os.kill(scribe_of(live), signal.SIGKILL)
        while live._transport is not None:  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.001)
        for number in range(1, 201):
            live.submit(ended(number, budget, padding=100_000))
        waiting, most = live._packed_bytes, 0
        assert waiting > 16 << 20
        while live._packed:
            await asyncio.sleep(0)
            most = max(most, waiting - live._packed_bytes)
            waiting = live._packed_bytes
            assert buffered(live) <= 1 << 20
        assert most < 1 << 20
    assert len(stored(tmp_path)) == 201


async def test_half_a_line_of_a_dead_scribe_is_no_beginning_of_the_next_ones(tmp_path: Path) -> None:
    async with courier(tmp_path) as (live, budget):
        live.submit(ended(1, budget))
        await wait_until_stored(tmp_path, 1)
        live.data_received(b"9")
        os.kill(scribe_of(live), signal.SIGKILL)
        while live.counters["scribe_restarts"] == 0 or live._transport is None:  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.001)
        assert live._answer == b""


DEADLY = """
import os, signal, sys
if "gateway.scribe" in sys.orig_argv:
    from gateway.reading import ExchangeReader
    read = ExchangeReader.read
    def die_over(self, recording):
        if recording.path == "/deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, recording)
    ExchangeReader.read = die_over
"""


async def test_an_exchange_that_kills_every_scribe_is_given_up_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with courier(tmp_path) as (live, budget):
        deadly = ended(1, budget)
        deadly.path = "/deadly"
        live.submit(deadly)
        live._pause_s = 0.01
        while live.counters["scribe_restarts"] < 5:  # noqa: ASYNC110  (no event)
            await asyncio.sleep(0.01)
        live.submit(ended(2, budget))
        await wait_until_stored(tmp_path, 1)
    assert stored(tmp_path) == [f"{2:032x}"]
    assert live.counters["dropped_unstorable"] == 1
