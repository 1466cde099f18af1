"""How an ended exchange travels from a live process to its scribe: frames on a socket pair. Pure, no I/O.

A frame is four bytes of length, one byte of kind, and a MessagePack body. Only two processes of one gateway speak it.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.recording import SLICE_BYTES, Ending, Recording, TeeBudget
from gateway.settings import RecordingSettings
from shadow.records import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_BYTES = 5
_LENGTH_BYTES = 4


class Kind(IntEnum):
    """What a frame holds."""

    SETTINGS = 1
    """`RecordingSettings`; the first frame, and again after a reload."""
    EXCHANGE = 2
    LOST = 3
    """Counts of copies and records lost before they could be handed over, by reason."""
    END = 4
    """Nothing follows: write what there is, answer with the counters, exit."""


class _Exchange(msgspec.Struct, array_like=True, gc=False):
    id: str
    started_at: datetime
    method: str
    path: str
    query: str
    dialect: Dialect | None
    origin: str
    max_body_bytes: int
    t_start: float
    t_sent: float | None
    t_first_byte: float | None
    t_end: float | None
    request_headers: list[tuple[bytes, bytes]]
    request: bytes | None
    request_bytes: int
    upstream_model: str | None
    status: int | None
    response_headers: list[tuple[bytes, bytes]]
    response: list[bytes] | None
    response_times: list[float]
    response_bytes: int
    copy_lost: str | None
    ending: Ending | None
    gateway_error: str | None


_ENCODER = msgspec.msgpack.Encoder()
_EXCHANGES = msgspec.msgpack.Decoder(_Exchange)
_SETTINGS = msgspec.msgpack.Decoder(RecordingSettings)
_COUNTS = msgspec.msgpack.Decoder(dict[str, int])


def settings_frame(settings: RecordingSettings) -> bytes:
    """Settings for the scribe."""
    return _frame(Kind.SETTINGS, _ENCODER.encode(settings))


def lost_frame(counts: Mapping[str, int]) -> bytes:
    """Losses to be counted in the store."""
    return _frame(Kind.LOST, _ENCODER.encode(counts))


def end_frame() -> bytes:
    """The last frame."""
    return _frame(Kind.END, b"")


def exchange_frame(recording: Recording) -> bytes:
    """One ended exchange. The request's slices become one: only the answer's have clocks."""
    request = recording.request
    return _frame(
        Kind.EXCHANGE,
        _ENCODER.encode(
            _Exchange(
                recording.id,
                recording.started_at,
                recording.method,
                recording.path,
                recording.query,
                recording.dialect,
                recording.origin,
                recording.max_body_bytes,
                recording.t_start,
                recording.t_sent,
                recording.t_first_byte,
                recording.t_end,
                recording.request_headers,
                None if request is None else request[0] if len(request) == 1 else b"".join(request),
                recording.request_bytes,
                recording.upstream_model,
                recording.status,
                recording.response_headers,
                recording.response,
                recording.response_times,
                recording.response_bytes,
                recording.copy_lost,
                recording.ending,
                recording.gateway_error,
            )
        ),
    )


def read_exchange(body: bytes | memoryview, *, budget: TeeBudget) -> Recording:
    """Invert `exchange_frame`. The copies' bytes are taken from `budget`; what does not fit is lost as `tee_full`."""
    came = _EXCHANGES.decode(body)
    request = None if came.request is None else [came.request]
    response, lost = came.response, came.copy_lost
    size = len(came.request or b"") + sum(map(len, response or ())) + SLICE_BYTES * len(response or ())
    if not budget.take(size):
        size, request, response, lost = 0, None, None, "tee_full"
    return Recording(
        id=came.id,
        started_at=came.started_at,
        method=came.method,
        path=came.path,
        query=came.query,
        dialect=came.dialect,
        origin=came.origin,
        budget=budget,
        max_body_bytes=came.max_body_bytes,
        t_start=came.t_start,
        t_sent=came.t_sent,
        t_first_byte=came.t_first_byte,
        t_end=came.t_end,
        request_headers=came.request_headers,
        request=request,
        request_bytes=came.request_bytes,
        upstream_model=came.upstream_model,
        status=came.status,
        response_headers=came.response_headers,
        response=response,
        response_times=came.response_times,
        response_bytes=came.response_bytes,
        copy_lost=lost,
        ending=came.ending,
        gateway_error=came.gateway_error,
        taken=size,
    )


def read_settings(body: bytes | memoryview) -> RecordingSettings:
    """Invert `settings_frame`."""
    return _SETTINGS.decode(body)


def read_lost(body: bytes | memoryview) -> dict[str, int]:
    """Invert `lost_frame`."""
    return _COUNTS.decode(body)


class Frames:
    """Cuts a byte stream into frames, however it was sliced."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """Take bytes; returns the frames that are whole now."""
        rest = self._rest
        rest += data
        found: list[tuple[Kind, bytes]] = []
        start, size = 0, len(rest)
        while size - start >= HEAD_BYTES:
            end = start + HEAD_BYTES + int.from_bytes(rest[start : start + _LENGTH_BYTES], "big")
            if end > size:
                break
            found.append((Kind(rest[start + _LENGTH_BYTES]), bytes(rest[start + HEAD_BYTES : end])))
            start = end
        del rest[:start]
        return found


def _frame(kind: Kind, body: bytes) -> bytes:
    return b"%s%c%s" % (len(body).to_bytes(_LENGTH_BYTES, "big"), kind, body)
