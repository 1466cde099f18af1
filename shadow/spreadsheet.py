"""What a spreadsheet may be given: no cell of a CSV file is a formula."""

from __future__ import annotations

from typing import TypeVar

Cell = TypeVar("Cell")

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  (spreadsheets take the wide ones, too)


def defused(value: Cell) -> Cell | str:
    """Keep a text from being a formula: a quote in front, as OWASP advises. What is no text stays as it is."""
    if not isinstance(value, str):
        return value
    return f"'{value}" if value.startswith(_FORMULA) or value.lstrip(" ").startswith(_FORMULA) else value
