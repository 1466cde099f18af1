"""Server-sent events: bytes in, events out, the same whatever the slices were (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event: its name (None when no `event:` line named it), its data, and where it ended.

    `end` is the position in the stream just after the blank line that closed the event.
    """

    name: str | None
    data: bytes
    end: int


class SseSplitter:
    """Splits a stream of events that arrives in slices cut anywhere, also inside a character or a CRLF pair."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._position = 0
        self._lines: list[bytes] = []
        self._at_start = True

    def feed(self, slice_: bytes) -> list[Event]:
        """Return the events that this slice completed."""
        if b"\n" not in slice_ and b"\r" not in slice_ and not self._ends_in_return():
            if slice_:
                self._held.append(slice_)
            return []
        text = b"".join([*self._held, slice_])
        events: list[Event] = []
        done = 0
        for line_end in _LINE_END.finditer(text):
            # A last lone CR may be the first half of a CRLF whose second half is still on its way.
            if line_end.end() == len(text) and line_end[0] == b"\r":
                break
            line = text[done : line_end.start()]
            done = line_end.end()
            self._take_line(line, self._position + done, events)
        self._position += done
        self._held = [text[done:]] if done < len(text) else []
        return events

    def close(self) -> list[Event]:
        """Return the event that the end of the stream left without its blank line, if it holds data.

        The standard drops such an event. We hand it out, because some servers end with a bare `data: [DONE]`; whoever
        reads it must judge it by its content: a cut one is not whole JSON.
        """
        text = b"".join(self._held)
        self._held = []
        self._position += len(text)
        events: list[Event] = []
        if text:
            self._take_line(text.removesuffix(b"\r"), self._position, events)
        self._take_line(b"", self._position, events)
        return events

    def _ends_in_return(self) -> bool:
        return bool(self._held) and self._held[-1].endswith(b"\r")

    def _take_line(self, line: bytes, end: int, events: list[Event]) -> None:
        if self._at_start:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        if line:
            self._lines.append(line)
            return
        event = event_of_lines(self._lines, end)
        self._lines = []
        if event is not None:
            events.append(event)


def split_events(body: bytes) -> list[Event]:
    """Return all events of a complete body, a last one without its blank line included."""
    if b"\r" not in body and body.endswith(b"\n\n") and not body.startswith(_BYTE_ORDER_MARK):
        return _events_of_lines(body.split(b"\n"))
    splitter = SseSplitter()
    return [*splitter.feed(body), *splitter.close()]


def _events_of_lines(lines: list[bytes]) -> list[Event]:
    events: list[Event] = []
    block: list[bytes] = []
    position = 0
    for line in lines:
        position += len(line) + 1
        if line:
            block.append(line)
        elif block:
            event = event_of_lines(block, position)
            block = []
            if event is not None:
                events.append(event)
    return events


def event_of_lines(lines: Iterable[bytes], end: int) -> Event | None:
    """Build one event from its lines; None when they hold no data (a comment, a lone `event:` line)."""
    name: bytes | None = None
    data: list[bytes] = []
    for line in lines:
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    text = b"\n".join(data)
    if not text:
        return None
    return Event(name.decode("utf-8", "replace") if name else None, text, end)


def plain_lines(body: bytes, lines_per_event: int) -> tuple[list[bytes], int] | None:
    """Return the lines of a body whose events all have so many lines and one blank one, and the size of a line end.

    None when the body is laid out in any other way; then only `split_events` tells what it says. This is what makes a
    quick look possible: in such a body the n-th line of an event is found by arithmetic alone.
    """
    line_end = b"\n"
    if b"\r" in body:
        line_end = b"\r\n"
        if not body.count(b"\r") == body.count(b"\n") == body.count(line_end):
            return None
    lines = body.split(line_end)
    step = lines_per_event + 1
    if lines.pop() or len(lines) % step or body.startswith(_BYTE_ORDER_MARK):
        return None
    if any(lines[lines_per_event::step]) or any(b"" in lines[n::step] for n in range(lines_per_event)):
        return None
    return lines, len(line_end)
