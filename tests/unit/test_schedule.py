"""Cron, time zones, daylight saving and downtime: when the weekly run is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.schedule import Schedule, ScheduleError, due_period, latest_slot, next_run, period_key, schedule_of

WEEKLY = schedule_of("0 3 * * sun")
BERLIN = "Europe/Berlin"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def slots(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    found, at = [], start
    while (at := next_run(at, schedule)) < end:
        found.append(at)
    return found


def test_the_default_is_sunday_at_three() -> None:
    assert next_run(utc(2026, 11, 27, 12), WEEKLY) == utc(2026, 11, 29, 3)
    assert next_run(utc(2026, 11, 29, 3), WEEKLY) == utc(2026, 12, 6, 3)
    assert latest_slot(utc(2026, 11, 29, 3), WEEKLY) == utc(2026, 11, 29, 3)
    assert latest_slot(utc(2026, 11, 29, 2, 59, 59), WEEKLY) == utc(2026, 11, 22, 3)
    assert WEEKLY.explained() == "At 03:00 on Sunday (UTC)"


def test_the_hour_is_the_zones_in_summer_and_in_winter() -> None:
    schedule = schedule_of("0 3 * * sun", BERLIN)
    assert next_run(utc(2026, 7, 1), schedule) == utc(2026, 7, 5, 1)
    assert next_run(utc(2026, 12, 1), schedule) == utc(2026, 12, 6, 2)


def test_a_slot_in_the_hour_that_spring_leaves_out_comes_once_right_after_it() -> None:
    schedule = schedule_of("30 2 * * *", BERLIN)  # on 2026-03-29 there is no 02:30
    found = slots(schedule, utc(2026, 3, 28, 0), utc(2026, 3, 31, 0))
    assert found == [utc(2026, 3, 28, 1, 30), utc(2026, 3, 29, 1, 0), utc(2026, 3, 30, 0, 30)]
    assert found[1].astimezone(ZoneInfo(BERLIN)).strftime("%H:%M") == "03:00"


def test_a_slot_in_the_hour_that_autumn_repeats_comes_once() -> None:
    schedule = schedule_of("30 2 * * *", BERLIN)  # on 2026-10-25 there are two
    found = slots(schedule, utc(2026, 10, 24, 12), utc(2026, 10, 26, 12))
    assert [at.date().isoformat() for at in found] == ["2026-10-25", "2026-10-26"]


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"])
@pytest.mark.parametrize("cron", ["0 3 * * sun", "30 2 * * sun", "30 1 * * sun"])
def test_a_year_of_sundays_is_52_or_53_periods_in_every_zone(zone: str, cron: str) -> None:
    found = slots(schedule_of(cron, zone), utc(2026, 1, 1), utc(2027, 1, 1))
    assert len(found) in {52, 53}
    assert len({period_key(at) for at in found}) == len(found)
    assert all(timedelta(days=6, hours=22) <= b - a <= timedelta(days=7, hours=2) for a, b in pairwise(found))


@given(
    st.integers(0, 2 * 365 * 86_400).map(lambda seconds: utc(2026, 1, 1) + timedelta(seconds=seconds)),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu", "UTC"]),
    st.sampled_from(["0 3 * * sun", "30 2 * * *", "15 1 * * *", "*/30 * * * *", "0 */2 * * *", "30 0 1 * *"]),
)
def test_looking_back_from_a_slot_finds_it_and_every_slot_lies_ahead(now: datetime, zone: str, cron: str) -> None:
    schedule = schedule_of(cron, zone)
    coming = next_run(now, schedule)
    assert coming > now
    assert latest_slot(coming, schedule) == coming
    assert latest_slot(now, schedule) <= now


def test_after_weeks_of_downtime_one_run_is_due_and_it_is_the_latest() -> None:
    last = utc(2026, 11, 1, 3)
    assert due_period(utc(2026, 11, 27), WEEKLY, known_since=LONG_AGO, last_slot=last) == "2026-11-22T03:00:00Z"
    caught_up = utc(2026, 11, 22, 3)
    assert due_period(utc(2026, 11, 27), WEEKLY, known_since=LONG_AGO, last_slot=caught_up) is None
    assert due_period(utc(2026, 11, 29, 3), WEEKLY, known_since=LONG_AGO, last_slot=caught_up) == "2026-11-29T03:00:00Z"


def test_a_new_schedule_does_not_catch_up_on_the_time_before_it() -> None:
    seen = utc(2026, 11, 27, 12)
    assert due_period(utc(2026, 11, 28), WEEKLY, known_since=seen, last_slot=None) is None
    assert due_period(utc(2026, 11, 29, 3, 0, 5), WEEKLY, known_since=seen, last_slot=None) == "2026-11-29T03:00:00Z"


def test_a_schedule_first_seen_within_the_second_of_its_slot_is_due() -> None:
    seen = datetime(2026, 11, 29, 3, 0, 0, 400_000, tzinfo=UTC)
    assert due_period(seen, WEEKLY, known_since=seen, last_slot=None) == "2026-11-29T03:00:00Z"


def test_a_clock_that_went_back_makes_nothing_due() -> None:
    assert due_period(utc(2026, 11, 20), WEEKLY, known_since=LONG_AGO, last_slot=utc(2026, 11, 22, 3)) is None


@pytest.mark.parametrize(
    ("cron", "zone", "told"),
    [
        ("sunday", "UTC", "needs five fields of cron, such as '0 3 * * sun', not 'sunday'"),
        ("0 0 3 * * sun", "UTC", "needs five fields of cron, such as '0 3 * * sun', not '0 0 3 * * sun'"),
        ("0 25 * * *", "UTC", "needs cron such as '0 3 * * sun', not '0 25 * * *' (bad hour)"),
        ("0 0 31 2 *", "UTC", "needs cron such as '0 3 * * sun', not '0 0 31 2 *' (bad day-of-month)"),
        ("0 3 * * *", "Mars/Base", "'Mars/Base' is no time zone this machine knows; take a name such as Europe/Berlin"),
        ("0 3 * * *", "../etc/passwd", "'../etc/passwd' is no time zone this machine knows"),
        ("0 3 * * *", "", "'' is no time zone this machine knows"),
    ],
)
def test_what_is_no_schedule_is_told_what_would_be_one(cron: str, zone: str, told: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        schedule_of(cron, zone)
    assert str(refused.value).startswith(told)
