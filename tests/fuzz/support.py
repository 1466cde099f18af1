"""What the checks share: options read off the fuzzer's first bytes, ways of slicing, and a strict look at JSON."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Options:
    """Choices taken from the first bytes of an input; the rest is what the code under test gets."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """A number from 0 up to, not including, `below`; 0 when the bytes ran out."""
        value = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return value % below

    def flag(self) -> bool:
        return self.number(2) == 1

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.number(len(choices))]

    def rest(self) -> bytes:
        return self._data[self._at :]

    def lines(self, count: int) -> list[bytes]:
        """The rest as so many parts, cut at NUL; the last part takes what is left over."""
        parts = self.rest().split(b"\0", count - 1)
        return parts + [b""] * (count - len(parts))


def slicings(data: bytes, seed: int) -> list[list[bytes]]:
    """Three ways in which the same bytes may arrive: at once, byte by byte, and cut at random places."""
    chance = random.Random(seed)
    places = sorted({0, len(data), *(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 9)))})
    singly = [data[at : at + 1] for at in range(len(data))]
    return [[data], singly, [data[start:end] for start, end in pairwise(places)]]


class Number(str):
    """A number of a JSON text, as it was written."""

    __slots__ = ()


class NotJsonError(Exception):
    """The standard library refuses the text."""


def json_pairs(text: bytes) -> Any:
    """Read JSON with every member of every object kept, duplicates too: an object is a tuple of pairs."""
    try:
        return json.loads(
            text.decode(), object_pairs_hook=tuple, parse_int=Number, parse_float=Number, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise NotJsonError from error


def is_json(text: bytes) -> bool:
    try:
        json_pairs(text)
    except NotJsonError:
        return False
    return True


def has_half_characters(value: Any) -> bool:
    """Whether a text in it holds half of a surrogate pair: no UTF-8 can say it, and readers differ in what they do."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _refuse(name: str) -> Any:
    raise ValueError(name)
