"""What every dialect renders into: a JSON body, or the events of a stream in order."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shadow.records import Usage
from shadow.simulator.answer import Answer
from shadow.simulator.question import Question

if TYPE_CHECKING:
    from collections.abc import Mapping


EventKind = Literal[
    "open",  # before the first token
    "token",  # carries output
    "close",  # after the last token
    "usage",  # carries the final usage and nothing else that matters
    "last",  # the end mark: message_stop, [DONE], response.completed
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event as bytes, blank line included."""

    kind: EventKind
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """All a dialect needs to render one answer."""

    question: Question
    said: Answer
    usage: Usage
    start_usage: bool = True
    """False: the first event of a stream tells no usage (a fault)."""
    final_usage: bool = True
    """False: the last events tell no usage (a fault)."""
    id: str
    """The same for the same (model, prompt), without a prefix."""
    created: int
    """Unix seconds."""


def event(kind: EventKind, payload: Mapping[str, Any], *, name: str | None = None) -> Event:
    """Write one event; `name` is its `event:` line."""
    head = f"event: {name}\n" if name else ""
    return Event(kind=kind, data=f"{head}data: {compact(payload)}\n\n".encode())


def compact(payload: Mapping[str, Any]) -> str:
    """JSON without spaces, letters beyond ASCII kept, as the real APIs write it."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def tokens_of(text: str) -> list[str]:
    """Cut a text into the pieces a stream carries: words with the space before them."""
    return re.findall(r"\s*\S+|\s+$", text)


def pieces_of(arguments: str, *, size: int = 12) -> list[str]:
    """Cut tool arguments into pieces, as they arrive in a stream."""
    return [arguments[start : start + size] for start in range(0, len(arguments), size)]
