"""Where bodies end: tables, every way of slicing, and against plain chunk arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing import BrokenFramingError, ChunkedBody, LengthBody, UntilCloseBody

BODY = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\nX-More: \r\n\r\n"
NEXT = b"GET / HTTP/1.1\r\n\r\n"


def read_in_slices(data: bytes, size: int) -> tuple[bytes, int, ChunkedBody]:
    reader = ChunkedBody()
    plain, used = b"", 0
    for start in range(0, len(data), size):
        part, taken = reader.feed(data[start : start + size])
        plain += part
        used += taken
        if reader.done:
            break
    return plain, used, reader


@pytest.mark.parametrize("size", range(1, len(BODY + NEXT) + 1))
def test_a_chunked_body_ends_at_the_same_byte_however_it_is_sliced(size: int) -> None:
    plain, used, reader = read_in_slices(BODY + NEXT, size)
    assert plain == b"hello world"
    assert used == len(BODY)
    assert reader.done
    assert reader.trailers == [(b"X-Sum", b"1"), (b"X-More", b"")]


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x5\r\n",
        b"5 \r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"\r\n",
        b"fffffffffffffffff\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX\0: 1\r\n\r\n",
        b"0\n\n",
    ],
)
@pytest.mark.parametrize("size", [1, 100])
def test_a_malformed_chunk_is_refused(data: bytes, size: int) -> None:
    with pytest.raises(BrokenFramingError):
        read_in_slices(data, size)


@pytest.mark.parametrize("more", [b"5;" + b"x" * 1000, b"0\r\n" + b"A: b\r\n" * 200])
def test_chunk_heads_and_trailers_may_not_go_on_for_ever(more: bytes) -> None:
    rest = b"x" * 70_000 if more.startswith(b"5") else b"A: b\r\n" * 12_000
    reader = ChunkedBody()
    reader.feed(more)
    with pytest.raises(BrokenFramingError, match="larger than 64 KiB"):
        reader.feed(rest)


def test_nothing_may_follow_the_end_in_a_later_slice() -> None:
    reader = ChunkedBody()
    assert reader.feed(b"0\r\n\r\n") == (b"", 5)
    with pytest.raises(BrokenFramingError):
        reader.feed(b"x")


def test_a_closed_reader_reads_no_more() -> None:
    reader = ChunkedBody()
    reader.close()
    with pytest.raises(BrokenFramingError):
        reader.feed(b"1\r\nx\r\n")


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    size=st.integers(1, 50),
    after=st.binary(max_size=9),
)
def test_any_chunked_body_is_read_whole_and_ends_where_it_ends(chunks: list[bytes], size: int, after: bytes) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    plain, used, reader = read_in_slices(body + after, size)
    assert (plain, used, reader.done) == (b"".join(chunks), len(body), True)


@given(data=st.binary(max_size=60), length=st.integers(0, 60), size=st.integers(1, 70))
def test_a_body_of_a_length_takes_that_many_bytes(data: bytes, length: int, size: int) -> None:
    reader = LengthBody(length)
    plain, used = b"", 0
    for start in range(0, len(data), size):
        part, taken = reader.feed(data[start : start + size])
        plain += part
        used += taken
    assert plain == data[:length]
    assert used == len(plain)
    assert reader.done is (len(data) >= length)


def test_a_body_until_the_close_takes_everything_and_never_ends_by_itself() -> None:
    reader = UntilCloseBody()
    assert reader.feed(b"abc") == (b"abc", 3)
    assert not reader.done
