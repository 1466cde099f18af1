"""What is done to the processes of a gateway under load: told to end, told twice, reloaded, given bad evaluators."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.support.chaos import Audit, Fault, Model, Site
from tests.support.serving import is_alive
from tests.support.waiting import eventually, eventually_async

if TYPE_CHECKING:
    from pathlib import Path

RELOADS = 50 if os.environ.get("SHADOW_TEST_ROUNDS") else 12
STREAMS = 50


async def reached(site: Site, count: int) -> None:
    """Wait until so many answers are under way at once."""

    async def look() -> bool:
        return len(site.upstreams[0].under_way) >= count

    await eventually_async(look, within_s=30, what=f"{count} answers under way")


def whole_report(site: Site) -> None:
    """Judge what is left of a gateway that has ended."""
    report = Audit(site, seconds=0).run()
    print(*report.lines(), sep="\n")  # noqa: T201  (pytest shows it beside a failure, and with -s)
    assert report.violations == []
    assert sum(report.lost.values()) == 0


# --- SIGTERM ---


async def look_at_readiness(site: Site, seen: list[tuple[float, str]]) -> None:
    """Ask on a new connection again and again whether it is ready, until nobody takes the connection."""
    while not seen or seen[-1][1] != "refused":
        asked_at = time.monotonic()
        try:
            incoming, outgoing = await asyncio.open_connection("127.0.0.1", site.port)
        except ConnectionRefusedError:
            seen.append((asked_at, "refused"))
            return
        with contextlib.suppress(ConnectionResetError):
            outgoing.write(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
            seen.append((asked_at, (await incoming.read())[9:12].decode() or "closed"))
        outgoing.transport.abort()
        await asyncio.sleep(0.002)


async def test_sigterm_under_fifty_streams_accepts_nothing_new_ends_all_whole_and_loses_no_row(tmp_path: Path) -> None:
    async with Site(tmp_path, seed=19, apps=STREAMS, kinds=("stream",), pace_s=0.03) as site:
        seen: list[tuple[float, str]] = []
        async with site.load:
            await reached(site, STREAMS - 5)
            looking = asyncio.create_task(look_at_readiness(site, seen))
            await eventually_async(lambda: _is(seen), what="a first look")
            under_way = set(site.upstreams[0].under_way)
            told_at = time.monotonic()
            site.faults.append(Fault(what="restart", begin=told_at))
            code = await site.stop()
            ended_at = time.monotonic()
            await looking
        whole_report(site)
    assert code == 0
    assert under_way <= {call.number for call in site.load.calls if call.is_as_expected}
    # Not ready, then not there: after the first word of the end nobody is told that all is well.
    words = [word for _, word in seen]
    assert words == sorted(words, key=("200", "503", "closed", "refused").index)
    taken_s = max((at for at, word in seen if word in {"200", "503"}), default=told_at) - told_at
    print(f"taken for {1000 * taken_s:.0f} ms after SIGTERM, ended after {ended_at - told_at:.2f} s")  # noqa: T201
    assert taken_s < 5
    assert ended_at - told_at < 30 + 5


async def _is(seen: list[tuple[float, str]]) -> bool:
    return bool(seen)


async def cut_drain(site: Site) -> None:
    """Every stream was cut so that its app sees it, and every one is in the store."""
    calls = [call for call in site.load.calls if call.status is not None]
    assert len(calls) >= STREAMS - 5
    assert not any(call.complete for call in calls if call.ended_at >= site.faults[-1].begin)
    whole_report(site)
    outcomes = {outcome for (outcome,) in site.rows("SELECT DISTINCT outcome FROM exchange")}
    assert outcomes <= {"ok", "aborted", "error_stream"}


async def test_a_second_sigterm_cuts_the_streams_visibly_and_writes_the_rows_once_the_store_is_free(
    tmp_path: Path,
) -> None:
    settings = {"apps": STREAMS, "kinds": ("stream",), "pace_s": 1.0, "drain_timeout_s": 600}
    async with Site(tmp_path, seed=20, **settings) as site:
        async with site.load:
            await reached(site, STREAMS)
            locking = asyncio.create_task(site.lock(2.0))
            await eventually_async(lambda: _has(site, "lock"), what="the lock")
            site.serving.signal(signal.SIGTERM)
            await asyncio.to_thread(eventually, site.is_refusing, within_s=20, what="the end of accepting")
            site.load.stop()
            site.faults.append(Fault(what="cut drain", begin=time.monotonic()))
            site.serving.signal(signal.SIGTERM)
            code = await asyncio.to_thread(site.serving.wait)
            site.faults[-1].end = site.faults[-1].dead_at = time.monotonic()
            await locking
        assert code == 0
        await cut_drain(site)


async def _has(site: Site, what: str) -> bool:
    return any(fault.what == what for fault in site.faults)


async def test_streams_beyond_the_drain_limit_are_cut_visibly_and_recorded_in_time(tmp_path: Path) -> None:
    settings = {"apps": STREAMS, "kinds": ("stream",), "pace_s": 1.0, "drain_timeout_s": 1}
    async with Site(tmp_path, seed=21, **settings) as site:
        async with site.load:
            await reached(site, STREAMS)
            site.load.stop()
            site.faults.append(Fault(what="cut drain", begin=time.monotonic()))
            code = await site.stop()
            site.faults[-1].end = site.faults[-1].dead_at = time.monotonic()
        assert code == 0
        assert site.faults[-1].end - site.faults[-1].begin < 1 + 5 + 10  # the promise is 5 s; this machine may be busy
        await cut_drain(site)


# --- reload ---


async def test_reloads_under_load_hold_for_what_begins_after_them_and_bad_ones_change_nothing(tmp_path: Path) -> None:
    async with Site(tmp_path, seed=31, apps=6, pause_s=0.01) as site:
        processes = site.processes("all")
        straddled = boundary = 0
        old, new = site.upstreams[::-1]
        async with site.load:
            await site.recording()
            for at in range(RELOADS):
                if at % 2 == 0:
                    old, new = new, old
                    straddled += len(old.under_way)
                    asked_before = len(site.load.calls)
                    site.reload(valid=True)
                    await until_asked(new, asked_before)
                    boundary = len(site.load.calls)
                else:
                    site.reload(valid=False)
                    await asyncio.to_thread(
                        eventually, lambda count=(at + 1) // 2: refusals(site) == count, within_s=20
                    )
                await until_asked(new, len(site.load.calls))
                assert not [number for number in old.asked if number >= boundary], "a new request went the old way"
        assert site.processes("all") == processes
        assert straddled > 0
        assert await site.stop() == 0
        whole_report(site)


async def until_asked(model: Model, number: int) -> None:
    """Wait until a model is asked a request with this number or a later one."""

    async def look() -> bool:
        return any(each >= number for each in model.asked)

    await eventually_async(look, within_s=20, what="a request at the model")


def refusals(site: Site) -> int:
    """How many reloads were refused, as the gateway counts them."""
    return max((line["failed_reloads"] for line in site.serving.logged if "failed_reloads" in line), default=0)


# --- evaluators ---

EVALUATOR = """
import os, re

