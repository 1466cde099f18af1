"""Asks a judge model one question, in the form its API takes, and hears what it said, what it cost and how it failed.

Two forms: `anthropic` (a forced tool call through the SDK, without its retries and with our own credential header) and
`openai` (`/chat/completions` with a strict JSON schema). What a model refuses (a temperature, a forced tool, the name
of the output limit) is left out from then on: a 400 costs nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import httpx2
import msgspec

from shadow.candidates import ACCEPT_ENCODING, HOP_HEADER, CallLimits, bypasses_proxy
from shadow.decoding import UndecodableError, decode_slices
from shadow.dialects import read_reply
from shadow.records import Dialect, JudgementStatus, Outcome, Usage
from shadow.retry_after import rest_s

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

    from shadow.records import Reply

Api = Literal["anthropic", "openai"]
KeyForm = Literal["x-api-key", "bearer", "both"]

API_VERSION = "2023-06-01"
"""The version EzAI documents; the newer one refuses a temperature."""

CALL_LIMIT_S = 120.0
"""How long one judgement may take at most; a judge that thinks for minutes is the wrong one."""

MAX_ANSWER_BYTES = 1 << 20
MAX_QUOTED_CHARS = 300
NO_RULING = "the judge gave no ruling in the form that was asked for"
_PORTS = {"http": 80, "https": 443}
_BAD_REQUEST = 400
_SERVER_ERROR = 500
_TRY_AGAIN = frozenset({408, 409, 425, 429})
_RESTING = frozenset({429, 529})
_SDK_MARK = "x-stainless-raw-response"
"""By this header of the request the SDK knows how to hand out the answer; it has no other meaning."""
_KEPT_HEADERS = frozenset({"accept", "anthropic-version", "content-length", "content-type", "host", _SDK_MARK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a judge is asked, and with what. `api_key` is the key configured for exactly this origin."""

    base_url: str
    api_key: str
    api_key_header: KeyForm = "x-api-key"
    api: Api = "anthropic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How the outside is reached, as configured: nothing of it comes from the environment."""

    limits: CallLimits
    proxy: str | None = None
    no_proxy: Sequence[str] = ()
    ca_file: str | None = None
    deployment_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question to a judge, and the form its answer must have."""

    model: str
    system: str
    text: str
    name: str
    schema: Mapping[str, Any]
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came back. `answer` is the JSON object the judge gave, not checked any further; None with a reason."""

    status: JudgementStatus
    started_at: datetime
    latency_ms: float
    answer: Mapping[str, Any] | None = None
    reason: str = ""
    said: str = ""
    """What the judge or its provider said instead, which may quote the prompt."""
    usage: Usage | None = None
    model_answered: str | None = None
    billed: bool = True
    """False when no provider bills it: nothing was sent, or it was refused by its status."""
    try_again: bool = False
    """Asking once more may help."""
    rest_s: float | None = None
    """Seconds the provider asks to be left alone."""


@dataclass(slots=True, kw_only=True)
class _Habits:
    """What this model turned out not to take."""

    temperature: bool = True
    forced_tool: bool = True
    limit_name: str = "max_completion_tokens"

    def learn(self, message: str) -> bool:
        """Take up what a 400 complains about; False when there is nothing (more) that could be left out."""
        told = message.lower()
        if self.temperature and ("temperature" in told or "sampling" in told):
            self.temperature = False
        elif self.forced_tool and "tool_choice" in told:
            self.forced_tool = False
        elif self.limit_name != "max_tokens" and self.limit_name in told:
            self.limit_name = "max_tokens"
        else:
            return False
        return True


async def _load_sdk() -> None:
    """Load the SDK in a thread, where it may take the seconds it takes on a busy machine.

    On the event loop the answers of candidates that come meanwhile would be read, and so measured, that much later.
    """
    await asyncio.to_thread(importlib.import_module, "anthropic")


