"""How long an origin asks to be left alone after a 429 or 529."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

DEFAULT_REST_S = 60.0
MAX_REST_S = 300.0


def rest_s(headers: Mapping[str, str], *, now: datetime) -> float:
    """Seconds to stay away, from 0 to `MAX_REST_S`; `headers` has lower-case names.

    `retry-after-ms`, else `retry-after` as a number or a date (RFC 9110 10.2.3), else `DEFAULT_REST_S`.
    """
    asked = _number(headers.get("retry-after-ms"), unit_s=0.001)
    if asked is None:
        asked = _number(headers.get("retry-after"), unit_s=1.0)
    if asked is None:
        asked = _seconds_until(headers.get("retry-after"), now=now)
    return DEFAULT_REST_S if asked is None else min(max(asked, 0.0), MAX_REST_S)


def _number(text: str | None, *, unit_s: float) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value * unit_s if value == value else None  # noqa: PLR0124  (only NaN differs from itself)


def _seconds_until(text: str | None, *, now: datetime) -> float | None:
    try:
        then = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):  # a year or an hour beyond what a machine's number holds
        return None
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now.timestamp()
