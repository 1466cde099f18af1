"""When to leave a failing candidate alone: a circuit breaker, pure, with the time as an argument."""

from __future__ import annotations

FAILURES_TO_OPEN = 5
OPEN_S = 30.0


class Breaker:
    """Closed until `failures_to_open` calls in a row failed, then open for `open_s`, then one trial call decides.

    Times are seconds of any one monotonic clock. Whoever calls takes a ticket with `begin` and brings it back with
    `end`; calls that began before the last change of state have nothing more to say.
    """

    def __init__(self, *, failures_to_open: int = FAILURES_TO_OPEN, open_s: float = OPEN_S) -> None:
        self._failures_to_open = failures_to_open
        self._open_s = open_s
        self._failures = 0
        self._open_until_s: float | None = None
        self._trial_running = False
        self._generation = 0

    @property
    def is_closed(self) -> bool:
        """True while nothing holds calls back."""
        return self._open_until_s is None

    def room(self, now_s: float, *, bound: int) -> int:
        """Say how many of `bound` calls may begin now: all when closed, none when open, one when a trial is due."""
        if self._open_until_s is None:
            return bound
        if now_s < self._open_until_s or self._trial_running:
            return 0
        return min(1, bound)

    def begin(self) -> int:
        """Start a call and take its ticket. Ask `room` first."""
        if self._open_until_s is not None:
            self._trial_running = True
        return self._generation

    def end(self, ticket: int, *, ok: bool | None, now_s: float) -> None:
        """End a call: well (True), badly (False) or without a word about the candidate's health (None)."""
        if ticket != self._generation:
            return
        trial, self._trial_running = self._trial_running, False
        if ok is None:
            return
        if ok:
            self._close()
            return
        self._failures += 1
        if trial or self._failures >= self._failures_to_open:
            self._open(now_s)

    def _close(self) -> None:
        self._failures = 0
        if self._open_until_s is not None:
            self._open_until_s = None
            self._generation += 1

    def _open(self, now_s: float) -> None:
        self._failures = 0
        self._open_until_s = now_s + self._open_s
        self._generation += 1
