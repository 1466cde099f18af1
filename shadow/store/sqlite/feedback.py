"""What users of the app said later about an exchange, and what is scored again because of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rollups import DeltaLog
from shadow.store.sqlite.rows import exchange_of, micros, rescored_rows, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shadow.records import ExchangeRecord, Feedback, StoredScore
    from shadow.store.sqlite.connection import Connection, Statements


class SqliteFeedback:
    """`shadow.store.base.FeedbackDoor` on one write connection."""

    def __init__(self, writer: Connection) -> None:
        self._writer = writer
        self._log = DeltaLog()
        self._sql = {**load_queries("jobs.sql"), **load_queries("feedback.sql")}

    async def give(self, feedback: Feedback) -> dict[str, Any] | None:
        """Keep what was said and give what is kept now; None when there is no such exchange. Idempotent."""
        of = {"exchange_id": feedback.exchange_id}
        said = {
            "given_at": micros(feedback.given_at),
            "score": feedback.score,
            "expected": text_of(feedback.expected),
            "expected_changed": feedback.expected_changed,
        }

        def work(transaction: Statements) -> dict[str, Any] | None:
            if not transaction.run(self._sql["known_exchange"], of):
                return None
            with self._log.following(transaction, [feedback.exchange_id]):
                transaction.run(self._sql["give"], of | said)
            return transaction.run(self._sql["of_exchange"], of)[0]

        return await self._writer.at_once(work)

    async def to_rescore(self, *, limit: int) -> list[tuple[str, str]]:
        """Exchange ids with the expected text that came after their answers were scored."""
        rows = await self._writer.fetch(self._sql["to_rescore"], {"limit": limit})
        return [(row["exchange_id"], row["expected"]) for row in rows]

    async def kept_pairs(self, exchange_id: str) -> tuple[ExchangeRecord | None, list[dict[str, Any]]]:
        """The exchange and what is kept of the answers to it: columns of `content` beside the answer's figures."""
        exchanges = await self._writer.fetch(self._sql["known_exchange"], {"exchange_id": exchange_id})
        rows = await self._writer.fetch(self._sql["kept_pairs"], {"exchange_id": exchange_id})
        return (exchange_of(exchanges[0]) if exchanges else None), rows

    async def rescored(
        self, exchange_id: str, *, expected: str, scores: Sequence[tuple[str, StoredScore]], now: datetime
    ) -> None:
        """Replace scores (candidate, score) by what was found with the expected text; one transaction."""
        rows = rescored_rows(exchange_id, scores)

        def work(transaction: Statements) -> None:
            with self._log.following(transaction, [exchange_id]):
                transaction.run_many(self._sql["forget_score"], [(row[0], row[1], row[2], row[5]) for row in rows])
                transaction.run_many(self._sql["insert_score"], rows)
                if rows:
                    transaction.run(self._sql["refresh_quality"], {"exchange_id": exchange_id})
            done = {"exchange_id": exchange_id, "expected": expected, "now": micros(now)}
            transaction.run(self._sql["rescored"], done)

        await self._writer.at_once(work)
