"""The queue and the day's money in a real store: who holds a job, what may be spent, and what a crash leaves."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shadow.records import Batch, Cost, Score, StoredContent, StoredScore
from shadow.store import open_store
from tests.support.stored import DAY, NOW, Day, body, exchange, job, pair_result, rows, sampled, url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from shadow.records import LeasedJob
    from shadow.store.sqlite.store import SqliteStore

LATER = NOW + timedelta(seconds=61)


@asynccontextmanager
async def stored(tmp_path: Path, *batches: Batch) -> AsyncIterator[SqliteStore]:
    async with await open_store(url(tmp_path / "shadow.db")) as store:
        for batch in batches:
            await store.intake.write(batch)
        yield store


async def lease(
    store: SqliteStore, limit: int = 100, *, without: Sequence[str] = (), worker: str = "w"
) -> list[LeasedJob]:
    return await store.jobs.lease(worker=worker, limit=limit, lease_s=60, now=NOW, without=without)


async def states(store: SqliteStore) -> dict[tuple[str, str | None], int]:
    counted: Counter[tuple[str, str | None]] = Counter()
    for row in await store.reader.coverage(**DAY):
        if row["candidate"] is not None:
            counted[row["state"], row["reason"]] += row["count"]
    return dict(counted)


async def spent(store: SqliteStore, day: str = "2026-11-23") -> tuple[float, float, bool]:
    budget = await store.reader.budget(day=day)
    return budget["spent_usd"], budget["reserved_usd"], bool(budget["closed"])


# --- leases ---


async def test_jobs_are_leased_oldest_first_and_only_once(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(3, 1), sampled(2)) as store:
        first = await lease(store, 2)
        second = await lease(store)
        third = await lease(store)

    assert [held.job.exchange_id for held in first] == ["x0001", "x0002"]
    assert [held.job.exchange_id for held in second] == ["x0003"]
    assert third == []
    assert all(held.job.state == "leased" and held.body is not None for held in [*first, *second])


async def test_resting_candidates_are_passed_over(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2, candidates=("a", "b"))) as store:
        taken = await lease(store, without=["a", "it's resting"])

    assert {held.job.candidate for held in taken} == {"b"}
    assert len(taken) == 2


async def test_a_released_job_is_pending_again_and_its_old_lease_means_nothing(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1)) as store:
        [old] = await lease(store)
        await store.jobs.release(old)
        [new] = await lease(store, worker="another")
        for act in (store.jobs.skip(old, reason="r"), store.jobs.drop(old, reason="r"), store.jobs.release(old)):
            await act
        reserved = await store.jobs.reserve(old, worst_case_usd=1, budget=Day(), now=NOW)
        await store.jobs.finish(old, result=pair_result(old), reserved_usd=1, now=NOW)
        still = await states(store)
        ours = await store.jobs.reserve(new, worst_case_usd=1, budget=Day(), now=NOW)

    assert reserved == "gone"
    assert still == {("leased", None): 1}
    assert ours == "ok"


async def test_skipping_and_dropping_end_a_job_with_its_reason_and_the_last_one_deletes_the_copy(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shadow.db"
    async with stored(tmp_path, sampled(1, candidates=("a", "b"))) as store:
        first, second = await lease(store)
        await store.jobs.skip(first, reason="dialect")
        copies = rows(path, "SELECT count(*) FROM job_body")
        await store.jobs.drop(second, reason="worker_error")
        ended = await states(store)

    assert copies == [(1,)]
    assert rows(path, "SELECT count(*) FROM job_body") == [(0,)]
    assert ended == {("skipped", "dialect"): 1, ("dropped", "worker_error"): 1}


async def test_a_sent_job_cannot_be_skipped_and_dropping_it_keeps_the_whole_reserve_spent(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1)) as store:
        [held] = await lease(store)
        await store.jobs.reserve(held, worst_case_usd=0.5, budget=Day(), now=NOW)
        await store.jobs.skip(held, reason="dialect")
        await store.jobs.release(held)
        before = await states(store)
        await store.jobs.drop(held, reason="worker_error")
        after, money = await states(store), await spent(store)

    assert before == {("sent", None): 1}
    assert after == {("dropped", "worker_error"): 1}
    assert money == (0.5, 0, False)


# --- results ---


async def test_a_finished_job_is_kept_once_with_scores_and_content_and_settles_the_reserve(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    content = StoredContent(prompt="p", candidate_output="o")
    async with stored(tmp_path, sampled(1)) as store:
        [held] = await lease(store)
        await store.jobs.reserve(held, worst_case_usd=0.5, budget=Day(), now=NOW)
        for cost_usd in (0.125, 0.25):
            result = pair_result(held, cost_usd=cost_usd, content=content, candidate=0.25)
            await store.jobs.finish(held, result=result, reserved_usd=0.5, now=NOW)
        pair = await store.reader.pair("x0001:rival")
        ended, money = await states(store), await spent(store)

    assert ended == {("done", None): 1}
    assert money == (0.125, 0, False)
    assert pair is not None
    assert (pair["cost_billed_usd"], pair["quality_primary"], pair["quality_candidate"]) == (0.125, 1.0, 0.25)
    assert pair["quality_diff"] == -0.75
    assert (pair["content"]["prompt"], pair["content"]["candidate_output"]) == ("p", "o")
    assert [(score["role"], score["candidate"]) for score in pair["scores"]] == [
        ("candidate", "rival"),
        ("primary", ""),
    ]
    assert rows(path, "SELECT count(*) FROM job_body") == [(0,)]


async def test_an_unknown_cost_leaves_the_whole_reserve_spent_and_scoring_is_paid_too(tmp_path: Path) -> None:
    judged = StoredScore(
        evaluator="judge", version="1", quality=False, role="pair", score=Score(status="scored", value=0, cost_usd=0.25)
    )
    async with stored(tmp_path, sampled(1, 2)) as store:
        unknown, known = await lease(store)
        for held in (unknown, known):
            await store.jobs.reserve(held, worst_case_usd=0.5, budget=Day(), now=NOW)
        nothing = pair_result(unknown, cost_usd=None)
        await store.jobs.finish(unknown, result=nothing, reserved_usd=0.5, now=NOW)
        after_unknown = await spent(store)
        plain = pair_result(known, cost_usd=0.125)
        paid = type(plain)(answer=plain.answer, scores=[*plain.scores, judged], content=plain.content)
        await store.jobs.finish(known, result=paid, reserved_usd=0.5, now=NOW)
        after_known = await spent(store)

    assert after_unknown == (0.5, 0.5, False)
    assert after_known == (0.875, 0, False)


async def test_a_pairwise_quality_is_the_difference_itself_and_the_primarys_cost_is_kept_when_it_was_unknown(
    tmp_path: Path,
) -> None:
    pairwise = StoredScore(
        evaluator="j", version="1", quality=True, role="pair", score=Score(status="scored", value=0.5)
    )
    async with stored(tmp_path, sampled(1)) as store:
        [held] = await lease(store)
        await store.jobs.reserve(held, worst_case_usd=0.5, budget=Day(), now=NOW)
        plain = pair_result(held, primary=None, candidate=None)
        result = type(plain)(
            answer=plain.answer,
            scores=[pairwise],
            content=plain.content,
            redaction_changed=True,
            primary_cost=Cost(billed_usd=1.5, uncached_usd=2.5, source="list"),
        )
        await store.jobs.finish(held, result=result, reserved_usd=0.5, now=NOW)
        [row] = await store.reader.answers(**DAY)

    assert (row["quality_primary"], row["quality_candidate"], row["quality_diff"]) == (None, None, 0.5)
    assert row["redaction_changed"] is True
    assert (row["primary_cost_billed_usd"], row["primary_price_source"]) == (1.5, "list")


async def test_a_settlement_that_names_another_reserve_is_told_and_the_stored_one_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stored(tmp_path, sampled(1)) as store:
        [held] = await lease(store)
        await store.jobs.reserve(held, worst_case_usd=0.5, budget=Day(), now=NOW)
        with caplog.at_level(logging.ERROR):
            await store.jobs.finish(held, result=pair_result(held, cost_usd=None), reserved_usd=0.25, now=NOW)
        money = await spent(store)

    assert money == (0.5, 0, False)
    assert "another sum was reserved" in caplog.text


async def test_without_content_nothing_of_prompt_and_answers_is_left_in_any_file(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    of = exchange(1)
    copy = body(of, request=b"PROMPT-MARK " * 2000, response=b"ANSWER-MARK " * 2000)
    clock = [NOW]
    async with stored(tmp_path, Batch(exchanges=[of], jobs=[job(of)], bodies=[copy])) as store:
        store.jobs._clock = lambda: clock[0]
        store.jobs._scrubbed_at = NOW
        [held] = await lease(store)
        await store.jobs.reserve(held, worst_case_usd=0.5, budget=Day(), now=NOW)
        await store.jobs.finish(held, result=pair_result(held), reserved_usd=0.5, now=NOW)
        clock[0] = LATER
        await store.jobs.recover(now=NOW, max_job_age_s=600)
        left = await asyncio.to_thread(lambda: b"".join(p.read_bytes() for p in tmp_path.iterdir() if p != path))
        # Read last: closing the file drops SQLite's locks of this process.
        left += await asyncio.to_thread(path.read_bytes)

    assert b"PROMPT-MARK" not in left
    assert b"ANSWER-MARK" not in left


async def test_the_log_is_not_emptied_while_someone_else_writes_but_work_goes_on(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1)) as store, stored(tmp_path) as other:
        async with other._writer.transaction():
            await store._writer.checkpoint()
        assert await store._writer.fetch("PRAGMA busy_timeout") == [{"timeout": 10_000}]


# --- crashes ---


async def test_what_a_dead_worker_held_is_settled_unsent_jobs_wait_again_and_sent_ones_are_lost(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2)) as store:
        sent, _ = await lease(store)
        await store.jobs.reserve(sent, worst_case_usd=0.5, budget=Day(), now=NOW)
        early = await store.jobs.recover(now=NOW + timedelta(seconds=59), max_job_age_s=600)
        settled = await store.jobs.recover(now=LATER, max_job_age_s=600)
        late_answer = pair_result(sent)
        await store.jobs.finish(sent, result=late_answer, reserved_usd=0.5, now=LATER)
        ended, money, answers = await states(store), await spent(store), await store.reader.answers(**DAY)

    assert dict(early) == {"returned": 0, "lost_on_crash": 0, "too_old": 0}
    assert dict(settled) == {"returned": 1, "lost_on_crash": 1, "too_old": 0}
    assert ended == {("pending", None): 1, ("dropped", "lost_on_crash"): 1}
    assert money == (0.5, 0, False)
    assert answers == []


async def test_what_workers_of_a_line_held_that_are_known_to_be_gone_is_settled_before_their_leases_run_out(
    tmp_path: Path,
) -> None:
    async with stored(tmp_path, sampled(1, 2, 3)) as store:
        for name in ("line:1:dead", "line:2:own", "liner:1:other"):
            [held] = await lease(store, 1, worker=name)
            await store.jobs.reserve(held, worst_case_usd=0.5, budget=Day(), now=NOW)
        given_up = await store.jobs.give_up_leases(line="line:", but="line:2:")
        settled = await store.jobs.recover(now=NOW, max_job_age_s=600)
        ended, money = await states(store), await spent(store)

    assert given_up == 1
    assert dict(settled) == {"returned": 0, "lost_on_crash": 1, "too_old": 0}
    assert ended == {("sent", None): 2, ("dropped", "lost_on_crash"): 1}
    assert money == (0.5, 1.0, False)


async def test_a_worker_that_renews_keeps_its_jobs_and_only_its_own(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2)) as store:
        await lease(store, 1, worker="alive")
        await lease(store, 1, worker="dead")
        renewed = await store.jobs.renew(worker="alive", lease_s=60, now=NOW + timedelta(seconds=30))
        settled = await store.jobs.recover(now=LATER, max_job_age_s=600)

    assert renewed == 1
    assert settled["returned"] == 1


async def test_jobs_that_waited_too_long_are_dropped_with_their_copies_but_not_what_is_under_way(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shadow.db"
    async with stored(tmp_path, sampled(1, 2)) as store:
        [under_way] = await lease(store, 1)
        await store.jobs.reserve(under_way, worst_case_usd=0.5, budget=Day(), now=NOW)
        settled = await store.jobs.recover(now=NOW + timedelta(seconds=50), max_job_age_s=10)
        ended = await states(store)

    assert settled["too_old"] == 1
    assert ended == {("sent", None): 1, ("dropped", "too_old"): 1}
    assert rows(path, "SELECT count(*) FROM job_body") == [(0,)]


async def test_the_oldest_jobs_beyond_the_queues_size_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with stored(tmp_path, sampled(1, 2, 3, 4)) as store:
        dropped = await store.jobs.enforce_queue_size(limit=3)
        again = await store.jobs.enforce_queue_size(limit=3)
        [oldest] = await lease(store, 1)

    assert (dropped, again) == (1, 0)
    assert oldest.job.exchange_id == "x0002"
    assert rows(path, "SELECT exchange_id FROM job_body ORDER BY 1") == [("x0002",), ("x0003",), ("x0004",)]


# --- money ---


async def test_what_does_not_fit_is_skipped_and_closes_admission_until_that_much_is_free_again(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(*range(1, 8))) as store:
        jobs = await lease(store)

        async def reserve(number: int, usd: float, paced_usd: float) -> str:
            budget = Day(cap_usd=1.0, paced_usd=paced_usd)
            return await store.jobs.reserve(jobs[number], worst_case_usd=usd, budget=budget, now=NOW)

        outcomes = [
            await reserve(0, 0.5, 1.0),
            await reserve(1, 0.75, 1.0),  # does not fit under the cap
            await reserve(2, 0.001, 1.0),  # small, but admission is closed
            await reserve(3, 0.001, 1.2),  # headroom 0.7: not yet what was missing
        ]
        closed = await spent(store)
        outcomes.append(await reserve(4, 0.25, 1.25))  # headroom 0.75: open again
        money = await spent(store)

    assert outcomes == ["ok", "over_budget", "not_admitted", "not_admitted", "ok"]
    assert closed == (0, 0.5, True)
    assert money == (0, 0.75, False)


async def test_a_conversation_begins_only_below_the_days_pace(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2)) as store:
        first, second = await lease(store)
        paced = Day(cap_usd=5.0, paced_usd=0.25)
        outcomes = [
            await store.jobs.reserve(first, worst_case_usd=0.5, budget=paced, now=NOW),
            await store.jobs.reserve(second, worst_case_usd=0.01, budget=paced, now=NOW),
        ]
        ended = await states(store)

    assert outcomes == ["ok", "not_admitted"]
    assert ended == {("sent", None): 1, ("skipped", "over_budget"): 1}


async def test_later_turns_and_other_candidates_follow_the_decision_of_the_conversations_first_job(
    tmp_path: Path,
) -> None:
    in_talk = sampled(1, 2, candidates=("a", "b"), conversation="talk")
    out_talk = sampled(3, 4, conversation="refused")
    async with stored(tmp_path, in_talk, out_talk) as store:
        jobs = await lease(store)
        open_day, closed_day = Day(), Day(paced_usd=0.0)
        budgets = [open_day, closed_day, closed_day, closed_day, closed_day, open_day]
        outcomes = [
            await store.jobs.reserve(held, worst_case_usd=0.01, budget=budget, now=NOW)
            for held, budget in zip(jobs, budgets, strict=True)
        ]

    assert outcomes == ["ok"] * 4 + ["not_admitted"] * 2


async def test_a_day_later_the_same_key_is_a_new_conversation(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2, 3, conversation="talk")) as store:
        jobs = await lease(store)
        times = [NOW, NOW + timedelta(hours=23), NOW + timedelta(hours=25)]
        budgets = [Day(paced_usd=0.0), Day(), Day()]
        outcomes = [
            await store.jobs.reserve(held, worst_case_usd=0.01, budget=budget, now=now)
            for held, budget, now in zip(jobs, budgets, times, strict=True)
        ]

    assert outcomes == ["not_admitted", "not_admitted", "ok"]


async def test_a_new_day_has_its_own_money_and_old_reserves_settle_where_they_were_made(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(1, 2)) as store:
        evening, morning = await lease(store)
        await store.jobs.reserve(evening, worst_case_usd=1, budget=Day(cap_usd=1, paced_usd=1), now=NOW)
        next_day = Day(day="2026-11-24", cap_usd=1, paced_usd=1)
        outcome = await store.jobs.reserve(morning, worst_case_usd=1, budget=next_day, now=NOW)
        await store.jobs.finish(evening, result=pair_result(evening, cost_usd=0.25), reserved_usd=1, now=NOW)
        money = [await spent(store, day) for day in ("2026-11-23", "2026-11-24", "2026-11-25")]

    assert outcome == "ok"
    assert money == [(0.25, 0, False), (0, 1, False), (0, 0, False)]


RESERVES = """
import asyncio, json, sys
from shadow.store import open_store
from tests.support.stored import NOW, Day

