"""What an ended exchange was: its bounded copy read into a record, its shadow jobs and the body they share. No I/O."""

from __future__ import annotations

import base64
import bisect
import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from shadow.decoding import UndecodableError, decode_slices
from shadow.dialects import UnreadableError, is_event_stream, read_reply, read_request
from shadow.golden import prompt_key
from shadow.records import (
    ENDED_WELL,
    MAX_NAME_CHARS,
    NOISE_FLOOR,
    Dialect,
    ExchangeRecord,
    JobBody,
    Outcome,
    Reply,
    RequestFacts,
    ShadowJob,
)
from shadow.redaction import Redactor, Scrubber, clean_query
from shadow.retry_after import rest_s
from shadow.sampling import (
    conversation_hash,
    declared_conversation,
    is_sampled,
    task_of,
    undeclared_conversation,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.recording import Ending, Recording
    from gateway.settings import RecordingSettings
    from shadow.records import Candidate, JobState

_RESTING_STATUSES = frozenset({429, 529})
_FIRST_ERROR_STATUS = 400
_DESCRIBING = frozenset({b"content-type", b"content-encoding"})
_CREDENTIAL_HEADERS = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "proxy-authorization",
    "x-auth-token",
    "x-amz-security-token",
    "ocp-apim-subscription-key",
    "cf-aig-authorization",
)
_MIN_COOKIE_CHARS = 16
"""A shorter value is a choice of language more often than a session, and would be found in prompts by chance."""
_COPIED_HEADERS = ("accept", "anthropic-beta", "anthropic-version", "content-type", "openai-beta")
"""All that a candidate needs of the app's headers; never a credential, an account or a session."""
_STEERING_HEADERS = (
    "content-encoding",
    "cookie",
    "x-claude-code-session-id",
    "x-shadow",
    "x-shadow-conversation",
    "x-shadow-version",
    "x-stainless-retry-count",
)
_WANTED_HEADERS = frozenset(name.encode() for name in (*_CREDENTIAL_HEADERS, *_COPIED_HEADERS, *_STEERING_HEADERS))
"""What is looked at of a request's header fields, besides those that tasks match."""

_CUT_SHORT: Mapping[Ending, tuple[Outcome, str]] = {
    "client_gone": (Outcome.ABORTED, "the client hung up before the end"),
    "client_stalled": (Outcome.ABORTED, "the client stopped reading"),
    "drained": (Outcome.ABORTED, "aborted at the end of the drain"),
    "connect_failed": (Outcome.ERROR_CONNECT, "no connection to the upstream"),
    "first_byte_timeout": (Outcome.TIMEOUT, "no answer began in time"),
    "idle_timeout": (Outcome.TIMEOUT, "the upstream fell silent in its answer"),
    "upstream_broken": (Outcome.ERROR_STREAM, "the upstream's answer broke off"),
    "rejected": (Outcome.ERROR_HTTP, "answered by the gateway itself"),
}


_NOTHING_ASKED = RequestFacts(model=None)
"""Stands for a request that could not be read."""
_MAX_ERROR_CHARS = 300
_NOT_KEPT = "what the provider said is not kept (content: none)"


class ReadExchange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One ended exchange, ready for the store."""

    record: ExchangeRecord
    jobs: tuple[ShadowJob, ...] = ()
    body: JobBody | None = None
    """Present when a job is pending."""
    rest: tuple[str, datetime] | None = None
    """Origin and the time until which it asked to be left alone."""


class _Asked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The request's copy, read; `lost` says why it could not be (`tee_full`, `too_large`, `unreadable`)."""

    dialect: Dialect
    body: bytes = b""
    facts: RequestFacts | None = None
    """Without `skip`."""
    lost: str | None = None


