"""Opens the store's file: the whole door for the measuring side, the intake alone for the live process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from shadow.store.sqlite.connection import Connection
from shadow.store.sqlite.export import SqliteExport
from shadow.store.sqlite.feedback import SqliteFeedback
from shadow.store.sqlite.file import path_of
from shadow.store.sqlite.intake import SqliteIntake
from shadow.store.sqlite.jobs import SqliteJobs
from shadow.store.sqlite.ledger import SqliteLedger
from shadow.store.sqlite.reader import SqliteReader
from shadow.store.sqlite.rollups import SqliteRollups
from shadow.store.sqlite.room import SqliteRoom
from shadow.store.sqlite.runs import SqliteRuns
from shadow.store.sqlite.trends import SqliteTrends
from shadow.store.sqlite.watching import SqliteWatching

if TYPE_CHECKING:
    from types import TracebackType

_BUSY_TIMEOUT_S = 10.0
_INTAKE_BUSY_TIMEOUT_S = 1.0
"""Short, because the recorder keeps what it could not write and tries again; a shutdown must not wait for a lock."""


class SqliteStore:
    """`shadow.store.base.Store`: its doors over a writing and a reading connection. Made by `open`."""

    def __init__(self, writer: Connection, reader: Connection) -> None:
        self._writer = writer
        self._reader = reader
        self.intake = SqliteIntake(writer)
        self.jobs = SqliteJobs(writer)
        self.rollups = SqliteRollups(reader, writer)
        self.reader = SqliteReader(reader, writer, self.rollups)
        self.room = SqliteRoom(writer)
        self.export = SqliteExport(reader)
        self.watching = SqliteWatching(reader, writer)
        self.ledger = SqliteLedger(writer, reader)
        self.feedback = SqliteFeedback(writer)
        self.runs = SqliteRuns(reader, writer)
        self.trends = SqliteTrends(reader)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Prepare the file (create, check, migrate) and connect. Raises StoreError."""
        path = path_of(url)
        writer = await Connection.open(path, busy_timeout_s=_BUSY_TIMEOUT_S)
        try:
            reader = await Connection.open(path, busy_timeout_s=_BUSY_TIMEOUT_S, read_only=True)
        except BaseException:
            await writer.close()
            raise
        return cls(writer, reader)

    async def close(self) -> None:
        """Close both connections; idempotent."""
        await self._reader.close()
        await self._writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open_intake(url: str) -> SqliteIntake:
    """Prepare the file and connect for writing batches only. Raises StoreError."""
    return SqliteIntake(await Connection.open(path_of(url), busy_timeout_s=_INTAKE_BUSY_TIMEOUT_S))
