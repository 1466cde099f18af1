"""How long questions take over ten million records: loads a store, asks a real admin port, prints and keeps the table.

    make bench-stats [STATS="--records 10000000 --keep FOLDER"]

The rows are those a live process and a worker write: 5 primaries x 8 tasks over 30 days, one conversation in a hundred
asked of two candidates and scored. They are written by SQL of the store itself, day by day; rollups by the code that
writes them otherwise. Run it alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from shadow.histogram import decode
from shadow.pricing import PriceBook
from shadow.records import Batch, Dialect, ExchangeRecord, Outcome, Price, Usage
from shadow.repeat import paced
from shadow.rollups import (
    Deltas,
    Key,
    Totals,
    by_grain,
    decode_histograms,
    decode_numbers,
    encode_histograms,
    encode_numbers,
)
from shadow.store import open_intake, open_store
from shadow.store.contributions import Bundle, add_bundle, add_exchange, add_price
from shadow.store.sqlite.connection import Connection
from shadow.store.sqlite.file import prepare
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import exchange_row, micros
from shadow.web import AdminSettings, build_app

ROOT = Path(__file__).resolve().parents[1]
DAYS = 30
TASKS = [f"task-{number}" for number in range(8)]
PRIMARIES = [f"primary-{number}" for number in range(5)]
CANDIDATES = ("candidate-a", "candidate-b")
PRICES = PriceBook({name: Price(input=3, output=15) for name in (*PRIMARIES, *CANDIDATES)})
DISTINCT = 1_000_000
"""So many exchanges are made; a larger store holds each of them several times, microseconds apart."""
SAMPLED = 100
"""One exchange in so many is asked of both candidates."""
ASKED = 20
"""So often each question is asked."""

LATE_INDEXES = {"exchange_by_start", "exchange_unpriced", "shadow_answer_by_start", "shadow_answer_by_loss"}
_OUTCOMES = [Outcome.OK] * 97 + [Outcome.TRUNCATED, Outcome.ERROR_HTTP, Outcome.REFUSAL]


class Loader:
    """Writes a store as weeks of traffic would have left it."""

    def __init__(self, path: Path, *, records: int, end: datetime) -> None:
        self.path, self.records, self.end = path, records, end
        self.random = random.Random(20261127)
        self.waiting: dict[tuple[int, Key], Totals] = {}
        self.sql = {**load_queries("intake.sql"), **load_queries("jobs.sql"), **load_queries("rollups.sql")}

    def load(self) -> None:
        prepare(self.path)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -400000")
            indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'").fetchall()
            late = {name: sql for name, sql in indexes if name in LATE_INDEXES}
            # Indexes of random keys are made afterwards, as any bulk load does it; triggers would fill the inbox.
            for name in late:
                connection.execute(f"DROP INDEX {name}")
            for day in range(DAYS):
                self._day(connection, day)
                print(f"  day {day + 1} of {DAYS}", end="\r", file=sys.stderr, flush=True)
            for sql in late.values():
                connection.execute(sql)
            self._fold(connection, before=float("inf"))
            connection.execute("DELETE FROM ledger_inbox")
            minutes = int((self.end - timedelta(days=2)).timestamp()) // 3600 * 3600 + 3600
            connection.execute("INSERT INTO meta VALUES ('minutes_kept_from', ?)", (str(minutes),))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        print(file=sys.stderr)

    def _day(self, connection: sqlite3.Connection, day: int) -> None:
        count = self.records // DAYS
        began = self.end - timedelta(days=DAYS - day)
        step = timedelta(days=1) / count
        deltas = Deltas()
        connection.execute("BEGIN")
        exchanges: list[tuple[Any, ...]] = []
        prices: list[tuple[Any, ...]] = []
        for number in range(count):
            record = self.exchange(began + number * step)
            exchanges.append(exchange_row(record))
            cost = PRICES.cost(record.usage, answered=record.model, asked=record.model)
            priced = (cost.billed_usd, cost.uncached_usd, cost.source)
            prices.append((*priced, record.id))
            row = plain_row(record, priced)
            if number % SAMPLED:
                add_exchange(deltas, record, model=record.model)
                add_price(deltas, row, billed_usd=cost.billed_usd, uncached_usd=cost.uncached_usd)
            else:
                add_bundle(deltas, self._sampled(connection, row))
            if len(exchanges) >= 20_000:
                self._flush(connection, exchanges, prices)
        self._flush(connection, exchanges, prices)
        rows = [
            {**key._asdict(), "numbers": encode_numbers(sums.numbers), "histograms": encode_histograms(sums.histograms)}
            for key, sums in deltas.items()
        ]
        for place, sums in by_grain(rows).items():
            self.waiting.setdefault(place, Totals()).absorb(sums)
        self._fold(connection, before=(began + timedelta(days=1)).timestamp())
        connection.execute("COMMIT")

    def multiply(self, times: int) -> None:
        """Make every exchange with all that is its own `times` as many, microseconds apart; sums grow in proportion."""
        copies = dict.fromkeys(("shadow_job", "shadow_answer", "score"), "exchange_id") | {"exchange": "id"}
        moved = {"started_at", "exchange_started_at", "created_at"}
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -1000000")
            indexes = dict(
                connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
            )
            triggers = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
            for name in LATE_INDEXES:
                connection.execute(f"DROP INDEX {name}")
            for name in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            for table, key in copies.items():
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                chosen = ", ".join(
                    f"substr({key}, 1, 29) || printf('-%02x', n)" if column == key
                    else f'"{column}" + n' if column in moved
                    else f'"{column}"'
                    for column in columns
                )  # fmt: skip
                connection.execute(
                    f"INSERT INTO {table} WITH RECURSIVE times(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM times "
                    f"WHERE n < {times - 1}) SELECT {chosen} FROM {table} CROSS JOIN times"
                )
                print(f"  {table} {times} times", file=sys.stderr, flush=True)
            for sql in (*(indexes[name] for name in sorted(LATE_INDEXES)), *triggers.values()):
                connection.execute(sql)
            rows = connection.execute("SELECT rowid, numbers, histograms FROM rollup").fetchall()
            connection.execute("BEGIN")
            for rowid, numbers, packed in rows:
                more = {name: value * times for name, value in decode_numbers(numbers).items()}
                spread = {
                    name: {bucket: count * times for bucket, count in decode(packing).items()}
                    for name, packing in decode_histograms(packed).items()
                }
                connection.execute(
                    "UPDATE rollup SET numbers = ?, histograms = ? WHERE rowid = ?",
                    (encode_numbers(more), encode_histograms(spread), rowid),
                )
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _fold(self, connection: sqlite3.Connection, *, before: float) -> None:
        """Write the buckets that are over; minutes only of the last two days, as they are kept."""
        over = [place for place in self.waiting if place[0] + place[1].bucket <= before]
        kept_from = (self.end - timedelta(days=2)).timestamp()
        rows = [
            (grain, *key, *self.waiting.pop((grain, key)).encoded())
            for grain, key in over
            if grain > 60 or key.bucket >= kept_from
        ]
        connection.executemany(self.sql["insert_folded"], rows)
        for place in over:
            self.waiting.pop(place, None)

    def _flush(self, connection: sqlite3.Connection, exchanges: list[Any], prices: list[Any]) -> None:
        connection.executemany(self.sql["insert_exchange"], exchanges)
        connection.executemany(
            "UPDATE exchange SET cost_billed_usd = ?, cost_uncached_usd = ?, price_source = ? WHERE id = ?", prices
        )
        exchanges.clear()
        prices.clear()

    def exchange(self, when: datetime) -> ExchangeRecord:
        chance = self.random
        return ExchangeRecord(
            id=f"{chance.getrandbits(128):032x}",
            started_at=when,
            method="POST",
            path="/v1/messages",
            status=200,
            outcome=chance.choice(_OUTCOMES),
            latency_ms=chance.lognormvariate(7, 0.7),
            dialect=Dialect.ANTHROPIC_MESSAGES,
            task=chance.choice(TASKS),
            conversation=f"{chance.getrandbits(128):032x}",
            model=chance.choice(PRIMARIES),
            model_answered="model",
            streamed=True,
            stop_reason="end_turn",
            ttft_ms=chance.lognormvariate(5.5, 0.5),
            usage=Usage(input=chance.randint(50, 4000), output=chance.randint(10, 900)),
            request_bytes=4000,
            response_bytes=2000,
            overhead_us=round(chance.lognormvariate(5.5, 0.4)),
            eligible=True,
        )

    def _sampled(self, connection: sqlite3.Connection, row: dict[str, Any]) -> Bundle:
        """One exchange's jobs, answers and scores."""
        chance = self.random
        began = micros(row["started_at"])
        jobs, answers, scores = [], [], []
        primary = chance.choice([0.0, 1.0, 1.0, 1.0])
        scores.append(score_row(row["id"], "", "primary", primary))
        for candidate in CANDIDATES:
            quality = chance.choice([0.0, 1.0, 1.0])
            usage = Usage(input=row["input_tokens"], output=chance.randint(10, 900))
            cost = PRICES.cost(usage, answered=candidate, asked=candidate).billed_usd
            jobs.append(
                {"exchange_id": row["id"], "candidate": candidate, "state": "done", "reason": None, "counted": 1}
            )
            answers.append(
                {
                    "exchange_id": row["id"], "candidate": candidate, "outcome": "ok", "redaction_changed": 0,
                    "latency_ms": chance.lognormvariate(6.8, 0.7), "ttft_ms": chance.lognormvariate(5.3, 0.5),
                    "streamed": 1, "input_tokens": usage.input, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
                    "cache_write_1h_tokens": 0, "output_tokens": usage.output, "cost_billed_usd": cost,
                    "cost_uncached_usd": cost,
                }
            )  # fmt: skip
            scores.append(score_row(row["id"], candidate, "candidate", quality))
            connection.execute(
                self.sql["insert_job"],
                (row["id"], candidate, row["conversation"], row["task"], row["model"], began, "done", None, 1),
            )
            answer = answers[-1]
            connection.execute(
                self.sql["insert_answer"],
                (
                    row["id"], candidate, began, row["task"], began, "ok", 200, answer["latency_ms"],
                    answer["ttft_ms"], None, "end_turn", candidate, 1, usage.input, 0, 0, 0, usage.output, cost, cost,
                    "bench", None, 0, primary, quality, quality - primary,
                ),
            )  # fmt: skip
        names = (
            "exchange_id",
            "candidate",
            "evaluator",
            "version",
            "quality",
            "role",
            "status",
            "value",
            "reason",
            "cost_usd",
            "measures",
            "absolute",
        )
        connection.executemany(self.sql["insert_score"], [tuple(score[name] for name in names) for score in scores])
        return Bundle(exchange=row, jobs=jobs, answers=answers, scores=scores)


