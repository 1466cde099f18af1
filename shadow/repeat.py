"""Doing something again and again beside other work: a store that is away costs pauses and two log lines."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING

from shadow.store.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
_MAX_BACKOFF_S = 5.0
_FIRST_CHUNK, _SMALLEST_CHUNK, _LARGEST_CHUNK = 100, 10, 1000
_LONG_CHUNK_S = 0.02


class Backoff:
    """Tries something again and again; a store that is away costs growing pauses and two log lines, not one a try."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.pause_s = 0.0

    async def attempt(self, step: Callable[[], Awaitable[int]]) -> int:
        """Do one step; 0 when the store could not be used, and `pause_s` then says how long to wait."""
        try:
            done = await step()
        except StoreError as error:
            return self._failed(str(error))
        except Exception as error:  # noqa: BLE001  (a loop must outlive any fault of one step; told once, here)
            return self._failed(where(error))
        if self.pause_s:
            _log.warning("can %s again", self._what)
        self.pause_s = 0.0
        return done

    def _failed(self, why: str) -> int:
        if not self.pause_s:
            _log.warning("cannot %s, trying again: %s", self._what, why)
        self.pause_s = min(max(2 * self.pause_s, FIRST_PAUSE_S), _MAX_BACKOFF_S)
        return 0


async def repeat(step: Callable[[], Awaitable[object]], *, every_s: float, what: str) -> None:
    """Do it every so many seconds until cancelled; what goes wrong is told once, not every time."""
    backoff = Backoff(what)

    async def counted() -> int:
        await step()
        return 1

    while True:
        await backoff.attempt(counted)
        await asyncio.sleep(backoff.pause_s or every_s)


async def in_chunks(step: Callable[[], Awaitable[int]], *, chunk: int) -> int:
    """Repeat a step that does at most `chunk` things until it finds fewer; returns how many in all."""
    total = 0
    while True:
        done = await step()
        total += done
        if done < chunk:
            return total
        await asyncio.sleep(0.05)


async def paced(step: Callable[[int], Awaitable[int]]) -> int:
    """Repeat a step, told how much to do at most, until it finds nothing: as much as keeps writers waiting briefly.

    A chunk that took long (the rows lie scattered, the disk is slow) is followed by a smaller one. Returns the sum.
    """
    total, limit = 0, _FIRST_CHUNK
    while True:
        began_s = time.monotonic()
        done = await step(limit)
        took_s = time.monotonic() - began_s
        total += done
        if not done:
            return total
        if took_s > _LONG_CHUNK_S:
            limit = max(limit // 2, _SMALLEST_CHUNK)
        elif took_s < _LONG_CHUNK_S / 4 and done >= limit:
            limit = min(2 * limit, _LARGEST_CHUNK)
        await asyncio.sleep(max(_LONG_CHUNK_S, 2 * took_s))  # others write meanwhile


def where(error: BaseException) -> str:
    """Name the kind of an error and the line that raised it: never its message, which may quote a prompt or a key."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return (
        type(error).__name__
        if last is None
        else f"{type(error).__name__} at {PurePath(last.filename).name}:{last.lineno}"
    )
