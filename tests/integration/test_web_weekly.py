"""`/trends`, `/alerts` and `POST /runs` over real sockets, a real store and runs against the simulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import jsonschema_rs
import pytest

from shadow.evaluators.is_json import IsJson
from shadow.notices import Alert
from shadow.runfacts import Decider
from shadow.simulator import Script, SimModel, Simulator
from shadow.store import open_store
from shadow.web import WeeklyApi
from tests.support.admin import add_pair, admin_port, exchange
from tests.support.runfacts import plan
from tests.support.weekly import CANDIDATE, PRIMARY, SUNDAY, WEEK, weekly

if TYPE_CHECKING:
    from pathlib import Path

    from shadow.store import Store

NOW = SUNDAY + 4 * WEEK


IS_JSON = Decider(evaluator="is-json", version=IsJson.version, absolute=True)


class Table:
    """A schedule that is asked."""

    def __init__(self, *, free: bool = True, next_at: datetime | None = NOW) -> None:
        self.next_at = next_at
        self.is_working = not free
        self.asked = 0

    def ask(self) -> bool:
        self.asked += 1
        return not self.is_working


class Verdicts:
    """A ledger with one verdict on live traffic, and one candidate whose first conversation is still open."""

    async def views(self) -> list[dict[str, Any]]:
        row = {"task": "default", "primary": PRIMARY, "number": 1, "version": "", "last_started_at": NOW}
        return [
            {**row, "candidate": CANDIDATE, "entered": 92, "verdict": '{"state": "undecided", "why": "w"}'},
            {**row, "candidate": "other", "entered": 0, "verdict": "{}"},
        ]


def made_of(store: Store) -> dict[str, Any]:
    """What is shown of a store."""
    return {
        "trends": store.trends, "outbox": store.watching, "reader": store.reader, "verdicts": store.ledger,
        "plan": lambda: plan(IS_JSON, min_saving=0.3),
    }  # fmt: skip


async def valid(client: httpx2.AsyncClient, path: str, schema: str) -> dict[str, Any]:
    """The answer, which is as it is documented."""
    document = (await client.get("/openapi.json")).json()
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    root = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    jsonschema_rs.validator_for(root).validate(answer.json())
    told: dict[str, Any] = answer.json()
    return told


async def test_trends_show_runs_and_live_weeks_on_one_axis_with_leads_drift_and_the_next_run(tmp_path: Path) -> None:
    script = Script(models=(SimModel(name=PRIMARY), SimModel(name=CANDIDATE)))
    async with weekly(tmp_path, "unused") as on:
        for number in range(30):
            live = exchange(number, id=f"live-{number}", started_at=SUNDAY + timedelta(hours=number), model=PRIMARY)
            await add_pair(on.store, live, q_prim=1.0, q_cand=0.5)
    with Simulator(script) as simulator:
        async with weekly(tmp_path, simulator.base_url) as on:
            for week in range(3):
                await on.traffic(100 * week, 60)
                if week == 2:
                    change = {"models": [{"name": PRIMARY, "quality": {"fenced": 0.9}}]}
                    httpx2.patch(f"{simulator.base_url}/_sim/script", json=change).raise_for_status()
                assert await on.rebenchmark(sample=40).run(period=f"week {week}") is not None
                on.at += WEEK
            api = WeeklyApi(
                **made_of(on.store) | {"verdicts": Verdicts()},
                timetable=Table,
                now=lambda: NOW,
            )
            async with admin_port(on.store.reader, weekly=api) as client:
                told = await valid(client, "/trends", "Trends")
                one = await valid(client, f"/trends?task=default&model={CANDIDATE}", "Trends")
                several = await valid(client, "/trends?task=none&task=default", "Trends")
                late = await valid(client, "/trends?since=2026-11-10T00:00:00Z", "Trends")
                wrong = await client.get("/trends?taks=x")

    runs = [point for point in told["points"] if point["source"] == "run"]
    lives = [point for point in told["points"] if point["source"] == "live"]
    assert [point["role"] for point in runs] == ["candidate", "primary"] * 3
    assert [point["quality"]["mean"] for point in runs if point["role"] == "candidate"] == [1.0, 1.0, 1.0]
    assert [point["quality"]["mean"] == 1.0 for point in runs if point["role"] == "primary"] == [True, True, False]
    assert all(low <= point["quality"]["mean"] <= high for point in runs for low, high in [point["quality"]["ci"]])
    assert all(point["cost_per_quality_point_usd"]["ci"] for point in runs[:4])
    assert {(point["role"], point["quality"]["mean"]) for point in lives} >= {("primary", 1.0), ("candidate", 0.5)}
    assert [point["at"] for point in told["points"]] == sorted(point["at"] for point in told["points"])
    decisive = told["drift"][0]
    assert (decisive["model"], decisive["role"], decisive["changes"][0]["direction"]) == (PRIMARY, "primary", "worse")
    example = decisive["changes"][0]["examples"][0]
    assert example["now"]["quality"] == 0.0
    assert example["now"]["output"].startswith("```")
    assert example["before"]["output"].startswith("{")
    (lead,) = told["leads"]
    assert lead["n"] >= 60
    assert (lead["evaluator"], lead["since_run"], lead["anew"]) == ("is-json", runs[0]["run"], None)
    assert (lead["failures"], lead["answers"], lead["primary_answers"]) == (0, 2 * lead["n"], 2 * lead["n"])
    assert lead["live"] == {"verdict": "undecided", "conversations": 92}
    assert lead["beside"].startswith("The verdict on live traffic is ")
    assert "at least 30 % cheaper" in lead["why"]  # as the configuration asks
    assert told["next_run"] == {"at": "2026-11-29T03:00:00Z", "under_way": False, "reason": None}
    assert {point["model"] for point in one["points"]} == {CANDIDATE}
    assert {each["model"] for each in one["drift"]} == {CANDIDATE}
    assert {**several, "since": None, "until": None} == {**told, "since": None, "until": None}
    assert len([point for point in late["points"] if point["source"] == "run"]) == 2
    assert late["drift"] == told["drift"]  # evidence does not depend on the window
    assert wrong.status_code == 400


async def test_without_runs_there_is_nothing_and_it_is_said_why_there_is_no_next(tmp_path: Path) -> None:
    async with await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:
        api = WeeklyApi(**made_of(store))
        async with admin_port(store.reader, weekly=api) as client:
            told = await valid(client, "/trends", "Trends")
            asked = await client.post("/runs", json={})
        assert (told["points"], told["leads"], told["drift"]) == ([], [], [])
        assert told["next_run"]["reason"] == "this process makes no runs: no API key for the primary"
        assert (asked.status_code, asked.json()["error"]["type"]) == (503, "no_runs")
        unscheduled = WeeklyApi(**made_of(store), timetable=lambda: Table(next_at=None))
        async with admin_port(store.reader, weekly=unscheduled) as client:
            reason = (await valid(client, "/trends", "Trends"))["next_run"]["reason"]
        assert reason.startswith("benchmark.schedule is null")


async def test_weeks_of_many_exchanges_are_read_from_sums_until_these_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:

        async def pairs(*numbers: int) -> None:
            for number in numbers:
                at = SUNDAY + timedelta(hours=number)
                live = exchange(number, id=f"live-{number}", started_at=at, model=PRIMARY)
                await add_pair(store, live, q_prim=1.0, q_cand=number % 2 / 2)

        await pairs(*range(1, 30))
        api = WeeklyApi(**made_of(store), now=lambda: NOW)
        async with admin_port(store.reader, weekly=api, now=lambda: NOW) as client:
            exact = await valid(client, "/trends", "Trends")
            monkeypatch.setattr("shadow.web.weekly.ROW_BY_ROW", 15)
            mixed = await valid(client, "/trends", "Trends")
            monkeypatch.setattr("shadow.web.weekly.ROW_BY_ROW", 5)
            fresh = await valid(client, "/trends", "Trends")
            await store.rollups.fold(limit=1000)
            folded = await valid(client, "/trends", "Trends")
            again = await valid(client, f"/trends?model={CANDIDATE}", "Trends")
            await pairs(30)
            await store.rollups.fold(limit=1000)
            more = await valid(client, "/trends", "Trends")
            await store.rollups.set_due(int(SUNDAY.timestamp()))
            due = (await valid(client, "/trends", "Trends"))["read"]["reason"]

    assert exact["read"] == {"from": "rows", "reason": None}
    assert fresh["read"]["from"] == "both"  # the newest weeks are empty
    assert "are still being made" in due
    assert mixed["read"]["from"] == "both"
    assert mixed["points"] == [*fresh["points"][:2], *exact["points"][2:]]
    assert fresh["points"] == folded["points"]
    assert again["points"] == [point for point in folded["points"] if point["model"] == CANDIDATE]
    assert len(exact["points"]) == len(folded["points"]) == 4  # two weeks of two models
    for one, other in zip(exact["points"], folded["points"], strict=True):
        assert [one[name] for name in ("at", "task", "model", "role", "answers")] == [
            other[name] for name in ("at", "task", "model", "role", "answers")
        ]
        assert one["quality"]["mean"] == pytest.approx(other["quality"]["mean"])
        assert one["quality"]["ci"] is not None
        assert other["quality"]["ci"] is None
        assert other["quality"]["reason"].startswith("ci is null")
        of = "cost_per_quality_point_usd"
        assert one[of]["value"] == (other[of]["value"] and pytest.approx(other[of]["value"]))
        assert other["latency_ms"]["p50"] == pytest.approx(one["latency_ms"]["p50"], rel=0.01)
        assert other["latency_ms"]["n"] == one["latency_ms"]["n"]
    counts = [[point["answers"] for point in each["points"]] for each in (folded, more)]
    assert [after - before for before, after in zip(*counts, strict=True)] == [0, 0, 1, 1]


@pytest.mark.parametrize(("free", "status"), [(True, 202), (False, 409)])
async def test_a_run_can_be_asked_for_when_none_is_under_way(tmp_path: Path, free: bool, status: int) -> None:  # noqa: FBT001
    table = Table(free=free)
    async with await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:
        api = WeeklyApi(**made_of(store), timetable=lambda: table)
        async with admin_port(store.reader, weekly=api) as client:
            assert (await client.post("/runs", json={})).status_code == status
            assert (await client.post("/runs", content=b"{}")).status_code == 415
            elsewhere = {"content-type": "application/json", "origin": "https://evil.example"}
            assert (await client.post("/runs", content=b"{}", headers=elsewhere)).status_code == 403
    assert table.asked == 1


async def test_alerts_are_listed_newest_first_with_how_they_travelled_and_what_is_muted(tmp_path: Path) -> None:
    async with await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:
        for number in range(3):
            alert = Alert(
                id=f"a{number}",
                kind="drift",
                subject="s",
                state="worse",
                previous=None,
                created_at=SUNDAY + timedelta(minutes=number),
                title="<!channel> & more",
                sentence="It does.",
            )
            await store.watching.record([], [alert], deliveries=[(alert.id, "slack-0a1b2c3d")])
        await store.watching.mute("kind:drift", until=datetime.now(UTC) + WEEK)
        api = WeeklyApi(**made_of(store))
        async with admin_port(store.reader, weekly=api) as client:
            told = await valid(client, "/alerts?limit=2", "Alerts")
    assert [alert["id"] for alert in told["alerts"]] == ["a2", "a1"]
    assert told["alerts"][0]["deliveries"] == [
        {"target": "slack-0a1b2c3d", "state": "pending", "attempts": 0, "ended_at": None, "error": None}
    ]
    assert [mute["scope"] for mute in told["mutes"]] == ["kind:drift"]
