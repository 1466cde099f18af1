"""The way in: batches of the live process, each one short transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import body_row, exchange_row, job_row, micros

if TYPE_CHECKING:
    from datetime import datetime

    from shadow.records import Batch
    from shadow.store.sqlite.connection import Connection, Statements


class SqliteIntake:
    """`shadow.store.base.IntakeDoor` on one write connection."""

    def __init__(self, writer: Connection) -> None:
        self._writer = writer
        self._sql = load_queries("intake.sql")

    async def write(self, batch: Batch) -> None:
        """Store one batch, all or nothing; records that are there already stay as they are.

        Counts in `dropped` are added each time, so a batch must not be repeated once it was stored.
        """
        exchanges = [exchange_row(exchange) for exchange in batch.exchanges]
        jobs = [job_row(job) for job in batch.jobs]
        bodies = [body_row(body) for body in batch.bodies]
        rests = [(origin, micros(until)) for origin, until in batch.origin_rests.items()]

        def work(transaction: Statements) -> None:
            transaction.run_many(self._sql["insert_exchange"], exchanges)
            transaction.run_many(self._sql["insert_job"], jobs)
            transaction.run_many(self._sql["insert_body"], bodies)
            transaction.run_many(self._sql["count_dropped"], list(batch.dropped.items()))
            transaction.run_many(self._sql["rest_origin"], rests)

        await self._writer.at_once(work)

    async def expire_jobs(self, *, before: datetime, now: datetime) -> int:
        """Drop pending jobs made before then as `too_old`, delete copies no younger job needs; returns how many."""
        limits = {"before": micros(before), "now": micros(now)}

        def work(transaction: Statements) -> int:
            expired = transaction.run(self._sql["expire_pending"], limits)
            transaction.run(self._sql["delete_unneeded_bodies"], limits)
            return len(expired)

        return await self._writer.at_once(work)

    async def close(self) -> None:
        """Close the connection; idempotent."""
        await self._writer.close()
