"""What judges did and what people say about pairs: tallies for the stats, and labels in and out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rollups import DeltaLog
from shadow.store.sqlite.rows import micros

if TYPE_CHECKING:
    from shadow.store.base import Label
    from shadow.store.sqlite.connection import Connection, Row, Statements

_NEWEST = 5_000
"""Pairs to label are drawn from so many of the newest."""


class SqliteJudging:
    """`shadow.store.base.Judging` on a reading and a writing connection."""

    def __init__(self, reader: Connection, writer: Connection) -> None:
        self._reading = reader
        self._writing = writer
        self._queries = load_queries("judging.sql")
        self._log = DeltaLog()

    async def judge_tallies(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Count what each judge did, by (task, primary, candidate, evaluator, version, model); the latest last."""
        window = {"since": micros(since), "until": micros(until), "task": task}
        return await self._reading.fetch(self._queries["judge_tallies"], window)

    async def label_tallies(self, *, since: datetime, until: datetime, task: str | None = None) -> list[dict[str, Any]]:
        """Count people's labels by what the judge ruled: task, primary, candidate, version, model, person, judge."""
        window = {"since": micros(since), "until": micros(until), "task": task}
        return await self._reading.fetch(self._queries["label_tallies"], window)

    async def judge_spent_usd(self, *, day: str) -> float:
        """Add up what judges cost on one UTC day (ISO date), as far as their providers said."""
        since = datetime.fromisoformat(day).replace(tzinfo=UTC)
        window = {"since": micros(since), "until": micros(since + timedelta(days=1))}
        spent: float = (await self._reading.fetch(self._queries["judge_spent"], window))[0]["usd"]
        return spent

    async def keep_label(self, label: Label) -> bool:
        """Keep what a person said about a pair, in place of what they said before; False when there is no such pair."""
        values = {
            "exchange_id": label.exchange_id,
            "candidate": label.candidate,
            "labeller": label.labeller,
            "winner": label.winner,
            "choice": label.choice,
            "side_a": label.side_a,
            "seed": label.seed,
            "source": label.source,
            "labelled_at": micros(label.labelled_at),
        }
        return await self._label("keep_label", values)

    async def remove_label(self, *, exchange_id: str, candidate: str, labeller: str) -> bool:
        """Take a person's word about a pair back; False when there is none."""
        key = {"exchange_id": exchange_id, "candidate": candidate, "labeller": labeller}
        return await self._label("remove_label", key)

    async def _label(self, query: str, values: Row) -> bool:
        def work(transaction: Statements) -> bool:
            with self._log.following(transaction, [values["exchange_id"]]):
                return bool(transaction.run(self._queries[query], values))

        return await self._writing.at_once(work)

    async def labels(self, *, task: str | None, candidate: str | None, limit: int) -> list[dict[str, Any]]:
        """Give labels, oldest first, with task and primary."""
        wanted = {"task": task, "candidate": candidate, "limit": limit}
        return [_with_pair(row) for row in await self._reading.fetch(self._queries["labels"], wanted)]

    async def pairs_to_label(
        self, *, labeller: str, task: str | None, candidate: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Draw pairs with content that this person has not labelled; those a judge ruled about come first."""
        wanted = {
            "labeller": labeller,
            "task": task,
            "candidate": candidate,
            "limit": limit,
            "newest": _NEWEST,
        }
        return [_with_pair(row) for row in await self._reading.fetch(self._queries["to_label"], wanted)]


def _with_pair(row: dict[str, Any]) -> dict[str, Any]:
    return {"pair": f"{row['exchange_id']}:{row['candidate']}", **row}
