"""Memory, files and tasks are bounded by the configuration, whatever the traffic: short form of `make soak`."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from gateway.courier import Courier
from gateway.recording import TeeBudget
from gateway.settings import RecordingSettings
from tests.support import bounds
from tests.support.bounds import Figure, Rig
from tests.support.heavy import Heavy
from tests.support.waiting import eventually_async
from tests.unit.test_recording import recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@pytest.fixture(scope="module")
def heavy() -> Iterator[Heavy]:
    with Heavy() as one:
        yield one


@pytest.fixture(scope="module")
def rig(heavy: Heavy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig"), heavy, upstream={"max_connections": 500}) as one:
        yield one


def hold(figures: Sequence[Figure]) -> None:
    assert figures
    assert not [str(figure) for figure in figures if not figure.ok]


def test_a_hundred_megabytes_up_cost_no_more_than_twenty(rig: Rig) -> None:
    hold(bounds.upload(rig))


def test_an_event_of_fifty_megabytes_costs_no_more_than_twice_the_bound_of_a_copy(rig: Rig) -> None:
    hold(bounds.giant_event(rig))


def test_gzip_bombs_of_the_primary_and_of_a_candidate_are_unpacked_within_bounds(rig: Rig) -> None:
    hold(bounds.bomb(rig))


def test_a_large_answer_to_a_slow_reader_is_held_nowhere(rig: Rig) -> None:
    hold(bounds.slow_giant(rig, size=100_000_000))


def test_clients_that_do_not_read_cost_less_than_a_mebibyte_each(rig: Rig) -> None:
    hold(bounds.slow_readers(rig, readers=30))


def test_idle_clients_are_cheap_and_those_beyond_max_connections_are_refused(rig: Rig) -> None:
    hold(bounds.idle_clients(rig, clients=500))


def test_clients_that_hang_up_leave_no_connection_file_descriptor_or_task_behind(rig: Rig) -> None:
    hold(bounds.aborts(rig, count=300, at_once=15))


async def test_large_copies_wait_for_a_busy_scribe_as_they_are_and_all_arrive(tmp_path: Path) -> None:
    settings = RecordingSettings(
        store=f"sqlite:///{tmp_path}/shadow.db", shadow_enabled=True, tee_memory_bytes=64 << 20
    )
    budget = TeeBudget(limit=settings.tee_memory_bytes)
    courier = Courier(settings, budget=budget)
    await courier.start()
    try:
        assert courier._scribe is not None
        scribe = courier._scribe.pid
        os.kill(scribe, signal.SIGSTOP)
        try:
            for number in range(50):
                copy = recording(budget, id=f"{number:032x}")
                copy.request_slice(b"{}" + b" " * 500_000)
                courier.submit(copy)
                await asyncio.sleep(0)
            assert budget.used > 40 * 500_000  # else they were packed: a second copy that nobody counts
        finally:
            os.kill(scribe, signal.SIGCONT)

        async def all_left() -> bool:
            await asyncio.sleep(0.01)
            return budget.used == 0

        await eventually_async(all_left, within_s=30, what="the end of the wait")
    finally:
        counters = await courier.close()
    assert counters["recorded"] == 50
