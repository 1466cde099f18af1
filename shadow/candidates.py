"""Asks a candidate the same question: the copy that leaves, the call, and what came back with its clocks."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

import httpx2
import msgspec

from shadow.decoding import UndecodableError, decode_slices
from shadow.dialects import (
    UnreadableError,
    estimate_input_tokens,
    is_event_stream,
    limit_name,
    read_reply,
    request_for,
    spending,
    with_output_limit,
)
from shadow.records import (
    ENDED_WELL,
    MAX_NAME_CHARS,
    Candidate,
    CandidateAnswer,
    Cost,
    Dialect,
    JobBody,
    Outcome,
    Reply,
)
from shadow.retry_after import rest_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.pricing import PriceBook
    from shadow.redaction import Redactor, Scrubber

HOP_HEADER = b"x-shadow-hop"
"""Carries the deployment's id, so that a gateway that meets its own shadow call refuses it instead of looping."""

SENT_HEADERS = ("content-type", "accept", "anthropic-version", "anthropic-beta")
"""What a copy keeps of the app's headers; all else (credentials, cookies, Idempotency-Key, tracing) stays behind."""

ACCEPT_ENCODING = b"gzip, deflate, br, zstd"
OWN_OUTPUT_LIMIT = 16_384
"""The output limit of a copy whose app sets none: what is reserved is also the most the candidate may write. At most a
quarter of its context window, where the price list knows that."""

IDENTITY_PARAMS = ("user", "safety_identifier", "prompt_cache_key")
"""Who the app's user is, in OpenAI's dialects; another origin is not told (`metadata.user_id` goes nowhere at all)."""

MAX_ERROR_CHARS = 300

_KEPT_CONNECTIONS = 20
_KEPT_S = 4.0
"""Below the 5 s after which many servers close an idle connection: no call should meet that close."""

_KeyForm = Literal["x-api-key", "bearer", "both"]
_DEFAULT_PORTS = {"http": 80, "https": 443}
_RESTING = frozenset({429, 529})
_UNACCEPTED = frozenset({400, 404, 422})
_LIMIT_REACHED = frozenset({"length", "max_tokens", "max_output_tokens"})
_ABOUT_A_LIMIT = ("max_tokens", "max_completion_tokens", "max_output_tokens", "context length", "context_length")
_SERVER_ERROR = 500
_HTTP_ERROR = 400
_REDIRECT = 300


class UnsendableError(Exception):
    """This exchange cannot be asked of this candidate; `reason` is the job's skip reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not shadowed: {reason}")
        self.reason = reason


class _AnswerTooLargeError(Exception):
    """The answer passed the size we are ready to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """Bounds of one call. Durations are seconds; `total_s` is the last resort against an answer that only drips."""

    connect_timeout_s: float = 10
    first_byte_timeout_s: float = 600
    idle_timeout_s: float = 600
    total_s: float = 600
    max_body_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowCopy:
    """One request as it leaves for a candidate: nothing else of the app's request does."""

    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes
    redaction_changed: bool = False
    """Redaction altered the content, so the two answers are to different questions."""
    own_limit: int | None = None
    """The output limit that we set, for the app sets none; an answer that reaches it answers another question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of one call: the answer as it is stored, the reply behind it, and what it says about health."""

    answer: CandidateAnswer
    reply: Reply
    healthy: bool | None
    """False: a failure for the circuit breaker; None: says nothing about health (rate limited, or our own bound)."""
    rest_s: float | None = None
    """Seconds the origin asked to be left alone (429, 529)."""


def copy_for(candidate: Candidate, body: JobBody, *, redactor: Redactor, deployment_id: str) -> ShadowCopy:
    """Make the copy of one exchange for one candidate: its model, its address, its key, redacted for another origin.

    Raises UnsendableError (`no_credentials`, `dialect`, `routed_elsewhere`, `unreadable`).
    """
    if candidate.api_key is None:
        raise UnsendableError("no_credentials")
    if candidate.dialects is not None and body.dialect not in candidate.dialects:
        raise UnsendableError("dialect")
    if not candidate.own_base_url and candidate.same_origin and not _is_home(candidate, body):
        # The upstream may not even have this path: its 404 would be told as a fault of the candidate.
        raise UnsendableError("routed_elsewhere")
    request, changed, left_out = body.request, False, candidate.drop_params
    if not _is_home(candidate, body):
        request, changed = redactor.redact_json(body.request)
        left_out = (*left_out, *IDENTITY_PARAMS)
    try:
        content = request_for(body.dialect, request, model=candidate.model, drop_params=left_out)
    except UnreadableError as error:
        raise UnsendableError("unreadable") from error
    return ShadowCopy(
        url=_url_for(candidate, body),
        headers=(*_kept_headers(body.request_headers), *_own_headers(candidate, body.dialect, deployment_id)),
        content=content,
        redaction_changed=changed,
    )


