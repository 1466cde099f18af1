"""Waiting for what another process or thread will do, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def eventually(look: Callable[[], T], *, within_s: float = 20.0, what: str = "") -> T:
    """Look until the answer is true-ish and return it; AssertionError with the last answer after `within_s`."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what or 'it'} did not happen within {within_s} s; last seen: {seen!r}"
        time.sleep(0.005)
    return seen


async def eventually_async(look: Callable[[], Awaitable[T | None]], *, within_s: float = 20.0, what: str = "") -> T:
    """The same for a question that has to be awaited."""
    deadline = time.monotonic() + within_s
    while not (seen := await look()):
        assert time.monotonic() < deadline, f"{what or 'it'} did not happen within {within_s} s; last seen: {seen!r}"
        await asyncio.sleep(0.005)
    return seen
