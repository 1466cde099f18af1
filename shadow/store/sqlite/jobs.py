"""The queue of shadow jobs and the day's money, as single short transactions that hold across processes."""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shadow.records import NOISE_FLOOR, LeasedJob
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rollups import DeltaLog
from shadow.store.sqlite.rows import (
    answer_row,
    body_of,
    content_rows,
    cost_columns,
    exchange_of,
    job_of,
    judgement_rows,
    micros,
    nano_down,
    nano_up,
    noise_row,
    score_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.records import PairResult, ShadowJob
    from shadow.store.base import BudgetDay, Reservation
    from shadow.store.sqlite.connection import Connection, Row, Statements

LOG = logging.getLogger(__name__)

_CONVERSATION_LASTS = timedelta(days=1)
"""After that an admission decision is forgotten: the same key then means a new conversation."""

_SCRUB_EVERY = timedelta(seconds=30)
"""How often the write-ahead log is emptied, so that copies deleted from the file do not linger there."""


def _now() -> datetime:
    return datetime.now(UTC)


class SqliteJobs:
    """`shadow.store.base.Jobs` on one write connection."""

    def __init__(self, writer: Connection, *, clock: Callable[[], datetime] = _now) -> None:
        self._writer = writer
        self._clock = clock
        self._log = DeltaLog()
        self._sql = {**load_queries("intake.sql"), **load_queries("jobs.sql")}
        self._scrubbed_at = clock()

    async def lease(
        self, *, worker: str, limit: int, lease_s: float, now: datetime, without: Sequence[str] = ()
    ) -> list[LeasedJob]:
        """Take up to `limit` pending jobs, oldest first, except for candidates in `without` (resting, breaker open)."""
        lease = f"{worker}/{secrets.token_hex(8)}"
        parameters = {
            "worker": worker,
            "lease": lease,
            "lease_until": micros(now + timedelta(seconds=lease_s)),
            "limit": limit,
            "without": _json(without),
        }
        if not await self._fetch("any_pending", {}):
            return []

        def take(transaction: Statements) -> tuple[list[ShadowJob], list[Row], list[Row], list[Row]]:
            jobs = [job_of(row) for row in transaction.run(self._sql["lease"], parameters)]
            ids = {"ids": _json(sorted({job.exchange_id for job in jobs}))}
            return (
                jobs,
                transaction.run(self._sql["leased_exchanges"], ids),
                transaction.run(self._sql["leased_bodies"], ids),
                transaction.run(self._sql["leased_expected"], ids),
            )

        jobs, exchange_rows, body_rows, expected_rows = await self._writer.at_once(take)
        jobs.sort(key=lambda job: (job.created_at, job.exchange_id, job.candidate))
        exchanges = {row["id"]: exchange_of(row) for row in exchange_rows}
        bodies = {row["exchange_id"]: body_of(row) for row in body_rows}
        expected = {row["exchange_id"]: row["expected"] for row in expected_rows}
        return [
            LeasedJob(
                job=job,
                body=bodies.get(job.exchange_id),
                exchange=exchanges[job.exchange_id],
                lease=lease,
                expected=expected.get(job.exchange_id),
            )
            for job in jobs
        ]

    async def renew(self, *, worker: str, lease_s: float, now: datetime) -> int:
        """Extend everything `worker` holds, so that a long call is not taken for a crash; returns how many jobs."""
        parameters = {"worker": worker, "lease_until": micros(now + timedelta(seconds=lease_s))}
        return len(await self._fetch("renew", parameters))

    async def skip(self, job: LeasedJob, *, reason: str) -> None:
        """Finish a job without sending it; counted as `skipped`. A job that is not ours any more stays as it is."""
        await self._end_held(job, state="skipped", reason=reason)

    async def drop(self, job: LeasedJob, *, reason: str) -> None:
        """Finish a job we could not do; counted as `dropped`. Once sent, its whole reserve stays spent."""
        await self._end_held(job, state="dropped", reason=reason)

    async def release(self, job: LeasedJob) -> None:
        """Give a leased, unsent job back to `pending`."""
        await self._fetch("release", _key(job))

    async def reserve(
        self, job: LeasedJob, *, worst_case_usd: float, budget: BudgetDay, now: datetime, scoring_usd: float = 0.0
    ) -> Reservation:
        """Admit the conversation at its first job, reserve the worst case, mark the job `sent`, in one transaction.

        `scoring_usd` is the part of the worst case that is not the candidate's.
        """
        nano_usd = nano_up(worst_case_usd)

        def work(transaction: Statements) -> Reservation:
            held = self._held(transaction, job)
            if held is None or held["state"] != "leased":
                return "gone"
            transaction.run(self._sql["open_day"], {"day": budget.day})
            day = transaction.run(self._sql["day"], {"day": budget.day})[0]
            if not self._admitted(transaction, job.job.conversation, day, budget, now):
                self._end(transaction, job, held, state="skipped", reason="over_budget", now=now)
                return "not_admitted"
            if _committed(day) + nano_usd > nano_down(budget.cap_usd):
                # What is more than a whole day has never fits: waiting for that much headroom would end all measuring.
                if nano_usd <= nano_down(budget.cap_usd):
                    closing = {"day": budget.day, "nano_usd": nano_usd}
                    transaction.run(self._sql["close_admission"], closing)
                self._end(transaction, job, held, state="skipped", reason="over_budget", now=now)
                return "over_budget"
            sent = {"day": budget.day, "nano_usd": nano_usd}
            transaction.run(self._sql["reserve"], sent)
            asking = {"asking_nano_usd": nano_up(worst_case_usd - scoring_usd), "now": micros(now)}
            transaction.run(self._sql["mark_sent"], _key(job) | sent | asking)
            self._log.job_moved(transaction, job, before="leased", after=("sent", None))
            return "ok"

        return await self._writer.at_once(work)

    async def finish(self, job: LeasedJob, *, result: PairResult, reserved_usd: float, now: datetime) -> None:
        """Keep the result, settle the reserve, mark `done`, delete a body no job needs; one transaction, once.

        The reserve is the one the store remembers; `reserved_usd` is only checked against it. When the real cost is
        unknown the whole reserve stays spent. A job that ended meanwhile
        (`lost_on_crash`) stays as it is.
        """

        def work(transaction: Statements) -> None:
            held = self._held(transaction, job)
            if held is None or held["state"] != "sent":
                LOG.warning("a late answer of %s is not kept: its job has ended already", job.job.candidate)
                return
            if held["reserved_nano_usd"] != nano_up(reserved_usd):
                LOG.error("job of %s settles %s USD, another sum was reserved", job.job.candidate, reserved_usd)
            with self._log.following(transaction, [job.job.exchange_id]):
                self._keep(transaction, job, result)
            self._settle(transaction, held, spent_nano_usd=_spent(result, held["reserved_nano_usd"]))
            self._end(transaction, job, held, state="done", reason=None, now=now)

        await self._writer.at_once(work)

    async def give_up_leases(self, *, line: str, but: str) -> int:
        """End the leases of every worker whose name begins with `line`, but not with `but`: their processes are gone.

        `recover` then settles what they held. Returns how many jobs.
        """
        return len(await self._fetch("give_up_leases", {"line": line, "but": but}))

    async def recover(self, *, now: datetime, max_job_age_s: float) -> Mapping[str, int]:
        """Settle what crashed workers left, drop what waited too long; counts `returned`, `lost_on_crash`, `too_old`.

        Expired leases: unsent jobs go back to `pending`, sent ones become `dropped: lost_on_crash`, their reserve stays
        spent. Deletes bodies no job needs, and now and then empties the write-ahead log.
        """
        limits = {"now": micros(now), "before": micros(now - timedelta(seconds=max_job_age_s))}

        def work(transaction: Statements) -> Mapping[str, int]:
            returned = transaction.run(self._sql["return_expired"], {"now": limits["now"]})
            lost = transaction.run(self._sql["lose_expired"], {"now": limits["now"]})
            self._log.jobs_moved(transaction, lost, before="sent", after=("dropped", "lost_on_crash"))
            for row in lost:
                self._settle(transaction, row, spent_nano_usd=row["reserved_nano_usd"])
            too_old = transaction.run(self._sql["expire_pending"], limits)
            self._log.jobs_moved(transaction, too_old, before="pending", after=("dropped", "too_old"))
            transaction.run(self._sql["delete_unneeded_bodies"], {"before": limits["before"]})
            return {"returned": len(returned), "lost_on_crash": len(lost), "too_old": len(too_old)}

        done = await self._writer.at_once(work)
        await self._scrub_log()
        return done

    async def enforce_queue_size(self, *, limit: int, limit_bytes: int | None = None) -> int:
        """Drop the oldest pending jobs beyond `limit`, or whose copies are beyond `limit_bytes`, as `queue_full`."""
        now = micros(self._clock())
        held = 0 if limit_bytes is None else (await self._fetch("held_bytes", {}))[0]["bytes"]

        def work(transaction: Statements) -> int:
            dropped = transaction.run(self._sql["overflow"], {"limit": limit, "now": now})
            if limit_bytes is not None and held > limit_bytes:
                beyond = {"limit_bytes": limit_bytes, "now": now}
                dropped += transaction.run(self._sql["overflow_bytes"], beyond)
            if dropped:
                self._log.jobs_moved(transaction, dropped, before="pending", after=("dropped", "queue_full"))
                transaction.run(self._sql["delete_unneeded_bodies"], {"before": 0})
            return len(dropped)

        return await self._writer.at_once(work)

    async def noise_floor_so_far(self, job: LeasedJob, *, limit: int) -> tuple[int, bool]:
        """Count the conversations, up to `limit`, that this job's primary was asked again about in this job's task.

        The second tells whether this job's conversation is one of them.
        """
        of = {"task": job.job.task, "primary": job.job.primary, "conversation": job.job.conversation, "limit": limit}
        row = (await self._fetch("noise_floor_so_far", of))[0]
        return row["conversations"], bool(row["known"])

    async def origin_rests(self, *, now: datetime) -> Mapping[str, datetime]:
        """Origins that must not be asked yet, with the time until which."""
        rows = await self._fetch("origin_rests", {"now": micros(now)})
        return {row["origin"]: row["rest_until"] for row in rows}

    async def rest_origin(self, origin: str, *, until: datetime) -> None:
        """Remember for every worker that a candidate call came back 429 or 529."""
        await self._writer.fetch(self._sql["rest_origin"], (origin, micros(until)))

    async def _fetch(self, name: str, parameters: Row) -> list[Row]:
        return await self._writer.fetch(self._sql[name], parameters)

    def _held(self, transaction: Statements, job: LeasedJob) -> Row | None:
        rows = transaction.run(self._sql["held"], _key(job))
        return rows[0] if rows else None

    async def _end_held(self, job: LeasedJob, *, state: Literal["skipped", "dropped"], reason: str) -> None:

        def work(transaction: Statements) -> None:
            held = self._held(transaction, job)
            if held is None or (state == "skipped" and held["state"] == "sent"):
                return
            self._settle(transaction, held, spent_nano_usd=held["reserved_nano_usd"])
            self._end(transaction, job, held, state=state, reason=reason, now=self._clock())

        await self._writer.at_once(work)

    def _end(
        self, transaction: Statements, job: LeasedJob, held: Row, *, state: str, reason: str | None, now: datetime
    ) -> None:
        ending = {"state": state, "reason": reason, "now": micros(now)}
        transaction.run(self._sql["end"], _key(job) | ending)
        self._log.job_moved(transaction, job, before=held["state"], after=(state, reason))
        transaction.run(self._sql["delete_body_of"], {"exchange_id": job.job.exchange_id})

    def _admitted(self, transaction: Statements, conversation: str, day: Row, budget: BudgetDay, now: datetime) -> bool:
        since = micros(now - _CONVERSATION_LASTS)
        decided = transaction.run(self._sql["admission"], {"conversation": conversation, "since": since})
        if decided:
            return bool(decided[0]["admitted"])
        committed, paced = _committed(day), nano_down(budget.paced_usd)
        closed_for = day["closed_for_nano_usd"]
        if closed_for is not None and paced - committed >= closed_for:
            transaction.run(self._sql["open_admission"], {"day": budget.day})
            closed_for = None
        admitted = closed_for is None and committed < min(nano_down(budget.cap_usd), paced)
        decision = {"conversation": conversation, "admitted": admitted, "now": micros(now)}
        transaction.run(self._sql["admit"], decision)
        return admitted

    def _settle(self, transaction: Statements, held: Row, *, spent_nano_usd: int) -> None:
        if held["budget_day"] is not None:
            settled = {"day": held["budget_day"], "reserved": held["reserved_nano_usd"], "spent": spent_nano_usd}
            transaction.run(self._sql["settle"], settled)

    def _keep(self, transaction: Statements, job: LeasedJob, result: PairResult) -> None:
        answer = result.answer
        judged = [row for score in result.scores for row in judgement_rows(answer, score)]
        transaction.run_many(self._sql["insert_judgement"], judged)
        if job.job.candidate == NOISE_FLOOR:
            transaction.run(self._sql["insert_noise"], noise_row(job, result))
            return
        row = answer_row(result, exchange=job.exchange, task=job.job.task)
        transaction.run(self._sql["insert_answer"], row)
        transaction.run_many(self._sql["insert_score"], [score_row(answer, score) for score in result.scores])
        transaction.run_many(self._sql["insert_content"], content_rows(answer, result.content))
        if result.primary_cost is not None:
            names = ("billed_usd", "uncached_usd", "source")
            priced = dict(zip(names, cost_columns(result.primary_cost), strict=True))
            transaction.run(self._sql["price_primary"], priced | {"exchange_id": answer.exchange_id})

    async def _scrub_log(self) -> None:
        """Empty the write-ahead log now and then; where a reader is in the way, the next time will do."""
        if abs(self._clock() - self._scrubbed_at) >= _SCRUB_EVERY:  # a clock that went back must not stop it
            self._scrubbed_at = self._clock()
            await self._writer.checkpoint()


def _key(job: LeasedJob) -> Row:
    return {"exchange_id": job.job.exchange_id, "candidate": job.job.candidate, "lease": job.lease}


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(list(values)).decode()


def _committed(day: Row) -> int:
    return int(day["spent_nano_usd"] + day["reserved_nano_usd"])


def _spent(result: PairResult, reserved_nano_usd: int) -> int:
    """Sum what the answer and its scoring really cost, in nano-dollars; the whole reserve when that is unknown."""
    billed_usd: float | None = result.answer.cost.billed_usd
    if billed_usd is None:
        return reserved_nano_usd
    scoring_usd: Any = sum(stored.score.cost_usd for stored in result.scores)
    return nano_up(billed_usd + scoring_usd)
