"""The day's money, paced."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shadow.budget import INITIAL_SHARE, budget_day

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


def test_the_first_share_is_there_at_midnight() -> None:
    day = budget_day(MIDNIGHT, cap_usd=5.0)

    assert day.day == "2026-11-23"
    assert day.cap_usd == 5.0
    assert day.paced_usd == pytest.approx(0.5)


def test_half_of_the_rest_has_accrued_at_noon() -> None:
    assert budget_day(MIDNIGHT + timedelta(hours=12), cap_usd=10.0).paced_usd == pytest.approx(1 + 4.5)


def test_the_whole_cap_and_never_more_is_there_at_the_end_of_the_day() -> None:
    last = budget_day(MIDNIGHT + timedelta(days=1) - timedelta(microseconds=1), cap_usd=10.0)

    assert last.paced_usd == pytest.approx(10.0)
    assert last.paced_usd <= 10.0


def test_the_paced_part_grows_all_day_from_the_first_share_to_the_cap() -> None:
    shares = [budget_day(MIDNIGHT + timedelta(minutes=m), cap_usd=1.0).paced_usd for m in range(0, 24 * 60, 7)]

    assert shares == sorted(shares)
    assert shares[0] == INITIAL_SHARE


def test_the_day_is_the_utc_day_whatever_the_zone_of_the_clock() -> None:
    tokyo = timezone(timedelta(hours=9))

    assert budget_day(datetime(2026, 11, 24, 3, tzinfo=tokyo), cap_usd=1.0).day == "2026-11-23"


def test_no_money_means_nothing_accrues() -> None:
    assert budget_day(MIDNIGHT + timedelta(hours=23), cap_usd=0.0).paced_usd == 0.0
