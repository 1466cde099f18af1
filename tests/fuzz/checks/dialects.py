"""Events, requests and answers of the three dialects: defined results for any bytes, and none that cannot be stored."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shadow.dialects import (
    UnreadableError,
    dialect_of,
    estimate_input_tokens,
    max_output_tokens,
    read_reply,
    read_request,
    request_for,
)
from shadow.dialects.sse import SseSplitter, split_events
from shadow.pricing import PriceBook
from shadow.records import Dialect, Price, Reply
from shadow.sampling import conversation_hash, conversation_key, is_sampled
from tests.fuzz.support import NotJsonError, Options, is_json, json_pairs, slicings

DIALECTS = list(Dialect)
LARGEST_COUNT = (1 << 63) - 1
"""What a store can hold in a column."""
_PRICES = PriceBook({"m": Price(input=3, output=15, cache_read=0.3, cache_write=3.75, cache_write_1h=6)})
_LINE_END = re.compile("\r\n|\r|\n")


def sse(data: bytes) -> None:
    options = Options(data)
    seed, body = options.number(256), options.rest()
    whole = split_events(body)
    for slices in slicings(body, seed):
        splitter = SseSplitter()
        assert [event for slice_ in slices for event in splitter.feed(slice_)] + splitter.close() == whole
    assert [event[:2] for event in whole] == _as_the_standard_says(body)
    ends = [event.end for event in whole]
    assert ends == sorted(ends)
    assert all(0 < end <= len(body) for end in ends)


def _as_the_standard_says(body: bytes) -> list[tuple[str | None, bytes]]:
    """WHATWG HTML 9.2.6, written down line by line; a last event without its blank line is kept, as we promise."""
    events: list[tuple[str | None, bytes]] = []
    name, lines = "", list[str]()
    text = body.removeprefix(b"\xef\xbb\xbf").decode("latin-1")  # one character a byte
    for line in [*_LINE_END.split(text), ""]:
        if line == "":
            if "\n".join(lines):
                plain = name.encode("latin-1").decode("utf-8", "replace")
                events.append((plain or None, "\n".join(lines).encode("latin-1")))
            name, lines = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            lines.append(value)
    return events


def request(data: bytes) -> None:
    options = Options(data)
    dialect, drop = options.one_of(DIALECTS), options.one_of([(), ("temperature", "stream_options")])
    body = options.rest()
    limit = max_output_tokens(dialect, body)
    assert limit is None or limit >= 0
    assert estimate_input_tokens(body) > 0
    try:
        facts = read_request(dialect, body)
    except UnreadableError:
        facts = None
    if facts is not None:
        assert facts.max_output_tokens == limit
        storable(facts)
        key = conversation_key(facts, {}, mode="auto", exchange_id="e")
        hashed = conversation_hash(key, seed="s")
        assert is_sampled(hashed, 1.0)
        assert not is_sampled(hashed, 0.0)
    try:
        copy = request_for(dialect, body, model="other", drop_params=drop)
    except UnreadableError:
        return
    _check_copy(dialect, body, copy, drop)


def _check_copy(dialect: Dialect, body: bytes, copy: bytes, drop: tuple[str, ...]) -> None:
    """Nothing changes but what the docstring of `request_for` names."""
    try:
        asked = json_pairs(body)
    except NotJsonError:
        return
    old, new = dict(asked), dict(json_pairs(copy))
    assert new["model"] == "other"
    assert not set(drop) & set(new)
    free = {"model", "metadata", "messages", "input", "stream_options", "store", *drop}
    assert {name: old[name] for name in old if name not in free} == {
        name: new[name] for name in new if name not in free
    }
    if dialect is Dialect.OPENAI_RESPONSES or "store" in old:
        assert dialect is Dialect.ANTHROPIC_MESSAGES or new["store"] is False
    raw_old, raw_new = (msgspec.json.decode(text, type=dict[str, msgspec.Raw]) for text in (body, copy))
    for name in set(raw_new) - free:
        assert bytes(raw_new[name]) == bytes(raw_old[name])
    # A copy of the copy is the copy: nothing more is left out the second time.
    assert request_for(dialect, copy, model="other", drop_params=drop) == copy


def reply(data: bytes) -> None:
    options = Options(data)
    dialect, streamed = options.one_of(DIALECTS), options.flag()
    status = options.one_of([200, 200, 200, 201, 400, 429, 500, 529])
    body = options.rest()
    whole = read_reply(dialect, body, status=status, streamed=streamed)
    storable(whole)
    _check_offsets(whole, body)
    quick = read_reply(dialect, body, status=status, streamed=streamed, assemble=False)
    assert quick == msgspec.structs.replace(whole, text="", tool_calls=())
    if whole.usage is not None:
        counts = msgspec.structs.astuple(whole.usage)
        assert all(type(count) is int and 0 <= count <= LARGEST_COUNT for count in counts), counts
        cost = _PRICES.cost(whole.usage, answered="m", asked=None)
        assert cost.billed_usd is not None
        assert 0 <= cost.billed_usd < 1e300


def _check_offsets(whole: Reply, body: bytes) -> None:
    first, text = whole.first_output_offset, whole.first_text_offset
    assert (whole.error is None) == (whole.outcome.value not in ("error_http", "error_stream"))
    if not whole.streamed:
        assert first is text is None
    if text is not None:
        assert first is not None
        assert 0 < first <= text <= len(body)
    elif first is not None:
        assert 0 < first <= len(body)


def storable(value: Any) -> None:
    """All text is UTF-8, all numbers are finite and JSON: what a store takes and an API can say."""
    assert is_json(msgspec.json.encode(value))


def paths(data: bytes) -> None:
    options = Options(data)
    method, path = options.one_of(["POST", "GET", "post"]), options.rest().decode("utf-8", "replace")
    dialect = dialect_of(method, path)
    assert dialect is None or (method == "POST" and path.partition("?")[0].endswith(("messages", "s")))
