"""Rollups of a real store: whatever is written in whatever order, they are what the raw rows say."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from bench.stats import four_writers
from shadow.records import NOISE_FLOOR, Batch, Cost, Feedback, Judgement, Outcome, Score, StoredScore, Usage
from shadow.rollups import DAY, DROPPED, HOUR, MINUTE, Series
from shadow.store import open_store
from shadow.store.base import Label
from tests.support.rolled import differences, told, truth
from tests.support.stored import NOW, Day, exchange, job, locked, pair_result, rows, sampled, url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from shadow.records import ExchangeRecord, LeasedJob, PairResult
    from shadow.store.sqlite.store import SqliteStore

EVER: dict[str, Any] = {"since": NOW - timedelta(days=60), "until": NOW + timedelta(days=60)}
OUTCOMES = [Outcome.OK] * 6 + list(Outcome)


@asynccontextmanager
async def stored(tmp_path: Path, *batches: Batch) -> AsyncIterator[SqliteStore]:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        for batch in batches:
            await store.intake.write(batch)
        yield store


async def fold_all(store: SqliteStore, *, limit: int = 200) -> None:
    while await store.rollups.fold(limit=limit):
        pass


def a_price(record: ExchangeRecord) -> Cost:
    known = int(record.id[1:]) % 5
    usd = None if not known else known / 700
    return Cost(billed_usd=usd, uncached_usd=usd, source="test" if usd else "unknown")


class AnyDay:
    """A random user of two connections: everything that writes to a store, in any order, with repeats and crashes."""

    def __init__(self, seed: int, stores: list[SqliteStore]) -> None:
        self.random = random.Random(seed)
        self.stores = stores
        self.now = NOW
        self.written: list[Batch] = []
        self.count = 0
        self.held: list[tuple[LeasedJob, float]] = []
        self.answered: list[tuple[str, str]] = []

    @property
    def store(self) -> SqliteStore:
        return self.random.choice(self.stores)

    async def act(self) -> None:
        await self.random.choice(
            [self.write, self.write, self.repeat, self.lease, self.lease, self.reserve, self.reserve, self.finish,
             self.finish, self.end, self.crash, self.recover, self.overflow, self.expire, self.price, self.fold,
             self.work, self.work, self.work, self.label, self.label, self.say]
        )()  # fmt: skip

    def an_exchange(self) -> ExchangeRecord:
        chance = self.random
        self.count += 1
        usage = Usage(input=chance.randint(1, 900), cache_read=chance.randint(0, 90), output=chance.randint(1, 300))
        outcome = chance.choice(OUTCOMES)
        streamed = chance.random() < 0.5
        return exchange(
            self.count,
            started_at=NOW + timedelta(seconds=chance.uniform(-90_000, 90_000)),
            task=chance.choice(["default", "support"]),
            model=chance.choice(["primary", "other", None, ""]),
            outcome=outcome,
            latency_ms=chance.lognormvariate(6, 1),
            conversation=f"c{self.count % 9}",
            streamed=streamed,
            ttft_ms=chance.lognormvariate(4, 1) if streamed else None,
            overhead_us=60 + 37 * self.count % 800 if self.count % 9 else None,
            usage=usage if chance.random() < 0.8 else None,
            first_turn=chance.random() < 0.5,
            has_tools=chance.random() < 0.3,
            client_retry=chance.random() < 0.1,
            eligible=chance.random() < 0.9,
            gateway_error="connect" if outcome is Outcome.ERROR_CONNECT else None,
            **({"dialect": None} if chance.random() < 0.05 else {}),
        )

    async def write(self) -> None:
        exchanges = [self.an_exchange() for _ in range(self.random.randint(1, 6))]
        jobs = [
            job(one, candidate, counted=self.random.random() < 0.85, state=state, reason=reason)
            for one in exchanges
            for candidate in ("a", "b", NOISE_FLOOR)
            if one.model is not None and self.random.random() < 0.6
            for state, reason in [self.random.choice([("pending", None)] * 4 + [("skipped", "opted_out")])]
        ]
        batch = Batch(exchanges=exchanges, jobs=jobs, dropped={"tee_full": self.random.randint(1, 3)})
        self.written.append(batch)
        await self.store.intake.write(batch)

    async def repeat(self) -> None:
        """A batch whose commit the recorder did not see comes again, alone or with new ones."""
        if self.written:
            old = self.random.choice(self.written)
            await self.store.intake.write(Batch(exchanges=[*old.exchanges, self.an_exchange()], jobs=old.jobs))

    async def lease(self) -> None:
        leased = await self.store.jobs.lease(worker="w", limit=self.random.randint(1, 4), lease_s=30, now=self.now)
        self.held += [(held, 0.0) for held in leased]

    def take(self, *, sent: bool) -> tuple[LeasedJob, float] | None:
        chosen = [entry for entry in self.held if bool(entry[1]) is sent]
        if not chosen:
            return None
        entry = self.random.choice(chosen)
        self.held.remove(entry)
        return entry

    async def reserve(self) -> None:
        if (entry := self.take(sent=False)) is not None:
            budget = Day(cap_usd=40.0, paced_usd=self.random.choice([1.0, 40.0]))
            outcome = await self.store.jobs.reserve(entry[0], worst_case_usd=0.5, budget=budget, now=self.now)
            if outcome == "ok":
                self.held.append((entry[0], 0.5))

    async def finish(self) -> None:
        if (entry := self.take(sent=True)) is not None:
            result = a_result(self.random, entry[0])
            for _ in range(self.random.choice([1, 1, 2])):
                await self.store.jobs.finish(entry[0], result=result, reserved_usd=entry[1], now=self.now)

    async def work(self) -> None:
        """Several jobs from beginning to end."""
        budget = Day(cap_usd=1000.0, paced_usd=1000.0)
        for held in await self.store.jobs.lease(worker="v", limit=6, lease_s=30, now=self.now):
            if await self.store.jobs.reserve(held, worst_case_usd=0.5, budget=budget, now=self.now) == "ok":
                await self.store.jobs.finish(held, result=a_result(self.random, held), reserved_usd=0.5, now=self.now)
                self.answered.append((held.job.exchange_id, held.job.candidate))

    async def end(self) -> None:
        if (entry := self.take(sent=self.random.random() < 0.3)) is not None:
            act = self.random.choice([self.store.jobs.skip, self.store.jobs.drop])
            await act(entry[0], reason="why")
            await self.store.jobs.release(entry[0])

    async def crash(self) -> None:
        self.held = [entry for entry in self.held if self.random.random() < 0.5]

    async def recover(self) -> None:
        self.now += timedelta(seconds=self.random.choice([1, 20, 40]))
        await self.store.jobs.recover(now=self.now, max_job_age_s=86_000)

    async def expire(self) -> None:
        before = NOW - timedelta(seconds=self.random.uniform(60_000, 100_000))
        await self.store.intake.expire_jobs(before=before, now=self.now)

    async def overflow(self) -> None:
        await self.store.jobs.enforce_queue_size(limit=self.random.randint(5, 40))

    async def price(self) -> None:
        await self.store.reader.price_pending(a_price, limit=self.random.choice([3, 1000]))

    def someone(self) -> str:
        """An exchange, mostly one that is there."""
        return f"x{self.random.randint(0, self.count):04}"

    async def label(self) -> None:
        chance = self.random
        pair = chance.choice([*self.answered[-9:], (self.someone(), "a")])
        of = {"exchange_id": pair[0], "candidate": pair[1], "labeller": chance.choice(["me", "you"])}
        if chance.random() < 0.2:
            await self.store.reader.remove_label(**of)
            return
        winner = chance.choice(["primary", "candidate", "tie"])
        said = Label(**of, winner=winner, choice="A", side_a=None, seed=None, source="api", labelled_at=self.now)  # type: ignore[arg-type]
        await self.store.reader.keep_label(said)

    async def say(self) -> None:
        score = self.random.choice([None, 0.0, 0.5, 1.0])
        await self.store.feedback.give(Feedback(exchange_id=self.someone(), given_at=self.now, score=score))

    async def fold(self) -> None:
        await self.store.rollups.fold(limit=self.random.choice([1, 7, 200]))


def a_result(chance: random.Random, held: LeasedJob) -> PairResult:
    """What a worker may bring back, in every combination."""
    outcome = chance.choice(OUTCOMES)
    pairwise = chance.random() < 0.3
    roles = ("pair",) if pairwise else ("primary", "candidate")
    scores = [
        StoredScore(
            evaluator=name,
            version="1",
            quality=name == "is-json",
            role=role,
            score=replace(
                a_score(chance, role, wild=held.job.candidate != NOISE_FLOOR),
                judgements=tuple(judgements(chance, held, role)),
            ),
        )
        for name in ("is-json", "zeal")
        for role in roles
        if chance.random() < 0.9
    ]
    usd = chance.choice([None, 0.01, 0.02])
    changes = {
        "outcome": outcome,
        "latency_ms": chance.lognormvariate(6, 1),
        "ttft_ms": 40.0,
        "streamed": chance.random() < 0.5,
        "usage": Usage(input=5, output=3) if usd else None,
    }
    result = pair_result(
        held,
        cost_usd=usd,
        redaction_changed=chance.random() < 0.1,
        identical=chance.choice([None, True, False]),
    )
    answer = type(result.answer)(
        **{**{name: getattr(result.answer, name) for name in result.answer.__slots__}, **changes}
    )
    primary_cost = chance.choice([None, Cost(billed_usd=0.3, uncached_usd=0.3, source="worker")])
    return type(result)(
        answer=answer,
        scores=scores,
        content=result.content,
        redaction_changed=result.redaction_changed,
        primary_cost=primary_cost,
        identical=result.identical,
    )


def judgements(chance: random.Random, held: LeasedJob, role: str) -> Iterator[Judgement]:
    """What a judge may have said, retries and controls included; from NOW on by another one."""
    began = held.exchange.started_at
    model = "j" if began < NOW else "k"
    asked: tuple[str, ...] = ("primary_first", "candidate_first") if role == "pair" else ("single",)
    # Not asked: the answers are identical, or this one was graded before.
    orders = ("none",) if chance.random() < 0.25 else asked
    controls = [chance.choice(["half", "other_prompt"])] if role != "candidate" and chance.random() < 0.4 else []
    for control in (None, *controls):
        for order in orders if control is None else asked:
            for _ in range(chance.choice([0, 1, 1, 1, 2])):
                readable = order == "none" or chance.random() < 0.8
                status = "ruled" if readable else chance.choice(["unreadable", "error"])
                if order == "none" and role == "pair":
                    status = "identical"
                won = chance.choice(["primary", "candidate", "tie"])
                compared = status == "ruled" and (role == "pair" or control is not None)
                yield Judgement(
                    model=model,
                    started_at=began + timedelta(seconds=1),
                    order=order,  # type: ignore[arg-type]
                    status=status,  # type: ignore[arg-type]
                    control=control,  # type: ignore[arg-type]
                    winner=won if compared else None,  # type: ignore[arg-type]
                    grade=chance.randint(1, 5) if status == "ruled" and role != "pair" else None,
                    cost_usd=chance.choice([None, 0.0, 0.002]),
                    primary_chars=chance.randint(1, 90),
                    candidate_chars=chance.randint(1, 90),
                )


def a_score(chance: random.Random, role: str, *, wild: bool) -> Score:
    status = chance.choice(["scored", "scored", "scored", "failed", "not_applicable"])
    if status != "scored":
        return Score(status=status, reason="no", cost_usd=0.001)  # type: ignore[arg-type]
    value = (
        chance.choice([-1.0, -0.25, 0.0, 0.4])
        if role == "pair"
        else chance.choice([0.0, 0.5, 1.0, 7.0 if wild else 0.25])
    )
    return Score(status="scored", value=value, cost_usd=0.001)


@pytest.mark.parametrize("seed", range(8))
async def test_after_every_step_of_a_random_day_the_rollups_are_what_the_raw_rows_say(
    tmp_path: Path, seed: int
) -> None:
    async with stored(tmp_path) as one, stored(tmp_path) as two:
        day = AnyDay(seed, [one, two])
        for step in range(100):
            await day.act()
            if step % 5 == 4:
                assert differences(await told(one, **EVER), await truth(one, **EVER)) == [], (seed, step)
        chance = random.Random(seed)
        for folded in (False, True):
            if folded:
                await fold_all(one)
            for _ in range(20):
                since = NOW + timedelta(seconds=chance.uniform(-100_000, 90_000))
                window = {"since": since, "until": since + timedelta(seconds=chance.choice([0, 59, 4000, 100_000]))}
                task = chance.choice([None, "support"])
                assert differences(await told(one, **window, task=task), await truth(one, **window, task=task)) == [], (
                    seed,
                    window,
                )
        assert rows(tmp_path / "shadow.db", "SELECT count(*) FROM rollup_delta") == [(0,)]


async def test_two_workers_at_once_and_a_folder_beside_them_lose_nothing(tmp_path: Path) -> None:
    async with stored(tmp_path) as one, stored(tmp_path) as two:

        async def work(seed: int, store: SqliteStore) -> None:
            day = AnyDay(seed, [store])
            day.count = 5000 * seed
            for _ in range(100):
                await day.act()

        await asyncio.gather(work(1, one), work(0, two))

        assert differences(await told(one, **EVER), await truth(one, **EVER)) == []


async def test_what_is_told_twice_counts_once_but_what_was_lost_is_counted_each_time(tmp_path: Path) -> None:
    batch = Batch(exchanges=[exchange(1), exchange(2)], dropped={"tee_full": 2})
    async with stored(tmp_path, batch, batch) as store:
        window = await store.rollups.window(since=NOW, until=NOW + timedelta(minutes=1))
        ever = await store.rollups.window(since=NOW, until=datetime.now(UTC) + timedelta(days=1))

    [(series, totals)] = window.totals().items()
    assert series == Series("default", "primary", "")
    assert totals.count("requests") == 2
    assert totals.count("latency_ms.n") == 2
    dropped = ever.totals().get(Series("", None, "", DROPPED))
    assert dropped is None or dropped.named("") == {"tee_full": 4}


WRITES = """
import asyncio, sys
from shadow.store import open_intake
from tests.support.stored import sampled, exchange
from shadow.records import Batch

