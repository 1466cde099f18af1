"""Query parameters of the admin port, checked: every mistake is one sentence that names the parameter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

DEFAULT_WINDOW = timedelta(days=7)
"""What `/stats` covers when `since` is not given: the seven days before `until`."""

DEFAULT_TREND = timedelta(weeks=12)
"""What `/trends` covers when `since` is not given."""

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_ROOM = 1000
MAX_TEXT_CHARACTERS = 512

Sort = Literal["worst", "newest"]
Show = Literal["all", "differs", "regressed", "errors", "unreviewed"]
SHOWS = ("all", "differs", "regressed", "errors", "unreviewed")

_RELATIVE = re.compile(r"([0-9]{1,7})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PLUS_READ_AS_SPACE = re.compile(r" (?=[0-9]{2}:?[0-9]{2}$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A stretch of time that may be open at either end."""

    since: datetime | None
    until: datetime | None


class ParameterError(Exception):
    """A query parameter cannot be used; the message names it and says what would be right. Answered with 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The stretch of time an answer is about; an exchange belongs to it when `since` <= its start < `until`."""

    since: datetime
    until: datetime


def single_values(pairs: Sequence[tuple[str, str]], *, known: Collection[str]) -> dict[str, str]:
    """Each parameter once, and only known ones: a misspelt filter must not answer as if it were none.

    An empty value counts as not given. Raises ParameterError.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            listed = ", ".join(known) if known else "none"
            raise ParameterError(f"{name[:80]!r} is no parameter of this path; known here: {listed}")
        if name in values:
            raise ParameterError(f"{name} is given more than once")
        values[name] = value
    return {name: value for name, value in values.items() if value}


def several(pairs: Sequence[tuple[str, str]], name: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Take out a parameter that may be given several times: its values, without empty ones, and the other pairs.

    Raises ParameterError when one is absurdly long.
    """
    values = [value for given, value in pairs if given == name and value]
    for value in values:
        text({name: value}, name)
    return values, [pair for pair in pairs if pair[0] != name]


def room(values: Mapping[str, str]) -> int | None:
    """For how many models there is room, 1 to 1000; None when not given. Raises ParameterError."""
    value = values.get("room")
    return None if value is None else _whole_number("room", value, most=MAX_ROOM)


def window(values: Mapping[str, str], *, now: datetime, default: timedelta = DEFAULT_WINDOW) -> Window:
    """`since` and `until` of a query; `until` is by default now, `since` so long before it.

    Raises ParameterError.
    """
    until = _moment("until", values["until"], now) if "until" in values else now
    since = _moment("since", values["since"], now) if "since" in values else _earlier("since", until, default)
    if since >= until:
        raise ParameterError(f"since ({since.isoformat()}) must lie before until ({until.isoformat()})")
    return Window(since=since, until=until)


def bounds(values: Mapping[str, str], *, now: datetime) -> Bounds:
    """`since` and `until` of a list, each open when not given. Raises ParameterError."""
    since, until = (_moment(name, values[name], now) if name in values else None for name in ("since", "until"))
    return Bounds(since=since, until=until)


def show(values: Mapping[str, str]) -> Show:
    """Which pairs a list holds: all (the default), or those that differ, regressed, have errors or no label.

    Raises ParameterError.
    """
    value = values.get("show", "all")
    if value not in SHOWS:
        raise ParameterError(f"show must be one of {', '.join(SHOWS)}, not {value[:80]!r}")
    return cast("Show", value)


def text(values: Mapping[str, str], name: str) -> str | None:
    """Give a free-text filter, None when not given. Raises ParameterError when it is absurdly long."""
    value = values.get(name)
    if value is not None and len(value) > MAX_TEXT_CHARACTERS:
        raise ParameterError(f"{name} may hold at most {MAX_TEXT_CHARACTERS} characters, not {len(value)}")
    return value


def sort(values: Mapping[str, str]) -> Sort:
    """`worst` or `newest` (the default). Raises ParameterError."""
    value = values.get("sort", "newest")
    if value not in {"worst", "newest"}:
        raise ParameterError(f"sort must be worst or newest, not {value[:80]!r}")
    return cast("Sort", value)


def limit(values: Mapping[str, str]) -> int:
    """How many rows a page holds, 1 to 200. Raises ParameterError."""
    return _whole_number("limit", values.get("limit", str(DEFAULT_LIMIT)), most=MAX_LIMIT)


def _whole_number(name: str, value: str, *, most: int) -> int:
    # isdecimal alone would accept digits of other scripts, and a huge one would be slow to convert
    plain = value.isascii() and value.isdecimal() and len(value) <= len(str(most))
    if not plain or not 1 <= int(value) <= most:
        raise ParameterError(f"{name} must be a whole number from 1 to {most}, not {value[:80]!r}")
    return int(value)


def _moment(name: str, value: str, now: datetime) -> datetime:
    relative = _RELATIVE.fullmatch(value)
    if relative:
        return _earlier(name, now, timedelta(**{_UNITS[relative[2]]: int(relative[1])}))
    # In a query a bare `+` means a space, so `…+02:00` arrives as `… 02:00`.
    try:
        moment = datetime.fromisoformat(_PLUS_READ_AS_SPACE.sub("+", value))
    except ValueError:
        raise ParameterError(
            f"{name} must be a time like 2026-11-01T00:00:00Z or a stretch back from now like 24h or 7d, "
            f"not {value[:80]!r}"
        ) from None
    if moment.tzinfo is None:
        raise ParameterError(f"{name} needs a zone: {value[:80]}Z for UTC, or an offset like +02:00")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ParameterError(f"{name} lies outside the calendar: {value[:80]!r}") from None


def _earlier(name: str, moment: datetime, by: timedelta) -> datetime:
    try:
        return moment - by
    except OverflowError:
        raise ParameterError(f"{name} lies outside the calendar") from None
