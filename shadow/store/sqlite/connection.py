"""The connections of one process to the store's file: one writes, one reads, and neither holds a transaction open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite

from shadow.store.base import FullStoreError, StoreError, UnstorableError
from shadow.store.sqlite.file import prepare
from shadow.store.sqlite.rows import as_dict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

Row = dict[str, Any]

T = TypeVar("T")
Statement = tuple[str, Row]
"""SQL and its named parameters."""

LOG = logging.getLogger(__name__)

_CORRUPT_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY_DBMOVED})

_FULL_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_WRITE})

_LOG_BYTES = 4 << 20
"""To what size the write-ahead log is cut once it has been moved into the file. What a full disk leaves in it must fit
into the reserve (`room`) when it is moved."""


class CorruptStoreError(StoreError):
    """The file is no (whole) database any more, or another one stands in its place."""


class Connection:
    """One SQLite connection whose rows are dicts. Made by `open`.

    When the file turns out to be corrupt, or another one has taken its place, the next use connects anew.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float, read_only: bool) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._read_only = read_only
        self._lock = asyncio.Lock()
        self._connection: aiosqlite.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._is_broken = False
        self._is_closed = False

    @classmethod
    async def open(cls, path: Path, *, busy_timeout_s: float, read_only: bool = False) -> Connection:
        """Prepare the file (create, check, migrate) and connect. Raises StoreError.

        `busy_timeout_s` bounds how long one statement waits for another process's write transaction.
        """
        # aiosqlite logs every statement with its parameters (prompts) at DEBUG.
        logging.getLogger("aiosqlite").setLevel(logging.INFO)
        connection = cls(path, busy_timeout_s=busy_timeout_s, read_only=read_only)
        async with connection._lock:
            await connection._connect()
        return connection

    async def fetch(self, sql: str, parameters: Sequence[Any] | Row = ()) -> list[Row]:
        """All rows of one statement outside of any transaction; the rows are made in the connection's thread."""
        async with self._lock:
            await self._ready()
            return await self._fetch(sql, parameters)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One short write transaction; rolled back when the block raises or is cancelled. Raises StoreError."""
        async with self._lock:
            connection = await self._ready()
            try:
                # IMMEDIATE: a transaction that began by reading could not wait for another writer, it would fail.
                await self._fetch("BEGIN IMMEDIATE", ())
                yield Transaction(self)
                await self._fetch("COMMIT", ())
            except BaseException:
                with contextlib.suppress(StoreError), told(self.path):  # the first error says more
                    await asyncio.shield(connection.rollback())
                raise

    async def look(self, work: Callable[[Statements], T]) -> T:
        """Ask several questions about one moment, whatever others write meanwhile, in the connection's thread."""
        return await self._in_thread(_look, work)

    async def at_once(self, work: Callable[[Statements], T]) -> T:
        """Do `work` in one write transaction without a pause, in the connection's thread; gives what it gives.

        Between two statements nobody waits for a busy event loop with the lock held. Rolled back when `work` raises; it
        goes to its end also where the caller is cancelled. Raises StoreError.
        """
        return await self._in_thread(_at_once, work)

    async def write_if(self, claim: Statement, statements: Sequence[Statement]) -> bool:
        """Write it all in one transaction, if `claim` gives a row; says whether it did. Raises StoreError."""

        def work(transaction: Statements) -> bool:
            claimed = bool(transaction.run(*claim))
            for sql, parameters in statements if claimed else ():
                transaction.run(sql, parameters)
            return claimed

        return await self.at_once(work)

    async def run_to_end(self, sql: str) -> None:
        """Run one statement outside of any transaction through all its steps.

        `fetch` stops a statement without columns after its first step, which for `incremental_vacuum` is one page.
        """
        async with self._lock:
            connection = await self._ready()
            with self._noticing():
                async with connection.executescript(sql):
                    return

    async def checkpoint(self, *, wait_s: float = 0.0) -> None:
        """Move the write-ahead log into the file and cut it to nothing.

        Gives up when someone is in the way for longer than `wait_s`; for so long writers wait, too.
        """
        async with self._lock:
            await self._ready()
            waits = await self._fetch("PRAGMA busy_timeout", ())
            # What can be moved without keeping anybody from writing goes first: it is nearly all.
            await self._fetch("PRAGMA wal_checkpoint(PASSIVE)", ())
            await self._fetch(f"PRAGMA busy_timeout = {round(1000 * wait_s)}", ())
            try:
                await self._fetch("PRAGMA wal_checkpoint(TRUNCATE)", ())
            finally:
                await self._fetch(f"PRAGMA busy_timeout = {waits[0]['timeout']}", ())

    async def close(self) -> None:
        """Close after what is under way; idempotent. Raises StoreError."""
        async with self._lock:
            self._is_closed = True
            await self._disconnect()

    async def _ready(self) -> aiosqlite.Connection:
        if self._is_closed:
            raise StoreError(f"store {self.path} is closed")
        if self._connection is not None and (self._is_broken or self._file != _identity(self.path)):
            LOG.warning("store %s is opened anew: its file is corrupt or was replaced", self.path)
            with contextlib.suppress(StoreError):  # the reason is known, and the file is of no use any more
                await self._disconnect()
        return self._connection or await self._connect()

    async def _connect(self) -> aiosqlite.Connection:
        await asyncio.to_thread(prepare, self.path, thorough=self._is_broken)
        with told(self.path):
            connection = await aiosqlite.connect(self.path, timeout=self._busy_timeout_s, isolation_level=None)
        self._connection = connection
        self._file, self._is_broken = _identity(self.path), False
        try:
            # The declared type is sqlite3.Row; any callable of (cursor, row) works.
            connection.row_factory = as_dict  # type: ignore[assignment]
            for pragma in (
                "synchronous = NORMAL",
                "secure_delete = ON",
                f"journal_size_limit = {_LOG_BYTES}",
                f"query_only = {int(self._read_only)}",
            ):
                await self._fetch(f"PRAGMA {pragma}", ())
        except BaseException:
            await self._disconnect()
            raise
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with told(self.path):
                await connection.close()

    async def _fetch(self, sql: str, parameters: Sequence[Any] | Row) -> list[Row]:
        with self._noticing():
            # as_dict makes the rows dicts.
            return await self._open_connection.execute_fetchall(sql, parameters)  # type: ignore[return-value]

    async def _in_thread(
        self, do: Callable[[sqlite3.Connection, Callable[[Statements], T]], T], work: Callable[[Statements], T]
    ) -> T:
        async with self._lock:
            connection = await self._ready()
            with self._noticing():
                # aiosqlite has no public way to run several statements in one go.
                execute: Callable[..., Awaitable[T]] = connection._execute  # noqa: SLF001
                return await execute(do, connection._conn, work)  # noqa: SLF001

    async def _many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._noticing():
            async with self._open_connection.executemany(sql, rows):
                return

    @property
    def _open_connection(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise StoreError(f"store {self.path} is closed")
        return self._connection

    @contextlib.contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            with told(self.path):
                yield
        except CorruptStoreError:
            self._is_broken = True
            raise


def _at_once(connection: sqlite3.Connection, work: Callable[[Statements], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = work(Statements(connection))
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    return found


def _look(connection: sqlite3.Connection, work: Callable[[Statements], T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(Statements(connection))
    finally:
        connection.rollback()


class Statements:
    """What `at_once` and `look` may do inside their transaction; nothing in it is awaited."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, parameters: Sequence[Any] | Row = ()) -> list[Row]:
        """Run one statement; its rows (of a SELECT or RETURNING) as dicts."""
        return self._connection.execute(sql, parameters).fetchall()

    def plain(self, sql: str, parameters: Row) -> list[tuple[Any, ...]]:
        """Run one question; its rows as tuples, several times as quick to make as dicts."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, parameters).fetchall()

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement per row; nothing happens for no rows."""
        if rows:
            self._connection.executemany(sql, rows)


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
        raise _kind_of(error)(f"store {path} cannot be used: {error}") from error
    except ValueError as error:  # aiosqlite's "Connection closed"
        raise StoreError(f"store {path} is closed: {error}") from error


def _kind_of(error: sqlite3.Error) -> type[StoreError]:
    # Only errors that SQLite itself reports have a code.
    code = getattr(error, "sqlite_errorcode", None)
    if code in _CORRUPT_CODES:
        return CorruptStoreError
    return FullStoreError if code in _FULL_CODES else StoreError


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
