"""What every dialect must offer, and the two ways to read a stream: whole, or only as far as it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from shadow.dialects.sse import Event, event_of_lines, plain_lines, split_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadow.dialects.answer import Answer
    from shadow.records import RequestFacts

_LINES_PER_NAMED_EVENT = 2


class StreamReader(Protocol):
    """Reads the events of one streamed answer in order."""

    answer: Answer

    def take(self, event: Event) -> None:
        """Read one event; what it does not know, or cannot decode, changes nothing."""
        ...

    def read_quickly(self, body: bytes) -> None:
        """Read a complete body as `take` on every event would, except for text and tool calls."""
        ...

    def read_wholly(self, body: bytes) -> None:
        """Read a complete body as `take` on every event would, in less time."""
        ...

    def assemble(self) -> None:
        """Put text and tool calls into the answer."""
        ...


class Wire(Protocol):
    """One wire format."""

    LAST_EVENT: str
    """What ends a stream that is whole."""

    def read_request(self, body: bytes, *, skip: bool) -> RequestFacts:
        """Say what a request asks for, with `skip` also whether it may be repeated; raises UnreadableError."""
        ...

    def request_for(self, body: bytes, *, model: str, drop_params: Sequence[str]) -> bytes:
        """Build the candidate's copy of a request; raises UnreadableError."""
        ...

    def stream_reader(self) -> StreamReader:
        """Return a reader for one streamed answer."""
        ...

    def read_whole(self, payload: dict[str, Any], answer: Answer, *, assemble: bool = True) -> None:
        """Read an answer that came as one JSON object."""
        ...


def read_all(reader: StreamReader, body: bytes) -> None:
    """Read every event of a complete body."""
    for event in split_events(body):
        reader.take(event)


class NamedEvents:
    """The quick way through a stream whose events carry their name in an `event:` line.

    Most events of a stream only carry text. Once the first text was seen, an event whose name says so cannot change
    what the quick way is after, because readers ignore an event whose name and `type` disagree. It is skipped unread.
    """

    def __init__(self, *, text_events: Sequence[str], idle_events: Sequence[str]) -> None:
        """Name the events that change only text, tool calls and offsets; of these `text_events` may carry text."""
        self._idle = frozenset(f"event: {name}".encode() for name in (*text_events, *idle_events))
        self._may_hold_text = frozenset(f"event: {name}".encode() for name in text_events)

    def read(self, reader: StreamReader, body: bytes) -> None:
        """Give the reader only the events that matter."""
        layout = plain_lines(body, _LINES_PER_NAMED_EVENT)
        if layout is None:
            read_all(reader, body)
            return
        lines, line_end_size = layout
        names, contents = lines[0::3], lines[1::3]
        start = self._read_until_text(reader, names, contents, 3 * line_end_size)
        idle = self._idle
        for at in [at for at in range(start, len(names)) if names[at] not in idle]:
            # Both offsets are known by now, so the position no longer matters.
            _take_lines(reader, (names[at], contents[at]), 0)

    def _read_until_text(self, reader: StreamReader, names: list[bytes], contents: list[bytes], line_ends: int) -> int:
        answer, idle, may_hold_text = reader.answer, self._idle, self._may_hold_text
        position = 0
        output_seen = False
        for at, (name, content) in enumerate(zip(names, contents, strict=True)):
            position += len(name) + len(content) + line_ends
            if output_seen and name in idle:
                # An escape may spell "text" in another way; then the event is decoded.
                text_possible = name in may_hold_text and (b"text" in content or b"\\u" in content)
                if not text_possible:
                    continue
            _take_lines(reader, (name, content), position)
            output_seen = answer.first_output_offset is not None
            if answer.first_text_offset is not None:
                return at + 1
        return len(names)


def _take_lines(reader: StreamReader, lines: Sequence[bytes], end: int) -> None:
    event = event_of_lines(lines, end)
    if event is not None:
        reader.take(event)
