"""Simulations of money: whether it is cheaper, what a quality point costs, whether spending stays within the cap."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.simulate.streams import ALPHA, NEVER, Array, Row, Size, asymptotic, first, half_widths, proved, rate, t_test
from shadow.store import open_store
from tests.support.stored import NOW, Day, pair_result, sampled, url

if TYPE_CHECKING:
    from collections.abc import Iterator

Chance = np.random.Generator
_KEPT = 0.95
"""1 - min_saving."""


def cheaper(chance: Chance, size: Size) -> Iterator[Row]:
    """The true saving is exactly min_saving, hidden in rare dear answers: is the candidate ever called cheaper?"""
    shape = (size.streams, size.length)
    primary = np.ones(shape)
    runaways = np.where(chance.random(shape) < 0.01, 45.5, 0.5)
    yield _cheaper("half price with 1 % runaways at 45x, true saving = min_saving", runaways, primary, w=50.0)
    for w in (50.0, 500.0):
        tail = np.minimum(chance.lognormal(0, 1.5, shape), w)
        mean = _clipped_mean(w)
        yield _cheaper(
            f"lognormal tail s = 1.5 cut at W = {w:g}x, saving = min_saving", tail * _KEPT / mean, primary, w=w
        )


def _clipped_mean(w: float) -> float:
    """Mean of min(lognormal(0, 1.5), w), from a fixed large sample."""
    return float(np.minimum(np.random.default_rng(1).lognormal(0, 1.5, 20_000_000), w).mean())


def _cheaper(name: str, candidate: Array, primary: Array, *, w: float) -> Row:
    y = (candidate - _KEPT * primary) / w
    return rate(
        name,
        "called cheaper",
        proved(y, 0.0, "less") < NEVER,
        at_most=0.05,
        others={
            "t-test from 50": t_test(-y, 0.0, least=50) < NEVER,
            "asymptotic CS from 50": asymptotic(-y, 0.0) < NEVER,
        },
    )


def cost_per_point(chance: Chance, size: Size) -> Iterator[Row]:
    """Does the interval of the ratio of costs per quality point hold the truth at every n from 50 on?"""
    shape = (size.streams, size.looks)
    turns = np.minimum(chance.geometric(0.35, shape), 20)
    length = chance.lognormal(0, 0.6, shape)
    sides = [_side(chance, turns, length, price=price, quality=quality) for price, quality in ((0.5, 0.78), (1.0, 0.8))]
    truth = np.log((0.5 / 0.78) / (1.0 / 0.8))
    (c1, q1), (c0, q0) = sides
    estimate, deviation = _log_ratio(c1, q1, c0, q0)
    count = np.arange(1, shape[1] + 1)
    published = half_widths(deviation, count, ALPHA)
    missed = np.abs(estimate - truth) > published * (1 + 1 / np.sqrt(count))
    per_turn = np.abs(estimate - truth) > 1.96 * _turn_deviation(turns, deviation) / np.sqrt(np.cumsum(turns, axis=1))
    per_conversation = np.abs(estimate - truth) > 1.96 * deviation / np.sqrt(count)
    yield rate(
        "cost per quality point, ratio; turns of a conversation alike",
        "interval missed the truth at some n >= 50",
        first(missed, least=50) < NEVER,
        at_most=0.05,
        others={
            "the published CS, not widened": first(np.abs(estimate - truth) > published, least=50) < NEVER,
            "usual 95 % interval over turns": first(per_turn, least=50) < NEVER,
            "usual 95 % interval over conversations": first(per_conversation, least=50) < NEVER,
        },
    )


def _side(chance: Chance, turns: Array, length: Array, *, price: float, quality: float) -> tuple[Array, Array]:
    """Sums over a conversation: its turns cost alike (shared length), and succeed alike (a shared chance)."""
    talent = chance.beta(quality * 2, (1 - quality) * 2, turns.shape)
    cost = price * turns * length * chance.lognormal(-0.08, 0.4, turns.shape)
    return cost, chance.binomial(turns, talent).astype(float)


def _log_ratio(c1: Array, q1: Array, c0: Array, q0: Array) -> tuple[Array, Array]:
    count = np.arange(1, c1.shape[1] + 1)
    columns = [c1, q1, c0, q0]
    signs = [1, -1, -1, 1]
    means = [np.cumsum(each, axis=1) / count for each in columns]
    estimate = sum(sign * np.log(np.maximum(mean, 1e-12)) for sign, mean in zip(signs, means, strict=True))
    variance = np.zeros(c1.shape)
    for i, one in enumerate(columns):
        for j, other in enumerate(columns[: i + 1]):
            cross = np.cumsum(one * other, axis=1) / count - means[i] * means[j]
            weight = signs[i] * signs[j] / np.maximum(means[i] * means[j], 1e-12)
            variance += (1 if i == j else 2) * weight * cross
    return np.asarray(estimate), np.sqrt(np.maximum(variance, 0))


def _turn_deviation(turns: Array, deviation: Array) -> Array:
    """What a turn deviates for someone who takes turns as independent: a conversation's by the root of its length."""
    return deviation / np.sqrt(np.cumsum(turns, axis=1) / np.arange(1, turns.shape[1] + 1))


