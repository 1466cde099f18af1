"""How late a busy machine is: the control beside a measurement of time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_NAP_S = 0.005
_TURNS = 10
"""So often somebody has to get the processor between a hang-up of the client and upstream's notice of the close: the
client, the kernel for it, the gateway's loop twice, upstream's loop, and the test's interpreter in between."""


class Lateness:
    """Naps while the block runs, and sees how much too late it wakes: `with Lateness() as lateness: …`."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._nap, name="lateness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def bound(self, promised_s: float) -> float:
        """What is promised, and what this machine adds: nearly nothing where nobody else wants it."""
        return promised_s + _TURNS * self.worst_s

    def _nap(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self._over.wait(_NAP_S)
            self.worst_s = max(self.worst_s, time.monotonic() - began - _NAP_S)
