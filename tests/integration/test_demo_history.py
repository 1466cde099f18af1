"""The demo's twelve weeks: marked as made up, the same everywhere, and read by the pages like any run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.demo import history
from gateway.demo.cast import FAILURE_MARGIN, MARGIN, MIN_CONVERSATIONS
from shadow.leads import leads_of
from shadow.ledger import Judging, Plan
from shadow.simulator.truth import RightAnswer
from shadow.store import open_store
from shadow.trends import drifts_of, trend_points
from shadow.verdict import Rules
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
        facts = await store.trends.weekly_runs(limit=20)
    quality = {
        (point["run"], point["model"]): point["quality"]["mean"] for point in trend_points(facts, ()) if point["run"]
    }
    of_primary = [quality[run.id, "demo-atlas"] for run in facts]
    assert max(of_primary[5:9]) < min(of_primary[:5]) - 0.1  # the primary drifted
    assert min(quality[run.id, "demo-oak"] for run in facts[5:9]) > max(of_primary[5:9]) + 0.1  # a candidate led
    assert of_primary[9] > 0.9  # and it is again as live traffic finds it
    decisive = next(each for each in drifts_of(facts) if each.is_primary)
    assert [(drift.direction, drift.found_run) for drift in decisive.report.drifts] == [("worse", 5), ("better", 9)]
    calculator = Judging(quality="right-answer", versions={"right-answer": RightAnswer.version}, definition="")
    rules = Rules(margin=MARGIN, failure_margin=FAILURE_MARGIN, min_conversations=MIN_CONVERSATIONS)
    by = Plan(alpha=0.05, rules=rules, judging={"default": calculator}, candidates={})
    states = {lead.candidate: lead.state for lead in leads_of(facts, plan=by)}
    assert states == {"demo-oak": "promote", "demo-swift": "reject", "demo-summit": "undecided"}
