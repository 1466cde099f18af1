"""How an ended exchange travels from a live process to its scribe: frames on a socket pair. Pure, no I/O.

A frame is four bytes of length, one byte of kind, and a MessagePack body. Only two processes of one gateway speak it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.recording import Recording
from gateway.settings import RecordingSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.recording import TeeBudget

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


_EXCHANGE_HEAD = bytes([0, 0, 0, 0, Kind.EXCHANGE])
_ENCODER = msgspec.msgpack.Encoder()
_EXCHANGES = msgspec.msgpack.Decoder(Recording)
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


def pack_exchange(recording: Recording, into: bytearray) -> None:
    """Append the frame of one ended exchange: written once, where it is sent from. What cannot be packed adds nothing.

    The budget in it is the sender's and means nothing to who reads it.
    """
    start = len(into)
    into += _EXCHANGE_HEAD
    try:
        _ENCODER.encode_into(recording, into, -1)
    except BaseException:
        del into[start:]
        raise
    into[start : start + _LENGTH_BYTES] = (len(into) - start - HEAD_BYTES).to_bytes(_LENGTH_BYTES, "big")


def read_exchange(body: bytes | memoryview, *, budget: TeeBudget) -> Recording:
    """Invert `pack_exchange`. The copies' bytes are taken from `budget`; what does not fit is lost as `tee_full`."""
    recording = _EXCHANGES.decode(body)
    recording.budget = budget
    if not budget.take(recording.taken):
        recording.taken, recording.request, recording.response = 0, None, None
        recording.copy_lost = "tee_full"
    return recording


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
        self._wanted = HEAD_BYTES
        """How many bytes the first frame of `_rest` has, as far as that is known."""

    def feed(self, data: bytes) -> list[tuple[Kind, memoryview]]:
        """Take bytes; returns the frames that are whole now, as views of what was fed."""
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._wanted:
                return []
            data = bytes(rest)
            rest.clear()
        view = memoryview(data)
        found: list[tuple[Kind, memoryview]] = []
        start, size = 0, len(data)
        self._wanted = HEAD_BYTES
        while size - start >= HEAD_BYTES:
            end = start + HEAD_BYTES + int.from_bytes(data[start : start + _LENGTH_BYTES], "big")
            if end > size:
                self._wanted = end - start
                break
            found.append((Kind(data[start + _LENGTH_BYTES]), view[start + HEAD_BYTES : end]))
            start = end
        rest += view[start:]
        return found


def _frame(kind: Kind, body: bytes) -> bytes:
    return b"%s%c%s" % (len(body).to_bytes(_LENGTH_BYTES, "big"), kind, body)
