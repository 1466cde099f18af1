"""The table of wire formats: which requests we understand, and what their bytes mean. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.dialects import anthropic_messages, openai_chat, openai_responses
from shadow.dialects.answer import Answer
from shadow.dialects.spending import Spending, limit_name, spending, with_output_limit
from shadow.dialects.sse import split_events
from shadow.dialects.tokens import estimate_input_tokens
from shadow.dialects.untrusted import UnreadableError, decode_object, error_sentence, with_whole_characters
from shadow.records import Dialect, Outcome, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadow.dialects.wire import Wire
    from shadow.records import RequestFacts

__all__ = [
    "Spending",
    "UnreadableError",
    "dialect_of",
    "estimate_input_tokens",
    "is_event_stream",
    "limit_name",
    "max_output_tokens",
    "read_reply",
    "read_request",
    "request_for",
    "spending",
    "with_output_limit",
]

_PATH_ENDS = {
    "/v1/messages": Dialect.ANTHROPIC_MESSAGES,
    "/chat/completions": Dialect.OPENAI_CHAT,
    "/responses": Dialect.OPENAI_RESPONSES,
}
_WIRES: dict[Dialect, Wire] = {
    Dialect.ANTHROPIC_MESSAGES: anthropic_messages,
    Dialect.OPENAI_CHAT: openai_chat,
    Dialect.OPENAI_RESPONSES: openai_responses,
}


def dialect_of(method: str, path: str) -> Dialect | None:
    """Return the wire format of a request by the end of its path (a query is ignored); None: not understood."""
    if method != "POST":
        return None
    path = path.partition("?")[0]
    return next((dialect for end, dialect in _PATH_ENDS.items() if path.endswith(end)), None)


def is_event_stream(content_type: str | None) -> bool:
    """Say whether a `content-type` names server-sent events."""
    return (content_type or "").partition(";")[0].strip().lower() == "text/event-stream"


def read_request(dialect: Dialect, body: bytes, *, skip: bool = True) -> RequestFacts:
    """Say what a (decoded) request body asks for; raises UnreadableError.

    Without `skip`, which has all of the body looked through, nothing is said about whether it may be repeated.
    """
    return _WIRES[dialect].read_request(body, skip=skip)


def max_output_tokens(dialect: Dialect, body: bytes) -> int | None:
    """Return the largest number of output tokens a request may cause; None: no limit set, or unreadable."""
    try:
        return read_request(dialect, body).max_output_tokens
    except UnreadableError:
        return None


def request_for(dialect: Dialect, body: bytes, *, model: str, drop_params: Sequence[str] = ()) -> bytes:
    """Build the candidate's copy of a request; raises UnreadableError.

    Every value stays as it was written, byte for byte, except: `model` is replaced, `metadata.user_id` and
    `drop_params` (top-level names) are left out, so is the thinking of other models in the history, OpenAI copies are
    not stored (`store: false`), and a streamed chat copy asks for its usage.
    """
    return _WIRES[dialect].request_for(body, model=model, drop_params=drop_params)


def read_reply(dialect: Dialect, body: bytes, *, status: int, streamed: bool, assemble: bool = True) -> Reply:
    """Read a (decoded) answer. Never raises: what is no answer gives `error_stream` or `error_http` with a sentence.

    With `assemble=False` text and tool calls stay empty and most of a stream is never decoded: the quick way, for the
    live process. All other fields are the same either way.
    """
    if not 200 <= status < 300:  # noqa: PLR2004  (the class of success, RFC 9110 15.3)
        return _http_error(body, status=status, streamed=streamed)
    if streamed:
        return _read_stream(dialect, body, assemble=assemble)
    answer = Answer(streamed=False)
    payload = decode_object(body)
    if payload is None:
        answer.fail("the answer is not a JSON object")
    else:
        _WIRES[dialect].read_whole(payload, answer, assemble=assemble)
    return answer.reply(last_event=_WIRES[dialect].LAST_EVENT)


def _read_stream(dialect: Dialect, body: bytes, *, assemble: bool) -> Reply:
    reader = _WIRES[dialect].stream_reader()
    if assemble:
        reader.read_wholly(body)
        reader.assemble()
    else:
        reader.read_quickly(body)
        reader.answer.text, reader.answer.tool_calls = "", ()
    return reader.answer.reply(last_event=_WIRES[dialect].LAST_EVENT)


def _http_error(body: bytes, *, status: int, streamed: bool) -> Reply:
    payload: dict[str, Any] | None = decode_object(body)
    if payload is None and streamed:
        payload = next((found for event in split_events(body) if (found := decode_object(event.data))), None)
    error = error_sentence(payload) or f"HTTP {status} without an error we can read"
    return Reply(outcome=Outcome.ERROR_HTTP, error=with_whole_characters(error), streamed=streamed)
