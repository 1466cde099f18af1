"""The patrol looks at the ledger's verdicts, the day's money and the losses; the command makes the run of a period."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import load
from gateway.weekly import Looks, patrol_of
from shadow.ledger.epochs import write_judging
from shadow.ledger.outcome import Judging
from shadow.notices import Alert, AlertTarget
from shadow.simulator import Script, SimModel, Simulator
from shadow.store import open_store
from shadow.switch import SwitchAdvisor
from tests.support.runfacts import plan
from tests.support.weekly import CANDIDATE, PRIMARY, remember

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

JUDGING = Judging(quality="is-json", pairwise=False, versions={}, definition="")
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Ledger:
    """A ledger with one candidate of this verdict."""

    def __init__(self, state: str) -> None:
        self.state = state

    async def views(self) -> list[dict[str, Any]]:
        return [
            {
                "task": "default", "primary": "claude", "candidate": "gpt", "number": 1, "started_at": NOW,
                "last_started_at": NOW, "version": "", "because": "first", "epoch_alpha": 0.05, "alpha": 0.04,
                "evaluators": write_judging(JUDGING), "entered": 120, "waiting": {},
                "state": "{}", "entered_until": None, "stopped_because": None, "stopped_at": None,
                "verdict": json.dumps({"state": self.state, "why": "Proved."}),
            }
        ]  # fmt: skip


def written(folder: Path, base_url: str = "http://127.0.0.1:9", **more: str) -> Path:
    lines = {
        "upstream": f"{{base_url: '{base_url}', api_key: sk-1}}",
        "shadow": f"{{sample_rate: 1, candidates: [{{model: {CANDIDATE}}}]}}",
        "evaluators": "[{type: is-json}]",
        "prices": f"{{{PRIMARY}: {{input: 1, output: 5}}, {CANDIDATE}: {{input: 1, output: 5}}}}",
        "admin": "{listen: '127.0.0.1:0'}",
        **more,
    }
    file = folder / "config.yaml"
    file.write_text("\n".join(f"{key}: {value}" for key, value in lines.items()), encoding="utf-8")
    return file


async def test_a_verdict_of_the_ledger_becomes_an_observation_with_what_to_change(tmp_path: Path) -> None:
    loaded = load(written(tmp_path), {})
    async with await open_store(loaded.measuring.store) as store:
        looks = Looks(
            loaded.measuring,
            plan=plan(),
            reader=store.reader,
            trends=store.trends,
            ledger=Ledger("promote"),  # type: ignore[arg-type]
        )
        (seen,) = await looks.verdicts({})
        (money,) = await looks.money({})
        assert await looks.losses({}) == ()
        assert await looks.runs({}) == ()
    assert (seen.kind, seen.state, seen.silent) == ("verdict", "promote", False)
    assert "120 conversations" in seen.sentence
    assert f"in {tmp_path}/config.yaml set primary.model: gpt" in seen.sentence
    assert (money.state, money.silent) == ("open", True)
    advisor = SwitchAdvisor(config_file="c.yaml")
    verdict = {"task": "default", "primary": "claude", "candidate": "gpt", "verdict": "promote"}
    assert (advisor(verdict) or {})["change"] == "primary.model: gpt"
    assert advisor(verdict | {"verdict": "undecided"}) is None


async def test_a_patrol_over_an_empty_store_tells_nothing(tmp_path: Path) -> None:
    loaded = load(written(tmp_path), {})
    async with await open_store(loaded.measuring.store) as store:
        assert await patrol_of(loaded.measuring, store, holder="us", plan=plan()).look() == []


async def test_the_command_makes_the_run_of_a_period_once_and_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Simulator(Script(models=(SimModel(name=PRIMARY), SimModel(name=CANDIDATE)))) as simulator:
        file = written(tmp_path, simulator.base_url, benchmark="{sample: 5}")
        async with await open_store(load(file, {}).measuring.store) as store:
            for number in range(12):
                await remember(store, number, at=datetime.now(UTC) - timedelta(hours=1 + number))

        def scheduled(*more: str) -> Any:
            return CliRunner().invoke(app, ["bench", "--scheduled", "-c", str(file), *more])

        from anyio import to_thread  # noqa: PLC0415  (the command has an event loop of its own)

        first = await to_thread.run_sync(lambda: scheduled("--json"))
        again = await to_thread.run_sync(scheduled)
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["state"], told["spent_usd"] > 0) == ("done", True)
    assert again.exit_code == 0, again.output
    assert "nothing was asked" in again.stdout
    assert len(simulator.log) == 5 * 2 * 2


def test_the_command_says_why_there_is_nothing_to_ask_and_bench_still_needs_its_file(tmp_path: Path) -> None:
    file = written(tmp_path)
    nothing = CliRunner().invoke(app, ["bench", "--scheduled", "-c", str(file)])
    assert nothing.exit_code == 1
    assert "no run: no prompt of the recent traffic is stored" in nothing.stderr
    bare = CliRunner().invoke(app, ["bench", "-c", str(file)])
    assert bare.exit_code == 2
    assert bare.stderr == "bench needs CASES.jsonl and --models (or --scheduled, for the weekly run)\n"


def test_alerts_are_muted_listed_and_tested_from_the_command_line(tmp_path: Path) -> None:
    file = str(written(tmp_path))

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["alert", *words, "-c", file])

    assert run("test").exit_code == 2
    assert 'no alerts are configured: add alerts: [{slack: "${SLACK_WEBHOOK_URL}"}]' in run("test").stderr
    assert run("mute", "kind:drift", "--for", "7d").stdout.startswith("muted: kind:drift until ")
    assert "muted: kind:drift until" in run("list").stderr
    assert json.loads(run("list", "--json").stdout)["alerts"] == []
    assert run("mute", "kind:rain").exit_code == 2
    assert "not 'kind:rain'" in run("mute", "kind:rain").stderr
    assert run("mute", "all", "--for", "soon").exit_code == 2
    assert run("unmute", "kind:drift").stdout == "no longer muted: kind:drift\n"
    assert run("unmute", "kind:drift").exit_code == 1
    places = "{slack: ''}, {slack: 'http://127.0.0.1:9/services/key-of-it'}, {webhook: 'http://localhost:9?key-of-it'}"
    unreachable = str(written(tmp_path, alerts=f"[{places}]"))
    failed = CliRunner().invoke(app, ["alert", "test", "-c", unreachable])
    assert failed.exit_code == 1
    assert failed.stdout.splitlines() == [
        "alerts[1] (slack to 127.0.0.1:9): no connection (ConnectError)",
        "alerts[2] (webhook to localhost:9): no connection (ConnectError)",
    ]
    target = AlertTarget(kind="slack", url="http://127.0.0.1:9/services/key-of-it")

    async def record() -> None:
        now = datetime.now(UTC)
        told = Alert(
            id="a1", kind="drift", subject="s", state="worse", previous=None, created_at=now, title="t", sentence="s"
        )
        async with await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:
            await store.watching.record([], [told], deliveries=[("a1", target.key), ("a1", "webhook-0a1b2c3d")])

    asyncio.run(record())
    assert (
        run("list").stdout.splitlines()[-1] == "    alerts[1] (slack to 127.0.0.1:9) pending, webhook-0a1b2c3d pending"
    )
    assert [each["name"] for each in json.loads(run("list", "--json").stdout)["alerts"][0]["deliveries"]] == [
        "alerts[1] (slack to 127.0.0.1:9)", "webhook-0a1b2c3d",
    ]  # fmt: skip
    assert "key-of-it" not in failed.output
