"""`db`: what may be done to the store by hand, by its exit codes, results and messages."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shadow.records import Batch
from shadow.store import open_store
from tests.integration.test_cli import run
from tests.support.older import VERSIONS, older_store
from tests.support.stored import exchange, rows

CONFIG = """
listen: 127.0.0.1:0
admin: {listen: '127.0.0.1:0', token: the-token}
upstream: {base_url: 'http://127.0.0.1:9', api_key: the-key}
store: sqlite:///shadow.db
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG, encoding="utf-8")


def test_migrate_says_which_schema_it_was_and_which_it_is() -> None:
    newest = VERSIONS[-1]
    assert run("db", "migrate").stdout == f"made the store, schema {newest}\n"
    assert run("db", "migrate").stdout == f"schema {newest}: up to date\n"
    for name in Path().glob("shadow.db*"):
        name.unlink()
    older_store(Path("shadow.db"), 2)
    done = run("db", "migrate", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"before": 2, "after": newest})


def test_a_newer_schema_is_refused_with_a_sentence() -> None:
    older_store(Path("shadow.db"), VERSIONS[-1])
    rows(Path("shadow.db"), "PRAGMA user_version = 9999")

    for command in (("db", "migrate"), ("db", "prune"), ("db", "rebuild-rollups")):
        refused = run(*command)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "has schema 9999, this version knows schemas up to" in refused.stderr


def test_prune_deletes_what_is_older_than_the_retention_and_gives_the_space_back() -> None:
    now = datetime.now(UTC)
    fill([exchange(n, started_at=now - timedelta(days=40), conversation="c" * 400) for n in range(4000)])
    fill([exchange(5000 + n, started_at=now - timedelta(days=3)) for n in range(5)])

    first = json.loads(run("db", "prune", "--json").stdout)
    second = run("db", "prune", "--older-than-days", "1")

    assert first["exchanges"] == 4000
    assert first["freed_bytes"] > 1_000_000
    assert second.stdout.startswith("deleted 5 exchanges, the store is ")
    assert rows(Path("shadow.db"), "SELECT count(*) FROM exchange") == [(0,)]


def test_rebuild_rollups_tells_each_day_and_refuses_what_is_no_date() -> None:
    start = datetime(2026, 11, 3, 12, tzinfo=UTC)
    fill([exchange(n, started_at=start + timedelta(days=n)) for n in range(4)])

    whole = run("db", "rebuild-rollups")
    part = run("db", "rebuild-rollups", "--since", "2026-11-04", "--until", "2026-11-06", "--json")
    wrong = run("db", "rebuild-rollups", "--since", "yesterday")

    assert whole.stdout == "made the rollups of 4 days anew, from 4 exchanges\n"
    assert "2026-11-03: 1 exchanges" in whole.stderr
    assert json.loads(part.stdout) == {"exchanges": 2, "days": {"2026-11-04": 1, "2026-11-05": 1}}
    assert (wrong.exit_code, wrong.stderr) == (2, "--since must be a date such as 2026-11-01, not 'yesterday'\n")


@pytest.mark.parametrize(
    "command",
    [
        ("db", "prune"),
        ("db", "rebuild-rollups"),
        ("export", "pairs", "-o", "backup.csv"),
        ("report", "--format", "csv"),
        ("pairs",),
        ("pairs", "--json"),
        ("label",),
        ("label", "--json"),
        ("compare", "one", "other"),
        ("compare", "one", "other", "--store", "shadow.db"),
        ("replay", "--models", "a,b"),
        ("alert", "list"),
        ("alert", "unmute"),
    ],
)
def test_in_a_folder_without_a_store_none_is_made_and_nothing_is_overwritten(command: tuple[str, ...]) -> None:
    for name in Path().glob("shadow.db*"):
        name.unlink()
    Path("backup.csv").write_text("of yesterday", "utf-8")
    done = run(*command)

    assert (done.exit_code, done.stdout) == (1, "")
    assert "shadow.db is not there yet: nothing has been recorded" in done.stderr
    assert sorted(Path().glob("shadow.db*")) == []
    assert Path("backup.csv").read_text("utf-8") == "of yesterday"


def fill(exchanges: list) -> None:  # type: ignore[type-arg]
    async def write() -> None:
        async with await open_store("sqlite:///shadow.db") as store:
            await store.intake.write(Batch(exchanges=exchanges))

    asyncio.run(write())
