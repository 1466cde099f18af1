"""One run of the demo: start everything in a private folder, send traffic, wait for the scores, print the tables."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway import config as configuration
from gateway.demo import history
from gateway.demo.cast import APP_KEY, CANDIDATES, IDLE_S, PRIMARY, config_text
from gateway.demo.judging import judge_lines
from gateway.demo.table import ABOUT, VERDICTS, next_steps, one_of_each
from gateway.demo.traffic import conversation_count, drive, openai_sdk_is_installed
from gateway.demo.upstream import UpstreamError, simulated
from gateway.serve import StartError, Supervisor
from gateway.tables import coverage_table, models_table, verdict_sentences, verdicts_table
from shadow.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping

    Stats = Mapping[str, Any]
    Advance = Callable[[int], None]

T = TypeVar("T")

_SCORED_WITHIN_S = 45.0
_ENTERED_WITHIN_S = 12.0
_STATS_EVERY_S = 1.0
"""Each look costs the process that measures some of the time it measures in."""
_VERDICTS_EVERY_S = 0.3
_OWN_VARIABLES = ("SHADOW_", "EZAI_", "ANTHROPIC_", "OPENAI_")
"""Variables the demo leaves alone: it talks to nobody but its own simulator, with its own keys."""
_PLAIN_WIDTH = 120
"""Columns where standard output is no terminal."""
_INTERRUPTED = 130


async def run(*, once: bool) -> int:
    """Do what `gateway.demo.run_demo` promises."""
    say = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        with tempfile.TemporaryDirectory(prefix="shadow-demo-") as folder:
            return await _run(Path(folder), say, stop, once=once)
    except (StartError, UpstreamError) as error:
        say.print(str(error))
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _run(folder: Path, say: Console, stop: asyncio.Event, *, once: bool) -> int:
    say.print("DEMO: made-up models, prices and keys; no network, nothing is kept")
    async with simulated() as upstream, _gateway(folder, upstream, to_look_at=not once) as supervisor:
        base_url, admin_url = f"http://{supervisor.listen}", f"http://{supervisor.admin_listen}"
        say.print(f"primary {PRIMARY.name}; candidates {', '.join(model.name for model in CANDIDATES)}")
        say.print(f"gateway on {base_url}, stats on {admin_url}/stats, simulated models on {upstream}")
        if not openai_sdk_is_installed():
            say.print(
                "the openai SDK is not installed (pip install openai); its part of the traffic is sent over plain HTTP"
            )
        stats = await _unless(stop, _measured(upstream, base_url, admin_url, say))
        if stats is None:
            return _INTERRUPTED
        _print_result(stats, base_url=base_url, admin_url=admin_url, once=once)
        unfinished = _unfinished(stats)
        if unfinished:
            say.print(f"{unfinished} shadow calls did not end within {_SCORED_WITHIN_S:.0f} s; the tables lack them")
        if not once:
            say.print("running until Ctrl-C")
            await stop.wait()
        return 1 if unfinished else 0


@contextlib.asynccontextmanager
async def _gateway(folder: Path, upstream: str, *, to_look_at: bool) -> AsyncIterator[Supervisor]:
    """Gateway and measuring process, started as `serve` starts them; with a past and more where somebody may look."""
    file = folder / "config.yaml"
    file.write_text(config_text(upstream=upstream, noise_floor=to_look_at), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    loaded = configuration.load(file, {})
    if to_look_at:
        async with await open_store(loaded.measuring.store) as store:
            await history.fill(store.runs, now=datetime.now(UTC))
    supervisor = Supervisor(replace(loaded, measuring=replace(loaded.measuring, demo=True)), environ=environ)
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def _measured(upstream: str, base_url: str, admin_url: str, say: Console) -> Stats:
    """Send the traffic and wait until every shadow call is done; the stats then."""
    with _progress(say, "conversations", conversation_count()) as advance:
        await drive(base_url, advance=lambda: advance(1))
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
        log = (await http.get(f"{upstream}/_sim/log")).raise_for_status().json()
        arrived = sum(["authorization", f"Bearer {APP_KEY}"] in entry["headers"] for entry in log["requests"])
        with _progress(say, "shadowed and scored", arrived * len(CANDIDATES)) as advance:
            await _scored(http, admin_url, arrived=arrived, advance=advance)
        say.print(f"conversations close after {IDLE_S:g} s without a turn here, and then enter the verdict")
        return await _decided(http, admin_url)


async def _scored(http: httpx2.AsyncClient, admin_url: str, *, arrived: int, advance: Advance) -> Stats:
    """Poll `/stats` until every request that `arrived` is recorded and every shadow call is over, or the time is up.

    An exchange that the app hung up on is recorded and never shadowed. Returns what `/stats` says then.
    """
    deadline = time.monotonic() + _SCORED_WITHIN_S
    shown = 0
    while True:
        stats: Stats = (await http.get(f"{admin_url}/stats")).raise_for_status().json()
        over = _sampled(stats) - _unfinished(stats)
        advance(over - shown)
        shown = over
        is_over = _recorded(stats) >= arrived and not _unfinished(stats)
        if is_over or time.monotonic() > deadline:
            return stats
        await asyncio.sleep(_STATS_EVERY_S)


async def _decided(http: httpx2.AsyncClient, admin_url: str) -> Stats:
    """Poll until every conversation has entered, or the time is up; then say what `/stats` says."""
    deadline = time.monotonic() + _ENTERED_WITHIN_S
    while True:
        verdicts = (await http.get(f"{admin_url}/verdicts")).raise_for_status().json()["verdicts"]
        if not any(verdict["open"] for verdict in verdicts) or time.monotonic() > deadline:
            stats: Stats = (await http.get(f"{admin_url}/stats")).raise_for_status().json()
            return stats
        await asyncio.sleep(_VERDICTS_EVERY_S)


def _recorded(stats: Stats) -> int:
    rows = [row for task in stats["tasks"] for row in task["models"] if row["role"] == "primary"]
    recorded: int = sum(row["requests"] for row in rows)
    return recorded


def _sampled(stats: Stats) -> int:
    sampled: int = sum(each["coverage"]["sampled"] for task in stats["tasks"] for each in task["comparisons"])
    return sampled


def _unfinished(stats: Stats) -> int:
    """Shadow calls that are pending, or sent without an answer yet."""
    coverages = [each["coverage"] for task in stats["tasks"] for each in task["comparisons"]]
    rows = [row for task in stats["tasks"] for row in task["models"] if row["role"] == "candidate"]
    asked: int = sum(each["pending"] + each["sent"] for each in coverages)
    answered: int = sum(row["requests"] for row in rows)
    return asked - answered


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Do the work unless a stop comes first; None then."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if doing.done():
        return doing.result()
    doing.cancel()
    await asyncio.gather(doing, return_exceptions=True)
    return None


def _command() -> str:
    """Give the name by which the user can call us: from a virtual environment that is not active, with its path."""
    return "shadow-gateway" if shutil.which("shadow-gateway") else sys.argv[0]


def _print_result(stats: Stats, *, base_url: str, admin_url: str, once: bool) -> None:
    """Print the result to standard output."""
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for task in stats["tasks"]:
        console.print(models_table(task, width=console.width, about=ABOUT))
        console.print()
    console.print(verdicts_table(stats["tasks"], width=console.width, title=VERDICTS))
    console.print()
    for line in verdict_sentences(one_of_each(stats["tasks"], switch=not once)):
        console.print(line, markup=False)
    console.print()
    console.print(coverage_table(stats["tasks"], width=console.width))
    console.print()
    for line in judge_lines(stats["tasks"]):
        console.print(line, markup=False, soft_wrap=True)
    console.print()
    for line in next_steps(base_url=base_url, admin_url=admin_url, command=_command(), stays=not once):
        console.print(line, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _progress(say: Console, what: str, total: int) -> Iterator[Advance]:
    """Show a bar on a terminal, two lines elsewhere; gives the function that moves it."""
    if say.is_terminal:
        columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=say) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count: bar.advance(task, count)
        return
    started = time.monotonic()
    say.print(f"{what}: {total} to do")
    yield lambda _count: None
    say.print(f"{what}: done in {time.monotonic() - started:.1f} s")