def score_row(exchange_id: str, candidate: str, role: str, value: float) -> dict[str, Any]:
    return {
        "exchange_id": exchange_id, "candidate": candidate, "evaluator": "is-json", "version": "1", "quality": 1,
        "role": role, "status": "scored", "value": value, "reason": "", "cost_usd": 0.0,
        "measures": "content", "absolute": 1,
    }  # fmt: skip


def plain_row(record: ExchangeRecord, priced: tuple[Any, ...]) -> dict[str, Any]:
    """An exchange as a row of its table, as far as rollups look at it."""
    usage = record.usage or Usage()
    return {
        "id": record.id, "started_at": record.started_at, "task": record.task, "model": record.model,
        "conversation": record.conversation, "dialect": record.dialect, "eligible": record.eligible,
        "outcome": str(record.outcome), "latency_ms": record.latency_ms, "ttft_ms": record.ttft_ms, "streamed": 1,
        "client_retry": 0, "first_turn": 1, "has_tools": 0, "gateway_error": None, "input_tokens": usage.input,
        "cache_read_tokens": 0, "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0, "output_tokens": usage.output,
        "cost_billed_usd": priced[0], "cost_uncached_usd": priced[1],
        "overhead_us": record.overhead_us,
    }  # fmt: skip


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
        "/verdicts": "/verdicts",
        "/pairs, newest": "/pairs?limit=50",
        "/pairs, worst": "/pairs?limit=50&sort=worst",
        "/pairs, worst of one task": f"/pairs?limit=50&sort=worst&task={TASKS[3]}",
        "/pairs, newest of one candidate": f"/pairs?limit=50&candidate={CANDIDATES[0]}",
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
        "page Report, 30 days": f"/ui/report?since={since(days=30)}&until={until}",
    }


