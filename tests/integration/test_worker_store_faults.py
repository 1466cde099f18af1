"""The worker while its store fails it: a real store behind a door that refuses some calls."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from shadow.simulator import Simulator
from shadow.store.base import StoreError, UnstorableError
from shadow.worker import WorkerLimits, utc_now
from tests.support.shadowing import batch, candidate, eventually_async, running, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shadow.store.base import Jobs
    from tests.support.shadowing import Workshop


class Refusing:
    """The real jobs, except that the calls named in `faults` raise, each as often as its list is long."""

    def __init__(self, jobs: Jobs, **faults: list[Exception]) -> None:
        self._jobs = jobs
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._jobs, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._faults.get(name):
                raise self._faults[name].pop()
            return await real(*args, **kwargs)

        return call


class Door:
    """A store whose jobs are `Refusing`."""

    def __init__(self, store: Any, **faults: list[Exception]) -> None:
        self.jobs = Refusing(store.jobs, **faults)
        self.reader = store.reader
        self.intake = store.intake


def away(times: int) -> list[Exception]:
    return [StoreError("store shadow.db cannot be used: database is locked") for _ in range(times)]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.mark.parametrize("call", ["lease", "origin_rests", "renew"])
async def test_a_store_that_is_away_is_tried_again_and_told_twice(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    caplog.set_level(logging.WARNING, logger="shadow.worker")
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival"))
        shop.store = Door(shop.store, **{call: away(2)})  # type: ignore[assignment]  # of the same shape
        async with running(shop.worker()):
            tally = await shop.ended(1)

    assert tally == {("rival", "done", None): 1}
    assert [record.getMessage() for record in caplog.records] == [
        "cannot lease shadow jobs, trying again: store shadow.db cannot be used: database is locked",
        "can lease shadow jobs again",
    ]


async def test_a_fault_of_ours_in_the_loop_does_not_end_it(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival"))
        shop.store = Door(shop.store, lease=[KeyError("a prompt")])  # type: ignore[assignment]
        async with running(shop.worker()):
            tally = await shop.ended(1)

    assert tally == {("rival", "done", None): 1}
    assert "KeyError at test_worker_store_faults.py" in caplog.text
    assert "a prompt" not in caplog.text


async def test_a_job_that_could_not_be_reserved_is_done_later(tmp_path: Path, simulator: Simulator) -> None:
    bounds = WorkerLimits(budget_usd_per_day=1000, lease_s=0.5)
    async with workshop(tmp_path, candidate("rival", simulator.base_url), limits=bounds) as shop:
        await shop.add(batch(1, "rival"))
        whole = shop.store
        shop.store = Door(whole, reserve=away(10_000))  # type: ignore[assignment]
        async with running(shop.worker("first")):
            await eventually_async(lambda: _is(shop.tally, {("rival", "leased", None): 1}), what="a leased job")
        shop.store = whole
        tidying = asyncio.create_task(shop.upkeep().run())
        async with running(shop.worker("second")):
            tally = await shop.ended(1)
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)

    assert tally == {("rival", "done", None): 1}
    assert len(simulator.log.calls()) == 1


async def test_a_paid_answer_is_offered_to_the_store_again(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival"))
        shop.store = Door(shop.store, finish=away(2))  # type: ignore[assignment]
        async with running(shop.worker()):
            tally = await shop.ended(1)

    assert tally == {("rival", "done", None): 1}
    assert len(simulator.log.calls()) == 1


async def test_a_paid_answer_the_store_never_takes_is_counted_as_lost(tmp_path: Path, simulator: Simulator) -> None:
    bounds = WorkerLimits(budget_usd_per_day=1000, lease_s=0.5, finish_delays_s=(0.01, 0.01), drain_s=0.2)
    async with workshop(tmp_path, candidate("rival", simulator.base_url), limits=bounds) as shop:
        await shop.add(batch(1, "rival"))
        shop.store = Door(shop.store, finish=away(1000))  # type: ignore[assignment]
        async with running(shop.worker("first")):
            await eventually_async(lambda: asyncio.sleep(0, simulator.log.calls()), what="the call")
        async with running(shop.worker("second")):
            await eventually_async(lambda: _lost(shop), what="a lost job")
        tally = await shop.tally()

    assert tally == {("rival", "dropped", "lost_on_crash"): 1}
    assert len(simulator.log.calls()) == 1


async def test_a_paid_answer_the_store_can_never_hold_is_dropped_and_stays_paid(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival"))
        shop.store = Door(shop.store, finish=[UnstorableError("refused")])  # type: ignore[assignment]
        worker = shop.worker()
        async with running(worker):
            tally = await shop.ended(1)
        spent = await shop.spent()

    assert tally == {("rival", "dropped", "worker_error"): 1}
    assert worker.errors == {"UnstorableError": 1}
    assert spent["reserved_usd"] == 0
    assert spent["spent_usd"] > 0


async def test_a_rest_that_could_not_be_shared_still_holds_here(tmp_path: Path, simulator: Simulator) -> None:
    bounds = WorkerLimits(budget_usd_per_day=1000, max_concurrency=1)
    async with workshop(tmp_path, candidate("rival~529", simulator.base_url), limits=bounds) as shop:
        await shop.add(batch(1, "rival~529"), batch(2, "rival~529"))
        shop.store = Door(shop.store, rest_origin=away(1))  # type: ignore[assignment]
        async with running(shop.worker()):
            await shop.ended(1)
            await asyncio.sleep(0.6)

    assert len(simulator.log.calls()) == 1


async def test_a_job_that_was_being_prepared_at_the_stop_goes_back_unsent(tmp_path: Path, simulator: Simulator) -> None:
    loop = asyncio.get_running_loop()
    async with workshop(tmp_path, candidate("rival", simulator.base_url, same_origin=False)) as shop:

        class Stopping:
            """A redactor during whose work the stop comes."""

            def redact_json(self, body: bytes) -> tuple[bytes, bool]:
                asyncio.run_coroutine_threadsafe(stop(), loop).result(5)
                return body, False

        async def stop() -> None:
            shop.workers[0].stop()

        shop.redactor = Stopping()  # type: ignore[assignment]
        await shop.add(batch(1, "rival"))
        await asyncio.wait_for(shop.worker().run(), 10)
        tally = await shop.tally()

    assert tally == {("rival", "pending", None): 1}
    assert simulator.log.calls() == []


async def test_upkeep_goes_on_after_a_store_that_was_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with workshop(tmp_path) as shop:
        await shop.add(*(batch(n, "nobody") for n in range(4)))
        shop.store = Door(shop.store, recover=away(2))  # type: ignore[assignment]
        keeping = asyncio.create_task(shop.upkeep(queue_size=1).run())
        await eventually_async(lambda: _is(shop.tally, DROPPED), what="a shorter queue")
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    assert caplog.text.count("cannot tidy the shadow jobs, trying again") == 1


def test_the_worker_reads_utc() -> None:
    assert utc_now().tzname() == "UTC"


DROPPED = {("nobody", "dropped", "queue_full"): 3, ("nobody", "pending", None): 1}


async def _lost(shop: Workshop) -> int:
    return (await shop.upkeep().tidy())["lost_on_crash"]


async def _is(tally: Any, wanted: Any) -> bool:
    return bool(await tally() == wanted)
