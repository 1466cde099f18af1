"""How long questions take over ten million records: loads a store, asks a real admin port, prints and keeps the table.

    make bench-stats [STATS="--records 10000000 --keep FOLDER"]

What the store holds is told in `bench/filled.py`: rows as all processes write them. Run it alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import uvicorn

from bench.filled import CANDIDATES, DISTINCT, PRICES, TASKS, Loader
from gateway.demo.cast import CALCULATOR
from gateway.demo.history import fill
from gateway.measuring import SWITCH_S, spare_the_collector
from shadow.ledger import Judging, Plan
from shadow.records import Batch
from shadow.repeat import paced
from shadow.store import open_intake, open_store
from shadow.store.sqlite.file import prepare
from shadow.verdict import Rules
from shadow.web import AdminSettings, VerdictApi, WeeklyApi, build_app

ROOT = Path(__file__).resolve().parents[1]
ASKED = 20
"""So often each question is asked."""
PLAN = Plan(
    alpha=0.05,
    rules=Rules(),
    judging={CALCULATOR: Judging(quality="right-answer", versions={"right-answer": "1"}, definition="")},
    candidates={},
)
"""By what leads of the demo's weekly runs are decided."""

# --- questions over HTTP ---


def questions(end: datetime, some_id: str) -> dict[str, str]:
    """What is asked, by its name in the table."""

    def since(**back: float) -> str:
        return (end - timedelta(**back)).isoformat().replace("+00:00", "Z")

    until = end.isoformat().replace("+00:00", "Z")
    return {
        "/stats, 30 days": f"/stats?since={since(days=30)}&until={until}",
        "/stats, 29.4 days, edges inside of hours": f"/stats?since={since(days=29, hours=9, minutes=23)}&until={until}",
        "/stats, 1 day": f"/stats?since={since(days=1)}&until={until}",
        "/stats, 1 hour": f"/stats?since={since(hours=1)}&until={until}",
        "/stats, 30 days, one task": f"/stats?since={since(days=30)}&until={until}&task={TASKS[3]}",
        "/latency, 30 days": f"/latency?since={since(days=30)}&until={until}",
        "/trends, 12 weeks": "/trends",
        "/trends, 12 weeks, one task": f"/trends?task={TASKS[3]}",
        "/verdicts": "/verdicts",
        "/runs": "/runs",
        **{
            f"/pairs, {sort}{', ' + show if show != 'all' else ''}": f"/pairs?limit=50&sort={sort}&show={show}"
            for sort in ("newest", "worst")
            for show in ("all", "differs", "regressed", "errors", "unreviewed")
        },
        "/pairs, worst of one task": f"/pairs?limit=50&sort=worst&task={TASKS[3]}",
        "/pairs, newest of one candidate": f"/pairs?limit=50&candidate={CANDIDATES[0]}",
        "/pairs, worst of one task and candidate, 3 days": (
            f"/pairs?limit=50&sort=worst&task={TASKS[3]}&candidate={CANDIDATES[1]}&since={since(days=3)}"
        ),
        "/pairs, newest errors of a day long ago": (
            f"/pairs?limit=50&show=errors&since={since(days=20)}&until={since(days=19)}"
        ),
        "/labels": "/labels",
        "/labels/next": "/labels/next",
        "/pairs/{id}": f"/pairs/{some_id}:{CANDIDATES[0]}",
        "/exchanges/{id}": f"/exchanges/{some_id}",
        "/metrics": "/metrics",
        "/readyz": "/readyz",
        "page Overview, 30 days": f"/ui/?since={since(days=30)}&until={until}",
        "page Pairs": "/ui/pairs",
        "page Pair": f"/ui/pairs/{some_id}:{CANDIDATES[0]}",
        "page Review": "/ui/review",
        "page Latency, 30 days": f"/ui/latency?since={since(days=30)}&until={until}",
        "page Cost, 30 days": f"/ui/cost?since={since(days=30)}&until={until}",
        "page Health": "/ui/health",
        "page Pairs, worst of one task": f"/ui/pairs?task={TASKS[3]}&sort=worst",
        "page Benchmarks": "/ui/benchmarks",
        "page Report, 30 days": f"/ui/report?since={since(days=30)}&until={until}",
    }


