"""The disk the store's file is on: how much is left, and a reserve for the day on which nothing is.

Deleting needs room, too: what it changes goes to the write-ahead log first. On a full disk the reserve is given up, so
that old rows can go.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

from shadow.store.base import StoreError
from shadow.store.sqlite.queries import load_queries

if TYPE_CHECKING:
    from pathlib import Path

    from shadow.store.sqlite.connection import Connection

RESERVE_BYTES = 8 << 20
"""Enough for the log of several chunks of retention."""
LONG_LOG_BYTES = 16 << 20
"""Beyond this a log is cut as soon as nobody reads it for a moment. It is short by itself where nobody reads always."""
_WAIT_S = 0.03
PLENTY = 8
"""A reserve is kept where the disk has at least so many times its size left."""


class SqliteRoom:
    """`shadow.store.base.Room` of one file."""

    def __init__(self, writer: Connection) -> None:
        self._writer = writer
        self._sql = load_queries("reader.sql")

    @property
    def reserve(self) -> Path:
        """The file that holds the reserve."""
        path = self._writer.path
        return path.with_name(path.name + "-reserve")

    async def free_bytes(self) -> int:
        """How much may still be written there. Raises StoreError."""
        try:
            return (await asyncio.to_thread(shutil.disk_usage, self._writer.path.parent)).free
        except OSError as error:
            raise StoreError(f"store {self._writer.path}: {error.strerror}") from error

    async def keep_reserve(self) -> bool:
        """Put space aside, where there is enough of it; returns whether it is there."""
        if self.reserve.exists():
            return True
        if await self.free_bytes() < PLENTY * RESERVE_BYTES:
            return False
        return await asyncio.to_thread(_put_aside, self.reserve)

    async def give_up_reserve(self) -> None:
        """Free what was put aside."""
        self.reserve.unlink(missing_ok=True)

    async def empty_log(self) -> None:
        """Move the write-ahead log into the file and give its space back; not where a reader is in the way."""
        await self._writer.checkpoint()

    async def tend_log(self) -> bool:
        """Cut the write-ahead log where it has become long, because somebody always reads; returns whether it had."""
        if _size_of(self._log) <= LONG_LOG_BYTES:
            return False
        await self._writer.checkpoint(wait_s=_WAIT_S)
        return True

    async def shrink(self) -> int:
        """Give a MiB of free pages back to the file system and empty the write-ahead log; returns the pages left."""
        await self._writer.run_to_end(self._sql["shrink"])
        await self._writer.checkpoint()
        return int((await self._writer.fetch("PRAGMA freelist_count"))[0]["freelist_count"])

    def size_bytes(self) -> int:
        """How large the file and its log are."""
        return _size_of(self._writer.path) + _size_of(self._log)

    @property
    def _log(self) -> Path:
        path = self._writer.path
        return path.with_name(path.name + "-wal")


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _put_aside(path: Path) -> bool:
    """Make a file whose blocks are really taken; false where the file system cannot promise that, or has no room."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
    except OSError:
        path.unlink(missing_ok=True)
        return False
    else:
        return True
    finally:
        os.close(descriptor)
