"""`/runs` over real sockets and a real store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from shadow.store import open_store
from tests.integration.test_web import get, sentence, validate
from tests.support.admin import admin_port, url_of
from tests.support.storedruns import add_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shadow.store.base import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(url_of(tmp_path)) as opened:
        yield opened


async def test_runs_are_listed_newest_first_a_page_at_a_time(store: Store) -> None:
    for name in ("a", "b", "c"):
        await add_run(store, name, kind="weekly" if name == "b" else "bench")
    async with admin_port(store.reader, runs=store.runs) as client:
        first = await get(client, "/runs?limit=2")
        second = await get(client, f"/runs?limit=2&cursor={first['next_cursor']}")
        weekly = await get(client, "/runs?kind=weekly")
        validate(await get(client, "/openapi.json"), "RunPage", first)

    assert [run["id"] for run in first["runs"]] == ["c", "b"]
    assert ([run["id"] for run in second["runs"]], second["next_cursor"]) == (["a"], None)
    assert [run["id"] for run in weekly["runs"]] == ["b"]


async def test_one_run_is_told_in_figures_and_without_what_was_said(store: Store) -> None:
    await add_run(store)
    async with admin_port(store.reader, runs=store.runs) as client:
        told: dict[str, Any] = await get(client, "/runs/run-1")
        validate(await get(client, "/openapi.json"), "RunSummary", told)

    assert (told["run"]["state"], told["run"]["answered"]) == ("done", 4)
    [task] = told["tasks"]
    assert [(row["model"], row["avg_quality"], row["total_cost"]) for row in task["models"]] == [
        ("a", 1.0, 0.5),
        ("b", 1.0, 0.5),
    ]
    assert "question" not in str(told)
    assert "42" not in str(told)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/runs/none", 404, "GET /runs lists them"),
        ("/runs?kind=other", 400, "kind must be one of bench, replay, weekly"),
        ("/runs?cursor=x", 400, "cursor must be the next_cursor"),
        ("/runs?limit=0", 400, "limit must be"),
        ("/runs/none?x=1", 400, "is no parameter of this path"),
    ],
)
async def test_what_cannot_be_answered_is_said(store: Store, path: str, status: int, words: str) -> None:
    async with admin_port(store.reader, runs=store.runs) as client:
        assert words in await sentence(client, path, status)
