"""The wall clock jumps: durations stay durations, a day's money is there once, and every job is counted."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

import gateway
import shadow
from shadow.budget import budget_day
from shadow.records import Price
from shadow.worker import WorkerLimits
from tests.support.measured import (
    json_answer,
    spoken,
    states,
)
from tests.support.shadowing import batch, candidate, eventually_async, question, running, workshop
from tests.support.upstream import Answer, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


async def ended(folder: Path, count: int) -> dict[str, int]:
    """Wait until so many jobs have ended, whatever the clock says now, and count them by how."""

    async def look() -> dict[str, int] | None:
        found = states(folder)
        done = found.keys().isdisjoint({"pending", "leased", "sent"})
        return found if done and sum(found.values()) == count else None

    found = await eventually_async(look, within_s=30, what=f"the end of {count} jobs")
    assert found is not None
    return found


@pytest.fixture
def rival() -> Iterator[Upstream]:
    with Upstream() as upstream:
        body = json.dumps(spoken('{"answer": 4}', model="rival", output_tokens=64)).encode()
        upstream.answer(Answer(parts=(json_answer(body),)))
        yield upstream


async def test_each_days_money_is_there_once_however_often_the_clock_crosses_midnight(
    tmp_path: Path, rival: Upstream
) -> None:
    clock = Clock()
    one_call_usd = 0.01
    # What one call costs is its output alone, and the estimate of it is exact: 64 tokens.
    price = Price(input=0, output=one_call_usd / 64 * 1e6, cache_read=0, cache_write=0, cache_write_1h=0)
    limits = WorkerLimits(budget_usd_per_day=3 * one_call_usd, max_job_age_s=10 * 86_400)
    first, second = datetime(2026, 3, 28, 23, 59, 59, tzinfo=UTC), datetime(2026, 3, 29, 23, 59, 59, tzinfo=UTC)
    spent: dict[str, float] = {}
    called: list[int] = []
    async with workshop(tmp_path, candidate("rival", rival.base_url), limits=limits, price=price, now=clock) as shop:
        number = 0
        for moment in (first, second, first, second, first + timedelta(seconds=1), second - timedelta(hours=3)):
            clock.at = moment
            await shop.add(*(batch(number + n, "rival", request=question(max_tokens=64), at=moment) for n in range(6)))
            number += 6
            async with running(shop.worker()):
                tally = await ended(tmp_path, number)
            spent[moment.date().isoformat()] = (await shop.spent())["spent_usd"]
            called.append(len(rival.requests))
    assert called == [3, 6, 6, 6, 6, 6]
    assert spent == pytest.approx({"2026-03-28": 0.03, "2026-03-29": 0.03})
    assert tally == {"done": 6, "skipped:over_budget": number - 6}


def test_a_day_of_money_is_a_utc_day_also_where_clocks_are_put_forward_that_night() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    hours = [datetime(2026, 3, 28, 20, tzinfo=UTC) + timedelta(minutes=10 * step) for step in range(60)]
    there = [budget_day(hour.astimezone(berlin), cap_usd=5) for hour in hours]
    assert there == [budget_day(hour, cap_usd=5) for hour in hours]
    days = [each.day for each in there]
    assert sorted(Counter(days)) == ["2026-03-28", "2026-03-29"]
    assert days == sorted(days)
    assert all(0 < each.paced_usd <= each.cap_usd for each in there)


async def test_a_clock_that_jumps_a_day_ahead_makes_waiting_jobs_too_old_and_they_are_counted(
    tmp_path: Path, rival: Upstream
) -> None:
    clock = Clock()
    async with workshop(tmp_path, candidate("rival", rival.base_url), now=clock) as shop:
        await shop.add(*(batch(number, "rival", at=clock()) for number in range(4)))
        clock.at += DAY
        await shop.upkeep().tidy()
        await shop.add(batch(9, "rival", at=clock()))
        async with running(shop.worker()):
            tally = await shop.ended(5)
        (task,) = (await shop.stats())["tasks"]
    assert tally == {("rival", "dropped", "too_old"): 4, ("rival", "done", None): 1}
    coverage = task["comparisons"][0]["coverage"]
    assert (coverage["eligible"], coverage["sent"], coverage["dropped"]) == (5, 1, {"too_old": 4})


async def test_jobs_from_before_a_clock_went_back_are_done_and_those_after_it_too(
    tmp_path: Path, rival: Upstream
) -> None:
    clock = Clock()
    async with workshop(tmp_path, candidate("rival", rival.base_url), now=clock) as shop:
        await shop.add(*(batch(number, "rival", at=clock()) for number in range(3)))
        clock.at -= DAY
        await shop.add(*(batch(number, "rival", at=clock()) for number in range(3, 6)))
        async with running(shop.worker()):
            await shop.upkeep().tidy()
            tally = await ended(tmp_path, 6)
    assert tally == {"done": 6}


async def test_a_rest_from_before_a_clock_went_back_does_not_last_a_day(tmp_path: Path, rival: Upstream) -> None:
    clock = Clock()
    async with workshop(tmp_path, candidate("rival", rival.base_url), now=clock) as shop:
        await shop.store.jobs.rest_origin(rival.base_url, until=clock() + timedelta(seconds=300))
        worker = shop.worker()
        await worker._read_rests()
        assert worker._resting_until(worker._desks["rival"].origin) == NOON + timedelta(seconds=300)
        clock.at -= DAY
        await shop.add(batch(1, "rival", at=clock()))
        async with running(worker, shop.worker("another")):
            tally = await shop.ended(1)
        # A new rest holds, though the old one is later.
        until = clock() + timedelta(seconds=60)
        worker._rest(worker._desks["rival"].origin, until)
        assert worker._resting_until(worker._desks["rival"].origin) == until
    assert tally == {("rival", "done", None): 1}


async def test_a_clock_that_went_back_does_not_keep_deleted_prompts_in_the_log(tmp_path: Path, rival: Upstream) -> None:
    clock = Clock()
    async with workshop(tmp_path, candidate("rival", rival.base_url), now=clock, content="none") as shop:
        shop.store.jobs._clock = clock
        shop.store.jobs._scrubbed_at = clock()
        secret = "a prompt that shows"
        await shop.add(batch(1, "rival", request=question(prompt=secret), at=clock()))
        async with running(shop.worker()):
            await shop.ended(1)
        clock.at -= DAY
        await shop.upkeep().tidy()
        assert holding(tmp_path, secret) == []


def holding(folder: Path, text: str) -> list[str]:
    """Which files hold this text."""
    return [file.name for file in folder.iterdir() if text.encode() in file.read_bytes()]


def test_no_duration_is_measured_by_the_wall_clock() -> None:
    """`time.time()` is the wall clock as a number: nothing of ours reads it, but the stand-in for an API does."""
    sources = [
        file
        for package in (gateway, shadow)
        for file in Path(package.__file__ or "").parent.rglob("*.py")
        if "simulator" not in file.parts
    ]
    assert len(sources) > 80
    assert [file.name for file in sources if re.search(r"\btime\.time\(|\butcnow\(", file.read_text())] == []
