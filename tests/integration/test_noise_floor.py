"""The primary asked again: who is drawn, what is kept of it, what it costs, and that no candidate notices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from shadow.records import NOISE_FLOOR, ShadowJob
from shadow.sampling import is_asked_again
from shadow.simulator import Simulator
from shadow.worker import NoiseFloor, WorkerLimits
from tests.support.shadowing import (
    ANSWER,
    KEY,
    PRIMARY,
    batch,
    candidate,
    eventually_async,
    question,
    running,
    workshop,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shadow.records import Batch
    from tests.support.shadowing import Workshop


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


NO_JSON = ANSWER.replace(b'{\\"answer\\": 4}', b"four")


def with_noise(given: Batch) -> Batch:
    """The same with the job that asks the primary again, as the live process writes it."""
    (job, *_) = given.jobs
    again = ShadowJob(
        exchange_id=job.exchange_id,
        candidate=NOISE_FLOOR,
        conversation=job.conversation,
        task=job.task,
        primary=job.primary,
        created_at=job.created_at,
        counted=False,
    )
    return replace(given, jobs=[*given.jobs, again])


def turn(number: int, conversation: str = "", **given: Any) -> Batch:
    """One exchange of a conversation whose hash is as real ones are."""
    return with_noise(batch(number, "rival", conversation=conversation or f"{number:032x}", **given))


def floor(simulator: Simulator, *, rate: float, first: int) -> NoiseFloor:
    return NoiseFloor(primary=candidate(NOISE_FLOOR, simulator.base_url), rate=rate, first=first)


async def all_ended(shop: Workshop) -> bool:
    async def look() -> bool:
        return (await shop.store.reader.health())["pending_jobs"] == 0 and not any(
            worker._running for worker in shop.workers
        )

    return await eventually_async(look, within_s=30, what="the end of all jobs")


async def test_the_primary_is_asked_again_and_no_candidate_sees_anything_of_it(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(*(turn(number, response=NO_JSON) for number in range(1, 5)))
        async with running(shop.worker(noise_floor=floor(simulator, rate=0, first=3))):
            tally = await shop.ended(4)
            await all_ended(shop)
        stats = await shop.stats()
        spent = await shop.spent()
        answers = await shop.answers()
        exchange = await shop.store.reader.exchange("exchange-0001")
        pairs, _ = await shop.store.reader.pairs(task=None, candidate=None, sort="newest", limit=50, cursor=None)

    assert tally == {("rival", "done", None): 4}  # coverage is exact for the candidate and knows nobody else
    assert {row["candidate"] for row in answers} == {row["candidate"] for row in pairs} == {"rival"}
    (task,) = stats["tasks"]
    assert [row["model"] for row in task["models"]] == [PRIMARY, "rival"]
    (comparison,) = task["comparisons"]
    found = comparison["noise_floor"]
    asked_again = [call for call in simulator.log.calls() if call.model == PRIMARY]
    assert 3 <= len(asked_again) <= 4  # those begun together cannot know of one another
    assert {call.key for call in asked_again} == {KEY}
    assert (found["n"], found["conversations"], found["unit"]) == (len(asked_again), len(asked_again), "pairs")
    assert found["answered"] == len(asked_again)
    assert (found["identical"], found["discordance"]) == (0.0, 1.0)  # live it said no JSON, again it does
    assert found["reason"] is None
    assert found["cost_usd"] > 0
    candidates_usd = sum(row["cost_billed_usd"] for row in answers)
    assert spent["spent_usd"] == pytest.approx(candidates_usd + found["cost_usd"], abs=1e-7)
    assert spent["reserved_usd"] == 0
    assert exchange is not None
    assert {job["candidate"]: bool(job["counted"]) for job in exchange["jobs"]} == {"rival": True, NOISE_FLOOR: False}


async def test_beyond_the_first_ones_a_share_of_the_conversations_is_drawn(
    tmp_path: Path, simulator: Simulator
) -> None:
    conversations = [f"{number:032x}"[::-1] for number in (1, 1 << 126, 3 << 126)]
    drawn = [conversation for conversation in conversations if is_asked_again(conversation, 0.3)]
    assert len(drawn) == 2
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(*(turn(number, conversation) for number, conversation in enumerate(conversations, start=1)))
        async with running(shop.worker(noise_floor=floor(simulator, rate=0.3, first=0))):
            await shop.ended(3)
            await all_ended(shop)
        rows = await shop.store.reader.noise_floor(since=shop._long_ago, until=shop._far_ahead)
        left = await shop.store.reader.exchange("exchange-0003")
    assert {row["conversation"] for row in rows} == set(drawn)
    assert left is not None
    reasons = {job["candidate"]: (job["state"], job["reason"]) for job in left["jobs"]}
    assert reasons == {"rival": ("done", None), NOISE_FLOOR: ("skipped", "not_in_noise_floor")}


async def test_a_later_turn_of_a_drawn_conversation_is_asked_again_too(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        worker = shop.worker(noise_floor=floor(simulator, rate=0, first=1))
        async with running(worker):
            for number, conversation in enumerate(("a" * 32, "b" * 32, "a" * 32), start=1):
                await shop.add(turn(number, conversation))
                await shop.ended(number)
                await all_ended(shop)
        rows = await shop.store.reader.noise_floor(since=shop._long_ago, until=shop._far_ahead)
    assert [row["exchange_id"] for row in rows] == ["exchange-0001", "exchange-0003"]


async def test_what_asking_again_may_cost_is_reserved_and_beyond_the_budget_it_is_not_asked(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with workshop(
        tmp_path, candidate("rival", simulator.base_url), limits=WorkerLimits(budget_usd_per_day=1e-9)
    ) as shop:
        await shop.add(turn(1))
        async with running(shop.worker(noise_floor=floor(simulator, rate=1, first=30))):
            await shop.ended(1)
            await all_ended(shop)
        exchange = await shop.store.reader.exchange("exchange-0001")
    assert exchange is not None
    assert {job["reason"] for job in exchange["jobs"]} == {"over_budget"}
    assert simulator.log.calls() == []


async def test_the_same_answer_twice_is_identical_and_goes_with_its_exchange(
    tmp_path: Path, simulator: Simulator
) -> None:
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}
    async with httpx2.AsyncClient(base_url=simulator.base_url, trust_env=False, verify=False) as app:
        live = (await app.post("/v1/messages", content=question(), headers=headers)).content
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(turn(1, response=live))
        async with running(shop.worker(noise_floor=floor(simulator, rate=1, first=0))):
            await shop.ended(1)
            await all_ended(shop)
        (row,) = await shop.store.reader.noise_floor(since=shop._long_ago, until=shop._far_ahead)
        pruned = await shop.store.reader.prune(before=shop._far_ahead)
        after = await shop.store.reader.noise_floor(since=shop._long_ago, until=shop._far_ahead)
    assert (row["primary"], row["evaluator"], row["outcome"]) == (PRIMARY, "is-json", "ok")
    assert (row["identical"], row["difference"]) == (True, 0.0)
    assert (pruned, after) == (1, [])
