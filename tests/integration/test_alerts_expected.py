"""A fake Slack receives exactly the alerts expected: every kind, once a change of state, by the product's own looks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateway.config import load
from gateway.measuring import Crew
from gateway.weekly import Looks
from shadow.alerts import AlertCourier, Patrol, TargetPoster
from shadow.ledger.epochs import write_judging
from shadow.ledger.outcome import Judging
from shadow.notices import AlertTarget
from shadow.records import Cost
from shadow.runfacts import AnswerFact, Decider, RunFacts, ScoreFact
from shadow.store import open_store
from tests.support.admin import add_exchange, exchange
from tests.support.hooks import hook

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shadow.store import Store
    from tests.support.hooks import Hook

PRIMARY, CANDIDATE = "claude", "<!channel> gpt"
SECRET = "the prompt's own words"
START = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


class World:
    """What the looks read: the runs, the ledger's verdict, the day's money and the losses, as the test sets them.

    The store is real, and so are its traffic figures; these few questions are answered here.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.at = START
        self.state, self.why = "insufficient_data", "3 of the 50 conversations it takes are there."
        self.runs: list[RunFacts] = []
        self.used_usd = 0.0
        self.lost = 0

    def now(self) -> datetime:
        return self.at

    @property
    def rollups(self) -> Any:
        return self._store.reader.rollups

    async def holds_more_than(self, limit: int, *, since: datetime, until: datetime) -> bool:
        return await self._store.reader.holds_more_than(limit, since=since, until=until)

    async def weekly_runs(self, *, limit: int) -> list[RunFacts]:
        return self.runs[-limit:]

    async def budget(self, *, day: str) -> Mapping[str, float]:
        assert day == self.at.date().isoformat()
        return {"spent_usd": self.used_usd, "reserved_usd": 0.0, "closed": False}

    async def coverage(self, *, since: datetime, until: datetime) -> list[dict[str, Any]]:
        assert until - since == timedelta(hours=24)
        row = {"task": "default", "primary": PRIMARY, "candidate": CANDIDATE}
        return [
            {**row, "state": "done", "reason": None, "count": 100 - self.lost},
            {**row, "state": "dropped", "reason": "queue_full", "count": self.lost},
            {**row, "candidate": None, "state": "", "reason": None, "count": 1000},
        ]

    async def views(self) -> list[dict[str, Any]]:
        def estimate(value: float, low: float, high: float) -> dict[str, Any]:
            return {"value": value, "low": low, "high": high, "level": 0.95, "reason": None}

        verdict = {
            "state": self.state, "why": self.why, "quality_diff": estimate(0.031, -0.012, 0.074),
            "headline": {
                "candidate": estimate(0.0024, 0.002, 0.003), "primary": estimate(0.0065, 0.006, 0.007),
                "ratio": estimate(0.37, 0.3, 0.4), "cost_ratio": estimate(0.4, 0.35, 0.45),
            },
        }  # fmt: skip
        judging = Judging(quality="is-json", pairwise=False, versions={}, definition="")
        return [
            {
                "task": "default", "primary": PRIMARY, "candidate": CANDIDATE, "number": 1,
                "started_at": START - timedelta(days=3), "last_started_at": START, "version": "", "because": "first",
                "epoch_alpha": 0.05, "alpha": 0.04, "evaluators": write_judging(judging), "entered": 412,
                "waiting": {}, "state": "{}", "entered_until": None, "stopped_because": None, "stopped_at": None,
                "verdict": json.dumps(verdict),
            }
        ]  # fmt: skip

    def run(self, primary: float, candidate: float, *, candidate_usd: float = 0.001, **given: Any) -> None:
        """A weekly run has ended in which both had these qualities, with sixty prompts more than the one before."""
        number = len(self.runs)
        answers = [
            AnswerFact(
                case_id=f"case {at}", prompt=f"p{at}", task="default", cluster=None, golden=False, model=model,
                repeat=repeat, outcome="ok", model_answered=model, latency_ms=10.0, ttft_ms=None, cost_usd=cost,
                reserve_usd=0.02,
                scores=(
                    ScoreFact(
                        evaluator="is-json", version="2", quality=True, pairwise=False, status="scored", value=quality,
                        cost_usd=0.0,
                    ),
                ),
            )
            for at in range(60 * max(number - 1, 0), 60 * (number + 1))
            for model, quality, cost in ((PRIMARY, primary, 0.01), (CANDIDATE, candidate, candidate_usd))
            for repeat in range(2)
        ]  # fmt: skip
        values: dict[str, Any] = {
            "id": f"run-{number}", "period": None, "state": "done", "reason": None, "started_at": self.at,
            "finished_at": self.at, "primary": PRIMARY, "models": (PRIMARY, CANDIDATE), "note": SECRET,
            "spent_usd": 1.0, "max_cost_usd": 5.0, "answers": tuple(answers),
            "deciders": {"default": Decider(evaluator="is-json", version="2", absolute=True)},
        }  # fmt: skip
        self.runs.append(RunFacts(**(values | given)))


