"""Server-sent events are split the same way however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.dialects.sse import Event, SseSplitter, event_of_lines, plain_lines, split_events

PIECES = st.sampled_from(
    [
        b"data: one",
        b"data:two",
        b"data",
        b"data:  spaced",
        b"event: delta",
        b"event:",
        b": comment",
        b"id: 7",
        b"retry: 5",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\xef\xbb\xbf",
        "data: grüße 🎉".encode(),
        b"\xff\xfe",
    ]
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)


def in_slices(body: bytes, cuts: list[int]) -> list[Event]:
    splitter = SseSplitter()
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    events = [event for at, end in pairwise(places) for event in splitter.feed(body[at:end])]
    return [*events, *splitter.close()]


@given(STREAMS, st.lists(st.integers(min_value=0)))
def test_events_do_not_depend_on_where_the_bytes_were_cut(body: bytes, cuts: list[int]) -> None:
    assert in_slices(body, cuts) == split_events(body)


@given(STREAMS)
def test_events_arriving_byte_by_byte_are_the_same(body: bytes) -> None:
    assert in_slices(body, list(range(len(body)))) == split_events(body)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_line_end_of_the_standard_is_understood(line_end: str) -> None:
    body = line_end.join(["event: a", "data: 1", "data: 2", "", ": comment", "data:3", "", ""]).encode()

    first, second = split_events(body)

    assert first[:2] == ("a", b"1\n2")
    assert second == Event(None, b"3", len(body))


def test_an_event_ends_just_after_its_blank_line() -> None:
    body = b"data: 1\n\ndata: 2\r\n\r\n"

    assert [event.end for event in split_events(body)] == [9, len(body)]


def test_an_event_without_data_is_none() -> None:
    assert split_events(b"event: ping\n\ndata:\n\n: only a comment\n\n\n\n") == []


def test_a_byte_order_mark_is_dropped_at_the_very_start_only() -> None:
    assert split_events(b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n") == [Event(None, b"1", 12)]


def test_a_last_event_without_its_blank_line_is_handed_out_at_the_end() -> None:
    splitter = SseSplitter()

    assert splitter.feed(b"data: [DONE]") == []
    assert splitter.close() == [Event(None, b"[DONE]", 12)]


def test_a_return_at_a_slice_end_waits_for_its_line_feed() -> None:
    splitter = SseSplitter()

    assert splitter.feed(b"data: 1\r\n\r") == []
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\n") == [Event(None, b"1", 11)]
    assert splitter.close() == []


def test_a_name_that_is_not_utf8_does_not_stop_the_stream() -> None:
    assert split_events(b"event: \xff\ndata: 1\n\n")[0].name == "\ufffd"


def test_the_last_name_and_all_data_lines_count() -> None:
    assert event_of_lines([b"event: a", b"data: 1", b"event: b", b"data: 2"], 5) == Event("b", b"1\n2", 5)


@pytest.mark.parametrize(
    ("body", "line_end_size"),
    [(b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", 1), (b"event: a\r\ndata: 1\r\n\r\n", 2)],
)
def test_an_even_layout_is_seen(body: bytes, line_end_size: int) -> None:
    found = plain_lines(body, 2)

    assert found is not None
    assert found[1] == line_end_size
    assert found[0][:3] == [b"event: a", b"data: 1", b""]


@pytest.mark.parametrize(
    "body",
    [
        b"event: a\ndata: 1\n",
        b"event: a\ndata: 1\n\nrest",
        b": comment\n\nevent: a\ndata: 1\n\n\n",
        b"event: a\n\ndata: 1\n\ndata: 2\n",
        b"event: a\r\ndata: 1\n\n",
        b"event: a\rdata: 1\r\r",
        b"\xef\xbb\xbfevent: a\ndata: 1\n\n",
        b"\nevent: a\n\n",
    ],
)
def test_any_other_layout_is_left_to_the_splitter(body: bytes) -> None:
    assert plain_lines(body, 2) is None