class JudgeClient:
    """Calls one judge endpoint: no environment, no cookies, no redirects, no hidden retries, one credential."""

    def __init__(self, endpoint: Endpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._network = network
        self._http: httpx2.AsyncClient | None = None
        self._sdk: AsyncAnthropic | None = None
        self._habits: dict[str, _Habits] = {}

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        http, self._http, self._sdk = self._http, None, None
        if http is not None:
            await http.aclose()

    async def ask(self, question: Question) -> Heard:
        """Put one question. Whatever goes wrong is heard, nothing is raised."""
        habits = self._habits.setdefault(question.model, _Habits())
        while True:
            heard, complaint = await self._ask_once(question, habits)
            if complaint is None or not habits.learn(complaint):
                return heard

    async def _ask_once(self, question: Question, habits: _Habits) -> tuple[Heard, str | None]:
        """Ask in the form that is known to be taken; also gives what a 400 complains about."""
        call = _Call()
        limit_s = min(CALL_LIMIT_S, self._network.limits.total_s)
        try:
            async with asyncio.timeout(limit_s):
                response, body = await self._send(question, habits)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            return call.failed("error", f"no connection to the judge ({type(error).__name__})", billed=False), None
        except (httpx2.TimeoutException, TimeoutError):
            return call.failed("timeout", f"the judge did not answer within {limit_s:g} s"), None
        except (httpx2.TransportError, UndecodableError, _TooLargeError) as error:
            return call.failed("error", f"the judge's answer broke off ({type(error).__name__})"), None
        dialect = Dialect.ANTHROPIC_MESSAGES if self._endpoint.api == "anthropic" else Dialect.OPENAI_CHAT
        reply = read_reply(dialect, body, status=response.status_code, streamed=False)
        if response.status_code >= _BAD_REQUEST:
            complaint = reply.error if response.status_code == _BAD_REQUEST else None
            return call.refused(response, reply), complaint
        return call.heard(reply, tool=question.name if habits.forced_tool else None, api=self._endpoint.api), None

    async def _send(self, question: Question, habits: _Habits) -> tuple[httpx2.Response, bytes]:
        if self._endpoint.api == "openai":
            return await self._post(question, habits)
        return await self._post_by_sdk(question, habits)

    async def _post_by_sdk(self, question: Question, habits: _Habits) -> tuple[httpx2.Response, bytes]:
        if self._sdk is None:
            await _load_sdk()
        from anthropic import APIConnectionError, APIStatusError  # noqa: PLC0415  (seconds, only for a judge)

        if habits.forced_tool:
            form: dict[str, Any] = {
                "tools": [{"name": question.name, "description": "Say it.", "input_schema": question.schema}],
                "tool_choice": {"type": "tool", "name": question.name, "disable_parallel_tool_use": True},
            }
        else:
            form = {"output_config": {"format": {"type": "json_schema", "schema": question.schema}}}
        try:
            async with self._client().messages.with_streaming_response.create(
                model=question.model,
                max_tokens=question.max_tokens,
                system=question.system,
                messages=[{"role": "user", "content": question.text}],
                extra_body={"temperature": 0.0} if habits.temperature else None,
                **form,
            ) as answer:
                return answer.http_response, await _whole(answer.http_response)
        except APIStatusError as error:
            return error.response, error.response.content
        except APIConnectionError as error:  # the SDK's coat around the transport's own error
            raise error.__cause__ or httpx2.TransportError(str(error)) from error

    async def _post(self, question: Question, habits: _Habits) -> tuple[httpx2.Response, bytes]:
        body: dict[str, Any] = {
            "model": question.model,
            habits.limit_name: question.max_tokens,
            "messages": [
                {"role": "system", "content": question.system},
                {"role": "user", "content": question.text},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": question.name, "strict": True, "schema": question.schema},
            },
        }
        if habits.temperature:
            body["temperature"] = 0.0
        request = self._connections().build_request(
            "POST",
            chat_url(self._endpoint.base_url),
            content=msgspec.json.encode(body),
            headers={"content-type": "application/json"},
        )
        response = await self._connections().send(request, stream=True)
        try:
            return response, await _whole(response)
        finally:
            await response.aclose()

    def _client(self) -> AsyncAnthropic:
        if self._sdk is None:
            from anthropic import AsyncAnthropic  # noqa: PLC0415  (see above)

            self._sdk = AsyncAnthropic(
                api_key=self._endpoint.api_key,
                base_url=self._endpoint.base_url,
                max_retries=0,
                timeout=self._timeouts(),
                default_headers={"anthropic-version": API_VERSION},
                open_telemetry=False,
                http_client=self._connections(),
            )
        return self._sdk

    def _connections(self) -> httpx2.AsyncClient:
        if self._http is None:
            network, url = self._network, httpx2.URL(self._endpoint.base_url)
            tls = ssl.create_default_context()
            if network.ca_file is not None:
                tls.load_verify_locations(cafile=network.ca_file)
            direct = bypasses_proxy(url.host, url.port or _PORTS[url.scheme], network.no_proxy)
            self._http = httpx2.AsyncClient(
                verify=tls,
                trust_env=False,
                follow_redirects=False,
                cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
                proxy=None if direct else network.proxy,
                timeout=self._timeouts(),
                event_hooks={"request": [self._dress]},
            )
        return self._http

    def _timeouts(self) -> httpx2.Timeout:
        limits = self._network.limits
        return httpx2.Timeout(
            connect=limits.connect_timeout_s, read=limits.first_byte_timeout_s, write=limits.idle_timeout_s, pool=None
        )

    async def _dress(self, request: httpx2.Request) -> None:
        """Leave only our own headers on a request: the SDK adds what the environment says, keys among it."""
        for name in [name for name in request.headers if name.lower() not in _KEPT_HEADERS]:
            del request.headers[name]
        request.headers["user-agent"] = f"shadow-gateway/{version('shadow-gateway')}"
        request.headers["accept-encoding"] = ACCEPT_ENCODING.decode()
        if self._network.deployment_id:
            request.headers[HOP_HEADER.decode()] = self._network.deployment_id
        form, key = self._endpoint.api_key_header, self._endpoint.api_key
        if form in {"x-api-key", "both"}:
            request.headers["x-api-key"] = key
        if form in {"bearer", "both"} or self._endpoint.api == "openai":
            request.headers["authorization"] = f"Bearer {key}"


class _TooLargeError(Exception):
    """The answer passed the size we are ready to hold."""


class _Call:
    """One call and its clock."""

    def __init__(self) -> None:
        self._started_at = datetime.now(UTC)
        self._started_s = time.monotonic()

    def failed(self, status: JudgementStatus, reason: str, *, billed: bool = True) -> Heard:
        """Nothing that could be read came back."""
        return self._heard(status=status, reason=reason, billed=billed, try_again=True)

    def refused(self, response: httpx2.Response, reply: Reply) -> Heard:
        """The provider answered with an error; no provider bills that."""
        status = response.status_code
        return self._heard(
            status="error",
            reason=f"the judge's provider answered {status}",
            said=(reply.error or "")[:MAX_QUOTED_CHARS],
            billed=False,
            try_again=status in _TRY_AGAIN or status >= _SERVER_ERROR,
            rest_s=rest_s(response.headers, now=datetime.now(UTC)) if status in _RESTING else None,
        )

    def heard(self, reply: Reply, *, tool: str | None, api: Api) -> Heard:
        """Take the JSON object out of an answer; anything else is no ruling, however it sounds."""
        known: dict[str, Any] = {"usage": reply.usage, "model_answered": reply.model}
        if reply.outcome is Outcome.REFUSAL:
            return self._heard(status="refused", reason="the judge refused to judge", **known)
        if reply.outcome not in {Outcome.OK, Outcome.TRUNCATED}:
            said = (reply.error or "")[:MAX_QUOTED_CHARS]
            reason = f"the judge gave no whole answer ({reply.outcome})"
            return self._heard(status="unreadable", reason=reason, said=said, try_again=True, **known)
        by_tool = tool if api == "anthropic" else None
        text = next((call.arguments for call in reply.tool_calls if call.name == by_tool), None)
        if by_tool is None:
            text = reply.text
        answer = _object(text)
        if answer is None:
            cut = "; its answer was cut off at max_tokens" if reply.outcome is Outcome.TRUNCATED else ""
            said = reply.text[:MAX_QUOTED_CHARS]
            return self._heard(status="unreadable", reason=f"{NO_RULING}{cut}", said=said, try_again=True, **known)
        return self._heard(status="ruled", answer=answer, **known)

    def _heard(self, **fields: Any) -> Heard:
        took_ms = (time.monotonic() - self._started_s) * 1000
        return Heard(started_at=self._started_at, latency_ms=took_ms, **fields)


def chat_url(base_url: str) -> str:
    """Give the address of chat completions: below `/v1`, which the base URL may or may not end with."""
    base = base_url.rstrip("/")
    return f"{base}/chat/completions" if base.endswith("/v1") else f"{base}/v1/chat/completions"


async def _whole(response: httpx2.Response) -> bytes:
    """Read an answer to its end, decoded; no more of it than a ruling can be long."""
    slices: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise _TooLargeError
        slices.append(part)
    return decode_slices(slices, response.headers.get("content-encoding"), cap=MAX_ANSWER_BYTES).body


def _object(text: str | None) -> Mapping[str, Any] | None:
    try:
        value = msgspec.json.decode(text or "")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
