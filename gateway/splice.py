"""Replaces the value of the one top-level "model" in a JSON body, and not a byte more."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

SpliceSkipped = Literal["encoded", "too_large", "no_body", "not_one_model"]
"""Why a request went up with the model it came with."""
SPLICE_SKIPPED: Mapping[SpliceSkipped, str] = {
    "encoded": "its body is encoded (content-encoding)",
    "too_large": "its body is larger than 40 MiB",
    "no_body": "it has no body",
    "not_one_model": 'its body is not one JSON object with exactly one top-level "model" that is a string',
}

MAX_SPLICE_BYTES = 40 << 20
MAX_TOKENS = 200_000
"""Strings and brackets looked at one by one in a body with several "model" in it; more would hold up other clients."""

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_VALUE = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(" + _STRING + rb")?", re.DOTALL)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def splice_model(body: bytes, model: str) -> bytes | None:
    """The body with another model, or None when it is not one JSON object with exactly one top-level "model" string."""
    try:
        members = _OBJECT.decode(body)
        # The walk reads strings that the decoder passed over, and one may not be UTF-8.
        spans = _only_value(body) if "model" in members and _is_plain(body) else _model_values(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(spans) != 1 or spans[0] is None:
        return None
    start, end = spans[0]
    return b"".join((body[:start], json.dumps(model).encode(), body[end:]))


def _is_plain(body: bytes) -> bool:
    """Whether "model" stands there once and no string can spell it otherwise: then the one is the member's name."""
    return body.count(b'"model"') == 1 and b"\\u00" not in body


def _only_value(body: bytes) -> list[tuple[int, int] | None]:
    value = _VALUE.match(body, body.index(b'"model"') + len(b'"model"'))
    return [value.span(1)] if value is not None and value.group(1) is not None else []


def _model_values(body: bytes) -> list[tuple[int, int] | None]:
    """Where each top-level "model" has its string (None: another kind of value) in a body known to be a JSON object."""
    found: list[tuple[int, int] | None] = []
    depth = 0
    for number, token in enumerate(_TOKEN.finditer(body)):
        if number == MAX_TOKENS:
            return []
        first = body[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and _is_model(token.group()):
            value = _VALUE.match(body, token.end())
            if value is not None:  # a string without a colon after it is itself a value
                found.append(value.span(1) if value.group(1) is not None else None)
    return found


def _is_model(token: bytes) -> bool:
    if b"\\" not in token:
        return token == b'"model"'
    return bool(msgspec.json.decode(token) == "model")
