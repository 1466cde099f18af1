"""Events that are alike but for one growing string are read as one, and say what they say one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.dialects import anthropic_messages, openai_chat, openai_responses, read_reply
from shadow.dialects.wire import read_all
from shadow.records import Dialect, Reply

if TYPE_CHECKING:
    from shadow.dialects.wire import Wire

ANTHROPIC, CHAT, RESPONSES = Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES
WIRES: dict[Dialect, Wire] = {ANTHROPIC: anthropic_messages, CHAT: openai_chat, RESPONSES: openai_responses}

PIECES = [
    b"a",
    b" word",
    b"",
    rb"\n",
    rb"\"",
    rb"\\",
    rb"\\\"",
    b"\\",
    rb"\u00e4",
    rb"\ud83d",
    rb"\ude00",
    rb"\u12",
    "ü".encode(),
    b"\xc3",
    b"\xbc",
    b'x","text":"y',
    b'x","content":"y',
    b"\x01",
    b"sk-",
]


def named(name: bytes, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name, data)


def delta(kind: bytes, member: bytes, piece: bytes, *, index: int = 0, name: bytes = b"content_block_delta") -> bytes:
    return named(
        name,
        b'{"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":"%s"}}' % (index, kind, member, piece),
    )


def chunk(inside: bytes) -> bytes:
    return b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{%s},"finish_reason":null}]}\n\n' % inside


START = named(b"message_start", b'{"type":"message_start","message":{"model":"m","usage":{"input_tokens":3}}}')
BLOCK = named(b"content_block_start", b'{"type":"content_block_start","index":0,"content_block":{"type":"text"}}')
TOOL = named(
    b"content_block_start",
    b'{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","name":"t","id":"i"}}',
)
STOP = named(b"message_stop", b'{"type":"message_stop"}')
piece = st.sampled_from(PIECES)
OF_ANTHROPIC = st.one_of(
    st.lists(piece, min_size=2, max_size=6).map(lambda all_: b"".join(delta(b"text_delta", b"text", p) for p in all_)),
    piece.map(lambda p: delta(b"text_delta", b"text", p)),
    piece.map(lambda p: delta(b"text_delta", b"text", p, index=1)),
    piece.map(lambda p: delta(b"input_json_delta", b"partial_json", p, index=1)),
    piece.map(lambda p: delta(b"thinking_delta", b"thinking", p)),
    piece.map(lambda p: delta(b"text_delta", b"text", p, name=b"ping")),
    st.sampled_from([START, BLOCK, TOOL, STOP, named(b"ping", b'{"type":"ping"}')]),
)
OF_CHAT = st.one_of(
    st.lists(piece, min_size=2, max_size=6).map(lambda all_: b"".join(chunk(b'"content":"%s"' % p) for p in all_)),
    piece.map(lambda p: chunk(b'"content":"%s"' % p)),
    piece.map(lambda p: chunk(b'"content":"a","reasoning":"%s"' % p)),
    piece.map(lambda p: chunk(b'"content":"%s","content":"z"' % p)),
    piece.map(lambda p: chunk(b'"tool_calls":[{"index":0,"function":{"arguments":"%s"}}]' % p)),
    piece.map(lambda p: chunk(rb'"\u0063":1,"content":"%s"' % p)),
    st.sampled_from([b"data: [DONE]\n\n", chunk(b'"role":"assistant"'), b"data: {}\n\n"]),
)
EVENTS = {ANTHROPIC: OF_ANTHROPIC, CHAT: OF_CHAT}


def one_by_one(dialect: Dialect, body: bytes) -> Reply:
    reader = WIRES[dialect].stream_reader()
    read_all(reader, body)
    reader.assemble()
    return reader.answer.reply(last_event=WIRES[dialect].LAST_EVENT)


@pytest.mark.parametrize("dialect", EVENTS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_stream_says_the_same_whether_its_events_are_put_together_or_not(dialect: Dialect, data: Any) -> None:
    body = b"".join(data.draw(st.lists(EVENTS[dialect], max_size=12)))
    body = body.replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n"])))

    assert read_reply(dialect, body, status=200, streamed=True) == one_by_one(dialect, body)


@pytest.mark.parametrize(
    "pieces",
    [(b"a", b"\xc3", b"\xbc", b"b"), (b"a", rb"\q", rb"\q", b"b"), (b"a", rb"\u00e4", b"b"), (b"a", b"\x01", b"b")],
    ids=["a cut character", "an escape that is none", "an escape", "a control character"],
)
def test_what_cannot_be_put_together_is_read_one_by_one(pieces: tuple[bytes, ...]) -> None:
    of_anthropic = START + BLOCK + b"".join(delta(b"text_delta", b"text", piece) for piece in pieces) + STOP
    of_chat = b"".join(chunk(b'"content":"%s"' % piece) for piece in pieces) + b"data: [DONE]\n\n"
    for dialect, body in ((ANTHROPIC, of_anthropic), (CHAT, of_chat)):
        assert read_reply(dialect, body, status=200, streamed=True) == one_by_one(dialect, body)


class Counting:
    """A reader that counts the events it is given."""

    def __init__(self, dialect: Dialect) -> None:
        self._reader = WIRES[dialect].stream_reader()
        self.answer = self._reader.answer
        self.taken = 0

    def take(self, event: Any) -> None:
        self.taken += 1
        self._reader.take(event)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (ANTHROPIC, START + BLOCK + b"".join(delta(b"text_delta", b"text", b"w%d " % n) for n in range(500)) + STOP),
        (CHAT, b"".join(chunk(b'"content":"w%d "' % n) for n in range(500)) + b"data: [DONE]\n\n"),
    ],
)
def test_a_long_answer_is_read_in_few_events(dialect: Dialect, body: bytes) -> None:
    reader = Counting(dialect)
    alike = anthropic_messages._ALIKE if dialect is ANTHROPIC else openai_chat._ALIKE
    alike.read(reader, body)  # type: ignore[arg-type]  # the part of a reader that is used

    assert reader.taken < 30
    assert read_reply(dialect, body, status=200, streamed=True).text == "".join(f"w{n} " for n in range(500))
