"""`evaluators: auto` and the noise floor with a judge model: what decides, what it costs, what trust is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from shadow.judge.options import DEFAULT_MODEL
from shadow.records import NOISE_FLOOR, ShadowJob
from shadow.simulator import Script, SimModel, Simulator
from shadow.stats.noise import self_differences
from shadow.worker import NoiseFloor
from tests.support.shadowing import ANSWER, PRIMARY, batch, candidate, eventually_async, question, running, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shadow.records import Batch

JUDGE = DEFAULT_MODEL
RIGHT = ANSWER.replace(b'{\\"answer\\": 4}', b"The answer is 4.")
WRONG = ANSWER.replace(b'{\\"answer\\": 4}', b"The answer is 5.")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(Script(models=(SimModel(name=JUDGE, judge="truthful"),))) as simulator:
        yield simulator


def turn(number: int, prompt: str, response: bytes) -> Batch:
    given = batch(number, "rival", conversation=f"{number:032x}", request=question(prompt=prompt), response=response)
    (job,) = given.jobs
    again = ShadowJob(
        exchange_id=job.exchange_id,
        candidate=NOISE_FLOOR,
        conversation=job.conversation,
        task=job.task,
        primary=job.primary,
        created_at=job.created_at,
        counted=False,
    )
    return replace(given, jobs=[job, again])


async def test_auto_judges_free_text_decides_by_a_failed_check_and_tells_trust_how_the_primary_scatters(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with workshop(
        tmp_path,
        candidate("rival", simulator.base_url),
        evaluators=None,
        judges=(JUDGE,),
        judges_at=simulator.base_url,
    ) as shop:
        await shop.add(turn(1, "What is 2 + 2?", RIGHT), turn(2, "What is 2 + 2?", WRONG))
        floor = NoiseFloor(primary=candidate(NOISE_FLOOR, simulator.base_url), rate=1.0)
        async with running(shop.worker(noise_floor=floor)):
            await shop.ended(2)

            async def look() -> bool:
                return not any(worker._running for worker in shop.workers) and (
                    (await shop.store.reader.health())["pending_jobs"] == 0
                )

            await eventually_async(look, within_s=30)
        answers = {row["exchange_id"]: row for row in await shop.answers()}
        rows = await shop.store.reader.noise_floor(since=shop._long_ago, until=shop._far_ahead)
        stats = await shop.stats()
        spent = await shop.spent()

    assert answers["exchange-0001"]["quality_diff"] == 0.0
    assert answers["exchange-0002"]["quality_diff"] == 1.0  # the candidate calculates right, live it was wrong
    assert {row["exchange_id"]: row["difference"] for row in rows} == {"exchange-0001": 0.0, "exchange-0002": 1.0}
    assert {row["evaluator"] for row in rows} == {"auto"}
    assert self_differences(rows) == {("default", PRIMARY): {0.0: 1, 1.0: 1}}
    (comparison,) = stats["tasks"][0]["comparisons"]
    assert comparison["noise_floor"]["discordance"] == 0.5
    assert comparison["judge"]["aa_evidence"]["n"] == 2
    assert spent["reserved_usd"] == 0
    judged_usd = sum(row["scoring_usd"] for row in rows)
    assert judged_usd > 0
    assert spent["spent_usd"] > judged_usd
