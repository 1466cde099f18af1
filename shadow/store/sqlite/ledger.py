"""The ledger of verdicts in the store: every change one short transaction, every question one plain read."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import micros

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from shadow.store.sqlite.connection import Connection, Row, Transaction


class SqliteLedger:
    """`shadow.store.base.Ledger` on one write and one read connection."""

    def __init__(self, writer: Connection, reader: Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._sql = load_queries("ledger.sql")

    async def any_work(self, *, now: datetime) -> bool:
        """Say whether anything waits to be looked at; takes no lock."""
        return bool(await self._reader.fetch(self._sql["any_work"], {"now": micros(now)}))

    @asynccontextmanager
    async def book(self) -> AsyncIterator[SqliteBook]:
        """Open the ledger for one change, all of it or nothing; other processes wait meanwhile, so keep it short."""
        async with self._writer.transaction() as transaction:
            yield SqliteBook(transaction, self._sql)

    async def views(self, *, task: str | None = None) -> list[dict[str, Any]]:
        """Every candidate of every epoch, of one task or of all, with how many conversations have not entered yet."""
        rows = await self._reader.fetch(self._sql["views"], {"task": task})
        waiting: dict[int, dict[str, int]] = {}
        for row in await self._reader.fetch(self._sql["waiting"]):
            waiting.setdefault(row["ledger"], {})[row["state"]] = row["count"]
        return [{**row, "waiting": waiting.get(row["id"], {})} for row in rows]

    async def stopped(self) -> list[dict[str, Any]]:
        """Candidates that are decided in their newest epoch: task, primary, version, candidate, stopped_because."""
        return await self._reader.fetch(self._sql["stopped"])

    async def current(self) -> list[dict[str, Any]]:
        """Every candidate in its newest epoch: id, task, primary, candidate, and the facts it was last decided by."""
        return await self._reader.fetch(self._sql["current"])

    async def changes(self, ledger: int) -> list[dict[str, Any]]:
        """How one candidate's verdict changed in one epoch, oldest first."""
        return await self._reader.fetch(self._sql["changes"], {"ledger": ledger})

    async def prune(self, *, before: datetime, limit: int = 500) -> int:
        """Forget conversations that entered before then, a small chunk; what they taught stays. Returns how many."""
        return len(await self._writer.fetch(self._sql["prune"], {"before": micros(before), "limit": limit}))


class SqliteBook:
    """`shadow.store.base.Book`: the ledger inside one transaction. Rows are dicts; times are aware UTC."""

    def __init__(self, transaction: Transaction, sql: Mapping[str, str]) -> None:
        self._transaction = transaction
        self._sql = sql

    async def inbox(self, *, limit: int) -> list[dict[str, Any]]:
        """Jobs made or ended since the last look, oldest first; `conversation` is None for one that is gone."""
        return await self._run("inbox", {"limit": limit})

    async def forget(self, ids: Sequence[int]) -> None:
        """Take these out of the inbox."""
        await self._run("forget", {"ids": _json(ids)})

    async def epochs(self) -> list[dict[str, Any]]:
        """Every epoch, oldest first within its task and primary."""
        return await self._run("epochs", {})

    async def ledgers(self) -> list[dict[str, Any]]:
        """Every candidate of every epoch in the order in which they joined, without what is known about it."""
        return await self._run("ledgers", {})

    async def open_epoch(self, **values: Any) -> dict[str, Any]:
        """Begin an epoch: task, primary, version, started_at, because, alpha, evaluators (JSON); gives its row."""
        return (await self._run("open_epoch", values))[0]

    async def touch_epoch(self, epoch: int, *, first: datetime, last: datetime) -> None:
        """Remember from when to when an epoch has conversations."""
        await self._run("touch_epoch", {"epoch": epoch, "first": first, "last": last})

    async def open_ledger(self, **values: Any) -> dict[str, Any]:
        """Let a candidate join: epoch, candidate, definition, batch, alpha, joined_at; gives its row."""
        return (await self._run("open_ledger", values))[0]

    async def ledger(self, ledger: int) -> dict[str, Any]:
        """One candidate of one epoch."""
        return (await self._run("ledger", {"ledger": ledger}))[0]

    async def save(self, ledger: int, **values: Any) -> None:
        """Keep state, facts, verdict (JSON), entered, entered_until, entered_last, stopped_because and stopped_at."""
        await self._run("save", {"ledger": ledger, **values})

    async def change(self, ledger: int, **values: Any) -> None:
        """Remember that a verdict changed: changed_at, verdict_before, verdict, why."""
        await self._run("change", {"ledger": ledger, **values})

    async def conversations_of_key(self, **key: str) -> list[dict[str, Any]]:
        """What is known of a key (conversation, candidate, task, primary), in all epochs, latest first."""
        return await self._run("conversations_of_key", key)

    async def put_conversation(self, row: Mapping[str, Any]) -> None:
        """Keep what is known of a conversation; a row as the questions here give it."""
        await self._run("put_conversation", {name: row[name] for name in _CONVERSATION})

    async def due(self, *, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Conversations that must be looked at now."""
        return await self._run("due", {"now": now, "limit": limit})

    async def turns(self, *, since: datetime, limit: int, **key: str) -> list[dict[str, Any]]:
        """The turns of a key (conversation, candidate, task, primary) from then on, each beside what the primary did.

        Columns of `exchange`, of the job (`state`, `reason`, `asking_nano_usd`, `counted`), and the candidate's
        answer with `candidate_` in front of what the primary has too; `asked_at` is None where it has none.
        """
        return await self._run("turns", {"since": since, "limit": limit, **key})

    async def scores(self, *, exchange_ids: Sequence[str], candidate: str) -> list[dict[str, Any]]:
        """Scores of the candidate's answers to these exchanges, and of the primary's own."""
        return await self._run("scores", {"ids": _json(exchange_ids), "candidate": candidate})

    async def heads(self, ledger: int, *, limit: int) -> list[dict[str, Any]]:
        """The first conversations that have not entered, in order of their start."""
        return await self._run("heads", {"ledger": ledger, "limit": limit})

    async def _run(self, name: str, parameters: Row) -> list[Row]:
        bound = {key: micros(value) if isinstance(value, datetime) else value for key, value in parameters.items()}
        return await self._transaction.run(self._sql[name], bound)


_CONVERSATION = (
    "ledger",
    "conversation",
    "first_started_at",
    "last_started_at",
    "turns",
    "state",
    "due_at",
    "entry",
    "entered_at",
    "outcome",
)


def _json(values: Sequence[Any]) -> str:
    return msgspec.json.encode(list(values)).decode()
