"""The connections of one process to the store's file: one writes, one reads, and neither holds a transaction open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING, Any

import aiosqlite

from shadow.store.base import StoreError, UnstorableError
from shadow.store.sqlite.rows import as_dict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

Row = dict[str, Any]


class Connection:
    """One SQLite connection whose rows are dicts. Made by `open`."""

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, busy_timeout_s: float, read_only: bool = False) -> Connection:
        """Connect to a prepared file. Raises StoreError.

        `busy_timeout_s` bounds how long one statement waits for another process's write transaction.
        """
        # aiosqlite logs every statement with its parameters (prompts) at DEBUG.
        logging.getLogger("aiosqlite").setLevel(logging.INFO)
        with told(path):
            connection = await aiosqlite.connect(path, timeout=busy_timeout_s, isolation_level=None)
        opened = cls(path, connection)
        try:
            # The declared type is sqlite3.Row; any callable of (cursor, row) works.
            connection.row_factory = as_dict  # type: ignore[assignment]
            for pragma in ("synchronous = NORMAL", "secure_delete = ON", f"query_only = {int(read_only)}"):
                await opened.fetch(f"PRAGMA {pragma}")
        except BaseException:
            await opened.close()
            raise
        return opened

    async def fetch(self, sql: str, parameters: Sequence[Any] | Row = ()) -> list[Row]:
        """All rows of one statement outside of any transaction; the rows are made in the connection's thread."""
        async with self._lock:
            return await self._fetch(sql, parameters)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One short write transaction; rolled back when the block raises or is cancelled. Raises StoreError."""
        async with self._lock:
            try:
                # IMMEDIATE: a transaction that began by reading could not wait for another writer, it would fail.
                await self._fetch("BEGIN IMMEDIATE", ())
                yield Transaction(self)
                await self._fetch("COMMIT", ())
            except BaseException:
                with contextlib.suppress(ValueError):  # closed meanwhile: the transaction went with the connection
                    await asyncio.shield(self._connection.rollback())
                raise

    async def checkpoint(self) -> None:
        """Move the write-ahead log into the file and cut it to nothing; gives up at once when someone is in the way."""
        async with self._lock:
            waits = await self._fetch("PRAGMA busy_timeout", ())
            await self._fetch("PRAGMA busy_timeout = 0", ())
            try:
                await self._fetch("PRAGMA wal_checkpoint(TRUNCATE)", ())
            finally:
                await self._fetch(f"PRAGMA busy_timeout = {waits[0]['timeout']}", ())

    async def close(self) -> None:
        """Close after what is under way; idempotent."""
        if not self._closed:
            self._closed = True
            await self._connection.close()

    async def _fetch(self, sql: str, parameters: Sequence[Any] | Row) -> list[Row]:
        with told(self.path):
            return await self._connection.execute_fetchall(sql, parameters)  # type: ignore[return-value]  # as_dict

    async def _many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with told(self.path):
            async with self._connection.executemany(sql, rows):
                return


class Transaction:
    """What may be done inside a write transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self, sql: str, parameters: Sequence[Any] | Row = ()) -> list[Row]:
        """Run one statement; its rows (of a SELECT or RETURNING) as dicts."""
        return await self._connection._fetch(sql, parameters)  # noqa: SLF001  (two halves of one thing)

    async def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement per row; nothing happens for no rows."""
        if rows:
            await self._connection._many(sql, rows)  # noqa: SLF001  (two halves of one thing)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError, with the file's name; never with the statement's values."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
        raise UnstorableError(f"store {path} refuses a value: {error}") from error
    except (OverflowError, UnicodeEncodeError) as error:
        # The text of a UnicodeEncodeError may quote the value.
        raise UnstorableError(f"store {path} refuses a value: {type(error).__name__}") from None
    except sqlite3.Error as error:
        raise StoreError(f"store {path} cannot be used: {error}") from error
    except ValueError as error:  # aiosqlite's "Connection closed"
        raise StoreError(f"store {path} is closed: {error}") from error
