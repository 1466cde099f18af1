"""Alerts over real sockets and a real store: exactly what changed, once, through failures, restarts and mutes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shadow.alerts import NO_APPRISE, AlertCourier, Patrol, TargetPoster
from shadow.alerts.lookout import standing_observations
from shadow.alerts.words import Standing
from shadow.notices import Alert, AlertTarget, Observation
from shadow.store import open_store
from tests.support.hooks import hook
from tests.support.shadowing import eventually_async

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pytest

    from shadow.store import Store
    from tests.support.hooks import Hook

NOW = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)
FAST = (0.01, 0.01, 0.01)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class History:
    """What the lookout sees, as a test writes it."""

    def __init__(self) -> None:
        self.seen: list[Standing] = []

    async def __call__(self, told: Mapping[str, str]) -> Sequence[Observation]:
        return standing_observations(self.seen, told, config_file="config.yaml", several_tasks=False)


def standing(state: str, **given: Any) -> Standing:
    values: dict[str, Any] = {
        "task": "default",
        "primary": "claude",
        "candidate": "gpt-4o",
        "state": state,
        "why": "Because.",
        "n": 412,
        "difference": 0.004,
        "interval": (-0.021, 0.031),
        "level": 0.95,
        "cost_ratio": 0.37,
        "cost_ratio_interval": (0.35, 0.39),
        "saving_usd_per_month": 212.0,
        "saving_interval": (180.0, 240.0),
        "cost_per_quality_point": (0.0065, 0.0024),
        "not_tested": ("95 % of the exchanges were not sampled",),
    }
    return Standing(**(values | given))


def alert(**given: Any) -> Alert:
    values: dict[str, Any] = {
        "id": "a1",
        "kind": "drift",
        "subject": "s",
        "state": "worse",
        "previous": None,
        "created_at": NOW,
        "title": "It drifts",
        "sentence": "It does.",
    }
    return Alert(**(values | given))


def courier(store: Store, *targets: AlertTarget, clock: Clock | None = None, timeout_s: float = 10.0) -> AlertCourier:
    return AlertCourier(
        watching=store.watching,
        targets=targets,
        poster=TargetPoster(timeout_s=timeout_s, total_s=2 * timeout_s),
        delays_s=FAST,
        poll_s=0.01,
        now=clock or (lambda: datetime.now(UTC)),
    )


def patrol(store: Store, history: History, clock: Clock, *targets: AlertTarget) -> Patrol:
    return Patrol(holder="us", watching=store.watching, targets=targets, looks=(history,), every_s=60, now=clock)


async def sent_all(courier: AlertCourier, clock: Clock) -> None:
    while await courier.send_one():
        clock.pass_s(1)


def slack(receiver: Hook, **given: Any) -> AlertTarget:
    return AlertTarget(kind="slack", url=receiver.url, **given)


def titles(receiver: Hook) -> list[str]:
    return [each.json()["blocks"][0]["text"]["text"] for each in receiver.accepted]


async def test_over_a_history_with_failures_and_restarts_slack_gets_exactly_the_changes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shadow.db"
    clock, history = Clock(), History()
    script: list[list[str]] = [
        ["insufficient_data"], ["undecided"], ["promote"], ["promote"], ["withheld"], ["promote"], ["withheld"],
        ["withheld"], ["withheld"], ["promote"], ["promote"], ["promote"], ["withdrawn"], ["withdrawn"],
    ]  # fmt: skip
    async with hook(500, 429, "reset") as receiver:
        for states in script:
            history.seen = [standing(state) for state in states]
            async with await open_store(url) as store:  # each look is after a restart
                await patrol(store, history, clock, slack(receiver)).look()
                await sent_all(courier(store, slack(receiver), clock=clock), clock)
            clock.pass_s(60)

    assert titles(receiver) == [
        "gpt-4o does the work of claude for less - consider switching",
        "Quality data of gpt-4o cannot be relied on",
        "Quality data of gpt-4o can be relied on again",
        "gpt-4o no longer holds what it promised: the switch from claude is off",
    ]
    assert len(receiver.received) == 4 + 3  # the failures were tried again
    told = receiver.accepted[0].json()["blocks"][1]["text"]["text"]
    for part in ("412", "+0.004", "-0.021", "+0.031", "37 %", "$212", "$0.0024", "$0.0065", "not sampled"):
        assert part in told
    assert "in config.yaml set primary.model: gpt-4o" in told


async def test_a_model_outperforms_only_where_better_and_cheaper_are_both_proved(tmp_path: Path) -> None:
    clock, history = Clock(), History()
    async with hook() as receiver, await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:
        history.seen = [
            standing("promote", candidate="better", interval=(0.01, 0.08)),
            standing("promote", candidate="equal", interval=(-0.02, 0.03)),
            standing("better_costlier", candidate="dearer", interval=(0.01, 0.08)),
        ]
        await patrol(store, history, clock, slack(receiver)).look()
        await sent_all(courier(store, slack(receiver), clock=clock), clock)
    assert titles(receiver) == [
        "better now outperforms claude - consider switching",
        "equal does the work of claude for less - consider switching",
        "dearer is better than claude, and does not save money",
    ]


async def test_what_a_killed_process_was_sending_is_sent_again_with_the_same_id(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shadow.db"
    async with hook("hang") as receiver:
        target = AlertTarget(kind="webhook", url=receiver.url)
        async with await open_store(url) as store:
            await store.watching.record([], [alert()], deliveries=[("a1", target.key)])
            dying = asyncio.create_task(courier(store, target).send_one())
            await eventually_async(lambda: _true(receiver.received), what="the first try")
            dying.cancel()  # as a kill would: nothing is noted
            with contextlib.suppress(asyncio.CancelledError):
                await dying
        async with await open_store(url) as store:
            later = Clock()
            later.at = datetime.now(UTC) + timedelta(minutes=10)
            assert await courier(store, target, clock=later).send_one() == 1
            assert await courier(store, target, clock=later).send_one() == 0
            (listed,) = await store.watching.alerts(limit=1)
        assert [(each["state"], each["attempts"]) for each in listed["deliveries"]] == [("sent", 2)]
        assert [each.headers["x-shadow-alert-id"] for each in receiver.received] == ["a1", "a1"]


async def test_a_stop_waits_for_the_try_under_way_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shadow.db"
    async with hook() as receiver:
        target = slack(receiver)
        async with await open_store(url) as store:
            await store.watching.record([], [alert()], deliveries=[("a1", target.key)])
            running = asyncio.create_task(courier(store, target).run())
            await eventually_async(lambda: _true(receiver.received), what="a try")
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        async with await open_store(url) as store:
            assert await courier(store, target).send_one() == 0
        assert len(receiver.accepted) == 1


async def test_tries_are_bounded_and_what_cannot_pass_is_not_tried_again(tmp_path: Path) -> None:
    clock = Clock()
    async with (
        hook(500, 500, 500, 500, 500, 500) as broken,
        hook(404) as gone,
        hook(302) as moved,
        await open_store(f"sqlite:///{tmp_path}/shadow.db") as store,
    ):
        moved.headers = f"location: {gone.url}\r\n"
        targets = [slack(broken), slack(gone), slack(moved)]
        await store.watching.record([], [alert()], deliveries=[("a1", target.key) for target in targets])
        await sent_all(courier(store, *targets, clock=clock), clock)
        (listed,) = await store.watching.alerts(limit=1)
    ended = {each["target"]: (each["state"], each["attempts"], each["error"]) for each in listed["deliveries"]}
    assert ended == {
        slack(broken).key: ("failed", 4, "answered 500"),
        slack(gone).key: ("failed", 1, "answered 404"),
        slack(moved).key: ("failed", 1, "answered 302; redirects are not followed"),
    }
    assert len(gone.received) == 1  # the redirect went nowhere


async def test_a_receiver_that_asks_for_time_gets_it(tmp_path: Path) -> None:
    clock = Clock()
    async with hook(429) as receiver, await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:
        receiver.headers = "retry-after: 40\r\n"
        await store.watching.record([], [alert()], deliveries=[("a1", slack(receiver).key)])
        sender = courier(store, slack(receiver), clock=clock)
        assert await sender.send_one() == 1
        clock.pass_s(39)
        assert await sender.send_one() == 0
        clock.pass_s(2)
        assert await sender.send_one() == 1
        assert len(receiver.accepted) == 1


async def test_a_silent_or_missing_receiver_is_tried_again_and_no_word_names_its_address(tmp_path: Path) -> None:
    async with hook("hang", "hang") as receiver:
        silent = await TargetPoster(timeout_s=0.2).post(slack(receiver), alert())
        dripping = await TargetPoster(timeout_s=30, total_s=0.2).post(slack(receiver), alert())
    missing = await TargetPoster(timeout_s=2).post(slack(receiver), alert())
    bad = await TargetPoster().post(AlertTarget(kind="slack", url="http://[::1/services/key"), alert())
    assert [posted.again for posted in (silent, dripping, missing, bad)] == [True, True, True, False]
    assert [posted.ok for posted in (silent, dripping, missing, bad)] == [False] * 4
    told = f"{silent} {dripping} {missing} {bad} {slack(receiver)}"
    assert "services" not in told
    assert "key" not in told


async def test_a_webhook_is_signed_over_its_time_and_body(tmp_path: Path) -> None:
    async with hook() as receiver:
        target = AlertTarget(kind="webhook", url=receiver.url, secret="s3cret")
        posted = await TargetPoster(clock_s=lambda: 1764385200.9).post(target, alert(facts={"n": 100}))
    assert posted.ok
    (got,) = receiver.accepted
    signed = f"{got.headers['x-shadow-timestamp']}.".encode() + got.body
    expected = "v1=" + hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert got.headers["x-shadow-signature"] == expected
    assert got.headers["x-shadow-timestamp"] == "1764385200"
    body = got.json()
    assert (body["version"], body["id"], body["kind"], body["state"], body["facts"]) == (
        1, "a1", "drift", "worse", {"n": 100},
    )  # fmt: skip
    assert "muted" not in body


async def test_a_mute_keeps_an_alert_in_the_list_and_its_end_brings_no_flood(tmp_path: Path) -> None:
    clock, history = Clock(), History()
    async with hook() as receiver, await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:
        await store.watching.mute("model:gpt-4o", until=NOW + timedelta(minutes=5))
        for state in ("promote", "promote", "withdrawn"):
            history.seen = [standing(state)]
            await patrol(store, history, clock, slack(receiver)).look()
            clock.pass_s(240)
        await sent_all(courier(store, slack(receiver), clock=clock), clock)
        listed = await store.watching.alerts(limit=9)
    assert [(each["state"], each["muted"]) for each in listed] == [("withdrawn", False), ("promote", True)]
    assert len(receiver.accepted) == 1


async def test_a_target_gets_only_its_kinds_and_one_that_is_gone_fails_its_deliveries(tmp_path: Path) -> None:
    clock, history = Clock(), History()
    async with hook() as all_kinds, hook() as drift_only, await open_store(f"sqlite:///{tmp_path}/shadow.db") as store:
        some = slack(drift_only, kinds=("drift",))
        history.seen = [standing("promote")]
        await patrol(store, history, clock, slack(all_kinds), some).look()
        await sent_all(courier(store, clock=clock), clock)  # the configuration changed meanwhile
        (listed,) = await store.watching.alerts(limit=9)
    assert [(each["state"], each["error"]) for each in listed["deliveries"]] == [
        ("failed", "this target is no longer configured")
    ]
    assert drift_only.received == []


async def test_of_two_processes_one_looks_and_the_alert_is_recorded_once(tmp_path: Path) -> None:
    url, clock, history = f"sqlite:///{tmp_path}/shadow.db", Clock(), History()
    history.seen = [standing("reject")]
    async with await open_store(url) as one, await open_store(url) as two:
        patrols = [
            Patrol(holder=name, watching=store.watching, targets=(), looks=(history,), every_s=60, now=clock)
            for name, store in (("one", one), ("two", two))
        ]
        told = await asyncio.gather(*(each.look() for each in patrols))
        assert sorted(map(len, told)) == [0, 1]
        clock.pass_s(3600)
        told = await asyncio.gather(*(each.look() for each in reversed(patrols)))
        assert sorted(map(len, told)) == [0, 0]
        assert len(await one.watching.alerts(limit=9)) == 1


async def test_without_apprise_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)  # as where the extra is not installed
    posted = await TargetPoster().post(AlertTarget(kind="apprise", url="mailto://someone"), alert())
    assert (posted.ok, posted.again, posted.why) == (False, False, NO_APPRISE)


async def test_apprise_is_given_address_title_and_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apprise.py").write_text(
        "from pathlib import Path\n"
        "class Apprise:\n"
        "    def __init__(self): self.url = None\n"
        "    def add(self, url): self.url = url; return url != 'bad://'\n"
        "    def notify(self, *, title, body):\n"
        "        if self.url == 'raise://': raise RuntimeError(self.url)\n"
        "        Path(self.url.removeprefix('file://')).write_text(title + '|' + body)\n"
        "        return not self.url.endswith('no')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "apprise", raising=False)

    async def post(url: str) -> Any:
        return await TargetPoster().post(AlertTarget(kind="apprise", url=url), alert())

    assert (await post(f"file://{tmp_path}/got")).ok
    assert (tmp_path / "got").read_text("utf-8") == "It drifts|It does."
    assert (await post(f"file://{tmp_path}/no")).why == "apprise could not deliver it"
    assert (await post("bad://")).why == "the address is none that apprise knows"
    assert (await post("raise://")).why == "apprise failed (RuntimeError)"
    monkeypatch.delitem(sys.modules, "apprise")


async def _true(value: Any) -> Any:
    return value
