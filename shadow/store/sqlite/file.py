"""The store's file: made with narrow modes, checked, moved aside when corrupt, brought to the newest schema.

Plain blocking functions, to be run in a thread. Never opens the file except through SQLite: closing any other file
descriptor of it would drop the locks that SQLite connections of this process hold (POSIX advisory locks).
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from shadow.store.base import StoreError
from shadow.store.sqlite.queries import load_migrations, statements

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger(__name__)

APPLICATION_ID = 0x53484457
"""Marks our files in SQLite's header ("SHDW"), so that another program's database is never touched."""

DEEP_CHECK_BYTES = 64 << 20
"""Files up to this size are checked page by page at start (about 0.1 s); larger ones by header and schema only."""

_BUSY_TIMEOUT_S = 2.0
"""Short: whoever opens the store tries again, and a process that ends must not wait for a lock."""

_URL_PREFIX = "sqlite:///"


def path_of(url: str) -> Path:
    """Find the file a `sqlite:///relative.db` or `sqlite:////absolute.db` URL names. Raises StoreError."""
    rest = url.removeprefix(_URL_PREFIX)
    if rest == url or not rest or rest == ":memory:" or "?" in rest:
        raise StoreError(
            f"store {url!r}: expected sqlite:///relative.db or sqlite:////absolute.db; "
            "an in-memory store cannot be shared by processes, and options are not understood"
        )
    return Path(unquote(rest))


def prepare(path: Path, *, thorough: bool = False) -> None:
    """Make or check the file and bring its schema up to date; several processes at once are safe.

    `thorough` checks every page of a file of any size, for one that is suspected to be corrupt.

    Raises StoreError with a sentence: not creatable, open to other users, another program's file, a newer schema.
    """
    try:
        _make_folder(path.parent)
        with _folder_lock(path.parent):
            refuse_if_open_to_others(path)
            if path.exists() and _is_corrupt(path, thorough=thorough):
                _move_aside(path, datetime.now(UTC))
            _make_file(path)
            _migrate(path)
    except OSError as error:
        raise StoreError(f"store {path} cannot be opened: {error.filename or path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StoreError(f"store {path} cannot be opened: {error}") from error


def schema_number(path: Path) -> int:
    """Read the number of the schema, as it stands; 0 when there is no file. Raises StoreError."""
    if not path.exists():
        return 0
    try:
        with closing(_connect(path)) as connection:
            return _version(connection, path)
    except sqlite3.Error as error:
        raise StoreError(f"store {path} cannot be opened: {error}") from error


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """One process at a time prepares files in this folder; the lock leaves no file behind."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def refuse_if_open_to_others(path: Path) -> None:
    """Raise StoreError when users beside the owner and the group may open a file that is there, or when it is no file.

    The group is left to whoever runs it: orchestrators give a volume's files to one (`fsGroup`) at every mount.
    """
    if stat.S_ISDIR(_mode(path)):  # else its owner would be told to take everybody's way into a folder
        raise StoreError(f"{path} is a folder; name a file in it: {path / 'shadow.db'}")
    if _mode(path) and not stat.S_ISREG(_mode(path)):  # nor that of a device
        raise StoreError(f"{path} is no file that can hold a store; name another")
    for name in (path, *_side_files(path)):
        mode = stat.S_IMODE(_mode(name))
        if mode & stat.S_IRWXO:
            raise StoreError(f"{name} holds prompts and may be read by others (mode {mode:o}); run: chmod 600 {name}")


def _mode(name: Path) -> int:
    """Give its kind and permissions; 0 where there is nothing, or nothing that we may look at."""
    try:
        return name.stat().st_mode
    except OSError:
        return 0


def _side_files(path: Path) -> tuple[Path, Path]:
    return (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"))


def _make_file(path: Path) -> None:
    """Make an empty file, which is an empty database; SQLite gives -wal and -shm the same mode."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)


def _is_corrupt(path: Path, *, thorough: bool) -> bool:
    try:
        with closing(_connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if path.stat().st_size > DEEP_CHECK_BYTES and not thorough:
                return False
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except sqlite3.OperationalError:  # locked, unreadable: not corrupt
        raise
    except sqlite3.DatabaseError:  # "file is not a database", "malformed"
        return True


def _move_aside(path: Path, now: datetime) -> None:
    """Keep the corrupt file and its side files under a new name; nothing is ever deleted."""
    mark = f".corrupt-{now:%Y%m%dT%H%M%S.%f}Z"
    for name in (path, *_side_files(path)):
        if name.exists():
            name.rename(name.with_name(name.name + mark))
    LOG.critical("store %s is corrupt: moved aside to %s%s, starting with an empty store", path, path.name, mark)


def _migrate(path: Path) -> None:
    with closing(_connect(path)) as connection:
        version = _version(connection, path)
        # Both are kept in the file's header and take effect only before the first table.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        migrations = load_migrations()
        newest = migrations[-1][0]
        if version > newest:
            raise StoreError(
                f"store {path} has schema {version}, this version knows schemas up to {newest}: "
                "start the newer shadow-gateway that wrote it, or name another store"
            )
        if version < newest:
            _apply(connection, [script for number, script in migrations if number > version], newest)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise StoreError(f"store {path} is another program's SQLite database; name another file")
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _apply(connection: sqlite3.Connection, scripts: list[str], newest: int) -> None:
    """All missing migrations in one transaction: after a crash in between, the old schema stands."""
    connection.execute("BEGIN IMMEDIATE")
    for script in scripts:
        for statement in statements(script):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {newest}")
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('made_at', ?) ON CONFLICT (key) DO NOTHING",
        (datetime.now(UTC).isoformat(timespec="seconds"),),
    )
    connection.execute("COMMIT")
