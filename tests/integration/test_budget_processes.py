"""One day's budget under several measuring processes on one store, while some of them are killed and started anew."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from shadow.simulator import Script, SimModel, Simulator, Timing
from shadow.store import open_store
from tests.support.serving import Serve
from tests.support.shadowing import KEY, PRIMARY, batch, eventually_async, question
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from shadow.store import Store

BURST = 100
LIMIT = 64
USD_PER_TOKEN = 0.001
CAP_USD = 1.0
SCRIPT = Script(models=(SimModel(name="rival", timing=Timing(header_delay_ms=1000)),))


def config(store: Path, origin: str) -> str:
    price = f"{{input: 0, output: {USD_PER_TOKEN * 1e6}}}"
    return f"""
        admin: {{listen: 127.0.0.1:0}}
        upstream: {{base_url: '{origin}', api_key: {KEY}}}
        shadow:
          sample_rate: 1
          candidates: [{{model: rival}}]
          budget_usd_per_day: {CAP_USD}
        evaluators: [{{type: icontains, value: "4"}}]
        prices: {{rival: {price}, {PRIMARY}: {price}}}
        store: sqlite:///{store}
        """


async def committed_usd(store: Store) -> float:
    """What is spent and reserved today; at midnight yesterday's counts too."""
    now = datetime.now(UTC)
    days = [await store.reader.budget(day=day.date().isoformat()) for day in (now, now - timedelta(days=1))]
    return max(day["spent_usd"] + day["reserved_usd"] for day in days)


async def states_of(store: Store) -> Counter[str]:
    now = datetime.now(UTC)
    rows = await store.reader.coverage(since=now - timedelta(days=2), until=now + timedelta(days=1))
    states: Counter[str] = Counter()
    for row in rows:
        if row["candidate"] is not None:
            states[row["state"]] += row["count"]
    return states


async def add(store: Store, numbers: range) -> None:
    """One conversation: it is admitted once, then nothing but the cap holds its requests back."""
    for number in numbers:
        asked = question(prompt=f"What is {number} + 4?", max_tokens=LIMIT)
        await store.intake.write(batch(number, "rival", request=asked, conversation="burst"))


@pytest.mark.timeout(300)
async def test_bursts_over_three_processes_never_pass_the_cap_though_two_are_killed(tmp_path: Path) -> None:
    file = tmp_path / "shadow.db"
    seen: list[float] = []
    async with await open_store(f"sqlite:///{file}") as store:
        with Simulator(SCRIPT) as simulator, contextlib.ExitStack() as stack:

            def started(name: str) -> Serve:
                folder = tmp_path / name
                folder.mkdir()
                return Serve(folder, config(file, simulator.base_url), arguments=["--role", "shadow"])

            async def settled() -> bool:
                seen.append(await committed_usd(store))
                states = await states_of(store)
                return not states["pending"] and all(entry.ending != "open" for entry in simulator.log)

            first, second, third = [stack.enter_context(each) for each in map(started, ("first", "second", "third"))]
            await add(store, range(BURST))
            eventually(lambda: len(simulator.log) >= 10, within_s=30, what="calls under way")
            for pid in (first.child("gateway.measuring"), second.process.pid, second.child("gateway.measuring")):
                os.kill(pid, signal.SIGKILL)  # the parent of the first one starts another
            fourth = stack.enter_context(started("fourth"))
            await eventually_async(settled, within_s=60, what="the end of the first burst")
            await add(store, range(BURST, 2 * BURST))
            await eventually_async(settled, within_s=60, what="the end of the second burst")
            assert [process.stop() for process in (first, third, fourth)] == [0, 0, 0]
            seen.append(await committed_usd(store))
            calls = simulator.log.calls(model="rival")
        states = await states_of(store)
        now = datetime.now(UTC)
        answers = await store.reader.answers(since=now - timedelta(days=2), until=now + timedelta(days=1))

    # A call whose answer no one kept may have cost as much as was reserved for it.
    kept_usd = sum(answer["cost_billed_usd"] for answer in answers)
    lost_usd = (len(calls) - len(answers)) * LIMIT * USD_PER_TOKEN
    assert max(seen) <= CAP_USD + 1e-9
    assert kept_usd + lost_usd <= CAP_USD + 1e-9
    assert len({entry.body for entry in calls}) == len(calls), "nothing is paid twice"
    assert states["skipped"] > 0, "the cap was what held them back"
    assert sum(states.values()) == 2 * BURST
