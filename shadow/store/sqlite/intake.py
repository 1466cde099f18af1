"""The way in: batches of the live process, each one short transaction."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shadow.rollups import Deltas
from shadow.store.contributions import add_exchange
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rollups import DeltaLog, delta_rows
from shadow.store.sqlite.rows import body_row, exchange_row, job_row, micros, text_of

if TYPE_CHECKING:
    from shadow.records import Batch
    from shadow.store.sqlite.connection import Connection, Statements
    from shadow.store.sqlite.rollups import DeltaRow


class SqliteIntake:
    """`shadow.store.base.IntakeDoor` on one write connection."""

    def __init__(self, writer: Connection) -> None:
        self._writer = writer
        self._log = DeltaLog()
        self._sql = load_queries("intake.sql")

    async def write(self, batch: Batch) -> None:
        """Store one batch, all or nothing; records that are there already stay as they are.

        Counts in `dropped` are added each time, so a batch must not be repeated once it was stored.
        """
        # In a thread, because whoever writes also reads what the live process sends.
        ready = await asyncio.to_thread(_Ready, batch)

        def work(transaction: Statements) -> None:
            known = self._log.known(transaction, [exchange.id for exchange in ready.plain])
            self._log.append_rows(transaction, ready.added_but(known) if known else ready.added)
            with self._log.following(transaction, ready.with_jobs):
                transaction.run_many(self._sql["insert_exchange"], ready.exchanges)
                transaction.run_many(self._sql["insert_job"], ready.jobs)
            transaction.run_many(self._sql["insert_body"], ready.bodies)
            transaction.run_many(self._sql["count_dropped"], list(batch.dropped.items()))
            self._log.dropped(transaction, batch.dropped, now=datetime.now(UTC))
            transaction.run_many(self._sql["rest_origin"], ready.rests)

        await self._writer.at_once(work)

    async def expire_jobs(self, *, before: datetime, now: datetime) -> int:
        """Drop pending jobs made before then as `too_old`, delete copies no younger job needs; returns how many."""
        limits = {"before": micros(before), "now": micros(now)}

        def work(transaction: Statements) -> int:
            expired = transaction.run(self._sql["expire_pending"], limits)
            self._log.jobs_moved(transaction, expired, before="pending", after=("dropped", "too_old"))
            transaction.run(self._sql["delete_unneeded_bodies"], limits)
            return len(expired)

        return await self._writer.at_once(work)

    async def close(self) -> None:
        """Close the connection; idempotent."""
        await self._writer.close()


class _Ready:
    """A batch as rows."""

    def __init__(self, batch: Batch) -> None:
        self.exchanges = [exchange_row(exchange) for exchange in batch.exchanges]
        self.jobs = [job_row(job) for job in batch.jobs]
        self.bodies = [body_row(body) for body in batch.bodies]
        self.rests = [(origin, micros(until)) for origin, until in batch.origin_rests.items()]
        self.with_jobs = {job.exchange_id for job in batch.jobs}
        # Most exchanges have no job: what they add is known beforehand, where they are not stored already.
        self.plain = [exchange for exchange in batch.exchanges if exchange.id not in self.with_jobs]
        self.added = self.added_but(set())

    def added_but(self, known: set[str]) -> list[DeltaRow]:
        """What the exchanges without jobs add, but for those that are stored already."""
        deltas = Deltas()
        for exchange in self.plain:
            if exchange.id not in known:
                add_exchange(deltas, exchange, model=text_of(exchange.model))
        return delta_rows(deltas)
