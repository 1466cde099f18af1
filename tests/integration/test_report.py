"""`shadow-gateway report` over a real store: with nobody listening, and asked of a whole `serve`."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from shadow.evaluators.is_json import IsJson
from shadow.store import open_store
from tests.support.ledger import Books
from tests.support.serving import Serve
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
admin: {{listen: '127.0.0.1:{port}'}}
shadow: {{candidates: [{{model: rival}}], conversation: {{idle_s: 60}}}}
evaluators: [{{type: is-json}}]
prices: {{rival: {{input: 1, output: 1}}, primary: {{input: 1, output: 1}}}}
"""


async def fill(folder: Path, *, kept: bool = True) -> None:
    async with await open_store(f"sqlite:///{folder / 'shadow.db'}") as store:
        books = Books(store=store, now=datetime.now(UTC) - timedelta(minutes=4))
        # a server that reads this has the evaluator of today
        await books.conversations(80, version="1" if kept else IsJson().version)
        if kept:
            await books.bookkeeper().catch_up()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=1), encoding="utf-8")
    return tmp_path


def report(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["report", "-c", str(folder / "config.yaml"), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_without_a_server_the_report_comes_from_the_store(folder: Path) -> None:
    asyncio.run(fill(folder))
    assert "default, rival: rival can take over from primary" in report(folder)
    stats = json.loads(report(folder, "--format", "json", "--since", "24h"))
    (comparison,) = stats["tasks"][0]["comparisons"]
    assert (comparison["verdict"], comparison["conversations"]) == ("promote", 80)
    assert ",promote,80," in report(folder, "--format", "csv")
    assert "| promote | 80 |" in report(folder, "--format", "md", "--task", "default")
    page = report(folder, "--format", "html", "--since", "24h")
    assert page.startswith("<!doctype html>")
    assert "rival" in page
    assert "can take over from" in page
    assert "<script" not in page
    assert "<link" not in page


def test_a_wrong_window_and_a_missing_store_are_told(folder: Path) -> None:
    missing = CliRunner().invoke(app, ["report", "-c", str(folder / "config.yaml")])
    assert (missing.exit_code, "nothing has been recorded" in missing.output) == (1, True)
    asyncio.run(fill(folder))
    wrong_page = CliRunner().invoke(
        app, ["report", "-c", str(folder / "config.yaml"), "--format", "html", "--since", "yesterday"]
    )
    assert wrong_page.exit_code == 2
    assert "since must be a time" in wrong_page.output
    wrong = CliRunner().invoke(app, ["report", "-c", str(folder / "config.yaml"), "--since", "yesterday"])
    assert (wrong.exit_code, "since must be a time like" in wrong.output) == (2, True)


def test_a_running_server_is_asked(tmp_path: Path) -> None:
    with Serve(tmp_path, CONFIG.format(port=0)) as serving:
        asyncio.run(fill(tmp_path, kept=False))
        file = tmp_path / "asks.yaml"
        file.write_text(CONFIG.format(port=serving.admin.port), encoding="utf-8")

        def comparison() -> Any:
            """What the server's own bookkeeper has made of it."""
            done = CliRunner().invoke(app, ["report", "-c", str(file), "--format", "json"])
            assert done.exit_code == 0, done.output
            (found,) = json.loads(done.stdout)["tasks"][0]["comparisons"]
            return found if found["epoch"]["number"] and found["conversations"] == 80 else None

        found = eventually(comparison, within_s=60, what="eighty conversations in the ledger")
    assert found["verdict"] == "withheld"
    assert "say `decides: true` on it" in found["why"]