async def ask_all(path: Path, end: datetime) -> dict[str, list[float]]:
    """Ask every question over a real socket; milliseconds of each time, after three that warm up."""
    with closing(sqlite3.connect(path)) as connection:
        some_id = connection.execute("SELECT exchange_id FROM shadow_answer ORDER BY exchange_id LIMIT 1").fetchone()[0]
    # Named as TCP, else asyncio does not switch off the delay of small packets and every answer takes 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    chosen = AdminSettings(version="bench", prices=PRICES, candidates=CANDIDATES)
    async with await open_store(f"sqlite:///{path}") as store:
        app = build_app(reader=store.reader, settings=lambda: chosen, now=lambda: end)
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
from bench.stats import Loader
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


async def retention(path: Path, end: datetime) -> dict[str, float]:
    """How long retention holds the write lock over a large file, and how many exchanges a second it deletes."""
    held: list[float] = []
    at_once, run_to_end = Connection.at_once, Connection.run_to_end

    async def timed_work(self: Connection, work: Any) -> Any:
        began = time.perf_counter()
        found = await at_once(self, work)
        held.append((time.perf_counter() - began) * 1000)
        return found

    async def timed_run(self: Connection, sql: str) -> None:
        began = time.perf_counter()
        await run_to_end(self, sql)
        held.append((time.perf_counter() - began) * 1000)

    Connection.at_once, Connection.run_to_end = timed_work, timed_run  # type: ignore[method-assign]
    try:
        async with await open_store(f"sqlite:///{path}") as store:
            before = end - timedelta(days=DAYS) + timedelta(minutes=60)
            began = time.perf_counter()
            gone = await paced(lambda limit: store.reader.prune(before=before, limit=limit))
            took = time.perf_counter() - began
    finally:
        Connection.at_once, Connection.run_to_end = at_once, run_to_end  # type: ignore[method-assign]
    held.sort()
    return {"exchanges": gone, "exchanges/s": gone / took, "lock p99, ms": at(held, 99), "lock max, ms": held[-1]}


