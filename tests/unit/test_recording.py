"""What the copies of drips cost: slices of few bytes, from either side."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime

import pytest

from gateway.recording import Recording, TeeBudget
from shadow.records import Dialect


def recording(budget: TeeBudget, *, id: str = "1") -> Recording:  # noqa: A002  (the field's own name)
    return Recording(
        id=id,
        started_at=datetime.now(UTC),
        method="POST",
        path="/v1/messages",
        query="",
        dialect=Dialect.ANTHROPIC_MESSAGES,
        origin="http://127.0.0.1:1",
        budget=budget,
        max_body_bytes=4 << 20,
        t_start=0.0,
    )


@pytest.mark.parametrize("size", [1, 2, 7, 40, 200])
def test_a_copy_counts_all_the_memory_it_takes_however_small_its_slices_are(size: int) -> None:
    budget = TeeBudget(limit=64 << 20)
    copy = recording(budget)
    source = bytes(range(256)) * 4
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            copy.response_slice(source[number % 24 : number % 24 + size], number * 0.001)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert copy.copy_lost is None
    assert copy.taken == budget.used >= after - before


def test_a_drip_of_bytes_stays_a_list_that_is_quick_to_handle_and_keeps_its_bytes_and_its_order_of_time() -> None:
    budget = TeeBudget(limit=64 << 20)
    copy = recording(budget)
    sent = bytes(number % 251 for number in range(300_000))
    for number in range(len(sent)):
        copy.request_slice(sent[number : number + 1])
        copy.response_slice(sent[number : number + 1], float(number))
    assert copy.request is not None
    assert copy.response is not None
    assert b"".join(copy.request) == b"".join(copy.response) == sent
    assert max(len(copy.request), len(copy.response)) <= 40_000
    assert len(copy.response_times) == len(copy.response)
    last_byte_of_each = -1
    for slice_, at in zip(copy.response, copy.response_times, strict=True):
        last_byte_of_each += len(slice_)
        assert at == last_byte_of_each
    copy.free()
    assert (budget.used, copy.taken) == (0, 0)


def test_a_drip_beyond_the_memory_for_copies_is_given_up() -> None:
    budget = TeeBudget(limit=1 << 20)
    copy = recording(budget)
    for number in range(20_000):
        copy.response_slice(b"ab", float(number))
    assert (copy.copy_lost, copy.response, budget.used) == ("tee_full", None, 0)


def test_what_comes_after_a_copy_was_given_up_is_counted_and_not_kept() -> None:
    budget = TeeBudget(limit=64 << 20)
    copy = recording(budget)
    for _ in range(2):
        copy.request_slice(bytes(3 << 20))
    copy.request_slice(b"more")
    assert (copy.copy_lost, copy.request, copy.request_bytes, budget.used) == ("too_large", None, (6 << 20) + 4, 0)