class _Answered(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer's copy, read, with its two clocks; `lost` as for `_Asked`."""

    reply: Reply
    body: bytes = b""
    ttft_ms: float | None = None
    first_text_ms: float | None = None
    lost: str | None = None


class _Keys:
    """The live keys of one client, our own among them, and the names they were looked for in."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self.scrubber = Scrubber(secrets)
        self._scrub = lru_cache(maxsize=256)(self.scrubber.scrub)

    def scrub(self, text: str) -> str:
        """Scrub what is the same in many exchanges, such as a path."""
        return self._scrub(text) if len(text) <= MAX_NAME_CHARS else self.scrubber.scrub(text)

    def name(self, text: str | None) -> str | None:
        """Scrub a name that clients or upstreams choose; it is kept in many rows, so it may not be of any length."""
        return None if text is None else self.scrub(text)[:MAX_NAME_CHARS]


class _Sender(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of a request says about who sends it: an app sends the same over and over."""

    headers: dict[str, str]
    keys: _Keys
    conversation: str | None
    """Raw key, where a header field names it."""
    wishes: frozenset[str]
    """Of `x-shadow`."""
    is_retry: bool
    version: str | None


class ExchangeReader:
    """Reads exchanges by one set of settings. Holds no exchange; safe to use in a thread."""

    def __init__(self, settings: RecordingSettings) -> None:
        self.settings = settings
        matched = {name.lower().encode("latin-1", "replace") for task in settings.tasks for name in task.match.header}
        self._wanted = _WANTED_HEADERS | matched
        self._redactor: Redactor | None = None  # made at the first error: its library is not needed before
        # Few clients with few keys: what their heads say is read once, not per exchange.
        self._keys = lru_cache(maxsize=256)(lambda credentials: _Keys((*settings.secrets, *credentials)))
        self._sender = lru_cache(maxsize=256)(self._read_sender)

    def read(self, recording: Recording) -> ReadExchange:
        """Read one ended exchange; the recording stays as it is."""
        wanted = self._wanted
        fields = tuple([field for field in recording.request_headers if field[0].lower() in wanted])
        sender = self._sender(fields, recording.query)
        rest, dialect = rest_of(recording), recording.dialect
        if dialect is None:
            return ReadExchange(record=bare_record(recording, scrubber=sender.keys.scrubber), rest=rest)
        asked = _read_request(recording, dialect, sender.headers)
        answered = _read_answer(recording, dialect)
        record = self._record(recording, sender, asked, answered)
        jobs = self._jobs(recording, sender, asked, answered, record)
        if not jobs:
            return ReadExchange(record=record, rest=rest)
        record = msgspec.structs.replace(record, prompt=_prompt_hash(asked.body, seed=self.settings.seed))
        body: JobBody | None = None
        if any(job.state == "pending" for job in jobs):
            if _shows_key(sender.keys.scrubber, asked, answered, status=recording.status or 0):
                jobs = tuple(_skipped(job, "holds_key") for job in jobs)
            else:
                body = _body(recording, dialect, sender.headers, asked, answered)
        return ReadExchange(record=record, jobs=jobs, body=body, rest=rest)

    def _read_sender(self, fields: tuple[tuple[bytes, bytes], ...], query: str) -> _Sender:
        headers = plain_headers(fields)
        keys = self._keys(credentials_of(headers, query))
        # Sent twice, by an app and by what stands before it, one `off` is enough.
        wishes = frozenset(wish.strip().lower() for wish in headers.get("x-shadow", "").split(","))
        return _Sender(
            headers=headers,
            keys=keys,
            conversation=declared_conversation(headers, mode=self.settings.conversation_key),
            wishes=wishes,
            is_retry=is_client_retry(headers),
            version=keys.name(headers.get("x-shadow-version")),
        )

    def _record(
        self,
        recording: Recording,
        sender: _Sender,
        asked: _Asked,
        answered: _Answered,
    ) -> ExchangeRecord:
        settings, reply, keys = self.settings, answered.reply, sender.keys
        facts = asked.facts or _NOTHING_ASKED
        model = recording.upstream_model or facts.model
        outcome, error = ending_of(recording, reply)
        raw_key = sender.conversation or undeclared_conversation(
            facts, mode=settings.conversation_key, exchange_id=recording.id
        )
        task = task_of(
            settings.tasks, headers=sender.headers, path=recording.path, model=facts.model, system=facts.system
        )
        return ExchangeRecord(
            id=recording.id,
            started_at=recording.started_at,
            method=recording.method,
            path=keys.scrub(recording.path),
            status=recording.status,
            outcome=outcome,
            latency_ms=latency_ms(recording),
            dialect=recording.dialect,
            task=task,
            conversation=conversation_hash(raw_key, seed=settings.seed),
            model=keys.name(model),
            model_answered=keys.name(reply.model),
            streamed=reply.streamed,
            stop_reason=keys.name(reply.stop_reason),
            ttft_ms=answered.ttft_ms,
            first_text_ms=answered.first_text_ms,
            usage=reply.usage,
            request_bytes=recording.request_bytes,
            response_bytes=recording.response_bytes,
            first_turn=facts.first_turn,
            has_tools=facts.has_tools,
            client_retry=sender.is_retry,
            version=sender.version,
            eligible=_is_eligible(outcome, model),
            overhead_us=recording.overhead_us,
            error=error if error is None or error != reply.error else self._words(error, keys.scrubber),
            gateway_error=recording.gateway_error,
        )

    def _words(self, error: str, scrubber: Scrubber) -> str:
        """Cut what a provider said about an error to what the settings allow: it quotes the request it refuses."""
        if self.settings.content == "none":
            return _NOT_KEPT
        kept = scrubber.scrub(error)  # first: a rule that takes a part of a key would leave the rest
        if self.settings.content == "redacted":
            if self._redactor is None:
                self._redactor = Redactor(self.settings.redact)
            kept, _ = self._redactor.redact_text(kept)
        return kept if len(kept) <= _MAX_ERROR_CHARS else f"{kept[:_MAX_ERROR_CHARS]}…"

    def _jobs(
        self,
        recording: Recording,
        sender: _Sender,
        asked: _Asked,
        answered: _Answered,
        record: ExchangeRecord,
    ) -> tuple[ShadowJob, ...]:
        """One job per candidate that this conversation is sampled for: pending, or ended right away with a reason."""
        settings = self.settings
        conversation = record.conversation
        if not settings.shadow_enabled or not record.eligible or conversation is None or "off" in sender.wishes:
            return ()
        opted_in = "on" in sender.wishes and settings.allow_opt_in
        sampled = [
            candidate
            for candidate in settings.candidates
            if opted_in or is_sampled(conversation, _rate(candidate, settings.sample_rate))
        ]
        if not sampled:
            return ()
        jobs: list[ShadowJob] = []
        created_at = ended_at(recording)
        ending = _fate_of_all(asked, answered, record)
        for candidate in sampled:
            state, reason = ending or _fate(candidate, record)
            job = ShadowJob(
                exchange_id=record.id,
                candidate=candidate.model,
                conversation=conversation,
                task=record.task,
                primary=record.model or "unknown",
                created_at=created_at,
                state=state,
                reason=reason,
                counted=not opted_in,
            )
            jobs.append(job)
        pending = next((job for job in jobs if job.state == "pending"), None)
        if settings.noise_floor and not opted_in and pending is not None:
            jobs.append(_asked_again(pending))
        return tuple(jobs)


def _is_eligible(outcome: Outcome, model: str | None) -> bool:
    """Say whether coverage counts an exchange. One that nobody answered, and nobody knows who was asked, is none."""
    return outcome in ENDED_WELL or (outcome is not Outcome.ABORTED and model is not None)


def _asked_again(job: ShadowJob) -> ShadowJob:
    """Make the job that asks the primary once more; whether it is this conversation's turn is the worker's to say.

    It has no candidate: coverage and comparisons never see it.
    """
    return msgspec.structs.replace(job, candidate=NOISE_FLOOR, counted=False)


def _prompt_hash(body: bytes, *, seed: str) -> str | None:
    """Hash what a request asks, without model and parameters; None where it cannot be read."""
    try:
        key = prompt_key(msgspec.json.decode(body, type=dict))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return None if key is None else conversation_hash(f"asked:{key}", seed=seed)


def bare_record(recording: Recording, *, scrubber: Scrubber | None = None) -> ExchangeRecord:
    """Record an exchange by status and time alone: a path we do not understand, or a copy that could not be read.

    Without a scrubber the path is left out, because it may hold a key.
    """
    outcome, error = ending_of(recording, None)
    return ExchangeRecord(
        id=recording.id,
        started_at=recording.started_at,
        method=recording.method,
        path="" if scrubber is None else scrubber.scrub(recording.path),
        status=recording.status,
        outcome=outcome,
        latency_ms=latency_ms(recording),
        dialect=recording.dialect,
        request_bytes=recording.request_bytes,
        response_bytes=recording.response_bytes,
        eligible=recording.dialect is not None and _is_eligible(outcome, None),
        overhead_us=recording.overhead_us,
        error=error,
        gateway_error=recording.gateway_error,
    )


def ending_of(recording: Recording, reply: Reply | None) -> tuple[Outcome, str | None]:
    """Say how the exchange ended, and a sentence when it ended badly. An answer that came whole speaks for itself."""
    ending = recording.ending or "client_gone"
    if ending == "complete":
        if reply is not None:
            return reply.outcome, reply.error
        failed = recording.status is None or recording.status >= _FIRST_ERROR_STATUS
        return (Outcome.ERROR_HTTP if failed else Outcome.OK), None
    outcome, sentence = _CUT_SHORT[ending]
    if ending == "upstream_broken" and recording.t_first_byte is None:
        return Outcome.ERROR_CONNECT, "the connection broke before an answer began"
    return outcome, sentence


def latency_ms(recording: Recording) -> float:
    """Milliseconds from the first byte sent upstream (from the request's arrival when nothing was sent) to the end."""
    begin = recording.t_start if recording.t_sent is None else recording.t_sent
    end = begin if recording.t_end is None else recording.t_end
    return max(0.0, (end - begin) * 1000)


def ended_at(recording: Recording) -> datetime:
    """Wall time of the end, aware UTC: the start plus what the monotonic clock counted."""
    end = recording.t_start if recording.t_end is None else recording.t_end
    return recording.started_at + timedelta(seconds=end - recording.t_start)


def rest_of(recording: Recording) -> tuple[str, datetime] | None:
    """Which origin asked to be left alone, and until when; None unless its answer was a 429 or 529."""
    if recording.status not in _RESTING_STATUSES or recording.gateway_error is not None:
        return None
    now = ended_at(recording)
    return recording.origin, now + timedelta(seconds=rest_s(plain_headers(recording.response_headers), now=now))


def plain_headers(fields: Sequence[tuple[bytes, bytes]], *, only: Collection[bytes] | None = None) -> dict[str, str]:
    """Name in lower case -> trimmed value; of a repeated field the values are joined by a comma (RFC 9110 5.3).

    `only` names (in lower case) the fields that matter; None: all of them.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        lowered = raw_name.lower()
        if only is None or lowered in only:
            name, value = lowered.decode("latin-1"), raw_value.rstrip(b" \t").decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def credentials_of(headers: Mapping[str, str], query: str) -> tuple[str, ...]:
    """List what the client proved itself with: keys in headers (without their scheme) and in the query."""
    # Of a field that was sent twice every value counts: who knows which one an upstream quotes.
    given = [headers[name] for name in _CREDENTIAL_HEADERS if name in headers]
    found = [words[-1] for value in given for part in value.split(",") if (words := part.split())]
    found += [password for value in given if (password := _basic_password(value))]
    if "cookie" in headers:
        values = [part.partition("=")[2].strip(' "') for part in re.split("[;,]", headers["cookie"])]
        found += [value for value in values if len(value) >= _MIN_COOKIE_CHARS]
    if query:
        kept = set(parse_qsl(clean_query(query)))
        found += [value for name, value in parse_qsl(query) if (name, value) not in kept]
    return tuple(found)


def _basic_password(value: str) -> str | None:
    """Return the password of `Basic <base64 of user:password>` (RFC 7617): an upstream may quote it by itself."""
    scheme, _, encoded = value.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded).decode().partition(":")[2]
    except ValueError:
        return None


def is_client_retry(headers: Mapping[str, str]) -> bool:
    """Say whether the client's SDK sends this request again after a failure (`x-stainless-retry-count`)."""
    count = headers.get("x-stainless-retry-count", "")
    return count.isdecimal() and count.strip("0") != ""


def _skipped(job: ShadowJob, reason: str) -> ShadowJob:
    """End a job that was to be pending."""
    return msgspec.structs.replace(job, state="skipped", reason=reason) if job.state == "pending" else job


def _shows_key(scrubber: Scrubber, asked: _Asked, answered: _Answered, *, status: int) -> bool:
    """Say whether a live key is in what would be copied: it must neither be kept nor sent to anyone else.

    The answer is also looked through once it is put together: streams cut a key anywhere, whole answers into blocks.
    """
    if scrubber.finds(asked.body) or scrubber.finds(answered.body):
        return True
    reply = answered.reply
    if reply.streamed:
        reply = read_reply(asked.dialect, answered.body, status=status, streamed=True)
    said = "\n".join([reply.text, *(part for call in reply.tool_calls for part in (call.name, call.arguments))])
    return scrubber.finds(said.encode("utf-8", "replace"))


def _rate(candidate: Candidate, default: float) -> float:
    return default if candidate.sample_rate is None else candidate.sample_rate


def _read_request(recording: Recording, dialect: Dialect, headers: Mapping[str, str]) -> _Asked:
    if recording.request is None:
        return _Asked(dialect=dialect, lost=recording.copy_lost or "unreadable")
    try:
        decoded = decode_slices(recording.request, headers.get("content-encoding"), cap=recording.max_body_bytes)
        return _Asked(dialect=dialect, body=decoded.body, facts=read_request(dialect, decoded.body, skip=False))
    except UndecodableError as error:
        return _Asked(dialect=dialect, lost=_lost(error))
    except UnreadableError:
        return _Asked(dialect=dialect, lost="unreadable")


def _read_answer(recording: Recording, dialect: Dialect) -> _Answered:
    content_type, encoding = _described(recording.response_headers)
    streamed = is_event_stream(content_type)
    if recording.response is None:
        return _unread(recording, streamed=streamed, lost=recording.copy_lost or "unreadable")
    try:
        decoded = decode_slices(recording.response, encoding, cap=recording.max_body_bytes)
    except UndecodableError as error:
        if error.reason == "broken":
            return _undecodable(recording, error, streamed=streamed)
        # A bound of ours, or a coding that only the app knows, says nothing about the answer.
        return _unread(recording, streamed=streamed, lost=_lost(error))
    # Of a whole answer the text is there anyway; a stream's is put together when it is needed.
    reply = read_reply(dialect, decoded.body, status=recording.status or 0, streamed=streamed, assemble=not streamed)
    return _Answered(
        reply=reply,
        body=decoded.body,
        ttft_ms=_ms_at(recording, decoded.ends, reply.first_output_offset),
        first_text_ms=_ms_at(recording, decoded.ends, reply.first_text_offset),
    )


def _described(fields: Sequence[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
    """Content type and content coding of an answer: all that is needed of its header fields."""
    return _description(tuple([field for field in fields if field[0].lower() in _DESCRIBING]))


@lru_cache(maxsize=256)
def _description(fields: tuple[tuple[bytes, bytes], ...]) -> tuple[str | None, str | None]:
    headers = plain_headers(fields)
    return headers.get("content-type"), headers.get("content-encoding")


def _unread(recording: Recording, *, streamed: bool, lost: str) -> _Answered:
    outcome, error = ending_of(recording, None)
    return _Answered(reply=Reply(outcome=outcome, error=error, streamed=streamed), lost=lost)


def _undecodable(recording: Recording, error: UndecodableError, *, streamed: bool) -> _Answered:
    """Blame an answer that is not in the coding it names; a status may say more."""
    succeeded = 200 <= (recording.status or 0) < 300  # noqa: PLR2004  (the class of success, RFC 9110 15.3)
    outcome = Outcome.ERROR_STREAM if succeeded else Outcome.ERROR_HTTP
    reply = Reply(outcome=outcome, error=f"the answer cannot be decoded: {error}", streamed=streamed)
    return _Answered(reply=reply, lost=_lost(error))


def _lost(error: UndecodableError) -> str:
    return "too_large" if error.reason == "over_cap" else "unreadable"


def _ms_at(recording: Recording, ends: list[int], offset: int | None) -> float | None:
    """Milliseconds from the first byte sent upstream to the slice that completed the first `offset` decoded bytes."""
    if offset is None or recording.t_sent is None:
        return None
    slice_number = min(bisect.bisect_left(ends, offset), len(ends) - 1)
    return max(0.0, (recording.response_times[slice_number] - recording.t_sent) * 1000)


def _fate_of_all(asked: _Asked, answered: _Answered, record: ExchangeRecord) -> tuple[JobState, str] | None:
    """Say in which state the jobs of a sampled exchange end at once, and why; None: no candidate is out yet."""
    if record.outcome not in ENDED_WELL:
        return "skipped", "primary_error"
    lost = asked.lost or answered.lost
    if lost is not None:
        return ("dropped" if lost == "tee_full" else "skipped"), lost
    if record.client_retry:
        return "skipped", "client_retry"
    reason = read_request(asked.dialect, asked.body).skip
    return None if reason is None else ("skipped", reason)


def _fate(candidate: Candidate, record: ExchangeRecord) -> tuple[JobState, str | None]:
    """Say in which state the job of one candidate begins, and why when it is not `pending`."""
    if candidate.model == record.model:
        return "skipped", "same_model"
    if candidate.dialects is not None and record.dialect not in candidate.dialects:
        return "skipped", "dialect"
    return "pending", None


def _body(
    recording: Recording, dialect: Dialect, headers: Mapping[str, str], asked: _Asked, answered: _Answered
) -> JobBody:
    return JobBody(
        exchange_id=recording.id,
        dialect=dialect,
        path=recording.path,
        query=clean_query(recording.query),
        request_headers={name: headers[name] for name in _COPIED_HEADERS if name in headers},
        request=asked.body,
        response=answered.body,
        response_status=recording.status or 0,
        response_streamed=answered.reply.streamed,
        origin=recording.origin,
    )
