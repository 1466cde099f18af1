"""A request the simulator answers with an HTTP error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shadow.simulator.faults import Fault


class RefusedError(Exception):
    """Carries the status and the sentence; `fault` when a wished-for fault is the cause, with its headers and form."""

    def __init__(self, status: int, text: str, *, fault: Fault | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.fault = fault
