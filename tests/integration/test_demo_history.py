"""The demo's twelve weeks: marked as made up, the same everywhere, and read by the pages like any run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.demo import history
from shadow.benchmark.summary import summarize
from shadow.store import open_store
from tests.support.admin import NOW, url_of

if TYPE_CHECKING:
    from pathlib import Path


async def test_twelve_weeks_are_made_once_and_marked(tmp_path: Path) -> None:
    async with await open_store(url_of(tmp_path)) as store:
        assert await history.fill(store.runs, now=NOW, weeks=10) == 10
        assert await history.fill(store.runs, now=NOW, weeks=10) == 0
        runs, _ = await store.runs.page(limit=20, kind="weekly")
        assert len(runs) == 10
        assert {run.state for run in runs} == {"done"}
        assert all("DEMO" in run.note and run.name.startswith("DEMO") for run in runs)
        assert all(run.answered == run.cells > 0 for run in runs)
        assert NOW - timedelta(days=2) < runs[0].started_at < NOW
        assert runs[0].spent_usd > 0
        first, last = [await store.runs.result(run.id) for run in (runs[-1], runs[0])]
    assert first is not None
    assert last is not None
    before, after = [
        {row["model"]: row["quality"]["avg"] for row in summarize(result)["tasks"][0]["models"]}
        for result in (first, last)
    ]
    assert after["demo-atlas"] < before["demo-atlas"] - 0.1  # the primary drifted
    assert after["demo-oak"] > after["demo-atlas"] + 0.1  # and a candidate leads
