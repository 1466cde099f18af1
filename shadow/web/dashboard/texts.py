"""Text from outside, made fit to be shown: what would hide, steer or flood is made visible, and no page grows by it."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from html import escape
from itertools import accumulate

SHOWN_BYTES = 16_000
"""How much of one text a page shows, in bytes of HTML; the whole text is at the JSON address."""

_TAB, _NEWLINE, _DELETE = 0x09, 0x0A, 0x7F
_PICTURES = 0x2400
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""What a browser would act on or not show: controls, direction marks, spaces without width, half characters, tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A text as a page shows it; `left_out` characters of the original are not in it."""

    text: str
    left_out: int


def visible(text: str) -> str:
    """Replace what cannot be seen by what can: `␀` for NUL, `␛` for escape, `[U+202E]` for a direction mark."""
    return _CONTROLS.sub(_picture, text.replace("\r\n", "\n"))


def shown(text: str, *, limit_bytes: int = SHOWN_BYTES) -> Shown:
    """Make a text visible and cut it so that it takes at most `limit_bytes` of HTML."""
    # one character takes at least one byte, so what lies beyond the limit need not be looked at
    told = visible(text[:limit_bytes])
    cut = within(told, limit_bytes)
    if cut == len(told):
        return Shown(text=told, left_out=max(0, len(text) - limit_bytes))
    # where characters were replaced by longer words the count is of what was read, rounded up to the next one
    kept = cut if len(told) == min(len(text), limit_bytes) else _original_length(text, cut)
    return Shown(text=told[:cut], left_out=len(text) - kept)


def within(text: str, limit_bytes: int) -> int:
    """Count how many characters of a text fit into so many bytes of HTML."""
    if len(escape(text).encode("utf-8", "replace")) <= limit_bytes:
        return len(text)
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(escape(text[:middle]).encode("utf-8", "replace")) <= limit_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def one_line(text: str, *, limit: int = 200) -> str:
    """A short text for a table or a title: visible, on one line, cut with an ellipsis."""
    told = " ".join(visible(text[: 4 * limit]).split())
    return told if len(told) <= limit else told[: limit - 1] + "…"


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:  # noqa: PLR2004  (the C0 controls have pictures of their own)
        return chr(_PICTURES + code)
    return "\u2421" if code == _DELETE else f"[U+{code:04X}]"


def _original_length(text: str, cut: int) -> int:
    """How many characters of the original make up the first `cut` characters of its visible form."""
    ends = list(accumulate(len(visible(char)) for char in text))
    return bisect_right(ends, cut)
