"""The ledger of verdicts in the store: a change is worked out from plain reads and written in one short transaction."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.store.base import MovedError
from shadow.store.sqlite.queries import load_queries
from shadow.store.sqlite.rows import micros

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from shadow.store.sqlite.connection import Connection, Row, Statement


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
        """Open the ledger for one change: read without a lock, written in one go when the block ends.

        Raises MovedError where somebody else has changed the ledger meanwhile; nothing is written then.
        """
        (row,) = await self._reader.fetch(self._sql["version"])
        book = SqliteBook(self._reader, self._sql)
        yield book
        statements = book.statements()
        if statements:
            claim = (self._sql["move_on"], {"seen": row["version"]})
            if not await self._writer.write_if(claim, statements):
                raise MovedError("the ledger of verdicts was changed by somebody else meanwhile")

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
        """Every candidate in its newest epoch, with what it was last decided by, and how far it has come.

        Columns: id, task, primary, candidate, facts, entered_until, and the epoch's last_started_at.
        """
        return await self._reader.fetch(self._sql["current"])

    async def changes(self, ledger: int) -> list[dict[str, Any]]:
        """How one candidate's verdict changed in one epoch, oldest first."""
        return await self._reader.fetch(self._sql["changes"], {"ledger": ledger})

    async def prune(self, *, before: datetime, limit: int = 500) -> int:
        """Forget conversations that entered before then, a small chunk; what they taught stays. Returns how many."""
        return len(await self._writer.fetch(self._sql["prune"], {"before": micros(before), "limit": limit}))