def within_the_cap(chance: Chance, size: Size) -> Iterator[Row]:
    """A burst of 100 jobs at once against a real store with a cap of 1 USD; the process is killed in the middle."""
    over = []
    for number in range(size.rounds):
        worst = float(chance.uniform(0.02, 0.09))
        with tempfile.TemporaryDirectory() as folder:
            over.append(asyncio.run(_burst(Path(folder), worst_usd=worst, dies_after=5 + number % 20)))
    yield Row(
        name="100-way burst over a cap of 1 USD, killed and restarted in the middle",
        counted="USD over the cap",
        measured=max(0.0, *over) if len(over) > 1 else max(0.0, over[0]),
        error=None,
        at_most=0.0,
        unit="$",
        others={"look at what is spent, then ask (no reserve)": _no_reserve()},
        note=f"{size.rounds} bursts; closest to the cap: {1 + max(over):.3f} USD committed",
    )


def _no_reserve() -> float:
    """A hundred workers that look at once see nothing spent, and each spends 0.05."""
    return 100 * 0.05 - 1.0


_DIES = """
import asyncio, os, sys
from shadow.store import open_store
from tests.support.stored import NOW, Day

async def main():
    store_url, worst, dies_after = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    done = 0
    async with await open_store(store_url) as store:
        jobs = await store.jobs.lease(worker="first", limit=100, lease_s=60, now=NOW)

        async def one(job):
            nonlocal done
            budget = Day(cap_usd=1.0, paced_usd=1.0)
            await store.jobs.reserve(job, worst_case_usd=worst, budget=budget, now=NOW)
            done += 1
            if done >= dies_after:
                os._exit(9)

        await asyncio.gather(*map(one, jobs))

asyncio.run(main())
"""


async def _burst(folder: Path, *, worst_usd: float, dies_after: int) -> float:
    """Give what is committed at the end, and was most in between, minus the cap."""
    address, budget = url(folder / "shadow.db"), Day(cap_usd=1.0, paced_usd=1.0)
    async with await open_store(address) as store:
        await store.intake.write(sampled(*range(100)))
    command = [sys.executable, "-c", _DIES, address, str(worst_usd), str(dies_after)]
    died = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True)
    if died.returncode != 9:
        raise RuntimeError(f"the first process was to be killed, and ended with {died.returncode}: {died.stderr!r}")
    later = NOW + timedelta(seconds=120)
    most = 0.0
    async with await open_store(address) as store:
        await store.jobs.recover(now=later, max_job_age_s=600)
        jobs = await store.jobs.lease(worker="second", limit=100, lease_s=60, now=later)

        async def one(job: object) -> None:
            nonlocal most
            outcome = await store.jobs.reserve(job, worst_case_usd=worst_usd, budget=budget, now=later)  # type: ignore[arg-type]
            most = max(most, await _committed(store))
            if outcome == "ok":
                result = pair_result(job, cost_usd=worst_usd)  # type: ignore[arg-type]
                await store.jobs.finish(job, result=result, reserved_usd=worst_usd, now=later)  # type: ignore[arg-type]

        await asyncio.gather(*map(one, jobs))
        return max(most, await _committed(store)) - budget.cap_usd


async def _committed(store: object) -> float:
    money = await store.reader.budget(day=Day().day)  # type: ignore[attr-defined]
    return float(money["spent_usd"] + money["reserved_usd"])


SIMULATIONS = (cheaper, cost_per_point, within_the_cap)