async def main():
    async with await open_store(sys.argv[1]) as store:
        jobs = await store.jobs.lease(worker=sys.argv[2], limit=50, lease_s=60, now=NOW)
        budget = Day(cap_usd=3.05, paced_usd=3.05)
        outcomes = await asyncio.gather(
            *(store.jobs.reserve(job, worst_case_usd=0.1, budget=budget, now=NOW) for job in jobs)
        )
        print(json.dumps(outcomes))

asyncio.run(main())
"""


async def test_a_hundred_reserves_at_once_from_two_processes_never_pass_the_cap(tmp_path: Path) -> None:
    async with stored(tmp_path, sampled(*range(100))) as store:
        command = [sys.executable, "-c", RESERVES, url(tmp_path / "shadow.db")]
        workers = [await asyncio.create_subprocess_exec(*command, name, stdout=subprocess.PIPE) for name in ("a", "b")]
        outcomes = [json.loads((await worker.communicate())[0]) for worker in workers]
        money = await spent(store)

    tally = Counter(outcome for of_worker in outcomes for outcome in of_worker)
    assert [len(of_worker) for of_worker in outcomes] == [50, 50]
    assert tally["ok"] == 30
    assert money == (0, pytest.approx(3.0), True)


# --- coverage, at every moment ---


class Chance:
    """A random user of two connections: the live process and two workers, with crashes and clocks that jump."""

    def __init__(self, seed: int, stores: list[SqliteStore]) -> None:
        self.random = random.Random(seed)
        self.stores = stores
        self.now = NOW
        self.written = 0
        self.held: list[tuple[LeasedJob, float]] = []

    @property
    def store(self) -> SqliteStore:
        return self.random.choice(self.stores)

    async def act(self) -> None:
        await self.random.choice(
            [self.write, self.write, self.lease, self.lease, self.reserve, self.reserve, self.finish, self.finish,
             self.end, self.crash, self.recover, self.overflow, self.repeat]
        )()  # fmt: skip

    async def write(self) -> None:
        count = self.random.randint(1, 4)
        numbers = range(self.written, self.written + count)
        self.written += count
        talk = f"talk-{self.random.randint(0, 9)}"
        await self.store.intake.write(sampled(*numbers, candidates=("a", "b"), conversation=talk))

    async def repeat(self) -> None:
        if self.written:
            await self.store.intake.write(sampled(self.random.randrange(self.written), candidates=("a", "b")))

    async def lease(self) -> None:
        leased = await self.store.jobs.lease(worker="w", limit=self.random.randint(1, 3), lease_s=30, now=self.now)
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
            usd = self.random.choice([0.1, 0.3, 0.7, 1.9])
            budget = Day(cap_usd=4.0, paced_usd=self.random.choice([1.0, 4.0]))
            outcome = await self.store.jobs.reserve(entry[0], worst_case_usd=usd, budget=budget, now=self.now)
            if outcome == "ok":
                self.held.append((entry[0], usd))

    async def finish(self) -> None:
        if (entry := self.take(sent=True)) is not None:
            cost = self.random.choice([None, 0.0, entry[1] / 3])
            result = pair_result(entry[0], cost_usd=cost)
            await self.store.jobs.finish(entry[0], result=result, reserved_usd=entry[1], now=self.now)

    async def end(self) -> None:
        if (entry := self.take(sent=self.random.random() < 0.3)) is not None:
            act = self.random.choice([self.store.jobs.skip, self.store.jobs.drop])
            await act(entry[0], reason="why")
            await self.store.jobs.release(entry[0])

    async def crash(self) -> None:
        self.held = [entry for entry in self.held if self.random.random() < 0.5]

    async def recover(self) -> None:
        self.now += timedelta(seconds=self.random.choice([1, 20, 40]))
        await self.store.jobs.recover(now=self.now, max_job_age_s=300)

    async def overflow(self) -> None:
        await self.store.jobs.enforce_queue_size(limit=self.random.randint(2, 12))


async def problems(store: SqliteStore, path: Path) -> list[str]:
    """What is wrong in the store at this moment, nothing when all is well."""
    coverage = await store.reader.coverage(**DAY)
    eligible = sum(row["count"] for row in coverage if row["candidate"] is None)
    found = [
        f"{candidate}: {total} jobs, {eligible} eligible exchanges"
        for candidate in ("a", "b")
        if (total := sum(row["count"] for row in coverage if row["candidate"] == candidate)) != eligible
    ]
    found += [f"no reason: {row}" for row in coverage if row["state"] in {"skipped", "dropped"} and not row["reason"]]
    [(reserved, spent_nano)] = rows(path, "SELECT total(reserved_nano_usd), total(spent_nano_usd) FROM budget_day")
    [(held,)] = rows(path, "SELECT total(reserved_nano_usd) FROM shadow_job WHERE state = 'sent'")
    if reserved != held:
        found.append(f"{reserved} reserved, jobs under way hold {held}")
    if reserved + spent_nano > 4_000_000_000:
        found.append(f"{reserved + spent_nano} nano-dollars are over the cap")
    [(answers, done)] = rows(
        path, "SELECT (SELECT count(*) FROM shadow_answer), (SELECT count(*) FROM shadow_job WHERE state = 'done')"
    )
    if answers != done:
        found.append(f"{answers} answers, {done} jobs done")
    orphans = rows(
        path,
        "SELECT exchange_id FROM job_body WHERE NOT EXISTS (SELECT 1 FROM shadow_job WHERE exchange_id = "
        "job_body.exchange_id AND state IN ('pending', 'leased', 'sent'))",
    )
    return found + [f"copy without a job: {orphan}" for orphan in orphans]


@pytest.mark.parametrize("seed", range(6))
async def test_coverage_and_money_add_up_after_every_step_of_a_random_day(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "shadow.db"
    async with stored(tmp_path) as one, stored(tmp_path) as two:
        chance = Chance(seed, [one, two])
        for step in range(120):
            await chance.act()
            assert await problems(one, path) == [], (seed, step)


async def test_coverage_adds_up_at_every_moment_while_two_connections_work_at_once(tmp_path: Path) -> None:
    async with stored(tmp_path) as one, stored(tmp_path) as two:

        async def work(seed: int, store: SqliteStore) -> None:
            chance = Chance(seed, [store])
            chance.written = 5000 * seed
            for _ in range(80):
                await chance.act()

        async def watch() -> list[Any]:
            wrong = []
            while not working.done():
                coverage = await two.reader.coverage(**DAY | {"until": datetime.max.replace(tzinfo=NOW.tzinfo)})
                totals = Counter[str | None]()
                for row in coverage:
                    totals[row["candidate"]] += row["count"]
                if len(set(totals.values())) > 1:
                    wrong.append(totals)
                await asyncio.sleep(0)
            return wrong

        working = asyncio.gather(work(1, one), work(0, two))
        wrong, _ = await asyncio.gather(watch(), working)

    assert wrong == []
