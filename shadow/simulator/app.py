"""The simulator as an ASGI application: routes, credentials, and the player that carries a plan out on the wire."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from shadow.simulator import chat, messages, responses
from shadow.simulator.answer import answer, output_tokens
from shadow.simulator.events import Event, Exchange, compact
from shadow.simulator.faults import BIG_BODY_BYTES, Fault, UnknownFaultError, read_fault, spoil_events, spoil_json
from shadow.simulator.log import LogEntry, RequestLog
from shadow.simulator.question import Api, BadRequestError, Question, read_question
from shadow.simulator.script import Manner, Script, SimModel, Timing, draw
from shadow.simulator.steps import (
    Cut,
    Data,
    Finish,
    Head,
    Pause,
    Reset,
    Stall,
    Step,
    chosen_coding,
    chunked,
    coder,
    encoded,
    json_wait_ms,
    timed_events,
)
from shadow.simulator.usage import PromptCache, input_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

NEWEST_ANTHROPIC_VERSION = "2026-10-21"
TRANSPORT_EXTENSION = "shadow.simulator.transport"
"""Where the server puts the connection's transport, so that a fault can break it."""

_SAMPLING_PARAMETERS = ("temperature", "top_p", "top_k")
_MANNERS: tuple[Manner, ...] = get_args(Manner)
_REQUESTS_PER_MINUTE = 4000
_SUFFIXES: tuple[tuple[str, str], ...] = (
    ("/v1/messages/count_tokens", "count_tokens"),
    ("/v1/messages", "messages"),
    ("/chat/completions", "chat"),
    ("/responses", "responses"),
)


