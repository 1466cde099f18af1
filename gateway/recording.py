"""The bounded copy of one exchange, and its clocks: what the relay fills and the recorder reads."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

import msgspec

from shadow.records import Dialect

Ending = Literal[
    "complete",  # upstream's answer arrived whole and was handed to the client
    "client_gone",  # the client hung up before the end
    "client_stalled",  # the client stopped reading for write_stall_timeout_s
    "connect_failed",  # own 502: no connection, TLS failed, or an idle connection was lost in the race
    "first_byte_timeout",  # own 504
    "idle_timeout",  # upstream fell silent mid-answer; the client was aborted
    "upstream_broken",  # reset, short length, missing last chunk, bytes past the end; the client was aborted
    "rejected",  # answered here without asking upstream (401, 403, 400, 508, …)
    "drained",  # aborted by us at the end of the drain
]


SLICE_BYTES = 96
"""What a slice takes beside its bytes: the object around them, its time, and their places in two lists."""
_MOST_SLICES = 1 << 15
"""Beyond, neighbours are joined, so that no drip of bytes makes the end of an exchange a long one to handle."""


class TeeBudget(msgspec.Struct, kw_only=True, array_like=True, gc=False):
    """All copies of one process together, in bytes; a copy that does not fit is given up, the record stays."""

    limit: int
    used: int = 0

    def take(self, size: int) -> bool:
        """Reserve `size` bytes; False when they do not fit (nothing is reserved then)."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        """Return bytes that were taken."""
        self.used -= size


class Recorder(Protocol):
    """What the relay knows of the recorder: it may never wait for it, and never sees it fail."""

    def submit(self, recording: Recording) -> None:
        """Take one ended exchange; returns at once and never raises."""
        ...


class Recording(msgspec.Struct, kw_only=True, array_like=True, gc=False):
    """One exchange while it happens. The relay appends slices; after `submit` it belongs to the recorder.

    It travels to the scribe as it is, its fields one after the other (`gateway.handover`).

    Clocks are `time.monotonic()` seconds of this process; only `started_at` is wall time (aware UTC).
    A body copy is None once it was given up; `copy_lost` then says why (`tee_full`, `too_large`).
    """

    id: str
    started_at: datetime
    method: str
    path: str
    """As the client sent it, without the query."""
    query: str
    dialect: Dialect | None
    """None: not understood; no bodies are copied."""
    origin: str
    """scheme://host:port the request was sent to."""
    budget: TeeBudget
    max_body_bytes: int
    t_start: float
    """When the request head had arrived."""
    t_sent: float | None = None
    """When the first byte of the request was written upstream (latency and TTFT count from here)."""
    t_first_byte: float | None = None
    t_end: float | None = None
    request_headers: list[tuple[bytes, bytes]] = msgspec.field(default_factory=list)
    """All end-to-end headers as the client sent them, `x-shadow-*` included: for sampling and tasks, in memory only."""
    request: list[bytes] | None = msgspec.field(default_factory=list)
    request_bytes: int = 0
    upstream_model: str | None = None
    """The spliced model when `primary.model` replaced it."""
    status: int | None = None
    response_headers: list[tuple[bytes, bytes]] = msgspec.field(default_factory=list)
    """Those that say how to read the answer and how long an origin wants to be left alone (`AnswerHead.meant`)."""
    response: list[bytes] | None = msgspec.field(default_factory=list)
    """Body slices without chunk framing, still content-encoded."""
    response_times: list[float] = msgspec.field(default_factory=list)
    """One monotonic time per slice of `response`."""
    response_bytes: int = 0
    copy_lost: str | None = None
    ending: Ending | None = None
    gateway_error: str | None = None
    """The value of `x-shadow-gateway-error` when the answer was our own."""
    overhead_us: int | None = None
    """What the gateway itself adds to this exchange, microseconds, by the monotonic clock: from the head being there to
    the request being handed to the upstream connection, and from the answer's head being read to its first byte being
    handed to the client's. The event loop writes what is handed to it in the same turn, which is no part of it. Nor is
    waiting for others: for a new connection with its TLS, and, where the model is replaced, for the rest of the body.
    None: no answer of the upstream was passed on."""
    taken: int = 0
    """Bytes held from `budget`; given back by `free`."""

    def request_slice(self, data: bytes) -> None:
        """Copy one slice of the request body, unless the copy was given up."""
        self.request_bytes += len(data)
        if self.request is None:
            return
        if self.request_bytes > self.max_body_bytes:
            self._give_up("too_large")
        elif self._fits(len(data) + SLICE_BYTES):
            self.request.append(data)
            if len(self.request) > _MOST_SLICES:
                self._join_request(self.request)

    def response_slice(self, data: bytes, now: float) -> None:
        """Copy one slice of the answer's body with its time, unless the copy was given up."""
        size = len(data)
        self.response_bytes += size
        response = self.response
        if response is None:
            return
        if self.response_bytes > self.max_body_bytes:
            self._give_up_answer(response)
            return
        # As `_fits`, without a call more at every event.
        size += SLICE_BYTES
        budget = self.budget
        if budget.used + size > budget.limit:
            self._give_up("tee_full")
            return
        budget.used += size
        self.taken += size
        response.append(data)
        self.response_times.append(now)
        if len(response) > _MOST_SLICES:
            self._join_response(response)

    def free(self) -> None:
        """Let go of both copies and give their bytes back; idempotent."""
        self.budget.give_back(self.taken)
        self.taken = 0
        self.request = self.response = None
        self.response_times = []

    def _join_request(self, slices: list[bytes]) -> None:
        self.request = [b"".join(slices)]
        self._spared(len(slices) - 1)

    def _join_response(self, slices: list[bytes]) -> None:
        """Make one of each two neighbours, with the time of the later one."""
        self.response = [b"".join(slices[at : at + 2]) for at in range(0, len(slices), 2)]
        self.response_times = [*self.response_times[1::2], *self.response_times[-1:]][: len(self.response)]
        self._spared(len(slices) - len(self.response))

    def _spared(self, slices: int) -> None:
        self.budget.give_back(slices * SLICE_BYTES)
        self.taken -= slices * SLICE_BYTES

    def _fits(self, size: int) -> bool:
        budget = self.budget
        if budget.used + size > budget.limit:
            self._give_up("tee_full")
            return False
        budget.used += size
        self.taken += size
        return True

    def _give_up_answer(self, slices: list[bytes]) -> None:
        """Let go of an answer that is too large. The request stays: it tells who was asked."""
        size = sum(map(len, slices)) + SLICE_BYTES * len(slices)
        self.budget.give_back(size)
        self.taken -= size
        self.response, self.response_times, self.copy_lost = None, [], "too_large"

    def _give_up(self, reason: str) -> None:
        self.free()
        self.copy_lost = reason