# --- the table ---


def commit() -> str:
    git = shutil.which("git") or "git"
    found = subprocess.run([git, "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def table(sizes: dict[int, dict[str, list[float]]], measured: dict[str, dict[str, float]], notes: list[str]) -> str:
    """The result as Markdown."""
    names = list(next(iter(sizes.values())))
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
    given = parser.parse_args()
    folder = Path(given.keep or tempfile.mkdtemp(prefix="bench-stats-"))
    folder.mkdir(parents=True, exist_ok=True)
    end = datetime(2026, 11, 28, tzinfo=UTC) - timedelta(hours=7, minutes=13)
    sizes: dict[int, dict[str, list[float]]] = {}
    try:
        for records in given.records or [1_000_000, 10_000_000]:
            path = folder / f"{records}.db"
            if not path.exists():
                print(f"loading {records:,} records", file=sys.stderr)
                began = time.perf_counter()
                partial = folder / f"{records}.partial"
                partial.unlink(missing_ok=True)
                distinct = folder / f"{DISTINCT}.db"
                loader = Loader(partial, records=min(records, DISTINCT), end=end)
                if records > DISTINCT and distinct.exists():
                    shutil.copy(distinct, partial)
                else:
                    loader.load()
                if records > DISTINCT:
                    loader.multiply(records // DISTINCT)
                partial.rename(path)
                print(f"  {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if not given.load_only:
                sizes[records] = asyncio.run(ask_all(path, end))
        if given.load_only:
            return
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            measured = {
                "One process writes batches of 500 with rollups": asyncio.run(ingest(Path(fresh))),
                f"Four processes write one file for {given.seconds:g} s": four_writers(
                    Path(fresh), seconds=given.seconds
                ),
                "Retention deletes the oldest hour of the largest file": asyncio.run(retention(path, end)),
            }
        print(table(sizes, measured, []))
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
