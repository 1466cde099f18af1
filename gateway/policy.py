"""Whether a request may pass, and where to: decided from its head and the settings alone."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gateway.heads import CREDENTIALS, HOP_FIELD, RequestHead
from gateway.refusal import Refusal
from shadow.records import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.settings import LiveSettings, Upstream

# A separator an upstream may read as one, raw or percent-encoded.
_SEPARATORS = re.compile(rb"/|\\|%2f|%5c", re.IGNORECASE)
_DOT = re.compile(rb"%2e", re.IGNORECASE)
_ABSOLUTE_FORM = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
# What two servers could read in two ways (an escape, `;`, `//`, a backslash) is nothing a guarded gateway recognises.
_PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9._~-]+)+")
_MODELS = re.compile(rb"(?:/[A-Za-z0-9._~-]+)*/models(?:/[A-Za-z0-9._~:@-]+)?")
# The same for what `allow_paths` opens, where names may hold more: no escape that hides a separator (%c0%af is an old
# spelling of one), an end or itself.
_OPENED_PATH = re.compile(
    rb"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%(?!0|1|23|25|2e|2f|3b|3f|5c|7f|c0|c1)[0-9a-f]{2})+)*/?", re.IGNORECASE
)
_MAX_KNOWN = 1000
_MAX_KNOWN_TARGET_BYTES = 512
_FORBIDDEN = Refusal(status=403, error="forbidden_path", message="this path is not in allow_paths of this gateway")
_UNAUTHORIZED = Refusal(
    status=401, error="unauthorized", message="a key of this gateway is needed (x-api-key, or Bearer)"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Where bytes are sent: what a pooled connection belongs to."""

    scheme: str
    host: str
    port: int

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"

    @property
    def label(self) -> str:
        """scheme://host:port, as records name it."""
        return f"{self.scheme}://{self.bracketed}:{self.port}"

    @property
    def bracketed(self) -> str:
        """The host as it stands in URLs and Host fields."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def authority(self) -> bytes:
        """The Host field's value; a default port is left out."""
        default = _DEFAULT_PORTS[self.scheme] == self.port
        return (self.bracketed if default else f"{self.bracketed}:{self.port}").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One configured upstream, ready for use: a request's key can only be the one configured with this origin."""

    origin: Origin
    label: str
    authority: bytes
    prefix: bytes
    credentials: tuple[bytes, ...]
    """Whole header lines; empty under `auth: passthrough`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A request that may pass: where it goes and as what."""

    destination: Destination
    target: bytes
    """Prefix, path and query as they stand in the request line upstream."""
    path: str
    query: str
    dialect: Dialect | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A question answered here: `/healthz`, or `/readyz` when `ready` is asked."""

    readiness: bool


class Policy:
    """The settings of the live path as one decision. A reload replaces it whole; a request keeps its own."""

    def __init__(self, settings: LiveSettings, *, dialect_of: Callable[[str, str], Dialect | None]) -> None:
        self.settings = settings
        self.deployment_id = settings.deployment_id.encode()
        self.drop = CREDENTIALS if settings.auth == "gateway" else frozenset[bytes]()
        self._guarded = settings.auth == "gateway"
        self._dialect_of = dialect_of
        self._default = _destination(settings.upstream, guarded=self._guarded)
        self._routes = sorted(
            (
                (prefix.rstrip("/").encode(), _destination(upstream, guarded=self._guarded))
                for prefix, upstream in settings.routes.items()
            ),
            key=lambda route: len(route[0]),
            reverse=True,
        )
        self._plain_paths = not (self._guarded or self._routes or self._default.prefix)
        self._known: dict[tuple[bytes, bytes], Passage | Health | Refusal] = {}
        self._clients = tuple(_digest(key.encode()) for key in settings.clients)

    @property
    def origin(self) -> str:
        """The default upstream's origin: what records of refused requests name."""
        return self._default.label

    def decide(self, head: RequestHead) -> Passage | Health | Refusal:
        """Apply rules 8 to 10 of the live path to a sound head."""
        if self._is_own(head):
            return Refusal(status=508, error="loop", message="this request already passed through this gateway")
        # Apps ask few targets over and over. Nothing but the target and the method decides what is remembered.
        key = (head.method, head.target)
        decision = self._known.get(key)
        if decision is None:
            decision = self._decide(head.method, head.target)
            self._remember(key, decision)
        # Who asks comes before where to, so that a stranger learns nothing about paths.
        if self._guarded and (decision is _FORBIDDEN or isinstance(decision, Passage)) and not self._knows(head):
            return _UNAUTHORIZED
        return decision

    def _remember(self, key: tuple[bytes, bytes], decision: Passage | Health | Refusal) -> None:
        if len(key[1]) > _MAX_KNOWN_TARGET_BYTES:
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[key] = decision

    def _decide(self, method: bytes, asked: bytes) -> Passage | Health | Refusal:
        # An answer to TRACE holds the request as upstream got it: with a key that is not the client's.
        if method == b"CONNECT" or (self._guarded and method == b"TRACE"):
            return Refusal(status=405, error="method", message=f"{method.decode()} is not offered here")
        target = _origin_form(method, asked)
        if target is None:
            return Refusal(status=400, error="bad_request", message="the request target must be a path")
        raw_path, _, raw_query = target.partition(b"?")
        if raw_path in (b"/healthz", b"/readyz") and method in (b"GET", b"HEAD"):
            return Health(readiness=raw_path == b"/readyz")
        if not self._plain_paths and has_dot_segments(raw_path):
            return Refusal(status=400, error="dot_segments", message="dot segments are not accepted in this path")
        path = raw_path.decode("utf-8", "replace")
        dialect = self._dialect_of(method.decode(), path)
        if self._guarded and not self._may_pass(method, raw_path, dialect):
            return _FORBIDDEN
        destination = self._route(raw_path)
        return Passage(
            destination=destination,
            target=destination.prefix + target if target != b"*" else target,
            path=path,
            query=raw_query.decode("utf-8", "replace"),
            dialect=dialect,
        )

    def _is_own(self, head: RequestHead) -> bool:
        return head.fields.ours and self.deployment_id in [
            hop.strip(b" \t") for value in head.fields.values(HOP_FIELD) for hop in value.split(b",")
        ]

    def _knows(self, head: RequestHead) -> bool:
        """Whether a presented key is one of `clients`; every pair is compared, so time tells nothing."""
        known = False
        for presented in presented_keys(head):
            digest = _digest(presented)
            for client in self._clients:
                known |= hmac.compare_digest(digest, client)
        return known

    def _may_pass(self, method: bytes, raw_path: bytes, dialect: Dialect | None) -> bool:
        """Say whether a guarded gateway passes this: a recognised path, models, count_tokens, what `allow_paths` opens.

        Strict, because the key that goes up is not the client's: no spelling may reach another path than it seems to.
        """
        if method == b"POST" and (dialect is not None or raw_path.endswith(b"/count_tokens")):
            known = _PLAIN_PATH.fullmatch(raw_path) is not None
        else:
            known = method in (b"GET", b"HEAD") and _MODELS.fullmatch(raw_path) is not None
        return known or any(_opens(prefix.rstrip("/").encode(), raw_path) for prefix in self.settings.allow_paths)

    def _route(self, raw_path: bytes) -> Destination:
        for prefix, destination in self._routes:
            if _under(raw_path, prefix):
                return destination
        return self._default


