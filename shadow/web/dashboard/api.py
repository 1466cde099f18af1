"""The dashboard's only source: the JSON API of the same port, asked within the process.

A page therefore shows the very numbers that `/stats` and the other addresses answer, and a part that is not built yet
is one whose address says so. A question carries the headers of the page's own request, and so passes the same guard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec
from starlette.requests import Request

from shadow.web.moment import KEY, Moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Message

    Query = Mapping[str, str | Sequence[str] | None]
    """Parameters by name; one that is given several times has several values."""

_CARRIED = frozenset({b"host", b"authorization", b"cookie", b"origin", b"sec-fetch-site"})
_OK = 200


class ApiError(Exception):
    """The API refused or could not answer: `status`, a stable `kind`, and its one sentence."""

    def __init__(self, *, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message

    @property
    def not_built(self) -> bool:
        """True when the part behind this address does not exist in this version."""
        return self.kind == "not_built"


@dataclass(frozen=True, slots=True)
class Api:
    """Asks the API on behalf of one page."""

    request: Request
    moment: Moment = field(default_factory=Moment)
    """What the page has read: questions about the same window are answered out of it."""

    async def get(self, path: str, query: Query | None = None) -> Any:
        """Give the JSON at an address; parameters that are None are left out. Raises ApiError."""
        return await self._ask("GET", path, query, b"")

    async def post(self, path: str, body: Any) -> Any:
        """Send JSON to an address. Raises ApiError."""
        return await self._ask("POST", path, None, msgspec.json.encode(body))

    async def _ask(self, method: str, path: str, query: Query | None, body: bytes) -> Any:
        outer = self.request.scope
        headers = [(name, value) for name, value in outer["headers"] if name in _CARRIED]
        if method == "POST":
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        told = urlencode({name: value for name, value in (query or {}).items() if value is not None}, doseq=True)
        scope = {
            "type": "http",
            "asgi": outer["asgi"],
            "http_version": "1.1",
            "method": method,
            "scheme": outer["scheme"],
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "query_string": told.encode(),
            "headers": headers,
            "client": outer.get("client"),
            "server": outer.get("server"),
            KEY: self.moment,
        }
        answer = _Answer(body)
        await self.request.app(scope, answer.receive, answer.send)
        return answer.content()


class _Answer:
    """Both ends of one question: the body that is sent, and the answer that comes back."""

    def __init__(self, body: bytes) -> None:
        self._sent = body
        self._status = 0
        self._body = bytearray()

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self._sent, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        else:
            self._body += message.get("body", b"")

    def content(self) -> Any:
        read = msgspec.json.decode(self._body)
        if self._status // 100 == _OK // 100:
            return read
        # `/readyz` tells its reason without the API's usual shape
        error = read.get("error") or {"type": "not_ready", "message": read.get("reason", "not ready")}
        raise ApiError(status=self._status, kind=error["type"], message=error["message"])
