"""Duties, schedules, alerts and mutes in the store, on a real file."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shadow.notices import Alert, Watched
from shadow.store import open_store
from shadow.store.base import UnstorableError

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/shadow.db"


def alert(number: int = 1, **given: Any) -> Alert:
    values: dict[str, Any] = {
        "id": f"a{number}",
        "kind": "drift",
        "subject": "drift/default/claude",
        "state": "down",
        "previous": None,
        "created_at": NOW + number * MINUTE,
        "task": "default",
        "primary": "claude",
        "title": "claude drifts",
        "sentence": "It does.",
        "details": (("pairs", "100"),),
        "facts": {"n": 100},
    }
    return Alert(**(values | given))


async def test_of_two_processes_one_gets_the_duty_and_the_other_when_that_one_falls_silent(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path)) as one, await open_store(url(tmp_path)) as two:
        taken = await asyncio.gather(
            one.watching.take_duty("weekly", holder="one", lease_s=60, now=NOW),
            two.watching.take_duty("weekly", holder="two", lease_s=60, now=NOW),
        )
        assert sorted(taken) == [False, True]
        holder, other = ("one", "two") if taken[0] else ("two", "one")
        assert await one.watching.take_duty("weekly", holder=holder, lease_s=60, now=NOW + MINUTE / 2)
        assert not await two.watching.take_duty("weekly", holder=other, lease_s=60, now=NOW + MINUTE)
        assert await two.watching.take_duty("weekly", holder=other, lease_s=60, now=NOW + 2 * MINUTE)
        assert not await one.watching.take_duty("weekly", holder=holder, lease_s=60, now=NOW + 2 * MINUTE)


async def test_a_duty_from_a_clock_that_was_ahead_is_taken_over(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path)) as store:
        assert await store.watching.take_duty("weekly", holder="ahead", lease_s=60, now=NOW + timedelta(days=9))
        assert await store.watching.take_duty("weekly", holder="us", lease_s=60, now=NOW)


async def test_a_schedule_is_known_since_it_was_first_seen_and_a_change_begins_anew(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path)) as store:
        seen = store.watching.schedule_since
        assert await seen(cron="0 3 * * sun", timezone="UTC", now=NOW) == NOW
        assert await seen(cron="0 3 * * sun", timezone="UTC", now=NOW + MINUTE) == NOW
        assert await seen(cron="0 4 * * sun", timezone="UTC", now=NOW + 2 * MINUTE) == NOW + 2 * MINUTE
        assert await seen(cron="0 3 * * sun", timezone="UTC", now=NOW + 3 * MINUTE) == NOW + 3 * MINUTE


async def test_what_was_told_survives_and_an_alert_is_kept_with_it_or_not_at_all(tmp_path: Path) -> None:
    told = Watched(subject="drift/default/claude", told="down", told_at=NOW, seen="down", looks=2)
    async with await open_store(url(tmp_path)) as store:
        await store.watching.record([told], [alert()], deliveries=[("a1", "slack-1")])
        changed = Watched(subject=told.subject, told="steady", told_at=NOW, seen="steady", looks=1)
        with pytest.raises(UnstorableError):  # the id is taken: the whole change is undone
            await store.watching.record([changed], [alert()], deliveries=[("a1", "slack-1")])
    async with await open_store(url(tmp_path)) as store:
        assert await store.watching.watched() == {told.subject: told}
        (listed,) = await store.watching.alerts(limit=10)
        assert (listed["id"], listed["facts"], listed["deliveries"][0]["state"]) == ("a1", {"n": 100}, "pending")


async def test_a_delivery_is_taken_once_tried_again_when_due_and_its_end_is_kept(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path)) as store:
        watching = store.watching
        await watching.record([], [alert()], deliveries=[("a1", "slack-1"), ("a1", "hook-2")])
        assert await watching.take_due(limit=9, lease_s=60, now=NOW) == []
        first = await watching.take_due(limit=9, lease_s=60, now=NOW + MINUTE)
        assert [(each.target, each.attempts, each.alert) for each in first] == [
            ("hook-2", 1, alert()),
            ("slack-1", 1, alert()),
        ]
        assert await watching.take_due(limit=9, lease_s=60, now=NOW + MINUTE) == []
        now = NOW + MINUTE
        await watching.settle(first[0], state="sent", error=None, due_at=None, now=now)
        await watching.settle(first[1], state="pending", error="answered 500", due_at=NOW + 3 * MINUTE, now=now)
        assert await watching.take_due(limit=9, lease_s=60, now=NOW + 2 * MINUTE) == []
        (again,) = await watching.take_due(limit=9, lease_s=60, now=NOW + 3 * MINUTE)
        assert (again.target, again.attempts) == ("slack-1", 2)
        await watching.settle(again, state="failed", error="answered 404", due_at=None, now=NOW + 3 * MINUTE)
        (listed,) = await watching.alerts(limit=1)
        assert [(each["target"], each["state"], each["error"]) for each in listed["deliveries"]] == [
            ("hook-2", "sent", None),
            ("slack-1", "failed", "answered 404"),
        ]


async def test_what_a_dead_process_was_sending_is_due_again_and_its_late_word_counts_for_nothing(
    tmp_path: Path,
) -> None:
    async with await open_store(url(tmp_path)) as store:
        watching = store.watching
        await watching.record([], [alert()], deliveries=[("a1", "slack-1")])
        (dead,) = await watching.take_due(limit=1, lease_s=60, now=NOW + MINUTE)
        (again,) = await watching.take_due(limit=1, lease_s=60, now=NOW + 3 * MINUTE)
        assert again.attempts == 2
        await watching.settle(dead, state="failed", error="late", due_at=None, now=NOW + 3 * MINUTE)
        await watching.settle(again, state="sent", error=None, due_at=None, now=NOW + 3 * MINUTE)
        (listed,) = await watching.alerts(limit=1)
        assert [(each["state"], each["error"]) for each in listed["deliveries"]] == [("sent", None)]


async def test_mutes_end_by_themselves_or_when_told(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path)) as store:
        watching = store.watching
        await watching.mute("kind:drift", until=NOW + MINUTE)
        await watching.mute("all", until=NOW + 9 * MINUTE)
        assert [mute.scope for mute in await watching.mutes(now=NOW)] == ["all", "kind:drift"]
        assert [mute.scope for mute in await watching.mutes(now=NOW + MINUTE)] == ["all"]
        assert await watching.unmute("all")
        assert not await watching.unmute("all")
        assert await watching.mutes(now=NOW + MINUTE) == []


async def test_old_alerts_are_deleted_but_never_one_that_waits(tmp_path: Path) -> None:
    async with await open_store(url(tmp_path)) as store:
        watching = store.watching
        await watching.record([], [alert(1), alert(2), alert(3)], deliveries=[("a1", "s"), ("a2", "s")])
        first, _ = await watching.take_due(limit=9, lease_s=60, now=NOW + 9 * MINUTE)
        await watching.settle(first, state="sent", error=None, due_at=None, now=NOW)
        await watching.prune(before=NOW + timedelta(days=1))
        assert [each["id"] for each in await watching.alerts(limit=9)] == ["a2"]
