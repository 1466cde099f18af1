"""Who may ask the admin port what: Host, token and origin, decided on the request head alone, before any route."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from starlette.responses import RedirectResponse, Response

from shadow.web.answers import COMMON_HEADERS, ErrorAnswer
from shadow.web.cookies import cookie_holds, cookie_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from shadow.web.admin import AdminSettings

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered without token and under any Host: a container's probe has neither, and they say yes or no, no more."""

LOGIN_PATH = "/ui/login"
TOKENLESS_PREFIX = "/ui/static/"
"""Answered without token, under a right Host: the form that takes it, and style and scripts, which hold no data."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_SAFE_METHODS = frozenset({"GET", "HEAD"})
_OWN_FETCH_SITES = frozenset({"same-origin", "none"})


class Guard:
    """ASGI middleware: refuses what may not be asked, passes on what may. It decides on `scope["path"]` only."""

    def __init__(self, app: ASGIApp, *, settings: Callable[[], AdminSettings]) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the refusal, or hand the request on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = refusal(scope, self._settings()) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)


def refusal(scope: Scope, settings: AdminSettings) -> Response | None:
    """Say why this request may not be answered, None when it may; a browser without token is sent to sign in."""
    if scope["path"] in OPEN_PATHS:
        return None
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    hosts = _values(headers, b"host")
    wrong = _wrong_host(hosts, allowed=LOOPBACK_NAMES | {*settings.hosts, *_arrived_at(scope)})
    if wrong is None and not _needs_no_token(scope["path"]) and not holds_token(headers, settings.token):
        if _is_page_for_people(scope):
            return _to_login(scope)
        wrong = _no_token()
    if wrong is None and scope["method"] not in _SAFE_METHODS:
        wrong = _foreign(headers, host=hosts[0])
    return wrong


def holds_token(headers: Sequence[tuple[bytes, bytes]], token: str | None) -> bool:
    """Tell whether the request may see what the token protects; True when no token is configured."""
    if not token:
        return True
    given = _values(headers, b"authorization")
    if not given:
        return _holds_cookie(headers, token)
    if len(given) != 1:
        return False
    scheme, _, credentials = given[0].partition(" ")
    return scheme.lower() == "bearer" and _is_same(credentials.strip(" ").encode("latin-1"), token)


def is_token(given: str, token: str) -> bool:
    """Tell whether someone typed the token."""
    return _is_same(given.encode("utf-8", "replace"), token)


def _is_same(given: bytes, token: str) -> bool:
    # Both sides are hashed first, so that neither the time nor a length tells anything of the token.
    return hmac.compare_digest(_digest(given), _digest(token.encode()))


def _holds_cookie(headers: Sequence[tuple[bytes, bytes]], token: str) -> bool:
    """Tell whether the request carries the cookie that the dashboard's form gave in exchange for this token."""
    values = [cookie_of(value) for value in _values(headers, b"cookie")]
    return any(
        value is not None and cookie_holds(value, token, now_s=datetime.now(UTC).timestamp()) for value in values
    )


def _needs_no_token(path: str) -> bool:
    return path == LOGIN_PATH or path.startswith(TOKENLESS_PREFIX)


def _is_page_for_people(scope: Scope) -> bool:
    """Tell whether a browser asks for a page of the dashboard, rather than a program for an answer."""
    path: str = scope["path"]
    wants_html = any("text/html" in value for value in _values(scope["headers"], b"accept"))
    return wants_html and scope["method"] in _SAFE_METHODS and (path == "/ui" or path.startswith("/ui/"))


def _to_login(scope: Scope) -> Response:
    asked = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
    target = f"{LOGIN_PATH}?next={quote(asked, safe='')}"
    return RedirectResponse(target, status_code=303, headers=dict(COMMON_HEADERS))


def _wrong_host(hosts: Sequence[str], *, allowed: Collection[str]) -> ErrorAnswer | None:
    name = _host_name(hosts[0]) if len(hosts) == 1 else None
    if name is None:
        return ErrorAnswer(status=400, kind="bad_host", message="exactly one valid Host header is needed")
    if name not in {_plain_name(each) for each in allowed}:
        # Without this check a page of a name that was re-bound to 127.0.0.1 could read everything here.
        message = (
            "this port answers to loopback names and to the hosts it was configured for, not to the Host it was sent"
        )
        return ErrorAnswer(status=421, kind="wrong_host", message=message)
    return None


def _no_token() -> ErrorAnswer:
    return ErrorAnswer(
        status=401,
        kind="unauthorized",
        message="this port needs the header `Authorization: Bearer <admin.token>`",
        headers={"www-authenticate": 'Bearer realm="shadow-gateway"'},
    )


def _foreign(headers: Sequence[tuple[bytes, bytes]], *, host: str) -> ErrorAnswer | None:
    sites = _values(headers, b"sec-fetch-site")
    origins = _values(headers, b"origin")
    own_site = all(site in _OWN_FETCH_SITES for site in sites)
    own_origin = all(_authority(origin) == host.lower() for origin in origins)
    if own_site and own_origin:
        return None
    return ErrorAnswer(status=403, kind="cross_site", message="pages of other origins may not send requests here")


def _arrived_at(scope: Scope) -> set[str]:
    """Name the address the connection came in on: a page cannot re-bind an address, only a name."""
    server = scope.get("server")
    return {server[0]} if server and server[1] is not None else set()


def _host_name(value: str) -> str | None:
    """Take the name out of a Host value, without port and in plain form; None when it is malformed."""
    try:
        parts = urlsplit(f"//{value}")
        port = parts.port
    except ValueError:
        return None
    well_formed = parts.netloc == value and parts.hostname and "@" not in value and port != 0
    return _plain_name(parts.hostname) if well_formed and parts.hostname else None


def _plain_name(name: str) -> str:
    """One spelling for each name: lower case, no dot at the end, no brackets, addresses compressed."""
    bare = name.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(bare).compressed
    except ValueError:
        return bare


def _authority(origin: str) -> str | None:
    scheme, separator, authority = origin.partition("://")
    return authority.lower() if separator and scheme.lower() in {"http", "https"} else None


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
