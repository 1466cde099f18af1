"""OpenAI's Responses API, `POST …/responses`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from shadow.dialects.answer import Answer
from shadow.dialects.openai_chat import openai_usage
from shadow.dialects.requests import (
    FALSE,
    NULL,
    Tool,
    Turn,
    content_text,
    decoded_content,
    encoded,
    identity_text,
    map_entries,
    may_mention,
    mentions_file,
    prompt_identity,
    raw_fields,
    read_head,
    session_of,
    start_copy,
    switched_on,
    type_of,
)
from shadow.dialects.untrusted import (
    UnreadableError,
    as_count,
    as_name,
    as_object,
    as_objects,
    as_text,
    decode_any,
    decode_object,
    error_sentence,
)
from shadow.dialects.wire import NamedEvents, read_all
from shadow.records import RequestFacts, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.dialects.sse import Event

LAST_EVENT = "response.completed"

_CLIENT_TOOLS = frozenset({"function", "custom"})
_SYSTEM_ROLES = frozenset({"system", "developer"})
_OUTPUT_ITEMS = frozenset({"function_call", "custom_tool_call", "reasoning"})
_TERMINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_OUTPUT_DELTAS = frozenset(
    {
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
    }
)
_QUICK = NamedEvents(
    text_events=("response.output_text.delta",),
    idle_events=(
        *sorted(_OUTPUT_DELTAS),
        "response.content_part.added",
        "response.content_part.done",
        "response.custom_tool_call_input.done",
        "response.function_call_arguments.done",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.done",
        "response.reasoning_text.done",
    ),
)


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = None
    max_output_tokens: Any = None
    instructions: Any = None
    input: Raw = NULL
    tools: list[Tool] | None = None
    metadata: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    background: Any = None
    thread: Any = None
    container: Any = None
    mcp_servers: Any = None


_HEAD = msgspec.json.Decoder(_Head)
_TURNS = msgspec.json.Decoder(list[Turn])


def read_request(body: bytes, *, skip: bool) -> RequestFacts:
    """Say what a request asks for, with `skip` also whether it may be repeated; raises UnreadableError."""
    head, well_formed = read_head(_HEAD, body)
    turns = _turns(head.input)
    system = _system_text(head, turns or [])
    sound = well_formed and turns is not None
    return RequestFacts(
        model=as_name(head.model),
        stream=head.stream is True,
        max_output_tokens=as_count(head.max_output_tokens),
        conversation=session_of(head.metadata) or prompt_identity(system, _first_user_text(turns or [])),
        first_turn=head.previous_response_id is None and not any(_is_output(turn) for turn in turns or []),
        has_tools=bool(head.tools),
        skip=None if not skip else _skip_reason(head, turns, body) if sound else "unreadable",
        system=system,
    )


def request_for(body: bytes, *, model: str, drop_params: Sequence[str]) -> bytes:
    """Build the candidate's copy, which the provider must not keep.

    Another model's reasoning is left out. Then the ids of the other answers in the history go too: the provider refuses
    an item that it knows to have come with reasoning when that is missing.
    """
    copy, foreign = start_copy(body, model=model, drop_params=drop_params)
    copy["store"] = FALSE
    if foreign and may_mention(body, b"reasoning"):
        map_entries(copy, "input", _without_reasoning)
    return bytes(encoded(copy))


def _turns(value: Raw) -> list[Turn] | None:
    """Return the input as turns; None when it is neither a text nor a list of objects."""
    try:
        return _TURNS.decode(value)
    except (ValueError, RecursionError):
        pass  # a plain text, or something we cannot read
    try:
        text = decode_any(value)
    except UnreadableError:
        return None
    if text is None:
        return []
    return [Turn(role="user", content=value)] if isinstance(text, str) else None


def _system_text(head: _Head, turns: list[Turn]) -> str:
    first_user = next((at for at, turn in enumerate(turns) if turn.role == "user"), len(turns))
    leading = [content_text(decoded_content(turn)) for turn in turns[:first_user] if turn.role in _SYSTEM_ROLES]
    return "\n".join(part for part in (as_text(head.instructions), *leading) if part)


def _first_user_text(turns: list[Turn]) -> str:
    first = next((turn for turn in turns if turn.role == "user"), None)
    return identity_text(decoded_content(first)) if first else ""


def _is_output(turn: Turn) -> bool:
    return turn.role == "assistant" or as_text(turn.type) in _OUTPUT_ITEMS


def _skip_reason(head: _Head, turns: list[Turn] | None, body: bytes) -> str | None:
    # A prompt kept by the provider may bring tools with it that nobody sees here.
    stateful = (head.previous_response_id, head.conversation, head.prompt, head.thread)
    refers_back = any(turn.type == "item_reference" for turn in turns or [])
    if refers_back or any(part is not None for part in stateful) or switched_on(head.background):
        return "stateful"
    types = [as_text(tool.type) for tool in head.tools or ()]
    if head.mcp_servers or any(kind.startswith("mcp") for kind in types):
        return "mcp"
    if head.container is not None or not _CLIENT_TOOLS.issuperset(types):
        return "server_tools"
    if may_mention(body, b"file_id") and mentions_file([decode_any(head.input)]):
        return "files"
    return None


def _without_reasoning(item: Raw) -> Raw | None:
    if type_of(item) == "reasoning":
        return None
    try:
        members = raw_fields(item)
    except UnreadableError:
        return item
    return item if members.pop("id", None) is None else encoded(members)


def read_whole(payload: dict[str, Any], answer: Answer, *, assemble: bool = True) -> None:
    """Read an answer that came as one `response` object, or that the last event of a stream carries."""
    answer.model = as_name(payload.get("model")) or answer.model
    answer.usage = usage_of(payload) or answer.usage
    status = as_text(payload.get("status"))
    error = error_sentence(payload)
    if error is not None or status in {"failed", "cancelled"}:
        answer.fail(error or f"the response ended as {status}")
        return
    if not isinstance(payload.get("output"), list):
        answer.fail("the answer is not a response: it has no output list")
        return
    answer.started = answer.ended = True
    answer.stop_reason = _stop_reason(payload, status)
    items = as_objects(payload["output"])
    parts = [part for item in items for part in as_objects(item.get("content")) if item.get("type") == "message"]
    answer.refused = answer.refused or any(part.get("type") == "refusal" for part in parts)
    if not assemble:
        return
    answer.text = "".join(as_text(part.get("text")) for part in parts if part.get("type") == "output_text")
    answer.tool_calls = tuple(call for item in items if (call := _tool_call(item)) is not None)


def stream_reader() -> ResponseStream:
    """Return a reader for one streamed answer."""
    return ResponseStream()


class ResponseStream:
    """Reads the events of one streamed response."""

    def __init__(self) -> None:
        self.answer = Answer(streamed=True)
        self._text: list[str] = []
        self._calls: list[ToolCall] = []

    def take(self, event: Event) -> None:  # noqa: C901  (a table in the shape of a chain: one branch an event type)
        """Read one event; an event after the end, an unknown or an unreadable one changes nothing."""
        if self.answer.ended:
            return
        payload = decode_object(event.data)
        kind = as_text(payload.get("type")) if payload else ""
        if payload is None or (event.name is not None and event.name != kind):
            return
        if kind == "response.output_text.delta":
            self._take_text(as_text(payload.get("delta")), event.end)
        elif kind in _OUTPUT_DELTAS:
            if as_text(payload.get("delta")):
                self.answer.saw_output(event.end)
        elif kind == "response.refusal.delta":
            if as_text(payload.get("delta")):
                self.answer.refused = True
                self.answer.saw_output(event.end)
        elif kind == "response.output_item.done":
            call = _tool_call(as_object(payload.get("item")) or {})
            self._calls += [call] if call else []
        elif kind == "response.created":
            self.answer.started = True
            self.answer.model = as_name((as_object(payload.get("response")) or {}).get("model"))
        elif kind in _TERMINAL_EVENTS:
            self._take_end(kind, as_object(payload.get("response")) or {})
        elif kind == "error":
            # The event is the error itself; some gateways wrap it once more.
            self.answer.fail(error_sentence(payload) or error_sentence({"error": {**payload, "type": None}}) or "error")

    def read_quickly(self, body: bytes) -> None:
        """Read a complete body without text and tool calls."""
        _QUICK.read(self, body)

    def read_wholly(self, body: bytes) -> None:
        """Read a complete body, text and tool calls included; no two events are alike, for each has its number."""
        read_all(self, body)

    def assemble(self) -> None:
        """Put text and tool calls into the answer, from the events where the last one does not repeat them."""
        self.answer.text = self.answer.text or "".join(self._text)
        self.answer.tool_calls = self.answer.tool_calls or tuple(self._calls)

    def _take_text(self, text: str, end: int) -> None:
        if text:
            self._text.append(text)
            self.answer.saw_text(end)

    def _take_end(self, kind: str, response: dict[str, Any]) -> None:
        status = kind.removeprefix("response.")
        read_whole({"output": [], **response, "status": status}, self.answer)


def usage_of(payload: Mapping[str, Any]) -> Usage | None:
    """Return the token counts of a response object; None unless both input and output are told."""
    usage = as_object(payload.get("usage")) or {}
    return openai_usage(usage, prompt="input_tokens", completion="output_tokens")


def _stop_reason(payload: Mapping[str, Any], status: str) -> str | None:
    details = as_object(payload.get("incomplete_details")) or {}
    if status == "incomplete":
        return as_name(details.get("reason")) or status
    return status or None


def _tool_call(item: Mapping[str, Any]) -> ToolCall | None:
    kind = item.get("type")
    if kind not in ("function_call", "custom_tool_call"):
        return None
    arguments = item.get("arguments" if kind == "function_call" else "input")
    return ToolCall(name=as_text(item.get("name")), arguments=as_text(arguments), id=as_name(item.get("call_id")))
