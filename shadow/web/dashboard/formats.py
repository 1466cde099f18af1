"""How the dashboard writes numbers: with their units, and as short as they may be."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MINUS = "\u2212"
NARROW = "\u202f"
"""Narrow no-break space: between a number and its unit."""

_SECOND_MS, _MINUTE_MS = 1000, 60_000
_FULL_CENTS_USD = 100
_CENT_USD = 0.01


def count(value: float) -> str:
    """`1,234`; a count that is an estimate is rounded."""
    return _signed(f"{value:,.0f}")


def usd(value: float) -> str:
    """`$1,235`, `$12.35`, or three digits of what is less than a cent: `$0.00123`."""
    size = abs(value)
    if size == 0 or size >= _FULL_CENTS_USD:
        text = f"{size:,.0f}"
    elif size >= 1:
        text = f"{size:.2f}"
    else:
        text = _digits(size)
    return f"{MINUS if value < 0 else ''}${text}"


def usd_signed(value: float) -> str:
    """Dollars with a sign: a saving or a difference."""
    return usd(value) if value < 0 else f"+{usd(value)}"


def usd_per_1k(value: float) -> str:
    """Dollars of a thousand requests, out of the dollars of one."""
    return usd(value * 1000)


def share(value: float) -> str:
    """`4.2 %` of a share from 0 to 1; whole numbers from 10 % on."""
    percent = value * 100
    text = f"{percent:.0f}" if abs(percent) >= 10 or percent == 0 else f"{percent:.1f}"  # noqa: PLR2004
    return f"{_signed(text)}{NARROW}%"


def quality(value: float) -> str:
    """`0.912`: quality from 0 to 1."""
    return _signed(f"{value:.3f}")


def points(value: float) -> str:
    """`+2.1 pts`: a difference of qualities, in hundredths."""
    return f"{_plus(f'{value * 100:.1f}')}{NARROW}pts"


def ms(value: float) -> str:
    """`840 ms`, `2.35 s`, `12.0 s`, `3.5 min`."""
    return _duration(value, _signed)


def ms_signed(value: float) -> str:
    """The same with a sign: a difference of durations."""
    return _duration(value, _plus)


def ms_fine(value: float) -> str:
    """`0.184 ms`, `3.10 ms`: a duration that may be far below a millisecond, to three digits."""
    small = abs(value) < 100  # noqa: PLR2004  (three digits need a point below)
    return f"{_signed(f'{value:#.3g}')}{NARROW}ms" if small else ms(value)


def ms_tick(value: float) -> str:
    """`500 ms`, `1 s`, `2.5 s`: a round duration on an axis."""
    text, _, unit = ms(value).partition(NARROW)
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{NARROW}{unit}"


def ratio(value: float) -> str:
    """`0.52x`: one cost by another."""
    return f"{value:.2f}x"


def days(value: float) -> str:
    """`3 days`, `18 hours`, `20 minutes`: at the present traffic."""
    hours = value * 24
    if hours < 1:
        return _plural(max(1, math.ceil(hours * 60)), "minute")
    return _plural(math.ceil(hours), "hour") if hours < 48 else _plural(math.ceil(value), "day")  # noqa: PLR2004


def size(value: float) -> str:
    """`840 B`, `12.3 kB`, `4.0 MB`."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.1f}{NARROW}{unit}"
    return f"{value:.0f}{NARROW}B"


def plain(value: float) -> str:
    """A number of no particular unit, to three digits."""
    return _signed(f"{value:,.0f}" if abs(value) >= _SECOND_MS else f"{value:.3g}")


def moment(value: object) -> datetime | None:
    """Read a time of the API as aware UTC; None when it is none."""
    if not isinstance(value, str | datetime):
        return None
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return read.astimezone(UTC) if read.tzinfo is not None else None


FORMATS: Mapping[str, Callable[[float], str]] = {
    "count": count,
    "usd": usd,
    "usd_signed": usd_signed,
    "usd_per_1k": usd_per_1k,
    "share": share,
    "quality": quality,
    "points": points,
    "ms": ms,
    "ms_signed": ms_signed,
    "ms_fine": ms_fine,
    "ratio": ratio,
    "days": days,
    "size": size,
    "plain": plain,
}
"""By the name templates use."""


def _signed(text: str) -> str:
    digits = text.removeprefix("-")
    return digits if digits == text or not digits.strip("0.,") else f"{MINUS}{digits}"


def _plus(text: str) -> str:
    """A sign in front, but none before a rounded zero."""
    signed = _signed(text)
    return signed if signed.startswith(MINUS) or not signed.strip("0.,") else f"+{signed}"


def _digits(size_usd: float) -> str:
    """Three digits that count, at least two places: 0.12, 0.0123, 0.00000123."""
    places = max(2, 2 - math.floor(math.log10(size_usd))) if size_usd < _CENT_USD * 10 else 2
    return f"{size_usd:.{min(places, 12)}f}"


def _duration(value: float, written: Callable[[str], str]) -> str:
    size_ms = abs(value)
    if size_ms < _SECOND_MS:
        return f"{written(f'{value:.0f}')}{NARROW}ms"
    if size_ms < _MINUTE_MS:
        places = 2 if size_ms < 10 * _SECOND_MS else 1
        return f"{written(f'{value / _SECOND_MS:.{places}f}')}{NARROW}s"
    return f"{written(f'{value / _MINUTE_MS:.1f}')}{NARROW}min"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