def has_dot_segments(path: bytes) -> bool:
    """Whether an upstream could read `.` or `..` as a segment: raw, percent-encoded or with `;parameters`."""
    if b"." not in path and b"%2" not in path:
        return False
    segments = _SEPARATORS.split(_DOT.sub(b".", path))
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in segments)


def presented_keys(head: RequestHead) -> list[bytes]:
    """The keys a client presents, from both credential headers."""
    keys = head.fields.values(b"x-api-key")
    for value in head.fields.values(b"authorization"):
        scheme, _, key = value.partition(b" ")
        if scheme.lower() == b"bearer":
            keys.append(key.strip(b" \t"))
    return [key for key in keys if key]


def _origin_form(method: bytes, target: bytes) -> bytes | None:
    """Path and query of the target, or None. The authority of an absolute form is ignored, like Host."""
    if b"#" in target:
        return None
    if target.startswith(b"/"):
        return target
    if target == b"*":
        return target if method == b"OPTIONS" else None
    absolute = _ABSOLUTE_FORM.match(target)
    if absolute is None:
        return None
    rest = target[absolute.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _under(path: bytes, prefix: bytes) -> bool:
    """Whether a path lies under a prefix, at a segment's border."""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/")


def _opens(prefix: bytes, path: bytes) -> bool:
    """Whether an entry of `allow_paths` opens this path; `/` opens all, so that no spelling leads out of it."""
    return not prefix or (_under(path, prefix) and _OPENED_PATH.fullmatch(path, len(prefix)) is not None)


def _destination(upstream: Upstream, *, guarded: bool) -> Destination:
    origin = origin_of(upstream.base_url)
    return Destination(
        origin=origin,
        label=origin.label,
        authority=origin.authority,
        prefix=urlsplit(upstream.base_url).path.rstrip("/").encode(),
        credentials=tuple(_credential_lines(upstream)) if guarded else (),
    )


def origin_of(base_url: str) -> Origin:
    """The origin of a configured address (already checked by the config)."""
    parts = urlsplit(base_url)
    return Origin(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])


def _credential_lines(upstream: Upstream) -> Iterable[bytes]:
    if upstream.api_key is None:
        return
    key = upstream.api_key.encode()
    if upstream.api_key_header in {"x-api-key", "both"}:
        yield b"x-api-key: " + key
    if upstream.api_key_header in {"bearer", "both"}:
        yield b"authorization: Bearer " + key


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