async def add_runs(path: Path, end: datetime) -> None:
    """Add twelve weekly runs, those of the demo."""
    async with await open_store(f"sqlite:///{path}") as store:
        await fill(store.runs, now=end)


async def ask_all(path: Path, end: datetime) -> dict[str, list[float]]:
    """Ask every question over a real socket; milliseconds of each time, after three that warm up."""
    with closing(sqlite3.connect(path)) as connection:
        some_id = connection.execute("SELECT exchange_id FROM shadow_answer ORDER BY exchange_id LIMIT 1").fetchone()[0]
    # Named as TCP, else asyncio does not switch off the delay of small packets and every answer takes 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    spare_the_collector()
    sys.setswitchinterval(SWITCH_S)
    chosen = AdminSettings(version="bench", prices=PRICES, candidates=CANDIDATES)
    async with await open_store(f"sqlite:///{path}") as store:
        weekly = WeeklyApi(
            trends=store.trends,
            outbox=store.watching,
            reader=store.reader,
            plan=lambda: PLAN,
            verdicts=store.ledger,
            now=lambda: end,
        )
        app = build_app(
            reader=store.reader,
            settings=lambda: chosen,
            now=lambda: end,
            verdicts=VerdictApi(store.ledger),
            runs=store.runs,
            weekly=weekly,
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        took: dict[str, list[float]] = {}
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=600) as client:
            while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
                await asyncio.sleep(0.05)
            for name, target in questions(end, some_id).items():
                times = []
                for number in range(ASKED + 3):
                    began = time.perf_counter()
                    answer = await client.get(target)
                    if answer.status_code not in {200, 404}:
                        raise SystemExit(f"{target}: {answer.status_code} {answer.text[:300]}")
                    if number >= 3:
                        times.append((time.perf_counter() - began) * 1000)
                if answer.status_code == 200:
                    took[name] = sorted(times)
                print(f"  {name}: p95 {at(sorted(times), 95):.1f} ms", file=sys.stderr, flush=True)
        server.should_exit = True
        await serving
    return took


def asked_in_a_process_of_its_own(path: Path) -> dict[str, list[float]]:
    """Ask as a server that knows nothing of another store would be asked."""
    command = [sys.executable, "-m", "bench.stats", "--ask", str(path)]
    found: dict[str, list[float]] = json.loads(
        subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    )
    return found


def at(ordered: list[float], percent: int) -> float:
    return ordered[max(1, -(-len(ordered) * percent // 100)) - 1]


# --- writing ---


async def ingest(folder: Path, *, records: int = 100_000) -> dict[str, float]:
    """Records a second of one process with rollups, time of its event loop a record, and how late the loop was."""
    chance = random.Random(1)
    loader = Loader(folder / "ingest.db", records=0, end=datetime.now(UTC))
    loader.random = chance
    began = datetime.now(UTC)
    batches = [
        Batch(exchanges=[loader.exchange(began + timedelta(milliseconds=2 * n)) for n in range(start, start + 500)])
        for start in range(0, records, 500)
    ]
    intake = await open_intake(f"sqlite:///{folder / 'ingest.db'}")
    late: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - before - 0.001) * 1000)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.2)
    late.clear()
    wall, loop, process = time.perf_counter(), time.thread_time(), time.process_time()
    for batch in batches:
        await intake.write(batch)
    wall, loop, process = time.perf_counter() - wall, time.thread_time() - loop, time.process_time() - process
    watching.cancel()
    await intake.close()
    return {
        "records/s": records / wall,
        "event loop, us/record": loop / records * 1e6,
        "process, us/record": process / records * 1e6,
        "loop late, p99 ms": at(sorted(late), 99),
        "loop late, max ms": max(late),
    }


