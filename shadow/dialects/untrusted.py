"""JSON from outside, read without trust: every helper has a defined result for any bytes."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

_MAX_ERROR_CHARACTERS = 10_000
"""Much more than is stored: whoever stores it takes keys out first, and a key that is cut is no longer known as one."""
_HALF_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")
MAX_COUNT = 10**12
"""No answer has more tokens, and sums of what is below it fit into 64 bits everywhere."""


class UnreadableError(Exception):
    """The bytes are no JSON object we can read; the message says why. The exchange is recorded all the same."""


def decode_any(text: bytes) -> Any:
    """Decode JSON; raises UnreadableError (malformed, nested too deep, a number out of range, not UTF-8)."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as broken:
        raise UnreadableError(f"not readable as JSON: {broken}") from broken


def decode_object(text: bytes) -> dict[str, Any] | None:
    """Decode a JSON object; None when it is anything else or cannot be read.

    Its strings may hold halves of surrogate pairs, as servers write them that cut a text between two UTF-16 units;
    `with_whole_characters` mends what is kept.
    """
    try:
        return as_object(decode_any(text))
    except UnreadableError:
        return as_object(_decode_with_halves(text)) if _HALF_ESCAPED.search(text) else None


def _decode_with_halves(text: bytes) -> Any:
    """Decode JSON in which half of a surrogate pair may be escaped (RFC 8259 8.2); None when it cannot be read."""
    try:
        return json.loads(text.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def with_whole_characters(text: str) -> str:
    """Return text that UTF-8 can hold: halves of a surrogate pair that meet are one character, one alone is U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def as_object(value: Any) -> dict[str, Any] | None:
    """Return the value when it is an object."""
    return value if isinstance(value, dict) else None


def as_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, [] when the value is no list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """Return the value when it is a string, else ''."""
    return value if isinstance(value, str) else ""


def as_name(value: Any) -> str | None:
    """Return the value when it is a string with something in it."""
    return value if isinstance(value, str) and value else None


def as_count(value: Any) -> int | None:
    """Return the value when it is a whole number from 0 to `MAX_COUNT` (true and false are none)."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def as_part(value: Any) -> int | None:
    """Return a count that may be left out: 0 when it is; None when it is there and is no count."""
    return 0 if value is None else as_count(value)


def shortened(text: str) -> str:
    """Cut a foreign sentence to a size that may be looked through."""
    return text if len(text) <= _MAX_ERROR_CHARACTERS else f"{text[:_MAX_ERROR_CHARACTERS]}…"


def error_sentence(payload: dict[str, Any] | None) -> str | None:
    """Return `type: message` of an error in the shape of either API; None when there is no `error` in it."""
    error = payload.get("error") if payload else None
    if isinstance(error, str):
        return shortened(error) or None
    if not isinstance(error, dict) or not error:
        return None
    kind = as_name(error.get("type")) or as_name(error.get("code")) or "error"
    message = as_text(error.get("message"))
    return shortened(f"{kind}: {message}" if message else kind)
