"""Which conversations are shadowed, and which task an exchange belongs to: the same decisions on every replica."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.records import RequestFacts, Task, TaskMatch

DEFAULT_TASK = "default"

_KEY_HEADER = "x-shadow-conversation"
_SESSION_HEADER = "x-claude-code-session-id"
_HASH_BYTES = 16
_UNIT_HEX_DIGITS = 13  # 52 bits: every such whole number is exact as a float
_POSITIONS: int = 16**_UNIT_HEX_DIGITS

ConversationMode = Literal["auto", "header", "request"]


def conversation_key(
    facts: RequestFacts | None, headers: Mapping[str, str], *, mode: ConversationMode, exchange_id: str
) -> str:
    """Return the raw key of the conversation an exchange belongs to; hash it before it is kept anywhere.

    `auto`: the header `x-shadow-conversation`, else `x-claude-code-session-id`, else what the request itself says, else
    the exchange stands alone. `header`: only `x-shadow-conversation`. `request`: every exchange stands alone.
    Header names may be in any case. Keys of different origin never meet.
    """
    return declared_conversation(headers, mode=mode) or undeclared_conversation(
        facts, mode=mode, exchange_id=exchange_id
    )


def declared_conversation(headers: Mapping[str, str], *, mode: ConversationMode) -> str | None:
    """Return what the header fields alone make of `conversation_key`; None: they say nothing."""
    if mode == "request":
        return None
    given = {name.lower(): value for name, value in headers.items()}
    if given.get(_KEY_HEADER):
        return f"header:{given[_KEY_HEADER]}"
    if mode == "auto" and given.get(_SESSION_HEADER):
        return f"session:{given[_SESSION_HEADER]}"
    return None


def undeclared_conversation(facts: RequestFacts | None, *, mode: ConversationMode, exchange_id: str) -> str:
    """Return the raw key where no header field names one."""
    if mode == "auto" and facts is not None and facts.conversation:
        return facts.conversation
    return f"request:{exchange_id}"


def conversation_hash(raw: str, *, seed: str) -> str:
    """Return the hash of a raw conversation key, 32 hex digits, the same in every process and Python version."""
    key = _seed_digest(seed)
    return blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES, key=key).hexdigest()


@lru_cache(maxsize=8)
def _seed_digest(seed: str) -> bytes:
    return blake2b(seed.encode("utf-8", "surrogatepass")).digest()


def is_sampled(conversation: str, rate: float) -> bool:
    """Say whether a conversation (its hash) lies in the sampled share; what one rate samples, every higher one does."""
    position = int(conversation[:_UNIT_HEX_DIGITS], 16)
    return position < rate * _POSITIONS


def is_asked_again(conversation: str, rate: float) -> bool:
    """Say whether a conversation lies in the share about which the primary is asked again; apart from `is_sampled`."""
    return is_sampled(
        conversation[::-1], rate
    )  # the other end of the hash: what is sampled has low numbers at this one


def task_of(tasks: Sequence[Task], *, headers: Mapping[str, str], path: str, model: str | None, system: str) -> str:
    """Return the name of the first task whose every given part holds, else `default`.

    Header names are compared without case, values exactly; `path` and `model` may hold `*` and `?`.
    """
    if not tasks:
        return DEFAULT_TASK
    given = {name.lower(): value for name, value in headers.items()}
    for task in tasks:
        if _matches(task.match, given, path, model, system):
            return task.name
    return DEFAULT_TASK


def _matches(match: TaskMatch, headers: Mapping[str, str], path: str, model: str | None, system: str) -> bool:
    return (
        all(headers.get(name.lower()) == value for name, value in match.header.items())
        and (match.path is None or fnmatchcase(path, match.path))
        and (match.model is None or (model is not None and fnmatchcase(model, match.model)))
        and (match.system_contains is None or match.system_contains in system)
    )
