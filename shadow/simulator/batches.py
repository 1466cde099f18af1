"""Message batches in the shape of the Anthropic API: nothing waits, a batch has ended when it is looked at."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shadow.simulator.events import compact
from shadow.simulator.question import BadRequestError
from shadow.simulator.refused import RefusedError

PATH = "/v1/messages/batches"

_COUNTED = ("canceled", "errored", "expired", "processing", "succeeded")
_LASTS = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """One batch: `results` is custom id -> how that request ended."""

    id: str
    created_at: datetime
    results: Mapping[str, Mapping[str, Any]]
    canceled_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Batches:
    """The batches of one simulator, newest last. `now` gives aware UTC."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _kept: dict[str, _Batch] = field(default_factory=dict)

    def create(self, body: bytes, *, origin: str, ask: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
        """Take a batch; `ask` answers one of its requests, as a `result`. Raises BadRequestError."""
        results = {custom_id: ask(parameters) for custom_id, parameters in _requests(body).items()}
        batch = _Batch(id=f"msgbatch_{len(self._kept) + 1:024d}", created_at=self.now(), results=results)
        self._kept[batch.id] = batch
        return self._told(batch, origin, status="in_progress")

    def page(self, *, origin: str) -> dict[str, Any]:
        """List all of them on one page, the newest first."""
        told = [self._told(batch, origin) for batch in reversed(self._kept.values())]
        ends = {"first_id": told[0]["id"] if told else None, "last_id": told[-1]["id"] if told else None}
        return {"data": told, "has_more": False, **ends}

    def get(self, batch_id: str, *, origin: str) -> dict[str, Any]:
        """Look at one. Raises RefusedError (404)."""
        return self._told(self._known(batch_id), origin)

    def cancel(self, batch_id: str, *, origin: str) -> dict[str, Any]:
        """Cancel one: all its requests end as canceled. Raises RefusedError (404)."""
        batch = self._known(batch_id)
        canceled = {key: {"type": "canceled"} for key in batch.results}
        batch = self._kept[batch_id] = replace(batch, canceled_at=self.now(), results=canceled)
        return self._told(batch, origin, status="canceling")

    def results(self, batch_id: str) -> bytes:
        """Give a line of JSON per request. Raises RefusedError (404)."""
        results = self._known(batch_id).results
        return "".join(f"{compact({'custom_id': name, 'result': results[name]})}\n" for name in results).encode()

    def _known(self, batch_id: str) -> _Batch:
        if batch_id not in self._kept:
            raise RefusedError(404, f"no batch {batch_id}")
        return self._kept[batch_id]

    def _told(self, batch: _Batch, origin: str, *, status: str = "ended") -> dict[str, Any]:
        ended = status == "ended"
        counts = Counter(result["type"] if ended else "processing" for result in batch.results.values())
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {kind: counts[kind] for kind in _COUNTED},
            "created_at": _moment(batch.created_at),
            "ended_at": _moment(batch.created_at) if ended else None,
            "expires_at": _moment(batch.created_at + _LASTS),
            "archived_at": None,
            "cancel_initiated_at": None if batch.canceled_at is None else _moment(batch.canceled_at),
            "results_url": f"{origin}{PATH}/{batch.id}/results" if ended else None,
        }


def _requests(body: bytes) -> dict[str, dict[str, Any]]:
    try:
        given = json.loads(body)["requests"]
        requests = {str(each["custom_id"]): dict(each["params"]) for each in given}
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequestError("requests: a list of {custom_id, params} is required") from error
    if not requests or len(requests) != len(given):
        raise BadRequestError("requests: at least one is required, and each custom_id may be there once")
    return requests


def _moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
