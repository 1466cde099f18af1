"""What is done on the wire, step by step: a plan is a list of steps, and one player carries it out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import brotli
import zstandard

from shadow.simulator.script import Timing, draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shadow.simulator.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Send status and headers."""

    status: int
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Send a slice of the body."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    """End the answer well."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection (FIN) without ending the answer."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST)."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Be silent until the client leaves."""


Step = Head | Data | Pause | Finish | Cut | Reset | Stall


def timed_events(events: Sequence[Event], timing: Timing, *, ping: bytes, seed: str) -> Iterator[Step]:
    """Put the model's clock between the events: TTFT before the first token, a gap before each later one."""
    tokens = 0
    for each in events:
        if each.kind == "token":
            yield from _before_token(tokens, timing, ping=ping, seed=seed)
            tokens += 1
        yield Data(data=each.data)


def json_wait_ms(timing: Timing, *, tokens: int) -> float:
    """How long a whole answer takes: it is there when its last token is."""
    return timing.ttft_ms + timing.gap_ms * max(0, tokens - 1)


def chunked(steps: Iterable[Step], timing: Timing, *, seed: str) -> Iterator[Step]:
    """Merge slices (`events_per_chunk`), then cut them at arbitrary bytes (`chunk_bytes`)."""
    for step in _merged(steps, timing.events_per_chunk):
        if isinstance(step, Data) and timing.chunk_bytes > 0:
            yield from _pieces(step.data, timing.chunk_bytes, seed)
        else:
            yield step


class Coder(Protocol):
    """A content coding that can be flushed after each slice, so that a compressed stream still streams."""

    def __call__(self, data: bytes) -> bytes:
        """Encode one slice, flushed."""
        ...

    def end(self) -> bytes:
        """Give what ends the coding."""
        ...


CODINGS = ("gzip", "br", "zstd", "deflate")
"""In the order of our own preference."""


def chosen_coding(accepted: str) -> str | None:
    """Choose the first of ours that an accept-encoding takes; None: identity."""
    takes = set()
    for part in accepted.lower().split(","):
        name, _, quality = part.strip().partition(";")
        if quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            takes.add(name.strip())
    return next((name for name in CODINGS if name in takes or "*" in takes), None)


def coder(name: str) -> Coder:
    """Make the coder of a coding in `CODINGS`."""
    if name == "br":
        return _Brotli()
    if name == "zstd":
        return _Zstandard()
    return _Zlib(wbits=31 if name == "gzip" else 15)


def encoded(steps: Iterable[Step], coding: Coder) -> Iterator[Step]:
    """Encode the body of a plan, slice by slice."""
    for step in steps:
        if isinstance(step, Data):
            yield Data(data=coding(step.data))
        elif isinstance(step, Finish):
            yield Data(data=coding.end())
            yield step
        else:
            yield step


class _Zlib:
    def __init__(self, *, wbits: int) -> None:
        self._codec = zlib.compressobj(wbits=wbits)

    def __call__(self, data: bytes) -> bytes:
        return self._codec.compress(data) + self._codec.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._codec.flush()


class _Brotli:
    def __init__(self) -> None:
        self._codec = brotli.Compressor(quality=4)

    def __call__(self, data: bytes) -> bytes:
        return bytes(self._codec.process(data) + self._codec.flush())

    def end(self) -> bytes:
        return bytes(self._codec.finish())


class _Zstandard:
    def __init__(self) -> None:
        self._codec = zstandard.ZstdCompressor().compressobj()

    def __call__(self, data: bytes) -> bytes:
        return self._codec.compress(data) + self._codec.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._codec.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


def _before_token(number: int, timing: Timing, *, ping: bytes, seed: str) -> Iterator[Step]:
    wait_ms = timing.gap_ms if number else timing.ttft_ms
    wait_ms *= 1 + timing.jitter * (2 * draw(seed, "gap", number) - 1)
    while number == 0 and timing.ping_ms > 0 and wait_ms > timing.ping_ms:
        yield Pause(seconds=timing.ping_ms / 1000)
        yield Data(data=ping)
        wait_ms -= timing.ping_ms
    if wait_ms > 0:
        yield Pause(seconds=wait_ms / 1000)


def _merged(steps: Iterable[Step], count: int) -> Iterator[Step]:
    """Hold slices back until `count` of them travel together; whatever is no slice or pause lets them go."""
    held: list[bytes] = []
    for step in steps:
        if isinstance(step, Data):
            held.append(step.data)
            if len(held) < count:
                continue
        elif isinstance(step, Pause):
            yield step
            continue
        if held:
            yield Data(data=b"".join(held))
            held = []
        if not isinstance(step, Data):
            yield step


def _pieces(data: bytes, largest: int, seed: str) -> Iterator[Data]:
    start = 0
    while start < len(data):
        size = 1 + int(largest * draw(seed, "cut", start, len(data)))
        yield Data(data=data[start : start + size])
        start += size
