"""What one request is answered with: credentials, faults and the model's answer become a list of steps."""

from __future__ import annotations

import hashlib
import time
from asyncio import Event as AsyncEvent
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.simulator import batches, chat, files, judges, messages, responses
from shadow.simulator.answer import answer, output_tokens
from shadow.simulator.events import Event, Exchange, compact
from shadow.simulator.faults import BIG_BODY_BYTES, Fault, UnknownFaultError, read_fault, spoil_events, spoil_json
from shadow.simulator.log import LogEntry, RequestLog
from shadow.simulator.question import Api, BadRequestError, Question, read_question
from shadow.simulator.refused import RefusedError
from shadow.simulator.script import MANNERS, Manner, Script, SimModel, Timing, draw
from shadow.simulator.steps import (
    CODINGS,
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
    from collections.abc import Iterator, Mapping, Sequence

NEWEST_ANTHROPIC_VERSION = "2026-10-21"

_SAMPLING_PARAMETERS = ("temperature", "top_p", "top_k")
_REQUESTS_PER_MINUTE = 4000
_ORGANIZATION = "00000000-0000-4000-8000-000000000000"
_SUFFIXES: tuple[tuple[str, Api], ...] = (
    ("/v1/messages/count_tokens", "messages"),
    ("/v1/messages", "messages"),
    ("/chat/completions", "chat"),
    ("/responses", "responses"),
)
_WHOLE = {"messages": messages.message, "chat": chat.completion, "responses": responses.response}
_EVENTS = {"messages": messages.events, "chat": chat.events, "responses": responses.events}
_FAULT_TEXTS = {
    400: "simulated: the request is not valid",
    401: "simulated: invalid x-api-key",
    429: "simulated: too many requests",
    500: "simulated: internal server error",
    529: "simulated: overloaded",
}


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
    batches: batches.Batches = field(default_factory=batches.Batches)
    continued: set[str] = field(default_factory=set)
    """Messages a thread has continued from; each can be continued once."""
    closing: AsyncEvent = field(default_factory=AsyncEvent)
    """Set when the server stops: stalled answers are broken off."""


def plan(state: State, entry: LogEntry) -> Iterator[Step]:
    """Decide what one request is answered with, step by step; what was decided is noted in its log entry."""
    call = _Call(state=state, entry=entry, api=api_of(entry.path), request_id=f"req_{entry.number:024d}")
    try:
        yield from call.steps()
    except (BadRequestError, UnknownFaultError) as error:
        yield from call.refusal(RefusedError(400, str(error)))
    except RefusedError as refused:
        yield from call.refusal(refused)


def api_of(path: str) -> Api | None:
    """Which API a path speaks, by its end; None: a model list, or nothing we know."""
    return next((api for suffix, api in _SUFFIXES if path.endswith(suffix)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One request while its answer is decided."""

    state: State
    entry: LogEntry
    api: Api | None
    request_id: str

    def steps(self) -> Iterator[Step]:
        """Give all steps of the answer. Raises what `plan` catches."""
        script, entry = self.state.script, self.entry
        if script.keys is not None and entry.key not in script.keys:
            raise RefusedError(401, "invalid x-api-key")
        fault = self._counted(entry.header("x-sim-fault"))
        if self.api is None:
            yield from self._other()
            return
        if entry.method != "POST":
            raise RefusedError(405, f"{entry.method} is not allowed here, use POST")
        if entry.header("content-encoding") not in {None, "identity"}:
            raise RefusedError(400, "request_body_encoding_unsupported: send the body without a content-encoding")
        question = read_question(self.api, entry.body)
        entry.model = question.model
        model, suffix = self._played(question)
        if entry.path.endswith("/count_tokens"):
            yield from self._json({"input_tokens": input_tokens(question)}, None)
            return
        self._check(question)
        fault = fault or self._fault_of_name(suffix) or self._scripted_fault(model, question)
        yield from self._strike(fault)
        yield from self._completion(question, model, fault, self._forced_manner(suffix))

    def refusal(self, refused: RefusedError) -> Iterator[Step]:
        """Give an HTTP error in the API's shape, or as a page of a proxy in front of it."""
        fault, text = refused.fault, str(refused)
        if fault is not None and fault.html:
            page = f"<html><head><title>{refused.status}</title></head><body>{text}</body></html>\n"
            kind, body = "text/html; charset=UTF-8", page
        elif self.api in {"chat", "responses"}:
            kind, body = "application/json", compact(chat.error(refused.status, text))
        else:
            told = messages.error(refused.status, text, request_id=self.request_id)
            kind, body = "application/json", compact(told)
        yield self._head(refused.status, kind, len(body.encode()), fault.headers if fault else ())
        yield Data(data=body.encode())
        yield Finish()

    def _check(self, question: Question) -> None:
        """Refuse what the versions of the Messages API refuse."""
        if self.api != "messages":
            return
        if question.max_tokens is None:
            raise RefusedError(400, "max_tokens: Field required")
        version = self.entry.header("anthropic-version")
        if version is None:
            raise RefusedError(400, "anthropic-version: header is required")
        request = msgspec.json.decode(self.entry.body, type=dict[str, Any])
        sampling = next((name for name in _SAMPLING_PARAMETERS if name in request), None)
        if version == NEWEST_ANTHROPIC_VERSION and sampling is not None:
            raise RefusedError(400, f"{sampling}: sampling parameters are not accepted by anthropic-version {version}")
        thread = request.get("thread")
        if isinstance(thread, dict) and thread.get("type") == "continue":
            self._continue_thread(str(thread.get("previous_message_id")))

    def _continue_thread(self, previous: str) -> None:
        """Let each message of a thread be continued once."""
        if previous in self.state.continued:
            raise RefusedError(400, f"thread_already_continued: {previous}")
        self.state.continued.add(previous)

    def _counted(self, text: str | None) -> Fault | None:
        """Read a fault and count its strikes; None once it has struck `times` times."""
        if not text:
            return None
        fault, struck = read_fault(text), self.state.struck
        if fault.times is not None:
            struck[text] += 1
            return fault if struck[text] <= fault.times else None
        return fault

    def _fault_of_name(self, suffix: str) -> Fault | None:
        return None if suffix in MANNERS else self._counted(suffix)

    def _scripted_fault(self, model: SimModel, question: Question) -> Fault | None:
        """Draw the faults of the script; each call of the same prompt draws anew."""
        asked = (model.name, question.fingerprint)
        number = self.state.asked[asked]
        self.state.asked[asked] += 1
        seed = self.state.script.seed
        struck = (each.fault for each in model.faults if draw(seed, *asked, number, each.fault) < each.rate)
        return next(map(read_fault, struck), None)

    def _forced_manner(self, suffix: str) -> Manner | None:
        """Read the way of answering that the request itself asks for, by header or by the end of the model's name."""
        header = self.entry.header("x-sim-manner")
        manner = next((each for each in MANNERS if each == (header or suffix)), None)
        if header and manner is None:
            raise RefusedError(400, f"x-sim-manner must be one of {', '.join(MANNERS)}, not {header!r}")
        return manner

    def _played(self, question: Question) -> tuple[SimModel, str]:
        """Find the model that is asked, and what follows `~` in its name."""
        name, _, suffix = question.model.partition("~")
        model = self.state.script.model(name)
        if model is None:
            raise RefusedError(404, f"model: {question.model}")
        return model, suffix

    def _strike(self, fault: Fault | None) -> Iterator[Step]:
        """Let a fault strike that leaves nothing of the answer."""
        if fault is None:
            return
        self.entry.fault = fault.name
        if fault.status is not None:
            text = _FAULT_TEXTS.get(fault.status, f"simulated: status {fault.status}")
            raise RefusedError(fault.status, text, fault=fault)
        if fault.strikes_before_head:
            yield Stall() if fault.name == "hang" else Reset()

    def _completion(
        self, question: Question, model: SimModel, fault: Fault | None, forced: Manner | None
    ) -> Iterator[Step]:
        timing = _timing(model.timing, self.entry.header("x-sim-timing"))
        exchange = self._exchange(question, model, fault, forced)
        self.entry.manner = exchange.said.manner
        yield Pause(seconds=timing.header_delay_ms / 1000)
        if question.stream:
            yield from self._stream(exchange, timing, fault)
            return
        yield Pause(seconds=json_wait_ms(timing, tokens=output_tokens(exchange.said)) / 1000)
        yield from self._json(_WHOLE[question.api](exchange), fault)

    def _exchange(self, question: Question, model: SimModel, fault: Fault | None, forced: Manner | None) -> Exchange:
        """Let the model answer."""
        script = self.state.script
        judging = model.judge is not None and judges.is_judging(question)
        said = judges.judged(question, model, script) if judging else answer(question, model, script, forced=forced)
        return Exchange(
            question=question,
            said=said,
            usage=self.state.cache.usage(question, said, script, now=time.monotonic()),
            start_usage=fault is None or fault.name != "no_start_usage",
            final_usage=fault is None or fault.name != "no_final_usage",
            id=hashlib.blake2b(f"{question.model}/{question.fingerprint}".encode(), digest_size=12).hexdigest(),
            created=int(time.time()),
        )

    def _stream(self, exchange: Exchange, timing: Timing, fault: Fault | None) -> Iterator[Step]:
        api = exchange.question.api
        kept, ending = spoil_events(_EVENTS[api](exchange), fault, self._error_event(api))
        seed = f"{self.state.script.seed}/{exchange.id}"
        ping = messages.ping() if api == "messages" else chat.ping()
        body = chunked([*timed_events(kept, timing, ping=ping.data, seed=seed), *ending], timing, seed=seed)
        coding = self._coding(wanted=self.state.script.compress_streams)
        headers = [("cache-control", "no-cache"), *_coding_header(coding)]
        yield self._head(200, "text/event-stream; charset=utf-8", None, headers)
        yield from encoded(body, coder(coding)) if coding else body

    def _json(self, payload: dict[str, Any], fault: Fault | None) -> Iterator[Step]:
        body = compact(payload).encode()
        if fault is not None and fault.name == "invalid_json":
            body = body[: len(body) // 2]
        if fault is not None and fault.name == "big_body":
            body += b" " * BIG_BODY_BYTES
        yield from self._bytes(body, "application/json", fault)

    def _bytes(self, body: bytes, kind: str, fault: Fault | None = None) -> Iterator[Step]:
        coding = self._coding(wanted=self.state.script.compress)
        if coding:
            codec = coder(coding)
            body = codec(body) + codec.end()
        yield self._head(200, kind, len(body), _coding_header(coding))
        yield from spoil_json(body, fault)

    def _other(self) -> Iterator[Step]:
        """Answer what asks no model: batches, files, models."""
        path = self.entry.path
        if batches.PATH in path:
            yield from self._batches(path.partition(batches.PATH)[2].strip("/"))
        elif files.PATH in path:
            name = path.partition(files.PATH)[2].strip("/")
            self._only("GET", "HEAD")
            yield from self._json(files.get(name) if name else files.page(), None)
        else:
            yield from self._model_list()

    def _only(self, *methods: str) -> None:
        if self.entry.method not in methods:
            raise RefusedError(405, f"{self.entry.method} is not allowed here, use {methods[0]}")

    def _batches(self, rest: str) -> Iterator[Step]:
        """Answer below /v1/messages/batches; the address of results is the one this request was sent to."""
        known, origin = self.state.batches, f"http://{self.entry.header('host')}"
        batch_id, _, action = rest.partition("/")
        if not rest and self.entry.method == "POST":
            yield from self._json(known.create(self.entry.body, origin=origin, ask=self._batch_result), None)
        elif action == "cancel":
            self._only("POST")
            yield from self._json(known.cancel(batch_id, origin=origin), None)
        elif action == "results":
            self._only("GET")
            yield from self._bytes(known.results(batch_id), "application/x-jsonl")
        elif action:
            raise RefusedError(404, f"not found: {self.entry.method} {self.entry.path}")
        else:
            self._only("GET", "HEAD")
            told = known.get(batch_id, origin=origin) if batch_id else known.page(origin=origin)
            yield from self._json(told, None)

    def _batch_result(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request of a batch."""
        try:
            question = read_question("messages", msgspec.json.encode(parameters))
            model, suffix = self._played(question)
            manner = next((each for each in MANNERS if each == suffix), None)
            exchange = self._exchange(question, model, None, manner)
        except (BadRequestError, RefusedError) as error:
            status = error.status if isinstance(error, RefusedError) else 400
            return {"type": "errored", "error": messages.error(status, str(error), request_id=self.request_id)}
        return {"type": "succeeded", "message": messages.message(exchange)}

    def _model_list(self) -> Iterator[Step]:
        """Answer the list of models, or one of them, in the shape the client's headers ask for."""
        script, entry = self.state.script, self.entry
        before, found, rest = entry.path.partition("/models")
        if not found or entry.method not in {"GET", "HEAD"} or before not in {"", "/v1", "/openai/v1"}:
            raise RefusedError(404, f"not found: {entry.method} {entry.path}")
        anthropic = entry.header("anthropic-version") is not None
        info = messages.model_info if anthropic else chat.model_info
        name, names = rest.removeprefix("/"), script.names
        if name and script.model(name) is None:
            raise RefusedError(404, f"model: {name}")
        if name:
            payload = info(name)
        elif anthropic:
            ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
            payload = {"data": [info(each) for each in names], "has_more": False, **ends}
        else:
            payload = {"object": "list", "data": [info(each) for each in names]}
        yield from self._json(payload, None)

    def _head(self, status: int, kind: str, length: int | None, more: Sequence[tuple[str, str]]) -> Head:
        """Give a head with the request id and the rate limits as this API names them."""
        limit, remaining = str(_REQUESTS_PER_MINUTE), str(_REQUESTS_PER_MINUTE - 1)
        resets = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
        openai = [
            ("x-request-id", self.request_id),
            ("x-ratelimit-limit-requests", limit),
            ("x-ratelimit-remaining-requests", remaining),
            ("x-ratelimit-reset-requests", "60s"),
        ]
        anthropic = [
            ("request-id", self.request_id),
            ("anthropic-organization-id", _ORGANIZATION),
            ("anthropic-ratelimit-requests-limit", limit),
            ("anthropic-ratelimit-requests-remaining", remaining),
            ("anthropic-ratelimit-requests-reset", resets),
        ]
        lengths = [] if length is None else [("content-length", str(length))]
        told = openai if self.api in {"chat", "responses"} else anthropic
        return Head(status=status, headers=(("content-type", kind), *lengths, *more, *told))

    def _error_event(self, api: Api) -> Event:
        if api == "messages":
            return messages.error_event(_FAULT_TEXTS[529], request_id=self.request_id)
        if api == "responses":
            return responses.error_event(_FAULT_TEXTS[529])
        return chat.error_event(_FAULT_TEXTS[529])

    def _coding(self, *, wanted: bool) -> str | None:
        """Choose a content coding; `x-sim-encoding` decides when it is there."""
        forced = self.entry.header("x-sim-encoding")
        if forced and forced not in {*CODINGS, "identity"}:
            raise RefusedError(400, f"x-sim-encoding must be identity or one of {', '.join(CODINGS)}, not {forced!r}")
        if forced:
            return None if forced == "identity" else forced
        return chosen_coding(self.entry.header("accept-encoding") or "") if wanted else None


def _coding_header(coding: str | None) -> list[tuple[str, str]]:
    return [("content-encoding", coding), ("vary", "accept-encoding")] if coding else []


def _timing(timing: Timing, text: str | None) -> Timing:
    """Apply `x-sim-timing: ttft_ms=50; chunk_bytes=7`."""
    kinds = {"chunk_bytes": int, "events_per_chunk": int}
    known = [each.name for each in fields(Timing)]
    changes: dict[str, Any] = {}
    for part in (text or "").split(";") if text else []:
        name, _, value = part.strip().partition("=")
        try:
            changes[known[known.index(name)]] = kinds.get(name, float)(value)
        except ValueError as error:
            raise RefusedError(400, f"x-sim-timing takes {', '.join(known)} with numbers, not {part!r}") from error
    return replace(timing, **changes)
