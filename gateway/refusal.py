"""Own answers: what a client is told when there is no answer of upstream, in the shape of the API it speaks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

from gateway.heads import REQUEST_ID_FIELD, RequestHead

GATEWAY_ERROR_FIELD = b"x-shadow-gateway-error"

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error"}
_FIRST_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One own answer. `error` is the value of `x-shadow-gateway-error`; `message` quotes nothing of the request."""

    status: int
    error: str
    message: str


def speaks_anthropic(head: RequestHead | None) -> bool:
    """Whether this client expects Anthropic's error shape: it names a version of that API, or asks one of its paths."""
    if head is None:
        return False
    if b"anthropic-version" in head.fields.names:
        return True
    path = head.target.partition(b"?")[0]
    return path.endswith((b"/v1/messages", b"/v1/messages/count_tokens"))


def error_body(refusal: Refusal, *, request_id: str, anthropic: bool) -> bytes:
    """The JSON body of an own answer."""
    if anthropic:
        return _json(
            {
                "type": "error",
                "error": {"type": _anthropic_type(refusal.status), "message": refusal.message},
                "request_id": request_id,
            }
        )
    kind = _OPENAI_TYPES.get(refusal.status) or (
        "server_error" if refusal.status >= _FIRST_SERVER_ERROR else "invalid_request_error"
    )
    return _json({"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.error}})


def own_answer(refusal: Refusal, *, head: RequestHead | None, request_id: str, close: bool) -> bytes:
    """A whole own answer; `head` is None when the request could not be read. A HEAD request gets no body."""
    body = error_body(refusal, request_id=request_id, anthropic=speaks_anthropic(head))
    lines = [
        _status_line(refusal.status),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"%s: %s" % (GATEWAY_ERROR_FIELD, refusal.error.encode()),
        b"%s: %s" % (REQUEST_ID_FIELD, request_id.encode()),
    ]
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        lines.append(b"www-authenticate: Bearer")
    if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
    return _message(lines, body=body, head=head, close=close)


def health_answer(*, ready: bool, head: RequestHead, request_id: str, close: bool) -> bytes:
    """The answer to `/healthz` and `/readyz`."""
    body = b"ok\n" if ready else b"draining\n"
    lines = [
        _status_line(200 if ready else 503),
        b"content-type: text/plain",
        b"cache-control: no-store",
        b"content-length: %d" % len(body),
        b"%s: %s" % (REQUEST_ID_FIELD, request_id.encode()),
    ]
    return _message(lines, body=body, head=head, close=close)


def _message(lines: list[bytes], *, body: bytes, head: RequestHead | None, close: bool) -> bytes:
    if close:
        lines.append(b"connection: close")
    if head is not None and head.method == b"HEAD":
        body = b""
    return b"\r\n".join([*lines, b"", body])


def _anthropic_type(status: int) -> str:
    return _ANTHROPIC_TYPES.get(status) or ("api_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error")


def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