class SqliteBook:
    """`shadow.store.base.Book`: what is in the file with this change's own writes on top. Rows are dicts."""

    def __init__(self, reader: Connection, sql: Mapping[str, str]) -> None:
        self._reader = reader
        self._sql = sql
        self._epochs: list[Row] | None = None
        self._ledgers: list[Row] | None = None
        self._conversations: dict[tuple[int, str], Row] = {}
        self._writes: list[tuple[str, Row]] = []
        self._forgotten: list[int] = []

    def statements(self) -> list[Statement]:
        """All that is to be written, in order; each conversation once."""
        rows = [("put_conversation", row) for row in self._conversations.values()]
        forgotten = [("forget", {"ids": _json(self._forgotten)})] if self._forgotten else []
        return [(self._sql[name], _bound(values)) for name, values in (*self._writes, *rows, *forgotten)]

    async def inbox(self, *, limit: int) -> list[dict[str, Any]]:
        """Jobs made or ended since the last look, oldest first; `conversation` is None for one that is gone."""
        return await self._read("inbox", {"limit": limit})

    async def forget(self, ids: Sequence[int]) -> None:
        """Take these out of the inbox."""
        self._forgotten += ids

    async def epochs(self) -> list[dict[str, Any]]:
        """Every epoch, oldest first within its task and primary."""
        if self._epochs is None:
            self._epochs = await self._read("epochs", {})
        return list(self._epochs)

    async def ledgers(self) -> list[dict[str, Any]]:
        """Every candidate of every epoch in the order in which they joined, without what is known about it."""
        if self._ledgers is None:
            self._ledgers = await self._read("ledgers", {})
        return list(self._ledgers)

    async def open_epoch(self, **values: Any) -> dict[str, Any]:
        """Begin an epoch: task, primary, version, started_at, because, alpha, evaluators (JSON); gives its row."""
        known = await self.epochs()
        numbers = [
            each["number"] for each in known if (each["task"], each["primary"]) == (values["task"], values["primary"])
        ]
        # Nobody else numbers meanwhile: this change is written only where the ledger has not moved.
        row = {
            "id": 1 + max((each["id"] for each in known), default=0),
            **values,
            "number": 1 + max(numbers, default=0),
            "last_started_at": values["started_at"],
        }
        self._epochs = [*known, row]
        self._writes.append(("open_epoch", row))
        return row

    async def touch_epoch(self, epoch: int, *, first: datetime, last: datetime) -> None:
        """Remember from when to when an epoch has conversations."""
        for row in await self.epochs():
            if row["id"] == epoch:
                row["started_at"], row["last_started_at"] = (
                    min(row["started_at"], first),
                    max(row["last_started_at"], last),
                )
        self._writes.append(("touch_epoch", {"epoch": epoch, "first": first, "last": last}))

    async def open_ledger(self, **values: Any) -> dict[str, Any]:
        """Let a candidate join: epoch, candidate, definition, batch, alpha, joined_at; gives its row."""
        known = await self.ledgers()
        row = {"id": 1 + max((each["id"] for each in known), default=0), **values}
        self._ledgers = [*known, row]
        self._writes.append(("open_ledger", row))
        return row

    async def ledger(self, ledger: int) -> dict[str, Any]:
        """One candidate of one epoch."""
        for row in await self._read("ledger", {"ledger": ledger}):
            return row
        joined = next(row for row in await self.ledgers() if row["id"] == ledger)
        return {**_NEW_LEDGER, **joined}

    async def save(self, ledger: int, **values: Any) -> None:
        """Keep state, facts, verdict (JSON), entered, entered_until, entered_last, stopped_because and stopped_at."""
        self._writes.append(("save", {"ledger": ledger, **values}))

    async def change(self, ledger: int, **values: Any) -> None:
        """Remember that a verdict changed: changed_at, verdict_before, verdict, why."""
        self._writes.append(("change", {"ledger": ledger, **values}))

    async def conversations_of(self, conversation: str, *, ledgers: Sequence[int]) -> list[dict[str, Any]]:
        """What is known of a conversation in these ledgers, latest first."""
        rows = await self._read("conversations_of", {"conversation": conversation, "ledgers": _json(ledgers)})
        rows = self._overlaid(rows, lambda row: row["conversation"] == conversation and row["ledger"] in ledgers)
        return sorted(rows, key=lambda row: row["first_started_at"], reverse=True)

    async def put_conversation(self, row: Mapping[str, Any]) -> None:
        """Keep what is known of a conversation; a row as the questions here give it."""
        self._conversations[row["ledger"], row["conversation"]] = {name: row[name] for name in _CONVERSATION}

    async def due(self, *, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Conversations that must be looked at now."""
        rows = await self._read("due", {"now": now, "limit": limit})
        rows = self._overlaid(rows, lambda row: row["due_at"] is not None and row["due_at"] <= now)
        return sorted(rows, key=lambda row: row["due_at"])[:limit]

    async def turns(self, *, since: datetime, limit: int, **key: str) -> list[dict[str, Any]]:
        """The turns of a key (conversation, candidate, task, primary) from then on, each beside what the primary did.

        Columns of `exchange`, of the job (`state`, `reason`, `asking_nano_usd`, `counted`), and the candidate's
        answer with `candidate_` in front of what the primary has too; `asked_at` is None where it has none.
        """
        return await self._read("turns", {"since": since, "limit": limit, **key})

    async def scores(self, *, exchange_ids: Sequence[str], candidate: str) -> list[dict[str, Any]]:
        """Scores of the candidate's answers to these exchanges, and of the primary's own."""
        return await self._read("scores", {"ids": _json(exchange_ids), "candidate": candidate})

    async def heads(self, ledger: int, *, limit: int) -> list[dict[str, Any]]:
        """The first conversations that have not entered, in order of their start."""
        # As many more as this change may have let in: they are still among the first in the file.
        changed = sum(row["ledger"] == ledger for row in self._conversations.values())
        rows = await self._read("heads", {"ledger": ledger, "limit": limit + changed})
        rows = self._overlaid(rows, lambda row: row["ledger"] == ledger and row["state"] in _WAITING)
        return sorted(rows, key=lambda row: (row["first_started_at"], row["conversation"]))[:limit]

    async def frontier(self, ledger: int, *, now: datetime) -> dict[str, Any]:
        """The place (entered_until, entered_last) of the last conversation that entered and began by `now`, or None."""
        rows = await self._read("frontier", {"ledger": ledger, "now": now})
        return next(iter(rows), {"entered_until": None, "entered_last": None})

    async def asked_before(self, ledger: int, *, prompts: Sequence[str]) -> set[str]:
        """Tell which of these prompts (hashes) began a conversation that had entered before this change."""
        rows = await self._read("asked_before", {"ledger": ledger, "prompts": _json(prompts)})
        return {row["prompt"] for row in rows}

    def _overlaid(self, rows: Sequence[Row], belongs: Callable[[Row], bool]) -> list[Row]:
        """Give the file's rows as this change has left them, with those it has put among them."""
        found = {(row["ledger"], row["conversation"]): row for row in rows} | self._conversations
        return [row for row in found.values() if belongs(row)]

    async def _read(self, name: str, parameters: Row) -> list[Row]:
        return await self._reader.fetch(self._sql[name], _bound(parameters))


_WAITING = frozenset({"open", "pending", "settled", "left_out"})
_NEW_LEDGER: dict[str, Any] = {
    "entered": 0,
    "entered_until": None,
    "entered_last": None,
    "state": "{}",
    "facts": "",
    "verdict": "{}",
    "stopped_because": None,
    "stopped_at": None,
}
"""The schema's defaults."""
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
    "prompt",
)


def _json(values: Sequence[Any]) -> str:
    return msgspec.json.encode(list(values)).decode()


def _bound(parameters: Mapping[str, Any]) -> Row:
    return {key: micros(value) if isinstance(value, datetime) else value for key, value in parameters.items()}
