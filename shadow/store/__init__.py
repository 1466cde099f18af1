"""The store: `open_store` for the measuring side, `open_intake` for a live process; the URL's scheme says which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shadow.store.base import IntakeDoor, Store, StoreError

if TYPE_CHECKING:
    from shadow.store.sqlite.store import SqliteStore

__all__ = [
    "IntakeDoor",
    "Store",
    "StoreError",
    "check_store_modes",
    "check_store_url",
    "open_intake",
    "open_store",
    "prepare_store",
    "recorded",
    "schema_of",
]


def check_store_url(url: str) -> None:
    """Raise StoreError with a sentence unless `url` names a store this version can open; touches no file."""
    scheme = url.partition(":")[0]
    if scheme in {"postgres", "postgresql"}:
        raise StoreError("store: postgresql: is not built yet; use sqlite:///shadow.db")
    if scheme != "sqlite":
        raise StoreError(f"store: the scheme {scheme!r} is unknown; use sqlite:///shadow.db")
    from shadow.store.sqlite.file import path_of  # noqa: PLC0415  (a backend is imported only when it is used)

    path_of(url)


def check_store_modes(url: str) -> None:
    """Raise StoreError with a sentence when others may read what the store holds, or its file is a folder."""
    check_store_url(url)
    from shadow.store.sqlite.file import path_of, refuse_if_open_to_others  # noqa: PLC0415  (see above)

    refuse_if_open_to_others(path_of(url))


def schema_of(url: str) -> int:
    """Tell the number of a store's schema and change nothing; 0 when there is no store yet. Raises StoreError."""
    check_store_url(url)
    from shadow.store.sqlite.file import path_of, schema_number  # noqa: PLC0415  (see above)

    return schema_number(path_of(url))


def recorded(url: str) -> str:
    """Give the address of a store that is there back: who only reads makes none. Raises StoreError."""
    check_store_url(url)
    from shadow.store.sqlite.file import path_of  # noqa: PLC0415  (see above)

    if not path_of(url).exists():
        raise StoreError(f"{path_of(url)} is not there yet: nothing has been recorded")
    return url


def prepare_store(url: str) -> None:
    """Make or check the store's file as an opening does, and leave it; may wait for the disk. Raises StoreError."""
    check_store_url(url)
    from shadow.store.sqlite.file import path_of, prepare  # noqa: PLC0415  (see above)

    prepare(path_of(url))


async def open_store(url: str) -> SqliteStore:
    """Connect to the whole store; leave it by `async with` or `close`. Raises StoreError."""
    check_store_url(url)
    from shadow.store.sqlite.store import SqliteStore  # noqa: PLC0415  (a backend is imported only when it is used)

    return await SqliteStore.open(url)


async def open_intake(url: str) -> IntakeDoor:
    """Open the way in alone, for a live process. Raises StoreError."""
    check_store_url(url)
    from shadow.store.sqlite.store import open_intake as open_sqlite  # noqa: PLC0415  (see above)

    return await open_sqlite(url)
