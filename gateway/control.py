"""How `serve` talks to its children: JSON lines down their standard input, JSON lines back on one pipe.

The first line down is the start message (its `settings` is a `LiveSettings` or `MeasuringSettings`); each later line
replaces the settings. End of input means the parent is gone: the child drains and exits, as on SIGTERM. Nothing secret
travels by argv, environment or disk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificate and key files for the client side of a listen socket."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The first line a child reads."""

    settings: dict[str, Any]
    """`LiveSettings` or `MeasuringSettings` as plain JSON values."""
    socket_fds: tuple[int, ...]
    """Bound, not yet listening sockets the child inherits; the parent keeps them open across restarts."""
    status_fd: int
    """Where the child writes its events."""
    tls: Tls | None = None
    worker: int = 0
    """Number of this process, 0 upward, for logs."""
    line: str = ""
    """Name shared by this child and those before it in the same place; the parent has seen them all end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """A later line: new settings after a reload. What is under way keeps the old ones."""

    settings: dict[str, Any]


EventName = Literal["ready", "reloaded", "reload_failed", "draining", "flushed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line a child writes to `status_fd`."""

    event: EventName
    detail: str = ""


def encode(message: Start | Replace | Event) -> bytes:
    """One JSON line."""
    return msgspec.json.encode(message) + b"\n"


def decode(line: bytes, kind: type[T]) -> T:
    """Read one line as `kind`. Raises msgspec.ValidationError, which only a broken parent or child can cause."""
    return msgspec.json.decode(line, type=kind)


def plain(settings: object) -> dict[str, Any]:
    """Frozen settings as plain JSON values, ready for `Start` or `Replace`."""
    values: dict[str, Any] = msgspec.to_builtins(settings)
    return values


def settings_from(values: dict[str, Any], kind: type[T]) -> T:
    """The inverse of `plain`."""
    return msgspec.convert(values, kind)


def report(status_fd: int, event: EventName, detail: str = "") -> None:
    """Write one event to the parent; a parent that is gone is no error (the end of input tells the rest)."""
    try:
        os.write(status_fd, encode(Event(event=event, detail=detail)))
    except OSError:
        return
