"""Faults on request: what `x-sim-fault`, a suffix of the model's name (`pebble~529`) or the script can make go wrong.

A fault is a name and parameters: `529; times=2; retry-after=0`, `cut_mid_event; after=3`, `reset`. Names:

* an HTTP status, 400 to 599, answered in the API's error shape; 413, 502, 520 to 524, and any with
  `html=1`, as an HTML page; parameters `retry-after` (seconds or a date), `retry-after-ms`, `should-retry`;
* before the head: `hang` (silence until the client leaves), `reset` (RST);
* in the answer, with `after` (tokens let through first): `sse_error`, `cut`, `cut_mid_event`, `cut_mid_utf8`, `stall`,
  `reset` with `after`;
* in a stream's shape: `no_end` (the end mark is missing, HTTP ends well), `no_final_usage`, `no_start_usage`,
  `unknown_events`, `usage_twice`;
* in a JSON answer: `invalid_json`, `big_body` (5 MB); `cut`, `stall` and `reset` strike half way.

`times=N` strikes the first N calls with the very same fault text, so that a retry succeeds; add
`id=…` to tell tests apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shadow.simulator.steps import Cut, Data, Finish, Reset, Stall, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.simulator.events import Event

BEFORE_HEAD = frozenset({"hang", "reset"})
IN_ANSWER = frozenset({"sse_error", "cut", "cut_mid_event", "cut_mid_utf8", "stall", "reset"})
IN_SHAPE = frozenset({"no_end", "no_final_usage", "no_start_usage", "unknown_events", "usage_twice"})
IN_JSON = frozenset({"invalid_json", "big_body"})
NAMES = BEFORE_HEAD | IN_ANSWER | IN_SHAPE | IN_JSON
HTML_STATUSES = frozenset({413, 502, 520, 521, 522, 523, 524})
BIG_BODY_BYTES = 5 << 20

_UNKNOWN_EVENT = b'event: message\ndata: {"type":"future_event","usage":{"input_tokens":99,"output_tokens":99}}\n\n'
_FIRST_ERROR, _LAST_ERROR = 400, 599


class UnknownFaultError(ValueError):
    """The fault text names nothing we can do; the message lists what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, read from its text."""

    name: str
    status: int | None = None
    after: int | None = None
    times: int | None = None
    retry_after: str | None = None
    retry_after_ms: str | None = None
    should_retry: str | None = None
    html: bool = False

    @property
    def strikes_before_head(self) -> bool:
        """Whether the client sees nothing of an answer."""
        return self.name == "hang" or (self.name == "reset" and self.after is None)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Headers of an HTTP error."""
        given = {
            "retry-after": self.retry_after,
            "retry-after-ms": self.retry_after_ms,
            "x-should-retry": self.should_retry,
        }
        return [(name, value) for name, value in given.items() if value is not None]


def read_fault(text: str) -> Fault:
    """Read a fault's text. Raises UnknownFaultError."""
    name, *rest = [part.strip() for part in text.split(";")]
    given = dict(part.partition("=")[::2] for part in rest if part)
    if not all(given.get(each, "0").isdigit() for each in ("after", "times")):
        raise UnknownFaultError(f"after and times take a whole number: {text!r}")
    status = int(name) if name.isdigit() else None
    if name not in NAMES and (status is None or not _FIRST_ERROR <= status <= _LAST_ERROR):
        raise UnknownFaultError(f"{name!r} is no fault; it must be an HTTP status from 400 or one of {sorted(NAMES)}")
    return Fault(
        name=name,
        status=status,
        after=int(given["after"]) if "after" in given else None,
        times=int(given["times"]) if "times" in given else None,
        retry_after=given.get("retry-after"),
        retry_after_ms=given.get("retry-after-ms"),
        should_retry=given.get("should-retry"),
        html=given.get("html") == "1" or status in HTML_STATUSES,
    )


def spoil_events(events: Sequence[Event], fault: Fault | None, error: Event) -> tuple[list[Event], list[Step]]:
    """Apply a fault to a stream: the events that still go out, and how the stream ends."""
    finish: list[Step] = [Finish()]
    if fault is None:
        return list(events), finish
    if fault.name in IN_ANSWER:
        kept, following = _until_token(events, fault.after or 0)
        return kept, _ENDINGS[fault.name](following, error)
    if fault.name == "no_end":
        return [each for each in events if each.kind != "last"], finish
    if fault.name == "usage_twice":
        return [each for each in events for _ in range(2 if each.kind == "usage" else 1)], finish
    if fault.name == "unknown_events":
        return [type(each)(kind=each.kind, data=_UNKNOWN_EVENT + each.data) for each in events], finish
    return list(events), finish


def spoil_json(body: bytes, fault: Fault | None) -> list[Step]:
    """Apply a fault to a JSON answer: the steps after its head (whose length is that of the whole body)."""
    if fault is None or fault.name not in {"cut", "cut_mid_event", "cut_mid_utf8", "stall", "reset"}:
        return [Data(data=body), Finish()]
    endings: dict[str, Step] = {"stall": Stall(), "reset": Reset()}
    return [Data(data=body[: len(body) // 2]), endings.get(fault.name, Cut())]


def _until_token(events: Sequence[Event], count: int) -> tuple[list[Event], Event]:
    """Everything before the token with number `count` (from 0), and that token (or the last event)."""
    seen = 0
    for index, each in enumerate(events):
        if each.kind == "token":
            if seen == count:
                return list(events[:index]), each
            seen += 1
    return list(events[:-1]), events[-1]


_ENDINGS: Mapping[str, Callable[[Event, Event], list[Step]]] = {
    "sse_error": lambda _, error: [Data(data=error.data), Finish()],
    "cut": lambda *_: [Cut()],
    "cut_mid_event": lambda following, _: [Data(data=following.data[: len(following.data) // 2]), Cut()],
    "cut_mid_utf8": lambda *_: [Data(data='data: {"text":"caf\u00e9'.encode()[:-1]), Cut()],
    "stall": lambda *_: [Stall()],
    "reset": lambda *_: [Reset()],
}
