"""The fault server: the path of a request says what goes wrong; every byte received and every close is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.support.upstream import OK, Answer, ConnectionLog, Gate, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

    from tests.support.http1 import Message

Fault = Callable[[Gate], Answer]
"""What to do with one request; the gate is this request's own, and the test opens it."""


class FaultServer:
    """Answers `/<fault>/<visit>/…` as `faults[fault]` says, and everything else with `200 ok`.

    A visit is a path that nobody else uses, so what happened to it can be told from all that goes on beside it.
    """

    def __init__(self, faults: Mapping[str, Fault], *, tls: ssl.SSLContext | None = None) -> None:
        self._faults = dict(faults)
        self._upstream = Upstream(tls=tls)
        self._upstream.handler = self._answer
        self._gates: dict[str, Gate] = {}
        self._visits: dict[str, list[tuple[ConnectionLog, Message]]] = {}
        self.sent_before: dict[str, int] = {}
        """Bytes that a visit's connection had accepted from us for earlier visits."""

    def __enter__(self) -> Self:
        self._upstream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._upstream.__exit__(kind, error, trace)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._upstream.address

    @property
    def base_url(self) -> str:
        """The same as a URL."""
        return self._upstream.base_url

    @property
    def connections(self) -> list[ConnectionLog]:
        """Every connection that was ever made and not forgotten."""
        return self._upstream.connections

    def add(self, name: str, fault: Fault) -> None:
        """One more fault."""
        self._faults[name] = fault

    def gate(self, target: str) -> Gate:
        """The gate of one visit, whoever asks for it first."""
        return self._gates.setdefault(target, self._upstream.gate())

    def visits(self, target: str) -> list[tuple[ConnectionLog, Message]]:
        """Every request with this target, and the connection it came on."""
        return list(self._visits.get(target, ()))

    def visit(self, target: str, *, within_s: float = 10.0) -> tuple[ConnectionLog, Message]:
        """The only request with this target, as soon as its head has arrived."""
        (found,) = eventually(lambda: self.visits(target), within_s=within_s, what=f"a request for {target}")
        return found

    def forget_the_closed(self) -> None:
        """Drop the logs of connections that are closed, with all the bytes and visits they hold."""
        for target, found in list(self._visits.items()):
            self._visits[target] = [visit for visit in found if visit[0].closed_at is None]
        self._upstream.connections[:] = [log for log in self._upstream.connections if log.closed_at is None]

    def _answer(self, request: Message) -> Answer:
        target = request.target.decode("latin-1")
        connection = self._connection_of(request)
        self.sent_before[target] = connection.sent
        self._visits.setdefault(target, []).append((connection, request))
        fault = self._faults.get(target.split("/")[1])
        return Answer(parts=(OK,)) if fault is None else fault(self.gate(target))

    def _connection_of(self, request: Message) -> ConnectionLog:
        logs = reversed(self._upstream.connections)
        return next(log for log in logs if any(one is request for one in reversed(log.reader.messages)))
