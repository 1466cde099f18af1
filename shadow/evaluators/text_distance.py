"""How far two texts are apart, in edits of one character."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

MAX_CHARS = 200_000
"""Longer texts are not compared: the work grows with the product of the lengths (1.4 s at this length)."""


class TooLongError(Exception):
    """A text is longer than `MAX_CHARS`."""

    def __init__(self) -> None:
        super().__init__(f"longer than {MAX_CHARS} characters, too long to compare character by character")


def distance(one: str, other: str) -> int:
    """Count the insertions, deletions and replacements that turn one text into the other. Raises TooLongError."""
    if one == other:
        return 0
    if max(len(one), len(other)) > MAX_CHARS:
        raise TooLongError
    return Levenshtein.distance(one, other)


def similarity(one: str, other: str) -> float:
    """1 for equal texts, 0 for nothing in common: 1 - distance / length of the longer. Raises TooLongError."""
    longest = max(len(one), len(other))
    return 1.0 if longest == 0 else 1.0 - distance(one, other) / longest
