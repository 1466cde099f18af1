"""The simulator's memory of every request: what came, when the first byte went out, how it ended."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Ending = Literal[
    "open",  # under way
    "completed",  # the answer was sent whole
    "cancelled",  # the client left first
    "broken",  # a fault broke it on purpose
]


@dataclass(slots=True, kw_only=True)
class LogEntry:
    """One request. Clocks are `time.monotonic()` seconds of the simulator's process.

    Headers are as received, in order, with names in lower case.
    """

    number: int
    arrived_at: float
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    body_at: float | None = None
    """When the body was there."""
    model: str | None = None
    manner: str | None = None
    """How the model answered; None when no model did."""
    fault: str | None = None
    status: int | None = None
    first_byte_at: float | None = None
    ended_at: float | None = None
    bytes_out: int = 0
    ending: Ending = "open"

    def header(self, name: str) -> str | None:
        """Give the first value of a header."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def key(self) -> str | None:
        """The credential that came, from whichever header; x-api-key first, as at the real API."""
        bearer = (self.header("authorization") or "").removeprefix("Bearer ")
        return self.header("x-api-key") or bearer or None

    @property
    def credential(self) -> Literal["x-api-key", "authorization", "both"] | None:
        """Which credential header came."""
        names = {name for name, _ in self.headers}
        if {"x-api-key", "authorization"} <= names:
            return "both"
        return "x-api-key" if "x-api-key" in names else "authorization" if "authorization" in names else None

    def plain(self) -> dict[str, Any]:
        """Give the entry as JSON values; bytes that are no UTF-8 are replaced."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "body": self.body.decode(errors="replace"), "credential": self.credential}


@dataclass(slots=True, kw_only=True)
class RequestLog:
    """The last `limit` requests, oldest first; safe to read from another thread."""

    limit: int
    _entries: deque[LogEntry] = field(init=False)
    _count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._entries = deque(maxlen=self.limit)

    def open(self, **fields: Any) -> LogEntry:
        """Start the entry of a request that has just arrived."""
        entry = LogEntry(number=self._count, **fields)
        self._count += 1
        self._entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget everything; numbers go on."""
        self._entries.clear()

    def entries(self) -> list[LogEntry]:
        """All requests but those to the simulator's own pages."""
        return list(self._entries)

    def calls(self, *, model: str | None = None, path: str | None = None) -> list[LogEntry]:
        """Give the requests that asked a model, of one model and one path's end when given."""
        return [
            entry
            for entry in self.entries()
            if entry.model is not None and model in {None, entry.model} and entry.path.endswith(path or "")
        ]

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self.entries())

    def __len__(self) -> int:
        return len(self._entries)