def judge(output, expected):
    number = int(re.search(r"[0-9]+", output)[0])
    if number == 30:
        os._exit(3)
    if number % 4 == 0:
        raise ValueError("about " + output)
    return 1.0
"""


async def test_an_evaluator_that_ends_its_process_costs_what_was_under_way_there_only(
    tmp_path: Path,
) -> None:
    evaluators = [{"type": "python", "target": "judge:judge"}]
    files = {"judge.py": EVALUATOR}
    shape = {"apps": 4, "kinds": ("unary", "stream"), "pause_s": 0.15, "files": files, "evaluators": evaluators}
    async with Site(tmp_path, seed=32, **shape) as site:
        async with site.load:
            first = site.processes("measuring")
            await until_asked(site.upstreams[0], 30)
            site.faults.append(Fault(what="bad evaluator", begin=time.monotonic()))
            await asyncio.to_thread(eventually, lambda: not any(map(is_alive, first)), within_s=60, what="os._exit")
            site.crashed(first)
            await asyncio.to_thread(eventually, lambda: site.processes("measuring"), within_s=40, what="another one")
            last = len(site.load.calls)
            await until_asked(site.upstreams[0], last)
        await asyncio.to_thread(eventually, lambda: scores_of(site, last), within_s=60, what="scores after the crash")
        await site.settle()
        stats = await asyncio.to_thread(site.stats)
        deaths = [line["exit_code"] for line in site.serving.logged if line.get("child") == "measuring"]
        assert await site.stop() == 0
        audit = Audit(site, seconds=0)
        audit.check_stats(stats)
        report = audit.run()
        assert reasons(site) == {"", "raised ValueError"}
    print(*report.lines(), sep="\n")  # noqa: T201  (pytest shows it beside a failure, and with -s)
    assert report.violations == []
    assert report.calls.keys() == {"whole"}
    assert set(deaths) == {3}
    assert report.jobs["dropped (lost_on_crash)"] > 0


def scores_of(site: Site, number: int) -> list[tuple[object, ...]]:
    """The scores of one request."""
    sql = "SELECT value FROM score JOIN exchange ON exchange.id = exchange_id WHERE path LIKE ?"
    return site.rows(sql, f"/{number}/%")


def reasons(site: Site) -> set[str]:
    """What became of the evaluator's calls."""
    return {reason for (reason,) in site.rows("SELECT DISTINCT reason FROM score")}


FROZEN = """
import asyncio, ctypes, threading
from gateway.measuring import end_at_a_standstill

def hold_the_interpreter():
    ctypes.PyDLL(None).sleep(600)

async def main():
    watching = asyncio.create_task(end_at_a_standstill(0.5))
    await asyncio.sleep(1.5)
    print("three times the limit is no standstill", flush=True)
    threading.Thread(target=hold_the_interpreter, daemon=True).start()
    await watching

asyncio.run(main())
"""


async def test_a_process_in_which_nothing_moves_any_more_ends_itself_and_says_where_it_stood() -> None:
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", FROZEN], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout == "three times the limit is no standstill\n"
    assert "in hold_the_interpreter" in ended.stderr
