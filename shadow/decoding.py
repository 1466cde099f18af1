"""Content codings of copied bodies, undone with a cap: gzip, deflate, br, zstd, also stacked."""

from __future__ import annotations

import zlib
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, Protocol

import brotli
import msgspec
import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    _Put = Callable[[bytes], object]

_STEP_BYTES = 64 << 10
"""Most that one step of a decoder may put out: what a bomb can take above the cap."""
_MAX_CODINGS = 4
_ZSTD_MAX_WINDOW_BYTES = 8 << 20
"""RFC 9659: a window of at most 8 MB for content encoding."""
_GZIP_MAGIC = b"\x1f\x8b"

UndecodableReason = Literal["unknown_coding", "over_cap", "broken"]


class UndecodableError(Exception):
    """A body that cannot be decoded. `reason` says why in one word, the message in a sentence."""

    def __init__(self, reason: UndecodableReason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Decoded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A decoded body, as far as it arrived. `ends[n]` is its length once slice n was decoded.

    So a position in the body maps to the slice that brought it, and to that slice's time.
    """

    body: bytes
    ends: list[int]


def decode_slices(slices: Sequence[bytes], encoding: str | None, *, cap: int) -> Decoded:
    """Undo a `content-encoding` over slices as they arrived; raises UndecodableError.

    `cap` bounds the decoded body, and what lies between stacked codings, in bytes: memory stays little above it. A body
    that was cut gives what arrived of it; whoever reads it will miss its end.
    """
    codings = _codings(encoding) if encoding else []
    if not codings:
        return _as_they_came(slices, cap)
    stages = [_stage(name) for name in codings]
    body = bytearray()
    decode = _bounded(body.extend, cap)
    for stage in reversed(stages):
        decode = _bounded(partial(stage.feed, put=decode), cap)
    ends: list[int] = []
    for slice_ in slices:
        try:
            decode(slice_)
        except (zlib.error, brotli.error, zstandard.ZstdError) as broken:
            raise UndecodableError("broken", f"the body is not valid {encoding}: {broken}") from broken
        ends.append(len(body))
    return Decoded(body=bytes(body), ends=ends)


def _as_they_came(slices: Sequence[bytes], cap: int) -> Decoded:
    ends = list(accumulate(map(len, slices)))
    if ends and ends[-1] > cap:
        raise UndecodableError("over_cap", f"the body is larger than {cap} bytes")
    return Decoded(body=slices[0] if len(slices) == 1 else b"".join(slices), ends=ends)


class _Stage(Protocol):
    """One coding being undone."""

    def feed(self, coded: bytes, put: _Put) -> None:
        """Decode a slice, putting out at most `_STEP_BYTES` at a time."""
        ...


def _codings(encoding: str | None) -> list[str]:
    """Return the codings in the order in which they are undone: the reverse of how the header lists them."""
    names = [name.strip().lower() for name in (encoding or "").split(",")]
    applied = [name for name in names if name not in {"", "identity"}]
    if len(applied) > _MAX_CODINGS:
        raise UndecodableError(
            "unknown_coding", f"{len(applied)} stacked codings, of which at most {_MAX_CODINGS} are undone"
        )
    return applied[::-1]


def _stage(name: str) -> _Stage:
    maker = _STAGES.get(name)
    if maker is None:
        raise UndecodableError("unknown_coding", f"no decoder for the content coding {name!r}")
    return maker()


def _bounded(put: _Put, cap: int) -> _Put:
    """Pass bytes on until they are too many."""
    taken = 0

    def put_bounded(part: bytes) -> None:
        nonlocal taken
        taken += len(part)
        if taken > cap:
            raise UndecodableError("over_cap", f"the body is larger than {cap} bytes once decoded")
        put(part)

    return put_bounded


class _Inflate:
    """gzip (all members) and deflate, which is zlib's format or, from old servers, a bare stream."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._head = b""
        self._inflater: zlib._Decompress | None = None
        self._had_member = False
        self._over = False

    def feed(self, coded: bytes, put: _Put) -> None:
        while coded and not self._over:
            if self._inflater is None:
                coded = self._start(coded)
            if self._inflater is not None:
                coded = self._inflate(self._inflater, coded, put)

    def _start(self, coded: bytes) -> bytes:
        """Choose the format by the first two bytes; return what is to be inflated, nothing while they are missing."""
        self._head += coded
        if len(self._head) < len(_GZIP_MAGIC):
            return b""
        coded, self._head = self._head, b""
        if self._had_member and not (self._gzip and coded.startswith(_GZIP_MAGIC)):
            self._over = True  # what follows the last member is padding; browsers ignore it too
        else:
            self._inflater = zlib.decompressobj(self._window_bits(coded))
        return coded

    def _window_bits(self, head: bytes) -> int:
        if self._gzip:
            return 16 + zlib.MAX_WBITS
        # RFC 1950, 2.2: the low four bits of the first byte are 8, and both bytes together a multiple of 31.
        is_zlib = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0  # noqa: PLR2004
        return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS

    def _inflate(self, inflater: zlib._Decompress, coded: bytes, put: _Put) -> bytes:
        while True:
            part = inflater.decompress(coded, _STEP_BYTES)
            put(part)
            if inflater.eof:
                self._inflater = None
                self._had_member = True
                return inflater.unused_data
            coded = inflater.unconsumed_tail
            # After a full step it may hold more, although it has taken all of its input.
            if not coded and len(part) < _STEP_BYTES:
                return b""


class _Unbrotli:
    """br."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, coded: bytes, put: _Put) -> None:
        if coded and self._decompressor.is_finished():
            # Within one slice the decoder itself refuses them; where a slice was cut may make no difference.
            raise brotli.error("bytes after the end")
        # It may keep output although it accepts more input, so it is drained until nothing comes.
        part = self._decompressor.process(coded, output_buffer_limit=_STEP_BYTES)
        while part or not self._decompressor.can_accept_more_data():
            put(part)
            part = self._decompressor.process(b"", output_buffer_limit=_STEP_BYTES)


class _Unzstd:
    """zstd, one frame after the other.

    After a full step it may hold the rest of a block back until more input comes. A whole frame is never held back; of
    a body that was cut, or of the answer to when a byte came, up to one block (128 KiB) may be missing.
    """

    def __init__(self) -> None:
        self._sink = _Sink()
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW_BYTES)
        self._writer = decompressor.stream_writer(self._sink, write_size=_STEP_BYTES)  # type: ignore[arg-type]

    def feed(self, coded: bytes, put: _Put) -> None:
        self._sink.put = put
        self._writer.write(coded)


class _Sink:
    """What the zstd writer writes to; an error raised here stops it."""

    def __init__(self) -> None:
        self.put: _Put = bytes

    def write(self, part: bytes) -> int:
        self.put(bytes(part))
        return len(part)


_STAGES: Mapping[str, Callable[[], _Stage]] = {
    "gzip": partial(_Inflate, gzip=True),
    "x-gzip": partial(_Inflate, gzip=True),
    "deflate": partial(_Inflate, gzip=False),
    "br": _Unbrotli,
    "zstd": _Unzstd,
}
