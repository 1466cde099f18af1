"""`bench --scheduled`: the weekly run, made here and now, for people who have a cron of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from gateway.terminal import FAILED, OK, note, print_json, say

if TYPE_CHECKING:
    from gateway.config import Config
    from shadow.runs import Run, RunResult


def run_scheduled(loaded: Config, *, as_json: bool) -> None:
    """Make the weekly run of a loaded configuration and exit: 0 when it is whole or was made already, else 1.

    With a schedule it is the run of the period that is due: a second call in the same period does nothing. Without one
    (`benchmark.schedule: null`) every call makes a run.
    """
    from shadow.rebenchmark import NothingToAskError  # noqa: PLC0415  (lazily, as all commands)

    try:
        told = asyncio.run(_make(loaded))
    except NothingToAskError as nothing:
        note(f"no run: {nothing}")
        raise typer.Exit(FAILED) from None
    if as_json:
        print_json(told)
    else:
        say(str(told["sentence"]))
    raise typer.Exit(OK if told["state"] in {"done", "not due"} else FAILED)


async def _make(loaded: Config) -> dict[str, Any]:
    from datetime import UTC, datetime  # noqa: PLC0415
    from secrets import token_hex  # noqa: PLC0415

    from gateway.measuring import Crew  # noqa: PLC0415
    from gateway.weekly import rebenchmark_of, schedule_in  # noqa: PLC0415
    from shadow.rebenchmark import WeeklyRuns, was_left  # noqa: PLC0415
    from shadow.store import open_store  # noqa: PLC0415

    crew = Crew.hire(loaded.measuring)
    client = crew.client()
    try:
        async with await open_store(loaded.measuring.store) as store:
            rebenchmark = rebenchmark_of(loaded.measuring, crew.bench(client), store)
            schedule = schedule_in(loaded.measuring)
            latest, _ = await store.runs.page(limit=20, kind="weekly")
            if latest and was_left(latest[0]):
                return _told(await rebenchmark.resume(latest[0]), latest[0])
            period = None
            if schedule is not None:
                timetable = WeeklyRuns(
                    holder=f"bench:{token_hex(4)}",
                    rebenchmark=rebenchmark,
                    runs=store.runs,
                    watching=store.watching,
                    schedule=schedule,
                )
                period = timetable.latest_period(latest, now=datetime.now(UTC))
                if period is None:
                    sentence = f"the run of this period is there ({latest[0].id}, {latest[0].state}); nothing was asked"
                    return {"state": "not due", "run": latest[0].id, "sentence": sentence}
            return _told(await rebenchmark.run(period=period), None)
    finally:
        await client.aclose()
        await crew.judges.aclose()
        await asyncio.to_thread(crew.services.close)


def _told(result: RunResult | None, left: Run | None) -> dict[str, Any]:
    if result is None:
        which = "" if left is None else f" ({left.id})"
        sentence = f"another process is making this run{which}; GET /runs shows how far it is"
        return {"state": "not due", "run": None if left is None else left.id, "sentence": sentence}
    run = result.run
    why = "" if run.reason is None else f" ({run.reason})"
    sentence = (
        f"run {run.id} is {run.state}{why}: {run.answered} of {run.cells} answers, {result.errors} errors, "
        f"${run.spent_usd:.4f}; {run.note}"
    )
    return {
        "state": run.state,
        "run": run.id,
        "errors": result.errors,
        "spent_usd": run.spent_usd,
        "sentence": sentence,
    }
