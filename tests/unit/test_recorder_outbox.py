"""What waits for the store stays in bounds, and what is given up is counted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.outbox import Outbox, Parcel
from gateway.reading import ExchangeReader, ReadExchange
from gateway.recording import TeeBudget
from tests.support.recordings import STARTED, recording, settings

if TYPE_CHECKING:
    from datetime import datetime

READER = ExchangeReader(settings())
BODY_BYTES = READER.read(recording()).body
SIZE = 0 if BODY_BYTES is None else len(BODY_BYTES.request) + len(BODY_BYTES.response)


def read(number: int, *, rest: tuple[str, datetime] | None = None) -> ReadExchange:
    found = READER.read(recording(id=f"x{number}"))
    return ReadExchange(record=found.record, jobs=found.jobs, body=found.body, rest=rest)


def outbox(*, max_records: int = 100, bodies: int = 100) -> Outbox:
    return Outbox(max_records=max_records, max_body_bytes=bodies * SIZE)


def ids(parcel: Parcel) -> list[str]:
    return [record.id for record in parcel.batch().exchanges]


def fates(parcel: Parcel) -> list[tuple[str, str | None]]:
    return [(job.state, job.reason) for job in parcel.batch().jobs]


async def test_records_leave_in_the_order_in_which_they_came_in_parcels_bounded_by_count_and_bytes() -> None:
    box, budget = outbox(), TeeBudget(limit=1 << 20)
    for number in range(7):
        box.put(read(number), budget)

    by_count = box.take(records=3, body_bytes=1 << 20)
    by_bytes = box.take(records=100, body_bytes=2 * SIZE)
    rest = box.take(records=100, body_bytes=1)

    assert [ids(parcel) for parcel in (by_count, by_bytes, rest)] == [["x0", "x1", "x2"], ["x3", "x4"], ["x5"]]
    assert len(by_count.batch().bodies) == 3
    assert len(box) == 1


async def test_a_body_holds_its_bytes_of_the_budget_until_the_store_has_it() -> None:
    box, budget = outbox(), TeeBudget(limit=1 << 20)
    box.put(read(1), budget)
    box.put(read(2), budget)
    parcel = box.take(records=1, body_bytes=1 << 20)
    held = budget.used

    box.settle(parcel)

    assert (held, budget.used) == (2 * SIZE, SIZE)
    assert box.counters == {"recorded": 1}


async def test_a_body_that_does_not_fit_the_budget_is_dropped_and_the_record_stays() -> None:
    box = outbox()
    box.put(read(1), TeeBudget(limit=SIZE - 1))

    parcel = box.take(records=10, body_bytes=1 << 20)

    assert ids(parcel) == ["x1"]
    assert fates(parcel) == [("dropped", "tee_full")]
    assert parcel.batch().dropped == {"tee_full": 1}
    assert parcel.batch().bodies == []


async def test_when_bodies_are_too_many_the_oldest_goes_and_its_record_stays() -> None:
    box, budget = outbox(bodies=2), TeeBudget(limit=1 << 20)
    for number in range(4):
        box.put(read(number), budget)

    parcel = box.take(records=10, body_bytes=1 << 20)

    assert fates(parcel) == [("dropped", "buffer_full")] * 2 + [("pending", None)] * 2
    assert [body.exchange_id for body in parcel.batch().bodies] == ["x2", "x3"]
    assert parcel.batch().dropped == {"buffer_full": 2}
    assert budget.used == 2 * SIZE


async def test_when_records_are_too_many_the_oldest_goes_with_its_jobs() -> None:
    box, budget = outbox(max_records=2), TeeBudget(limit=1 << 20)
    for number in range(5):
        box.put(read(number), budget)

    parcel = box.take(records=10, body_bytes=1 << 20)

    assert ids(parcel) == ["x3", "x4"]
    assert parcel.batch().dropped == {"buffer_full": 3}
    assert budget.used == 2 * SIZE


async def test_what_the_store_did_not_take_waits_in_front_and_the_bounds_hold_again() -> None:
    box, budget = outbox(max_records=3, bodies=2), TeeBudget(limit=1 << 20)
    for number in range(2):
        box.put(read(number), budget)
    failed = box.take(records=10, body_bytes=1 << 20)
    for number in range(2, 5):
        box.put(read(number), budget)

    box.put_back(failed)
    parcel = box.take(records=10, body_bytes=1 << 20)
    box.settle(parcel)

    assert ids(parcel) == ["x2", "x3", "x4"]
    assert [job.state for job in parcel.batch().jobs].count("pending") <= 2
    assert budget.used == 0
    assert box.is_empty


async def test_what_is_being_written_is_not_given_up_meanwhile() -> None:
    box, budget = outbox(bodies=1), TeeBudget(limit=1 << 20)
    box.put(read(1), budget)
    under_way = box.take(records=1, body_bytes=1 << 20)

    box.put(read(2), budget)

    assert fates(under_way) == [("pending", None)]
    assert fates(box.take(records=1, body_bytes=1 << 20)) == [("dropped", "buffer_full")]


async def test_counts_and_rests_leave_once_and_come_back_when_they_were_not_taken() -> None:
    box = outbox()
    soon, late = STARTED + timedelta(seconds=1), STARTED + timedelta(seconds=9)
    box.lose("buffer_full", 2)
    box.lose("tee_full", 0)
    box.put(read(1, rest=("https://a", late)), TeeBudget(limit=1 << 20))
    failed = box.take(records=10, body_bytes=1 << 20)
    box.lose("buffer_full")
    box.put(read(2, rest=("https://a", soon)), TeeBudget(limit=1 << 20))

    box.put_back(failed)
    parcel = box.take(records=10, body_bytes=1 << 20)

    assert parcel.batch().dropped == {"buffer_full": 3}
    assert parcel.batch().origin_rests == {"https://a": late}
    assert box.is_empty


async def test_it_is_due_when_enough_records_wait_or_the_patience_ends() -> None:
    box, budget = outbox(), TeeBudget(limit=1 << 20)
    waiting = asyncio.create_task(box.wait_until_due(records=2, patience_s=60))
    await asyncio.sleep(0)
    assert not waiting.done()
    box.put(read(1), budget)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    box.put(read(2), budget)
    await asyncio.wait_for(waiting, 5)

    box.take(records=1, body_bytes=1 << 20)
    await asyncio.wait_for(box.wait_until_due(records=2, patience_s=0.001), 5)


async def test_a_parcel_is_halved_until_one_record_is_alone() -> None:
    box, budget = outbox(), TeeBudget(limit=1 << 20)
    for number in range(3):
        box.put(read(number), budget)
    box.lose("tee_full")
    parcel = box.take(records=10, body_bytes=1 << 20)

    counts, first, second = parcel.halves()

    assert (ids(counts), ids(first), ids(second)) == ([], ["x0", "x1"], ["x2"])
    assert (counts.dropped, first.dropped) == ({"tee_full": 1}, {})
    assert [part.is_mixed for part in (parcel, counts, first, second)] == [True, False, True, False]
    box.settle(second, refused=True)
    assert box.counters["dropped_unstorable"] == 1


@pytest.mark.parametrize("refused", [True, False])
async def test_settling_nothing_counts_nothing(*, refused: bool) -> None:
    box = outbox()
    box.settle(Parcel(), refused=refused)
    box.put_back(Parcel())

    assert box.is_empty
