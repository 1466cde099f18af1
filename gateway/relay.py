"""What all exchanges of one process share: policy, pool, recorder, counters and the sweep."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.known import KnownHeads
from gateway.recording import Recording
from gateway.upstream import DialSettings, Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.downstream import Client
    from gateway.heads import RequestHead
    from gateway.policy import Passage, Policy
    from gateway.recording import Ending, Recorder, TeeBudget

_log = logging.getLogger("gateway.live")


class Relay:
    """What all exchanges of one process share."""

    def __init__(
        self, policy: Policy, *, recorder: Recorder, budget: TeeBudget, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.policy = policy
        self.known = KnownHeads(policy)
        self.recorder = recorder
        self.budget = budget
        self.clock = clock
        self.counters: Counter[str] = Counter()
        self.ready = True
        self.pool = Pool(DialSettings.of(policy.settings), crashed=self.crashed)
        self._retired: list[Pool] = []
        self.clients: set[Client] = set()

    def replace(self, policy: Policy) -> None:
        """New requests follow `policy`; those under way keep theirs."""
        self.policy = policy
        self.known = KnownHeads(policy)
        dial = DialSettings.of(policy.settings)
        if dial != self.pool.dial_settings:
            self.pool.close()
            self.pool = Pool(dial, crashed=self.crashed)

    def sweep(self) -> None:
        """Enforce every deadline; called about four times a second, so that no event needs a timer."""
        now = self.clock()
        for client in list(self.clients):
            try:
                client.sweep(now)
            except Exception as error:  # noqa: BLE001 (one connection's fault must not stop the sweep of the others)
                self.crashed(error)
                client.reset()
        self.pool.sweep(now)

    def crashed(self, error: BaseException) -> None:
        """Count a fault of ours and say where it was; never what it was about, which may hold a key or a prompt."""
        self.counters["internal_error"] += 1
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        where = f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at is not None else "unknown"
        _log.error("internal error: %s at %s", type(error).__name__, where)

    def recording(self, head: RequestHead, passage: Passage | None, arrived: float) -> Recording:
        """Begin the record of one exchange whose head was there at `arrived`; `passage` is None when it is refused."""
        if passage is not None:
            path, query, origin, dialect = passage.path, passage.query, passage.destination.label, passage.dialect
        else:
            path, _, query = head.target.decode("utf-8", "replace").partition("?")
            path = path if path.startswith("/") else ""  # an authority may hold a password
            origin, dialect = self.policy.origin, None
        return Recording(
            id=new_id(),
            started_at=datetime.now(UTC),
            method=head.method.decode(),
            path=path,
            query=query,
            dialect=dialect,
            origin=origin,
            budget=self.budget,
            max_body_bytes=self.policy.settings.recording.max_body_bytes,
            t_start=arrived,
            request_headers=head.fields.pairs,
            request=None if dialect is None else [],
            response=None if dialect is None else [],
        )

    def submit(self, recording: Recording, ending: Ending) -> None:
        """Hand one ended exchange to the recorder."""
        recording.ending = ending
        recording.t_end = self.clock()
        self.counters[ending] += 1
        try:
            self.recorder.submit(recording)
        except Exception as error:  # noqa: BLE001 (whatever happens to a record, the client has its answer)
            self.crashed(error)
            recording.free()


def new_id() -> str:
    """A fresh UUIDv7 as 32 hex digits: ids of later requests sort later."""
    now_ms = time.time_ns() // 1_000_000
    bits = random.getrandbits  # an id must be unique, not secret
    return f"{now_ms:012x}{7 << 12 | bits(12):x}{2 << 62 | bits(62):x}"