def bounded(candidate: Candidate, copy: ShadowCopy, dialect: Dialect, *, prices: PriceBook) -> tuple[ShadowCopy, float]:
    """Say what one call may cost at most, in USD: all input fresh, every answer up to its limit.

    A copy without an output limit gets one. Raises UnsendableError (`price_unknown`, `price_varies`,
    `no_output_limit`, `unreadable`).
    """
    try:
        asks = spending(dialect, copy.content)
    except UnreadableError as error:
        raise UnsendableError("unreadable") from error
    if asks.unlisted is not None:
        raise UnsendableError("price_varies")
    limit = asks.output_limit
    if limit is None:
        limit = _own_limit(candidate, dialect, prices)
        if limit_name(dialect) not in candidate.drop_params:
            content = with_output_limit(dialect, copy.content, limit)
            copy = dataclasses.replace(copy, content=content, own_limit=limit)
    worst = prices.worst_case_usd(
        candidate.model, input_tokens=estimate_input_tokens(copy.content), output_tokens=limit * asks.answers
    )
    if worst is None:
        raise UnsendableError("price_unknown")
    return copy, worst


def _own_limit(candidate: Candidate, dialect: Dialect, prices: PriceBook) -> int:
    """Return the most a candidate may write where the app leaves it open."""
    window = prices.context_window(candidate.model)
    if limit_name(dialect) not in candidate.drop_params:
        return OWN_OUTPUT_LIMIT if window is None else min(OWN_OUTPUT_LIMIT, window // 4)
    if window is None:
        raise UnsendableError("no_output_limit")
    return window


def origin_of(url: str) -> str:
    """Reduce an address to `scheme://host:port`, lower case and with the port always there, so that origins compare."""
    parts = httpx2.URL(url)
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    return f"{parts.scheme}://{host}:{port}"


def bypasses_proxy(host: str, port: int, no_proxy: Sequence[str]) -> bool:
    """Tell whether `no_proxy` names this host: `*`, a domain (subdomains too), `host:port`, an address or a network."""
    return any(_names(entry.strip().lower(), host.lower(), port) for entry in no_proxy)


class CandidateClient:
    """Calls candidates: one connection pool per origin, no environment, no cookies, no redirects, no retries.

    A kept connection that breaks before an answer's head says nothing about the candidate; its origin gets no other.
    `proxy` and `no_proxy` are the configured ones; `ca_file` is trusted beside the system's authorities.
    """

    def __init__(
        self,
        *,
        prices: PriceBook,
        scrubber: Scrubber,
        limits: CallLimits,
        proxy: str | None = None,
        no_proxy: Sequence[str] = (),
        ca_file: str | None = None,
    ) -> None:
        self._prices = prices
        self._scrubber = scrubber
        self._limits = limits
        self._proxy = proxy
        self._no_proxy = tuple(no_proxy)
        self._tls = ssl.create_default_context()
        if ca_file is not None:
            self._tls.load_verify_locations(cafile=ca_file)
        self._clients: dict[tuple[str, bool], httpx2.AsyncClient] = {}
        """By origin and whether its connections are used again."""
        self._unkept: set[str] = set()
        """Origins that close kept connections without a word: they get a new one for each call."""

    async def aclose(self) -> None:
        """Close every pool; idempotent."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def ask(self, candidate: Candidate, copy: ShadowCopy, *, exchange_id: str, dialect: Dialect) -> Asked:
        """Send one copy and listen to the whole answer. Whatever goes wrong is an outcome, nothing is raised."""
        heard = _Heard()
        trouble = await self._listen(copy, heard)
        ended_s = time.monotonic()
        reply, ends = await asyncio.to_thread(_understand, heard, dialect, self._limits.max_body_bytes)
        reply = self._without_keys(reply)
        outcome, error = _judge(heard, reply, trouble)
        cost = self._cost(candidate, heard, reply, outcome)
        if copy.own_limit is not None:
            outcome, error = _spoiled_by_limit(copy.own_limit, limit_name(dialect), reply, outcome, error)
        answer = CandidateAnswer(
            exchange_id=exchange_id,
            candidate=candidate.model,
            started_at=heard.started_at,
            outcome=outcome,
            status=heard.status,
            latency_ms=heard.ms_until(ended_s),
            ttft_ms=heard.ms_at(reply.first_output_offset, ends),
            first_text_ms=heard.ms_at(reply.first_text_offset, ends),
            stop_reason=self._name(reply.stop_reason),
            model_answered=self._name(reply.model),
            usage=reply.usage,
            cost=cost,
            error=self._sentence(error),
            streamed=reply.streamed,
        )
        return Asked(answer=answer, reply=reply, healthy=_healthy(heard, trouble), rest_s=heard.rest_s)

    async def _listen(self, copy: ShadowCopy, heard: _Heard) -> _Trouble | None:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.total_s):
                await self._call(copy, heard)
        except _AnswerTooLargeError:
            return _Trouble(Outcome.ABORTED, f"the answer is larger than {limits.max_body_bytes} bytes", ours=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            return _Trouble(Outcome.ERROR_CONNECT, f"no connection to the candidate ({type(error).__name__})")
        except httpx2.TimeoutException as error:
            return _Trouble(Outcome.TIMEOUT, f"the candidate fell silent ({type(error).__name__})")
        except TimeoutError:
            return _Trouble(Outcome.TIMEOUT, f"no whole answer within {limits.total_s:g} s")
        except httpx2.TransportError as error:
            return self._broken(copy, heard, error)
        return None

    def _broken(self, copy: ShadowCopy, heard: _Heard, error: httpx2.TransportError) -> _Trouble:
        if heard.is_unheard_on_a_kept_connection:
            # Closed before or because of what was sent? Nobody can tell, so this one counts for nothing. But who breaks
            # down now and then must not hide behind it: from here on each failure is the candidate's own.
            self._unkept.add(origin_of(copy.url))
            return _Trouble(Outcome.ABORTED, "sent on a kept connection that was being closed", ours=True)
        outcome = Outcome.ERROR_CONNECT if heard.status is None else Outcome.ERROR_STREAM
        return _Trouble(outcome, f"the connection broke before the answer was whole ({type(error).__name__})")

    async def _call(self, copy: ShadowCopy, heard: _Heard) -> None:
        limits = self._limits
        timeouts = {
            "connect": limits.connect_timeout_s,
            "read": limits.first_byte_timeout_s,
            "write": limits.idle_timeout_s,
            "pool": None,
        }
        async with self._client_for(copy.url).stream(
            "POST",
            copy.url,
            content=copy.content,
            headers=list(copy.headers),
            extensions={"timeout": timeouts, "trace": heard.trace},
        ) as response:
            heard.head(response)
            # The transport looks its read timeout up when the body begins: from here on silence is idleness.
            timeouts["read"] = limits.idle_timeout_s
            async for part in response.aiter_raw():
                heard.part(part)
                if heard.size > limits.max_body_bytes:
                    raise _AnswerTooLargeError

    def _client_for(self, url: str) -> httpx2.AsyncClient:
        origin = origin_of(url)
        kept = origin not in self._unkept
        client = self._clients.get((origin, kept))
        if client is None:
            client = self._clients[origin, kept] = self._open(origin, kept=kept)
        return client

    def _open(self, origin: str, *, kept: bool) -> httpx2.AsyncClient:
        parts = httpx2.URL(origin)
        direct = bypasses_proxy(parts.host, parts.port or _DEFAULT_PORTS[parts.scheme], self._no_proxy)
        return httpx2.AsyncClient(
            verify=self._tls,
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
            proxy=None if direct else self._proxy,
            limits=httpx2.Limits(
                max_connections=None,
                max_keepalive_connections=_KEPT_CONNECTIONS if kept else 0,
                keepalive_expiry=_KEPT_S,
            ),
        )

    def _cost(self, candidate: Candidate, heard: _Heard, reply: Reply, outcome: Outcome) -> Cost:
        """Real cost, zero for what no provider bills, unknown (the reserve stays spent) for an answer cut short."""
        if heard.sent_s is None or (heard.status is not None and heard.status >= _HTTP_ERROR):
            return Cost(billed_usd=0.0, uncached_usd=0.0, source="not billed: no answer was given")
        if outcome not in ENDED_WELL and outcome is not Outcome.PAUSED:
            return Cost(billed_usd=None, uncached_usd=None, source="unknown: the answer was cut short")
        return self._prices.cost(reply.usage, answered=reply.model, asked=candidate.model)

    def _without_keys(self, reply: Reply) -> Reply:
        """Take our keys out of what the candidate said, before an evaluator quotes a piece of it in its reason."""
        scrub = self._scrubber.scrub
        calls = [
            msgspec.structs.replace(call, name=scrub(call.name), arguments=scrub(call.arguments))
            for call in reply.tool_calls
        ]
        return msgspec.structs.replace(reply, text=scrub(reply.text), tool_calls=tuple(calls))

    def _name(self, name: str | None) -> str | None:
        return None if name is None else self._scrubber.scrub(name)[:MAX_NAME_CHARS]

    def _sentence(self, error: str | None) -> str | None:
        return None if error is None else self._scrubber.scrub(error)[:MAX_ERROR_CHARS]


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why an answer is not whole; `ours` when it was our own bound and not the candidate."""

    outcome: Outcome
    sentence: str
    ours: bool = False


@dataclass(slots=True, kw_only=True)
class _Heard:
    """An answer while it arrives. Clocks are monotonic seconds; `sent_s` is None until the request began to leave."""

    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_s: float = field(default_factory=time.monotonic)
    connected: bool = False
    """A connection was made for this call; False once the request leaves: it leaves on a kept one."""
    sent_s: float | None = None
    status: int | None = None
    content_type: str | None = None
    encoding: str | None = None
    rest_s: float | None = None
    slices: list[bytes] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    size: int = 0

    async def trace(self, name: str, _info: Mapping[str, object]) -> None:
        """Note when the request begins to leave; behind a proxy CONNECT comes first, so the last such event counts."""
        if name.endswith("connect_tcp.started"):
            self.connected = True
        elif name.endswith("send_request_headers.started"):
            self.sent_s = time.monotonic()

    @property
    def is_unheard_on_a_kept_connection(self) -> bool:
        """Whether the request left on a connection of an earlier call and no answer's head came."""
        return self.sent_s is not None and not self.connected and self.status is None

    def head(self, response: httpx2.Response) -> None:
        """Keep what matters of the answer's head."""
        self.status = response.status_code
        self.content_type = response.headers.get("content-type")
        self.encoding = response.headers.get("content-encoding")
        if self.status in _RESTING:
            self.rest_s = rest_s(response.headers, now=datetime.now(UTC))

    def part(self, data: bytes) -> None:
        """Keep one slice with the time it came."""
        self.slices.append(data)
        self.times_s.append(time.monotonic())
        self.size += len(data)

    def ms_until(self, then_s: float) -> float:
        """Milliseconds from the send (from the start, when nothing was sent) to `then_s`."""
        return (then_s - (self.started_s if self.sent_s is None else self.sent_s)) * 1000

    def ms_at(self, offset: int | None, ends: Sequence[int]) -> float | None:
        """Milliseconds from the send to the slice that completed `offset` bytes of the decoded body."""
        if offset is None:
            return None
        return next((self.ms_until(at_s) for at_s, end in zip(self.times_s, ends, strict=True) if end >= offset), None)


def _understand(heard: _Heard, dialect: Dialect, max_body_bytes: int) -> tuple[Reply, list[int]]:
    """Read the reply and, per slice, the decoded length after it. CPU work: runs in a thread."""
    if heard.status is None:
        return Reply(outcome=Outcome.ERROR_CONNECT), []
    streamed = is_event_stream(heard.content_type)
    try:
        decoded = decode_slices(heard.slices, heard.encoding, cap=max_body_bytes)
    except UndecodableError as error:
        # Our own bound is no failure of the candidate's; a coding we do not know or a broken one is.
        outcome = Outcome.ABORTED if error.reason == "over_cap" else Outcome.ERROR_STREAM
        return Reply(outcome=outcome, error=f"the answer cannot be decoded: {error}", streamed=streamed), []
    return read_reply(dialect, decoded.body, status=heard.status, streamed=streamed), decoded.ends


def _judge(heard: _Heard, reply: Reply, trouble: _Trouble | None) -> tuple[Outcome, str | None]:
    status = heard.status
    if status is not None and status in _UNACCEPTED:
        return Outcome.INCOMPATIBLE, reply.error or f"answered {status}"
    if status is not None and status >= _HTTP_ERROR:
        return Outcome.ERROR_HTTP, reply.error or f"answered {status}"
    if trouble is not None:
        return trouble.outcome, trouble.sentence
    if status is not None and status >= _REDIRECT:
        return Outcome.ERROR_HTTP, f"answered {status}; redirects are not followed"
    return reply.outcome, reply.error


def _spoiled_by_limit(
    tokens: int, name: str, reply: Reply, outcome: Outcome, error: str | None
) -> tuple[Outcome, str | None]:
    """Tell what the output limit that we set did to an answer: our own bound, no fault of the candidate's."""
    if outcome is Outcome.TRUNCATED and reply.stop_reason in _LIMIT_REACHED:
        return Outcome.ABORTED, f"longer than the {tokens} tokens reserved for it, for the app sets no limit"
    if outcome is Outcome.INCOMPATIBLE and any(word in (error or "") for word in _ABOUT_A_LIMIT):
        advice = f"list {name} in drop_params"
        return Outcome.ABORTED, f"refused the {name} of {tokens} that we set, for the app sets none ({advice}): {error}"
    return outcome, error


def _healthy(heard: _Heard, trouble: _Trouble | None) -> bool | None:
    if heard.status in _RESTING:
        return None
    if heard.status is not None and heard.status >= _SERVER_ERROR:
        return False
    if trouble is not None:
        return None if trouble.ours else False
    return True


def _is_home(candidate: Candidate, body: JobBody) -> bool:
    """Say whether a candidate is asked where the primary was asked: who has seen the original may see it again."""
    return candidate.same_origin and body.origin in {"", origin_of(candidate.base_url)}


def _url_for(candidate: Candidate, body: JobBody) -> str:
    """Join the candidate's address and the app's path, which can change neither host nor prefix."""
    segments = unquote(body.path).replace("\\", "/").split("/")
    if not body.path.startswith("/") or not {".", ".."}.isdisjoint(segments):
        raise UnsendableError("unreadable")
    url = f"{candidate.base_url}{body.path}{f'?{body.query}' if body.query else ''}"
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise UnsendableError("unreadable") from error
    return url


def _kept_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    kept = {name.lower(): value for name, value in headers.items()}
    return [(name.encode(), kept[name].encode("latin-1", "replace")) for name in SENT_HEADERS if name in kept]


def _own_headers(candidate: Candidate, dialect: Dialect, deployment_id: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"user-agent", f"shadow-gateway/{version('shadow-gateway')}".encode()),
        (b"accept-encoding", ACCEPT_ENCODING),
        (HOP_HEADER, deployment_id.encode()),
        *_credentials(candidate.api_key or "", _key_form(candidate, dialect)),
    ]


def _key_form(candidate: Candidate, dialect: Dialect) -> _KeyForm:
    form = candidate.api_key_header
    if form == "x-api-key" and candidate.bearer_for_openai and dialect is not Dialect.ANTHROPIC_MESSAGES:
        return "both"
    return form


def _credentials(api_key: str, form: _KeyForm) -> list[tuple[bytes, bytes]]:
    forms = {"x-api-key": (b"x-api-key", api_key.encode()), "bearer": (b"authorization", f"Bearer {api_key}".encode())}
    return list(forms.values()) if form == "both" else [forms[form]]


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry or _address(host) is not None:
        return _names_address(entry, host)
    name, _, wanted = entry.partition(":")
    name = name.lstrip(".")
    if not name or (wanted and wanted != str(port)):
        return False
    return host == name or host.endswith(f".{name}")


def _names_address(entry: str, host: str) -> bool:
    address = _address(host)
    try:
        return address is not None and address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