WRITES = """
import asyncio, os, sys, time
from datetime import UTC, datetime
from pathlib import Path
from bench.filled import Loader
from shadow.records import Batch
from shadow.store.sqlite.connection import Connection
from shadow.store.sqlite.intake import SqliteIntake

async def main(path, name, seconds, rate):
    loader = Loader(Path(path), records=0, end=datetime.now(UTC))
    loader.random.seed(name)
    # A live process gives up after a second and tries again; here a lock that cannot be had at all is an error.
    intake = SqliteIntake(await Connection.open(Path(path), busy_timeout_s=30))
    print("ready", flush=True)
    sys.stdin.readline()
    began, written, slowest = time.monotonic(), 0, 0.0
    while (gone := time.monotonic() - began) < seconds:
        due = int(min(gone, seconds) * rate) - written
        if due < 50:
            await asyncio.sleep(0.01)
            continue
        due = min(due, 500)
        batch = Batch(exchanges=[loader.exchange(datetime.now(UTC)) for _ in range(due)])
        start = time.monotonic()
        await intake.write(batch)
        slowest = max(slowest, time.monotonic() - start)
        written += due
    await intake.close()
    print(written, slowest, flush=True)

try:
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
except BaseException as error:
    print(repr(error), file=sys.stderr, flush=True)
    os._exit(1)  # the connection's thread would keep the process
"""