async def test_slack_receives_exactly_the_alerts_expected_of_every_kind(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "upstream: {base_url: 'http://127.0.0.1:9', api_key: sk-1}\n"
        "shadow: {candidates: [{model: gpt}], budget_usd_per_day: 10}\nprices: {gpt: {input: 1, output: 1}}\n"
        "evaluators: [{type: is-json, decides: true}]\nverdict: {margin: 0.1, min_saving: 0.1, failure_margin: 0.1}\n",
        encoding="utf-8",
    )
    loaded = load(file, {})
    async with hook(500) as receiver, await open_store(loaded.measuring.store) as store:
        for number in range(40):
            live = exchange(number, model=PRIMARY, started_at=START - timedelta(hours=number))
            await add_exchange(store, live, job=number % 4 == 0, candidate=CANDIDATE)
        await store.reader.price_pending(lambda _: Cost(billed_usd=0.01, uncached_usd=0.01, source="test"))
        world = World(store)
        target = AlertTarget(kind="slack", url=receiver.url)
        looks = Looks(
            loaded.measuring,
            plan=Crew.hire(loaded.measuring).plan,
            reader=world,  # type: ignore[arg-type]
            trends=world,  # type: ignore[arg-type]
            ledger=world,  # type: ignore[arg-type]
            now=world.now,
        )
        patrol = Patrol(
            holder="us",
            watching=store.watching,
            targets=[target],
            looks=(looks.runs, looks.verdicts, looks.money, looks.losses),
            now=world.now,
        )
        poster = TargetPoster()
        courier = AlertCourier(
            watching=store.watching, targets=[target], poster=poster, delays_s=(0.0,), now=lambda: world.at
        )

        async def arrived(times: int = 1) -> list[str]:
            """Look so often, a minute apart, and give the titles of what arrives."""
            before = len(receiver.accepted)
            for _ in range(times):
                await patrol.look()
                while await courier.send_one():
                    pass
                world.at += timedelta(minutes=1)
            return [each.json()["blocks"][0]["text"]["text"] for each in receiver.accepted[before:]]

        shown = CANDIDATE.replace("<", "&lt;").replace(">", "&gt;")
        title = CANDIDATE  # Slack's header is plain text
        assert await arrived(3) == []  # nothing to tell

        # A verdict; it stays, through a failure of the receiver, and is told once.
        world.state, world.why = "promote", "Proved: it is not more than 0.05 worse."
        assert await arrived(3) == [f"{title} does the work of {PRIMARY} for less - consider switching"]
        _says(
            receiver, "412 conversations", "+0.031", "-0.012 to +0.074", "Proved: it is not more than 0.05 worse.",
            "40 % of the primary's (35 % to 45 %), saving $4.49 ($4.12 to $4.86) a month",
            f"{shown} $0.0024, claude $0.0065", "75 % of the exchanges were not sampled",
            "conversations led by the candidate", "set primary.model",
            "Nothing switches by itself.",
        )  # fmt: skip

        # The weekly runs: nothing yet, then the primary drifts (told first) and the candidate's lead becomes real.
        world.run(1.0, 1.0, candidate_usd=0.01)
        world.run(1.0, 1.0, candidate_usd=0.01)
        assert await arrived(2) == []
        world.run(0.0, 1.0)
        assert await arrived(2) == [
            f"Drift: the primary {PRIMARY} answers worse than before",
            f"{title} now outperforms {PRIMARY} - consider switching",
        ]
        _says(
            receiver, shown, "3 weekly runs", "180 conversations", "a month is not known", "latency under live load",
            "set primary.model", "better in quality, at least 10 % cheaper, failing at most 10 percentage points",
            "The verdict on live traffic is the same: promote over 412 conversations.",
        )  # fmt: skip
        drift = receiver.accepted[-2].json()["blocks"][1]["text"]["text"]
        for part in (
            "-1.000",
            "Noise floor: two answers of one run differ in 0 %",
            "The provider names the same model",
        ):
            assert part in drift
        world.run(0.0, 1.0)
        assert await arrived(2) == []  # the new behaviour is the measure now

        # A run's money, and the day's: a figure that wavers about its threshold is one state.
        world.run(0.0, 1.0, state="stopped", reason="the next answer may cost $1, which does not fit under $5 any more")
        assert await arrived(2) == ["The weekly run's budget is used up"]
        world.run(0.0, 1.0)
        world.used_usd = 9.6
        assert await arrived() == ["The day's shadow budget is used up"]
        for used in (9.4, 9.6, 9.4):
            world.used_usd = used
            assert await arrived() == []
        world.at = START + timedelta(days=1)
        world.used_usd = 10.0
        assert await arrived() == []  # used up day after day is one state
        world.at, world.used_usd = START + timedelta(days=1, hours=11), 2.0
        assert await arrived() == []  # that day had money left: over, and nothing to tell
        world.used_usd = 9.9
        assert await arrived() == ["The day's shadow budget is used up"]
        _says(receiver, "$9.90", "$10.00 a day", "until midnight UTC")

        # Losses count when seen three times in a row, and end further down than they began.
        for lost in (6, 6, 1, 6, 6):
            world.lost = lost
            assert await arrived() == []
        assert await arrived() == ["6 % of the sampled exchanges are lost"]
        _says(receiver, "6 of 100", "queue_full 6")
        world.lost = 3
        assert await arrived(4) == []
        world.lost = 1
        assert await arrived(4) == []

        # Trust: lost when seen three times in a row, told when found again; the verdict behind it still stands.
        world.state, world.why = "withheld", "the judge cannot be trusted: it passed 2 of 20 controls"
        assert await arrived(2) == []
        assert await arrived(2) == [f"Quality data of {title} cannot be relied on"]
        _says(receiver, "it passed 2 of 20 controls")
        world.state, world.why = "promote", "Proved again."
        assert await arrived(4) == [f"Quality data of {title} can be relied on again"]

        # Withdrawn; then a mute, and its end brings no flood.
        world.state, world.why = "withdrawn", "Since the promotion it is proved to be worse."
        assert await arrived(2) == [f"{title} no longer holds what it promised: the switch from {PRIMARY} is off"]
        _says(receiver, "Since the promotion it is proved to be worse.", "+0.031", "412 conversations")
        await store.watching.mute("kind:verdict", until=world.at + timedelta(hours=1))
        world.state = "reject"
        assert await arrived(2) == []
        await store.watching.unmute("kind:verdict")
        assert await arrived(2) == []

        listed = await store.watching.alerts(limit=50)
    assert [each["state"] for each in listed if each["muted"]] == ["reject"]
    assert len(listed) == len(receiver.accepted) + 1
    assert len(receiver.received) == len(receiver.accepted) + 1  # one answer was 500, and tried again
    assert {each["kind"] for each in listed} == {"verdict", "lead", "drift", "trust", "budget", "drops"}
    assert SECRET not in str([each.json() for each in receiver.received])
    assert "<!channel>" not in str([each.json()["blocks"][1:] for each in receiver.received])


def _text(receiver: Hook) -> str:
    """The sentence that arrived last."""
    text: str = receiver.accepted[-1].json()["blocks"][1]["text"]["text"]
    return text


def _says(receiver: Hook, *parts: str) -> None:
    said = _text(receiver)
    for part in parts:
        assert part in said, said
