"""kill -9 under load: what is lost is the last half second, nothing is asked or paid twice, the store stays whole.

In short each kind of process is killed once (the supervisor alone: in the mix). `SHADOW_TEST_ROUNDS=20` kills each kind
so many times.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.support.chaos import LOSS_S, ROLES, Audit, Report, Role, Site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROUNDS = int(os.environ.get("SHADOW_TEST_ROUNDS", "0"))
SEED = int(os.environ.get("SHADOW_TEST_SEED", "7"))
SCHEDULES: dict[str, Sequence[Role]] = (
    {role: [role] * ROUNDS for role in ROLES} if ROUNDS else {"each once": ("live", "scribe", "measuring", "all")}
)
BUDGET_USD = 20.0
"""Enough for eight calls at once, by what they may cost at most."""
_FRESH_EVERY = 4
"""A process that dies early again and again is restarted ever later; a new start of `serve` begins anew."""


async def killed(folder: Path, roles: Sequence[Role], *, budget_usd: float = 1e6) -> Report:
    """Kill these one after the other at random times under load, and judge what is left."""
    chance = random.Random(SEED)
    async with Site(folder, seed=SEED, budget_usd=budget_usd) as site:
        watching = asyncio.create_task(site.watch())
        async with site.load:
            for at, role in enumerate(roles):
                await site.recording()
                await asyncio.sleep(LOSS_S + 0.2 + 0.7 * chance.random())  # later than a loss may reach back
                await site.kill(role)
                if at % _FRESH_EVERY == _FRESH_EVERY - 1 and role not in {"supervisor", "all"}:
                    await site.restart()
            await site.recording()
        await site.settle()
        stats = await asyncio.to_thread(site.stats)
        watching.cancel()
        code = await site.stop()
        audit = Audit(site, seconds=0)
        audit.check_stats(stats)
        report = audit.run()
    print(*report.lines(), sep="\n")  # noqa: T201  (pytest shows it beside a failure, and with -s)
    assert code == 0
    return report


@pytest.mark.timeout(180 + 60 * ROUNDS)
@pytest.mark.parametrize("roles", SCHEDULES.values(), ids=SCHEDULES)
async def test_a_kill_costs_the_last_half_second_at_most_and_nothing_twice(
    tmp_path: Path, roles: Sequence[Role]
) -> None:
    report = await killed(tmp_path, roles)
    assert report.violations == []
    assert set(report.lost) <= {"kill live", "kill all"}
    assert report.calls["whole"] > 0


async def test_what_crashes_leave_behind_stays_spent_and_the_budget_is_never_passed(tmp_path: Path) -> None:
    report = await killed(tmp_path, ["measuring"], budget_usd=BUDGET_USD)
    assert report.violations == []
    assert report.jobs["skipped (over_budget)"] > 0
    # One is a product of floats, the other a sum of whole nano-dollars.
    assert report.paid_usd - 1e-6 <= report.spent_usd <= BUDGET_USD
