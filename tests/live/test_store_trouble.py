"""Nothing of the store can be felt on the live path: locked, missing or broken, the answers are the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.live.identity_cases import JSON, answer, request
from tests.support.client import Client
from tests.support.live import Live, running, settings_for
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.upstream import Upstream

ASK = b'{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}'


def ask_many(live: Live, count: int) -> set[str]:
    """So many exchanges, each answered whole; their ids."""
    ids = set()
    with Client(live.address, timeout_s=2) as client:
        for _ in range(count):
            received = client.ask(request(body=ASK))
            assert (received.status, received.body) == (200, JSON)
            ids.add(received.request_id)
    assert len(ids) == count
    return ids


def test_a_locked_store_delays_records_and_nothing_else(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer(answer(body=JSON))
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db"), tmp_path) as live:
        before = ask_many(live, 10)
        live.exchanges(path="/v1/messages", count=10)
        with closing(sqlite3.connect(live.store, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            during = ask_many(live, 200)
            assert len(live.rows("SELECT id FROM exchange")) == 10
            holder.execute("ROLLBACK")
        rows = live.exchanges(path="/v1/messages", count=210)
        assert {row["id"] for row in rows} == before | during


def missing_folder(folder: Path) -> Path:
    """A store in a folder that does not exist."""
    return folder / "nowhere" / "shadow.db"


def not_a_database(folder: Path) -> Path:
    """A store whose file holds something else."""
    path = folder / "shadow.db"
    path.write_bytes(b"this is no database, and long enough to be taken for a header " * 100)
    return path


@pytest.mark.parametrize("broken", [missing_folder, not_a_database])
def test_a_store_that_cannot_be_opened_does_not_keep_answers_away(
    upstream: Upstream, tmp_path: Path, broken: Callable[[Path], Path]
) -> None:
    upstream.answer(answer(body=JSON))
    with running(settings_for(upstream.base_url, broken(tmp_path)), tmp_path) as live:
        ask_many(live, 50)


def test_a_store_that_is_taken_away_is_not_felt(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer(answer(body=JSON))
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db"), tmp_path) as live:
        ask_many(live, 5)
        live.exchanges(path="/v1/messages", count=5)
        with closing(sqlite3.connect(live.store)) as vandal:
            vandal.execute("DROP TABLE exchange")
        ask_many(live, 50)


def test_copies_that_do_not_fit_are_given_up_and_their_records_stay(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer(answer(body=JSON * 200))
    settings = settings_for(upstream.base_url, tmp_path / "shadow.db", tee_memory_bytes=50_000)
    with running(settings, tmp_path) as live:
        with Client(live.address) as client:
            ids = {client.ask(request(body=ASK)).request_id for _ in range(20)}
        rows = live.exchanges(path="/v1/messages", count=20)
        assert {row["id"] for row in rows} == ids
        eventually(lambda: live.rows("SELECT 1 FROM counter WHERE name LIKE '%tee_full%' AND value > 0"))
        assert {row["status"] for row in rows} == {200}
