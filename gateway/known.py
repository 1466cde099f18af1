"""Request heads seen before: an app sends the same head over and over, and only its Content-Length differs.

Reading a head, deciding about it and writing the one that goes up depend on its bytes and the policy, on nothing else.
So the result is kept for the bytes around the length's digits: whatever digits stand there, the head is as sound as the
first one was. A policy has its own `KnownHeads`; a reload begins anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway import heads

if TYPE_CHECKING:
    from gateway.heads import RequestHead
    from gateway.policy import Passage, Policy

_LENGTH_LINE = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,18})\r\n")
_MOST_HEADS = 512
_LONGEST_HEAD_BYTES = 4 << 10
_ASKS_FOR_MORE = frozenset({b"expect", b"upgrade"})
"""What these come to depends on the length too: with none, or with 0, an upgrade to websocket travels."""


class Known(NamedTuple):
    """A head with what was decided about it, and the head that goes up."""

    head: RequestHead
    passage: Passage
    wire: bytes


class _Kept(NamedTuple):
    head: RequestHead
    passage: Passage
    before: bytes
    behind: bytes
    """The head that goes up, without the digits of its length; `before` is all of it where there is no length."""
    length_at: int
    """Which of the fields the length is."""


class KnownHeads:
    """Sound heads that may pass, by their bytes. Bounded in number and size; used from one event loop only."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._kept: dict[tuple[bytes, bytes | None], _Kept] = {}
        """By the bytes before and behind the digits of the length; None behind a head without a length."""

    def __len__(self) -> int:
        """Count the heads that are known."""
        return len(self._kept)

    def find(self, data: bytes, end: int) -> Known | None:
        """Look up the head `data[:end]` (up to and including its last line's CRLF); None: it has to be read."""
        if end > _LONGEST_HEAD_BYTES:
            return None
        length = _LENGTH_LINE.search(data, 0, end)
        if length is None:
            kept = self._kept.get((data[:end], None))
            return None if kept is None else Known(kept.head, kept.passage, kept.before)
        first, last = length.span(1)
        kept = self._kept.get((data[:first], data[last:end]))
        if kept is None:
            return None
        digits = length[1]
        head = heads.with_length(kept.head, kept.length_at, digits, data[:end])
        return Known(head, kept.passage, kept.before + digits + kept.behind)

    def keep(self, block: bytes, head: RequestHead, passage: Passage) -> None:
        """Remember a head that may pass, unless what goes up depends on more than its bytes."""
        spliced = self._policy.settings.primary_model is not None and passage.dialect is not None
        if len(block) > _LONGEST_HEAD_BYTES or spliced or not _ASKS_FOR_MORE.isdisjoint(head.fields.present):
            return
        wire = heads.request_head(
            head,
            target=passage.target,
            authority=passage.destination.authority,
            drop=self._policy.drop,
            credentials=passage.destination.credentials,
            deployment_id=self._policy.deployment_id,
        )
        asked, sent = _LENGTH_LINE.search(block), _LENGTH_LINE.search(wire)
        if len(self._kept) >= _MOST_HEADS:
            self._kept.clear()
        if asked is not None and sent is not None:
            (first, last), (begin, stop) = asked.span(1), sent.span(1)
            at = head.fields.names.index(b"content-length")
            self._kept[block[:first], block[last:]] = _Kept(head, passage, wire[:begin], wire[stop:], at)
        elif asked is None and head.length is None:
            self._kept[block, None] = _Kept(head, passage, wire, b"", -1)
