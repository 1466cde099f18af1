"""Named SQL: reads the `.sql` files beside this one."""

from __future__ import annotations

import sqlite3
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME = "-- name: "


def load_queries(file_name: str) -> Mapping[str, str]:
    """Name -> SQL of every query in `file_name`, a file of blocks `-- name: x`, `-- a sentence`, SQL."""
    text = resources.files(__package__).joinpath(file_name).read_text(encoding="utf-8")
    blocks = text.split(_NAME)[1:]
    return MappingProxyType({name.strip(): sql.strip() for name, _, sql in (block.partition("\n") for block in blocks)})


def load_migrations() -> list[tuple[int, str]]:
    """List (number, SQL script) of every migration, ascending; `0001_first.sql` is number 1."""
    folder = resources.files(__package__).joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


def statements(script: str) -> Iterator[str]:
    """Split a script into statements, so that they can share a transaction (`executescript` would commit it)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
