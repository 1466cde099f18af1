"""Copied bodies are decoded within a cap."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shadow.decoding import UndecodableError, decode_slices

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = random.Random(1).randbytes(3_000) + b"data: the same again\n\n" * 20_000


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


CODINGS: dict[str, tuple[str | None, Callable[[bytes], bytes]]] = {
    "none": (None, bytes),
    "identity": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "gzip then br": ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    "zstd then identity then gzip": ("zstd, identity , gzip", lambda body: gzip.compress(zstandard.compress(body))),
}


def slices_of(coded: bytes, size: int) -> list[bytes]:
    return [coded[at : at + size] for at in range(0, len(coded), size)]


@pytest.mark.parametrize("size", [1, 7, 4_096, 1 << 20])
@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_is_undone_from_slices_of_any_size(coding: str, size: int) -> None:
    name, encode = CODINGS[coding]
    body = BODY[:4_000] if size < 10 else BODY

    decoded = decode_slices(slices_of(encode(body), size), name, cap=len(body))

    assert decoded.body == body
    assert decoded.ends[-1] == len(body)
    assert decoded.ends == sorted(decoded.ends)


@given(st.binary(max_size=300), st.integers(1, 50), st.sampled_from(sorted(CODINGS)))
def test_the_decoded_body_does_not_depend_on_the_slices(body: bytes, size: int, coding: str) -> None:
    name, encode = CODINGS[coding]

    assert decode_slices(slices_of(encode(body), size), name, cap=1_000).body == body


def test_ends_map_a_position_to_the_slice_that_brought_it() -> None:
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    first = compressor.compress(b"hello ") + compressor.flush(zlib.Z_SYNC_FLUSH)
    second = compressor.compress(b"world") + compressor.flush()

    assert decode_slices([first, second], "gzip", cap=100).ends == [6, 11]


@pytest.mark.parametrize("size", [1, 1_000])
def test_all_members_of_a_gzip_body_count_and_padding_does_not(size: int) -> None:
    coded = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0\0\0\0"

    assert decode_slices(slices_of(coded, size), "gzip", cap=100).body == b"one two"


def test_a_bare_deflate_body_that_ends_with_a_decoding_step_keeps_its_last_byte() -> None:
    body = b"a" * 65_537
    assert decode_slices([raw_deflate(body)], "deflate", cap=100_000).body == body


@pytest.mark.parametrize("size", [1, 100])
def test_what_follows_a_deflate_body_is_ignored(size: int) -> None:
    assert decode_slices(slices_of(zlib.compress(b"one") + b"more", size), "deflate", cap=100).body == b"one"


@pytest.mark.parametrize("size", [1, 100])
def test_what_follows_a_br_body_breaks_it_however_it_is_sliced(size: int) -> None:
    with pytest.raises(UndecodableError) as broken:
        decode_slices([*slices_of(brotli.compress(b"one") + b"more", size), b""], "br", cap=100)
    assert broken.value.reason == "broken"
    assert decode_slices([brotli.compress(b"one"), b""], "br", cap=100).body == b"one"


def test_several_zstd_frames_are_one_body() -> None:
    assert decode_slices([zstandard.compress(b"one "), zstandard.compress(b"two")], "zstd", cap=100).body == b"one two"


@pytest.mark.parametrize("coding", ["gzip", "zlib", "br", "zstd"])
def test_a_body_that_was_cut_gives_what_arrived(coding: str) -> None:
    name, encode = CODINGS[coding]
    coded = encode(BODY)

    body = decode_slices(slices_of(coded[: len(coded) // 2], 512), name, cap=len(BODY)).body

    assert BODY.startswith(body)


@pytest.mark.parametrize("coding", ["gzip", "zlib", "br", "zstd", "gzip then br"])
def test_a_body_that_is_not_of_its_coding_is_broken(coding: str) -> None:
    with pytest.raises(UndecodableError, match="not valid") as broken:
        decode_slices([b"<html>this is no compressed body</html>"], CODINGS[coding][0], cap=1_000)

    assert broken.value.reason == "broken"


@pytest.mark.parametrize("encoding", ["compress", "aws-chunked", "gzip, gzip, gzip, gzip, gzip"])
def test_an_unknown_coding_or_a_tower_of_codings_is_refused(encoding: str) -> None:
    with pytest.raises(UndecodableError) as refused:
        decode_slices([b"abc"], encoding, cap=1_000)

    assert refused.value.reason == "unknown_coding"


def test_a_plain_body_over_the_cap_is_refused_too() -> None:
    assert decode_slices([b"abc", b"def"], None, cap=6).body == b"abcdef"
    with pytest.raises(UndecodableError) as refused:
        decode_slices([b"abc", b"defg"], None, cap=6)
    assert refused.value.reason == "over_cap"


@pytest.mark.parametrize("coding", ["gzip", "zlib", "br", "zstd", "gzip in gzip"])
def test_a_bomb_takes_little_more_memory_than_the_cap(coding: str) -> None:
    zeros = bytes(64 << 20)
    if coding == "gzip in gzip":
        name, bomb = "gzip, gzip", gzip.compress(gzip.compress(zeros, 1))
    else:
        name = str(CODINGS[coding][0])
        bomb = brotli.compress(zeros, quality=3) if coding == "br" else CODINGS[coding][1](zeros)
    del zeros
    cap = 1 << 20

    tracemalloc.start()
    with pytest.raises(UndecodableError) as refused:
        decode_slices([bomb], name, cap=cap)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert refused.value.reason == "over_cap"
    assert peak < 3 * cap