def four_writers(folder: Path, *, seconds: float, rate: int = 2000, processes: int = 4) -> dict[str, float]:
    """Several processes write one file at once while a fifth folds; SystemExit for any error or a count that is off."""
    path = folder / "shared.db"
    prepare(path)
    keeper = subprocess.Popen(
        [sys.executable, "-c", FOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    command = [sys.executable, "-c", WRITES, str(path)]
    writers = [
        subprocess.Popen(
            [*command, str(number), str(seconds), str(rate)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for number in range(processes)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    ends = [writer.communicate() for writer in writers]
    keeper.communicate("stop\n")
    faults = [error for _, error in ends if error] + [f"exit {w.returncode}" for w in writers if w.returncode]
    if faults:
        raise SystemExit("writers failed: " + faults[0][-500:])
    written = sum(int(out.split()[0]) for out, _ in ends)
    slowest = max(float(out.split()[1]) for out, _ in ends)
    with closing(sqlite3.connect(path)) as connection:
        [rows] = connection.execute("SELECT count(*) FROM exchange").fetchone()
        [folded] = connection.execute(
            "SELECT total(numbers ->> 'requests') FROM rollup WHERE grain = 86400 AND candidate = '' AND detail = ''"
        ).fetchone()
        [waiting] = connection.execute(
            "SELECT total(numbers ->> 'requests') FROM rollup_delta WHERE candidate = '' AND detail = ''"
        ).fetchone()
    if not written == rows == round(folded + waiting):
        raise SystemExit(f"{written} records were written, {rows} are stored, rollups count {folded + waiting:.0f}")
    return {"records": written, "records/s": written / seconds, "lock errors": 0, "slowest batch, ms": slowest * 1000}


FOLDS = """
import asyncio, sys
from pathlib import Path
from shadow.store import open_store
from shadow.storekeeper import StoreKeeper

async def main(path):
    async with await open_store(f"sqlite:///{path}") as store:
        keeper = StoreKeeper(
            rollups=store.rollups, reader=store.reader, room=store.room, holder="bench", retention_days=30
        )
        keeping = asyncio.create_task(keeper.run())
        await asyncio.to_thread(sys.stdin.readline)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

asyncio.run(main(sys.argv[1]))
"""


async def retention(path: Path) -> dict[str, float]:
    """How long retention keeps others from writing into a large file, and how many exchanges a second it deletes."""
    held: list[float] = []
    done = threading.Event()

    def watch() -> None:
        """Try to begin writing, again and again: from the first time in vain to the next success the lock was held."""
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            since = None
            while not done.is_set():
                began = time.perf_counter()
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("ROLLBACK")
                except sqlite3.OperationalError:
                    since = since or began
                else:
                    if since is not None:
                        held.append((time.perf_counter() - since) * 1000)
                    since = None
                time.sleep(0.0003)

    watching = threading.Thread(target=watch)
    async with await open_store(f"sqlite:///{path}") as store:
        with closing(sqlite3.connect(path)) as connection:
            oldest = connection.execute("SELECT min(started_at) FROM exchange").fetchone()[0]
        before = datetime.fromtimestamp(oldest / 1e6, UTC) + timedelta(minutes=60)
        watching.start()
        began = time.perf_counter()
        gone = await paced(lambda limit: store.reader.prune(before=before, limit=limit))
        took = time.perf_counter() - began
        done.set()
        watching.join()
    held.sort()
    return {"exchanges": gone, "exchanges/s": gone / took, "lock p99, ms": at(held, 99), "lock max, ms": held[-1]}


# --- the table ---


def commit() -> str:
    git = shutil.which("git") or "git"
    found = subprocess.run([git, "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def table(sizes: dict[int, dict[str, list[float]]], measured: dict[str, dict[str, float]], notes: list[str]) -> str:
    """The result as Markdown."""
    names = [name for name in next(iter(sizes.values())) if all(name in took for took in sizes.values())]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}, {os.cpu_count()} cores, load average {load}",
        "",
    ]
    lines.append("| question over HTTP, ms | " + " | ".join(f"{size:,} p50 | p95" for size in sizes) + " |")
    lines.append("| --- |" + " ---: | ---: |" * len(sizes))
    for name in names:
        cells = [f"{at(took[name], 50):.1f} | {at(took[name], 95):.1f}" for took in sizes.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for title, figures in measured.items():
        told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        lines += ["", f"{title}: {told}."]
    return "\n".join([*lines, "", *notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, action="append", help="default: 1000000 and 10000000")
    parser.add_argument("--keep", help="folder in which loaded stores are kept, and found again")
    parser.add_argument("--seconds", type=float, default=60, help="how long four processes write")
    parser.add_argument("--load-only", action="store_true")
    parser.add_argument("--ask", help="only ask the store in this file; prints the times as JSON")
    given = parser.parse_args()
    end = datetime(2026, 11, 28, tzinfo=UTC) - timedelta(hours=7, minutes=13)
    if given.ask:
        print(json.dumps(asyncio.run(ask_all(Path(given.ask), end))))
        return
    folder = Path(given.keep or tempfile.mkdtemp(prefix="bench-stats-"))
    folder.mkdir(parents=True, exist_ok=True)
    sizes: dict[int, dict[str, list[float]]] = {}
    try:
        for records in given.records or [1_000_000, 10_000_000]:
            path = folder / f"{records}.db"
            if not path.exists():
                print(f"loading {records:,} records", file=sys.stderr)
                began = time.perf_counter()
                partial = folder / f"{records}.partial"
                partial.unlink(missing_ok=True)
                distinct = folder / f"distinct-{DISTINCT}.db"
                if not distinct.exists():
                    Loader(distinct, records=min(records, DISTINCT), end=end).load()
                shutil.copy(distinct, partial)
                loader = Loader(partial, records=records, end=end)
                if records > DISTINCT:
                    loader.multiply(records // DISTINCT)
                asyncio.run(add_runs(partial, end))
                partial.rename(path)
                print(f"  {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if not given.load_only:
                sizes[records] = asked_in_a_process_of_its_own(path)
        if given.load_only:
            return
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            measured = {
                "One process writes batches of 500 with rollups": asyncio.run(ingest(Path(fresh))),
                f"Four processes write one file for {given.seconds:g} s": four_writers(
                    Path(fresh), seconds=given.seconds
                ),
                "Retention deletes the oldest hour of the largest file": asyncio.run(retention(path)),
            }
        print(table(sizes, measured, []))
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
