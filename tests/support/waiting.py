"""Waiting for what another process or thread will do, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

AT_ONCE_S = 5.0
"""By then the product has done what it does at once, even where many others want the machine, and none of its deadlines
has passed that could have done it instead: the shortest that tests leave alone is a head's ten seconds."""


def eventually(look: Callable[[], T], *, within_s: float = 20.0, what: str = "") -> T:
    """Look until the answer is true-ish and return it; AssertionError with the last answer after `within_s`."""
    pauses = _pauses(within_s)
    while not (seen := look()):
        pause_s = next(pauses, None)
        assert pause_s is not None, f"{what or 'it'} did not happen within {within_s} s; last seen: {seen!r}"
        time.sleep(pause_s)
    return seen


async def eventually_async(look: Callable[[], Awaitable[T | None]], *, within_s: float = 20.0, what: str = "") -> T:
    """The same for a question that has to be awaited."""
    pauses = _pauses(within_s)
    while not (seen := await look()):
        pause_s = next(pauses, None)
        assert pause_s is not None, f"{what or 'it'} did not happen within {within_s} s; last seen: {seen!r}"
        await asyncio.sleep(pause_s)
    return seen


def _pauses(within_s: float) -> Iterator[float]:
    """How long to wait before the next look, until time is up.

    5 ms at first, then a twentieth of the time that has passed: a look may cost more than what is waited for (a page of
    the admin port, a query), and two hundred of them a second would keep a machine from getting there.
    """
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < within_s:
        yield min(max(0.005, waited_s / 20), 0.05)