class _Refused(Exception):
    """The request is answered with an HTTP error; never seen outside."""

    def __init__(self, status: int, text: str, *, fault: Fault | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.fault = fault


@dataclass(slots=True, kw_only=True)
class State:
    """What one simulator remembers between requests."""

    script: Script
    log: RequestLog
    cache: PromptCache = field(default_factory=PromptCache)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(model, fingerprint) -> how often it was asked, so that a retry draws its faults anew."""
    struck: Counter[str] = field(default_factory=Counter)
    """Fault text -> how often it struck, for `times`."""
    continued: set[str] = field(default_factory=set)
    """Messages a thread has continued from; each can be continued once."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops: stalled answers are broken off."""


def build_app(script: Script | None = None) -> Starlette:
    """Make the application; its memory is `app.state.simulator` (a `State`)."""
    chosen = script or Script()
    state = State(script=chosen, log=RequestLog(limit=chosen.log_limit))
    app = Starlette(
        routes=[
            Route("/_sim/log", _log_page, methods=["GET", "DELETE"]),
            Route("/_sim/script", _script_page),
            Route("/{path:path}", _Api(state)),
        ]
    )
    app.state.simulator = state
    return app


async def _log_page(request: Request) -> JSONResponse:
    """Show the log from number `after` on, or empty it."""
    log: RequestLog = request.app.state.simulator.log
    if request.method == "DELETE":
        log.clear()
    after = int(request.query_params.get("after", -1))
    return JSONResponse({"requests": [entry.plain() for entry in log if entry.number > after]})


async def _script_page(request: Request) -> JSONResponse:
    """Show the models that are played, with their made-up prices in USD per 1M tokens."""
    models: tuple[SimModel, ...] = request.app.state.simulator.script.models
    return JSONResponse(
        {
            "models": [
                {
                    "name": each.name,
                    "price": {part.name: getattr(each.price, part.name) for part in fields(each.price)},
                    "quality": {part.name: getattr(each.quality, part.name) for part in fields(each.quality)},
                }
                for each in models
            ]
        }
    )


class _Api:
    """Everything below the API's paths, as one ASGI endpoint."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = self._state.log.open(
            arrived_at=time.monotonic(),
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        )
        player = _Player(scope, receive, send, entry, self._state.closing)
        if await player.read_body():
            await player.play(plan(self._state, entry))


def plan(state: State, entry: LogEntry) -> Iterator[Step]:
    """Decide what one request is answered with, step by step."""
    request_id = f"req_{entry.number:024d}"
    api = _api_of(entry)
    try:
        yield from _answer(state, entry, api, request_id)
    except BadRequestError as error:
        yield from _refuse(api, _Refused(400, str(error)), request_id)
    except UnknownFaultError as error:
        yield from _refuse(api, _Refused(400, str(error)), request_id)
    except _Refused as refused:
        yield from _refuse(api, refused, request_id)


def _answer(state: State, entry: LogEntry, api: str | None, request_id: str) -> Iterator[Step]:
    _check_key(state.script, entry)
    fault = _fault_of(state, entry.header("x-sim-fault"))
    if api is None:
        yield from _list_models(state.script, entry, request_id)
        return
    if entry.method != "POST":
        raise _Refused(405, f"{entry.method} is not allowed here, use POST")
    if entry.header("content-encoding") not in {None, "identity"}:
        raise _Refused(400, "request_body_encoding_unsupported: send the body without a content-encoding")
    question = read_question(_QUESTION_API[api], entry.body)
    entry.model = question.model
    _check_version(entry, question)
    name, _, suffix = question.model.partition("~")
    model = state.script.model(name)
    if model is None:
        raise _Refused(404, f"model: {question.model}")
    if api == "count_tokens":
        yield from _json(entry, api, {"input_tokens": input_tokens(question)}, request_id, state.script, None)
        return
    _check_thread(state, entry)
    forced, fault = _forced(state, entry, suffix, fault)
    fault = fault or _scripted_fault(state, model, question)
    if fault is not None:
        entry.fault = fault.name
        if fault.status is not None:
            raise _Refused(fault.status, _FAULT_TEXTS.get(fault.status, "simulated fault"), fault=fault)
        if fault.strikes_before_head:
            yield Stall() if fault.name == "hang" else Reset()
    yield from _completion(state, entry, question, model, request_id, forced=forced, fault=fault)


def _completion(
    state: State,
    entry: LogEntry,
    question: Question,
    model: SimModel,
    request_id: str,
    *,
    forced: Manner | None,
    fault: Fault | None,
) -> Iterator[Step]:
    said = answer(question, model, state.script, forced=forced)
    entry.manner = said.manner
    exchange = Exchange(
        question=question,
        said=said,
        usage=state.cache.usage(question, said, state.script, now=time.monotonic()),
        start_usage=fault is None or fault.name != "no_start_usage",
        final_usage=fault is None or fault.name != "no_final_usage",
        id=hashlib.blake2b(f"{question.model}/{question.fingerprint}".encode(), digest_size=12).hexdigest(),
        created=int(time.time()),
    )
    timing = _timing(model.timing, entry.header("x-sim-timing"))
    if timing.header_delay_ms > 0:
        yield Pause(seconds=timing.header_delay_ms / 1000)
    if question.stream:
        yield from _stream(state.script, entry, exchange, timing, request_id, fault)
        return
    tokens = output_tokens(said)
    if wait_ms := json_wait_ms(timing, tokens=tokens):
        yield Pause(seconds=wait_ms / 1000)
    yield from _json(entry, question.api, _WHOLE[question.api](exchange), request_id, state.script, fault)


def _stream(
    script: Script, entry: LogEntry, exchange: Exchange, timing: Timing, request_id: str, fault: Fault | None
) -> Iterator[Step]:
    api = exchange.question.api
    kept, ending = spoil_events(_EVENTS[api](exchange), fault, _error_event(api, request_id))
    seed = f"{script.seed}/{exchange.id}"
    ping = messages.ping() if api == "messages" else chat.ping()
    body = chunked([*timed_events(kept, timing, ping=ping.data, seed=seed), *ending], timing, seed=seed)
    coding = _coding(entry, streams=True, script=script)
    headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
    yield _head(200, api, request_id, [*headers, *([("content-encoding", coding)] if coding else [])])
    yield from encoded(body, coder(coding)) if coding else body


def _json(
    entry: LogEntry, api: str | None, payload: object, request_id: str, script: Script, fault: Fault | None
) -> Iterator[Step]:
    body = compact(payload).encode()  # type: ignore[arg-type]  # a list is fine too
    if fault is not None and fault.name == "invalid_json":
        body = body[: len(body) // 2]
    if fault is not None and fault.name == "big_body":
        body += b" " * BIG_BODY_BYTES
    coding = _coding(entry, streams=False, script=script)
    if coding:
        codec = coder(coding)
        body = codec(body) + codec.end()
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    yield _head(200, api, request_id, [*headers, *([("content-encoding", coding)] if coding else [])])
    yield from spoil_json(body, fault)


def _list_models(script: Script, entry: LogEntry, request_id: str) -> Iterator[Step]:
    anthropic = entry.header("anthropic-version") is not None
    info = messages.model_info if anthropic else chat.model_info
    before, found, rest = entry.path.rpartition("/models")
    if not found or entry.method not in {"GET", "HEAD"} or before.strip("/") not in {"", "v1", "openai/v1"}:
        raise _Refused(404, f"not found: {entry.method} {entry.path}")
    names = [each.name for each in script.models]
    if rest:
        name = rest.removeprefix("/")
        if script.model(name) is None:
            raise _Refused(404, f"model: {name}")
        payload: dict[str, Any] = info(name)
    elif anthropic:
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        payload = {"data": [info(name) for name in names], "has_more": False, **ends}
    else:
        payload = {"object": "list", "data": [info(name) for name in names]}
    yield from _json(entry, "messages" if anthropic else "chat", payload, request_id, script, None)


def _refuse(api: str | None, refused: _Refused, request_id: str) -> Iterator[Step]:
    fault = refused.fault
    if fault is not None and fault.html:
        page = f"<html><head><title>{refused.status}</title></head><body>{refused.text}</body></html>\n"
        kind, body = "text/html; charset=UTF-8", page.encode()
    elif api in {"chat", "responses"}:
        kind, body = "application/json", compact(chat.error(refused.status, refused.text)).encode()
    else:
        told = messages.error(refused.status, refused.text, request_id=request_id)
        kind, body = "application/json", compact(told).encode()
    headers = [("content-type", kind), ("content-length", str(len(body)))]
    yield _head(refused.status, api, request_id, [*headers, *(fault.headers if fault else [])])
    yield Data(data=body)
    yield Finish()


def _head(status: int, api: str | None, request_id: str, headers: list[tuple[str, str]]) -> Head:
    """Give a head with the request id and the rate limits as this API names them."""
    resets = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    limit, remaining = str(_REQUESTS_PER_MINUTE), str(_REQUESTS_PER_MINUTE - 1)
    if api in {"chat", "responses"}:
        told = [
            ("x-request-id", request_id),
            ("x-ratelimit-limit-requests", limit),
            ("x-ratelimit-remaining-requests", remaining),
            ("x-ratelimit-reset-requests", "60s"),
        ]
    else:
        told = [
            ("request-id", request_id),
            ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
            ("anthropic-ratelimit-requests-limit", limit),
            ("anthropic-ratelimit-requests-remaining", remaining),
            ("anthropic-ratelimit-requests-reset", resets),
        ]
    return Head(status=status, headers=(*headers, *told))


def _api_of(entry: LogEntry) -> str | None:
    for suffix, name in _SUFFIXES:
        if entry.path.endswith(suffix):
            return name
    return None


_QUESTION_API: dict[str, Api] = {
    "messages": "messages",
    "count_tokens": "messages",
    "chat": "chat",
    "responses": "responses",
}
_WHOLE = {"messages": messages.message, "chat": chat.completion, "responses": responses.response}
_EVENTS = {"messages": messages.events, "chat": chat.events, "responses": responses.events}
_FAULT_TEXTS = {
    400: "simulated: the request is not valid",
    401: "simulated: invalid x-api-key",
    429: "simulated: too many requests",
    500: "simulated: internal server error",
    529: "simulated: overloaded",
}


def _error_event(api: Api, request_id: str) -> Event:
    if api == "messages":
        return messages.error_event("simulated: overloaded", request_id=request_id)
    told = responses.error_event if api == "responses" else chat.error_event
    return told("simulated: overloaded")


def _check_key(script: Script, entry: LogEntry) -> None:
    if script.keys is not None and entry.key not in script.keys:
        raise _Refused(401, "invalid x-api-key")


def _check_version(entry: LogEntry, question: Question) -> None:
    """Refuse what each version of the Messages API refuses."""
    if question.api != "messages":
        return
    if entry.path.endswith("/v1/messages") and question.max_tokens is None:
        raise _Refused(400, "max_tokens: Field required")
    version = entry.header("anthropic-version")
    if version is None:
        raise _Refused(400, "anthropic-version: header is required")
    if version == NEWEST_ANTHROPIC_VERSION:
        given = [
            name for name in _SAMPLING_PARAMETERS if f'"{name}"'.encode() in entry.body and name in _top_level(entry)
        ]
        if given:
            raise _Refused(400, f"{given[0]}: sampling parameters are not accepted by anthropic-version {version}")


def _check_thread(state: State, entry: LogEntry) -> None:
    """Let a message of a thread be continued once only."""
    thread = _top_level(entry).get("thread")
    if not isinstance(thread, dict) or thread.get("type") != "continue":
        return
    previous = str(thread.get("previous_message_id"))
    if previous in state.continued:
        raise _Refused(400, f"thread_already_continued: {previous}")
    state.continued.add(previous)


def _top_level(entry: LogEntry) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415  (kept beside its one use)

    value = msgspec.json.decode(entry.body)
    return value if isinstance(value, dict) else {}


def _fault_of(state: State, text: str | None) -> Fault | None:
    """Read a fault and count its strikes; None once it has struck `times` times."""
    if not text:
        return None
    fault = read_fault(text)
    if fault.times is not None:
        if state.struck[text] >= fault.times:
            return None
        state.struck[text] += 1
    return fault


def _forced(state: State, entry: LogEntry, suffix: str, fault: Fault | None) -> tuple[Manner | None, Fault | None]:
    """Manner and fault that the request itself asks for, by header or by the model's suffix."""
    asked = entry.header("x-sim-manner") or suffix
    manner = next((each for each in _MANNERS if each == asked), None)
    if entry.header("x-sim-manner") and manner is None:
        raise _Refused(400, f"x-sim-manner must be one of {', '.join(_MANNERS)}, not {asked}")
    if suffix and suffix not in _MANNERS and fault is None:
        fault = _fault_of(state, suffix)
    return manner, fault


def _scripted_fault(state: State, model: SimModel, question: Question) -> Fault | None:
    """Draw the faults of the script; each call of the same prompt draws anew."""
    asked = (model.name, question.fingerprint)
    number = state.asked[asked]
    state.asked[asked] += 1
    for each in model.faults:
        if draw(state.script.seed, *asked, number, each.fault) < each.rate:
            return read_fault(each.fault)
    return None


def _timing(timing: Timing, text: str | None) -> Timing:
    """Apply `x-sim-timing: ttft_ms=50; chunk_bytes=7`."""
    if not text:
        return timing
    known = {each.name: type(each.default) for each in fields(Timing)}
    changes: dict[str, Any] = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        if name not in known:
            raise _Refused(400, f"x-sim-timing knows {', '.join(known)}, not {name!r}")
        changes[name] = known[name](value)
    return replace(timing, **changes)


def _coding(entry: LogEntry, *, streams: bool, script: Script) -> str | None:
    forced = entry.header("x-sim-encoding")
    if forced:
        return None if forced == "identity" else forced
    wanted = script.compress_streams if streams else script.compress
    return chosen_coding(entry.header("accept-encoding") or "") if wanted else None


class _Player:
    """Carries out one plan on one connection, and notices when the client leaves."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, entry: LogEntry, closing: asyncio.Event) -> None:
        self._transport = scope.get("extensions", {}).get(TRANSPORT_EXTENSION)
        self._receive = receive
        self._send = send
        self._entry = entry
        self._closing = closing

    async def read_body(self) -> bool:
        """Read the request body; False when the client left before its end."""
        parts = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._end("cancelled")
                return False
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self._entry.body = b"".join(parts)
                self._entry.body_at = time.monotonic()
                return True

    async def play(self, steps: Iterator[Step]) -> None:
        """Carry the steps out until one ends the exchange, the client leaves or the server stops."""
        gone = asyncio.ensure_future(self._until_gone())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            for step in steps:
                if await self._waited(step, gone, closing):
                    continue
                if gone.done():
                    self._end("cancelled")
                    return
                if closing.done() or isinstance(step, Cut | Reset):
                    self._end("broken")
                    await self._break_off(gone, reset=isinstance(step, Reset))
                    return
                await self._do(step)
        finally:
            gone.cancel()
            closing.cancel()
            await asyncio.gather(gone, closing, return_exceptions=True)

    async def _waited(self, step: Step, gone: asyncio.Future[None], closing: asyncio.Future[Any]) -> bool:
        """Sit a pause or a stall out; True when it went by undisturbed."""
        if not isinstance(step, Pause | Stall):
            return False
        timeout = step.seconds if isinstance(step, Pause) else None
        done, _ = await asyncio.wait({gone, closing}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return not done

    async def _do(self, step: Step) -> None:
        entry = self._entry
        if isinstance(step, Head):
            entry.status, entry.first_byte_at = step.status, time.monotonic()
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in step.headers]
            await self._send({"type": "http.response.start", "status": step.status, "headers": headers})
        elif isinstance(step, Data):
            entry.bytes_out += len(step.data)
            await self._send({"type": "http.response.body", "body": step.data, "more_body": True})
        elif isinstance(step, Finish):
            self._end("completed")
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _break_off(self, gone: asyncio.Future[None], *, reset: bool) -> None:
        """Close the connection without ending the answer. A server that hides its transport closes it on our return."""
        transport: asyncio.Transport | None = self._transport
        if transport is None:
            return
        if reset:
            # A lingering time of 0 makes the kernel send RST instead of FIN, whatever is still buffered.
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        await gone

    def _end(self, ending: Any) -> None:
        if self._entry.ending == "open":
            self._entry.ending = ending
            self._entry.ended_at = time.monotonic()