async def main():
    intake = await open_intake(sys.argv[1])
    first = int(sys.argv[2])
    print("ready", flush=True)
    for start in range(first, first + 900, 9):
        await intake.write(sampled(*range(start, start + 3), candidates=("a", "b")))
        await intake.write(Batch(exchanges=[exchange(n) for n in range(start + 3, start + 9)], dropped={"tee_full": 1}))
    await intake.close()

asyncio.run(main())
"""

FOLDS = """
import asyncio, sys
from shadow.store import open_store

async def main():
    async with await open_store(sys.argv[1]) as store:
        print("ready", flush=True)
        while True:
            await store.rollups.fold(limit=5)

asyncio.run(main())
"""


def spawned(script: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.3])
async def test_writers_and_folders_killed_at_any_moment_leave_rollups_that_are_what_the_raw_rows_say(
    tmp_path: Path, after_s: float
) -> None:
    path = tmp_path / "shadow.db"
    processes = [spawned(WRITES, url(path), "0"), spawned(WRITES, url(path), "1000"), spawned(FOLDS, url(path))]
    await asyncio.sleep(after_s)
    for process in processes:
        process.kill()
        process.communicate()

    async with stored(tmp_path) as store:
        await store.intake.write(sampled(*range(60), candidates=("a", "b")))  # what a recorder would send again
        before = differences(await told(store, **EVER), await truth(store, **EVER))
        await fold_all(store)
        after = differences(await told(store, **EVER), await truth(store, **EVER))
        counted = (await told(store, **EVER))[Series("default", "primary", "")][0]["requests"]

    assert (before, after) == ([], [])
    assert counted == rows(path, "SELECT count(*) FROM exchange")[0][0]


# --- made anew ---


async def rebuilt(store: SqliteStore) -> int:
    """Make all rollups anew, a day at a time."""
    span = await store.rollups.raw_span()
    assert span is not None
    since, until = span
    days = range(since - since % DAY, until, DAY)
    return sum([await store.rollups.rebuild_day(day, since=since, until=until) for day in days])


@pytest.mark.parametrize("harm", ["DELETE FROM rollup", "UPDATE rollup SET numbers = '{\"requests\":9}'", "SELECT 1"])
async def test_made_anew_from_raw_rows_they_are_right_whatever_stood_there(tmp_path: Path, harm: str) -> None:
    async with stored(tmp_path) as store:
        day = AnyDay(3, [store])
        for _ in range(60):
            await day.act()
        await fold_all(store)
        lost = await dropped(store)
        for _ in range(20):
            await day.write()  # deltas that nobody has folded
        await store._writer.fetch(harm)
        read = await rebuilt(store)
        right = await truth(store, **EVER)
        assert differences(await told(store, **EVER), right) == []
        await fold_all(store)
        assert differences(await told(store, **EVER), right) == []
        again = await rebuilt(store)
        assert differences(await told(store, **EVER), right) == []
        for window in (
            {"since": NOW, "until": NOW + timedelta(hours=5)},
            {"since": NOW - timedelta(hours=40), "until": NOW},
        ):
            assert differences(await told(store, **window), await truth(store, **window)) == []

    assert read == again == rows(tmp_path / "shadow.db", "SELECT count(*) FROM exchange")[0][0]
    assert lost


async def dropped(store: SqliteStore) -> dict[str, int]:
    window = await store.rollups.window(since=NOW - timedelta(days=4000), until=NOW + timedelta(days=4000))
    return window.totals()[Series("", None, "", DROPPED)].named("")


async def test_what_is_written_while_rollups_are_made_anew_is_kept(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(*range(200))) as one, stored(tmp_path) as two:

        async def write() -> None:
            for number in range(1000, 1200, 4):
                await two.intake.write(sampled(*range(number, number + 4)))

        writing = asyncio.create_task(write())
        while not writing.done():
            await rebuilt(one)
        await writing

        assert differences(await told(one, **EVER), await truth(one, **EVER)) == []


# --- who folds, what is kept ---


async def test_one_holder_leads_until_the_lease_ends_or_is_given_back(tmp_path: Path) -> None:
    async with stored(tmp_path) as one, stored(tmp_path) as two:
        first = await one.rollups.lead("rollups", holder="one", now=NOW, lease_s=30)
        second = await two.rollups.lead("rollups", holder="two", now=NOW, lease_s=30)
        again = await one.rollups.lead("rollups", holder="one", now=NOW + timedelta(seconds=20), lease_s=30)
        early = await two.rollups.lead("rollups", holder="two", now=NOW + timedelta(seconds=40), lease_s=30)
        late = await two.rollups.lead("rollups", holder="two", now=NOW + timedelta(seconds=51), lease_s=30)
        gone_back = await one.rollups.lead("rollups", holder="one", now=NOW - timedelta(days=1), lease_s=30)
        await one.rollups.resign("rollups", holder="one")
        free = await two.rollups.lead("rollups", holder="two", now=NOW - timedelta(days=1), lease_s=30)

    assert (first, second, again, early, late) == (True, False, True, False, True)
    assert (gone_back, free) == (True, True)


async def test_where_finer_sums_are_gone_a_window_is_widened_to_what_is_kept_and_says_so(tmp_path: Path) -> None:
    early = [exchange(n, started_at=NOW - timedelta(minutes=7 * n)) for n in range(60)]
    async with stored(tmp_path, Batch(exchanges=early)) as store:
        await fold_all(store)
        limit = int((NOW - timedelta(hours=2)).timestamp()) // HOUR * HOUR
        deleted = await store.rollups.prune(grain=MINUTE, before=limit)
        window = await store.rollups.window(since=NOW - timedelta(hours=4, minutes=5), until=NOW + timedelta(minutes=1))
        whole = await store.rollups.window(since=NOW - timedelta(days=1), until=NOW + timedelta(minutes=1))
        recent = await store.rollups.window(since=NOW - timedelta(minutes=30), until=NOW + timedelta(minutes=1))

    expected = [one for one in early if one.started_at.timestamp() >= window.since]
    assert deleted > 0
    assert window.since % HOUR == 0
    assert window.since <= (NOW - timedelta(hours=4, minutes=5)).timestamp() < window.since + HOUR
    assert sum(totals.count("requests") for totals in window.totals().values()) == len(expected)
    assert sum(totals.count("requests") for totals in whole.totals().values()) == 60
    assert recent.since % MINUTE == 0
    assert recent.since > NOW.timestamp() - 31 * 60
    assert sum(totals.count("requests") for totals in recent.totals().values()) == 5


async def test_an_older_file_with_rows_knows_what_is_due_and_a_new_one_has_nothing_to_make(tmp_path: Path) -> None:
    async with stored(tmp_path) as store:
        assert await store.rollups.due() is None
        assert await store.rollups.raw_span() is None
        await store.rollups.set_due(7200)
        assert await store.rollups.due() == 7200
        await store.rollups.set_due(None)
        assert await store.rollups.due() is None


async def test_a_locked_store_leaves_neither_rows_nor_deltas_of_a_batch_behind(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with stored(tmp_path) as store:
        async with locked(path):
            writing = asyncio.create_task(store.intake.write(sampled(1)))
            await asyncio.sleep(0.05)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        await store.intake.write(sampled(2))
        assert differences(await told(store, **EVER), await truth(store, **EVER)) == []


def test_four_processes_write_one_file_at_two_thousand_records_a_second_each_while_a_fifth_folds(
    tmp_path: Path,
) -> None:
    """The short form of what `make bench-stats` does for a minute; it ends the test for any lock error or lost row."""
    found = four_writers(tmp_path, seconds=5)

    assert found["lock errors"] == 0
    assert found["records"] > 0
