"""Events of one stream that are alike but for one growing string: found by their bytes, and read as one.

Most events of a stream say a few characters more and nothing else. Decoded one by one they cost more than all the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shadow.dialects.sse import event_of_lines, plain_lines
from shadow.dialects.untrusted import decode_object
from shadow.dialects.wire import read_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadow.dialects.wire import StreamReader

_CONTINUATION, _CONTINUATION_MASK = 0x80, 0xC0
"""RFC 3629: the bytes of a character that are not its first."""
_MOST_TOGETHER = 64
"""Events read as one; what cannot be decoded together was then looked at in vain, and is read one by one."""


class AlikeEvents:
    """Which events of a dialect may be put together: their name, and their members of which one grows.

    What a reader makes of such an event must depend on the joined text alone, not on where it was cut.
    """

    def __init__(self, *, name: str | None, grows: Sequence[str], text: str) -> None:
        """Take events of this name (None: events without one); `text` is the one of `grows` that is text."""
        self._name = None if name is None else f"event: {name}".encode()
        self._text = text.encode()
        members = b"|".join(member.encode() for member in grows)
        self._growing = re.compile(rb'"(%s)": ?"[^"\\]+(?=")' % members)
        self._member = re.compile(rb'"(?:%s)"' % members)

    def read(self, reader: StreamReader, body: bytes) -> None:
        """Read a complete body as `take` on every event would."""
        lines_per_event = 1 if self._name is None else 2
        layout = plain_lines(body, lines_per_event)
        if layout is None:
            read_all(reader, body)
            return
        lines, line_end_size = layout
        step = lines_per_event + 1
        contents = lines[lines_per_event - 1 :: step]
        names = None if self._name is None else lines[0::step]
        position = at = 0
        while at < len(contents):
            size = len(contents[at]) + (0 if names is None else len(names[at])) + step * line_end_size
            position += size
            event = event_of_lines(contents[at : at + 1] if names is None else (names[at], contents[at]), position)
            if event is not None:
                reader.take(event)
            count = self._take_alike(reader, names, contents, at)
            position += sum(map(len, contents[at + 1 : at + 1 + count])) + count * (size - len(contents[at]))
            at += 1 + count

    def _take_alike(
        self, reader: StreamReader, names: Sequence[bytes] | None, contents: Sequence[bytes], at: int
    ) -> int:
        """Give the reader, as one event, those that follow the one at `at` and are like it; returns how many."""
        frame = self._frame(reader, None if names is None else names[at], contents[at])
        if frame is None:
            return 0
        before, after = frame
        first, last = len(before), -len(after)
        parts: list[bytes] = []
        for number in range(at + 1, min(len(contents), at + 1 + _MOST_TOGETHER)):
            line = contents[number]
            if not line.startswith(before) or not line.endswith(after) or not (grown := line[first:last]):
                break
            if b'"' in grown or (b"\\" in grown and (b"\\u" in grown or grown.endswith(b"\\"))):
                break
            # Neither a character nor an escape is cut: then what is sound together is sound alone, and says as much.
            if grown[0] & _CONTINUATION_MASK == _CONTINUATION or (names is not None and names[number] != self._name):
                break
            parts.append(grown)
        if not parts:
            return 0
        line = before + b"".join(parts) + after
        event = event_of_lines((line,) if self._name is None else (self._name, line), 0)
        if event is None or decode_object(event.data) is None:
            return 0  # then one by one
        reader.take(event)
        return len(parts)

    def _frame(self, reader: StreamReader, name: bytes | None, line: bytes) -> tuple[bytes, bytes] | None:
        """Return what stands before and after the growing string of an event that was read, if there is one.

        Both offsets must be known by then, for those of the next events are not told.
        """
        answer = reader.answer
        if name != self._name or answer.first_output_offset is None:
            return None
        found = self._growing.search(line)
        if found is None or (found[1] == self._text and answer.first_text_offset is None):
            return None
        opening = line.index(b'"', found.end(1) + 1) + 1
        before, after = line[:opening], line[found.end() :]
        # Another such member, or an escape that may spell one, would be said by each event and told once.
        if b"\\" in before or b"\\" in after or len(self._member.findall(line)) > 1:
            return None
        return before, after
