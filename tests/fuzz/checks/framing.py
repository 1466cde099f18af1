"""Bodies: their end does not depend on slices, another reader finds the same one, and what is sent on is sound."""

from __future__ import annotations

import re
from typing import Any

import h11

from gateway import heads
from gateway.framing import BrokenFramingError, ChunkedBody, LengthBody
from gateway.handover import Frames, Kind
from tests.fuzz.support import Options, slicings

_LONG_SIZE = re.compile(rb"[0-9A-Fa-f]{21}")
_HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(data: bytes) -> None:
    options = Options(data)
    seed = options.number(256)
    body = options.rest()[:32_768]  # the bound on overhead counts slices, on purpose; here it is never reached
    first, *others = (_read(slices) for slices in slicings(body, seed))
    for other in others:
        assert first == other
    if first is None or not first[3]:
        return
    plain, used, trailers, _ = first
    if _LONG_SIZE.search(body[:used]):
        return  # h11 takes no more than twenty digits, zeros or not
    assert _as_h11_reads(body[:used]) == (
        plain,
        [(name.lower(), value.rstrip(b" \t")) for name, value in trailers],
    )
    wire = heads.chunk(plain) + heads.last_chunk(trailers)
    forwarded = _read([wire])
    assert forwarded is not None
    assert forwarded[:2] == (plain, len(wire))
    sent = [name.lower() for name, _ in forwarded[2]]
    assert heads._NEVER_TRAILER.isdisjoint(sent)
    assert not any(heads.is_ours(name) for name in sent)


def _read(slices: list[bytes]) -> tuple[bytes, int, list[tuple[bytes, bytes]], bool] | None:
    """Plain bytes, how many were used, trailers and whether it ended; None when it is broken."""
    reader = ChunkedBody()
    plain, used = b"", 0
    try:
        for slice_ in slices:
            part, taken = reader.feed(slice_)
            assert 0 <= taken <= len(slice_)
            plain += part
            used += taken
            if reader.done:
                break
            assert taken == len(slice_)
    except BrokenFramingError:
        return None
    finally:
        reader.close()
    trailers = reader.trailers if reader.done else []
    return plain, used, trailers, reader.done


def _as_h11_reads(wire: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(_HEAD + wire)
    plain = b""
    while True:
        event: Any = server.next_event()
        if isinstance(event, h11.Data):
            plain += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert server.trailing_data[0] == b""
            return plain, list(event.headers)
        else:
            assert isinstance(event, h11.Request), event


def length(data: bytes) -> None:
    options = Options(data)
    size, seed, body = options.number(256), options.number(256), options.rest()
    for slices in slicings(body, seed):
        reader, plain, used = LengthBody(size), b"", 0
        for slice_ in slices:
            part, taken = reader.feed(slice_)
            plain, used = plain + part, used + taken
        assert (plain, used, reader.done) == (body[:size], min(size, len(body)), len(body) >= size)


def frames(data: bytes) -> None:
    """Frames of the handover: found the same however sliced; what is none is one declared error."""
    options = Options(data)
    seed, stream = options.number(256), options.rest()
    first, *others = (_frames_of(slices) for slices in slicings(stream, seed))
    for other in others:
        assert first == other


def _frames_of(slices: list[bytes]) -> list[tuple[Kind, bytes]] | None:
    reader, found = Frames(), []
    try:
        for slice_ in slices:
            found += reader.feed(slice_)
    except ValueError:
        return None
    return found
