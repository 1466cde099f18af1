"""Reading JSON out of a model's answer: strictly, or wherever it hides; hostile input gives a reason."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

MAX_STARTS = 64
"""How many places of an answer are tried as the start of a JSON value; bounds the work on hostile text."""

MAX_DIGITS = 4_000
"""Longer integers are refused by the reader (Python itself stops at 4,300 digits)."""

MAX_SCANNED = 4_000_000
"""How many characters are read again from such places, all together."""

# Possessive where it can be: a fence that is never closed must not be looked for again from each character of its name.
_FENCE = re.compile(r"```[a-zA-Z0-9_-]*+[ \t]*+(?:\r?\n)?+(.*?)```", re.DOTALL)
_START = re.compile(r"[\[{]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A JSON value, or the reason why there is none."""

    value: Any = None
    error: str | None = None


def strict(text: str) -> Parsed:
    """Read the whole text as one JSON value (RFC 8259: no NaN, no duplicate keys)."""
    try:
        return Parsed(value=_DECODER.decode(text))
    except RecursionError:
        return Parsed(error="nested too deeply")
    except ValueError as error:
        return Parsed(error=_reason(error))


def embedded(text: str) -> Parsed:
    """Read the first JSON object or array in the text: the whole of it, a fenced block, or one between other words."""
    whole = strict(text)
    if whole.error is None and isinstance(whole.value, dict | list):
        return whole
    for block in islice(_FENCE.finditer(text), MAX_STARTS):
        inside = strict(block[1])
        if inside.error is None and isinstance(inside.value, dict | list):
            return inside
    scanned = 0
    for start in islice(_START.finditer(text), MAX_STARTS):
        try:
            value, _ = _DECODER.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            scanned += error.pos - start.start()
        except (ValueError, RecursionError):
            continue
        else:
            return Parsed(value=value)
        if scanned > MAX_SCANNED:
            break
    return Parsed(error="holds no JSON object or array")


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos}"
    return f"not JSON: {error}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _short_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_short_int)
