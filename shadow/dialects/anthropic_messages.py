"""Anthropic's Messages API, `POST …/v1/messages`, both API versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.dialects.alike import AlikeEvents
from shadow.dialects.answer import Answer
from shadow.dialects.requests import (
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
    read_head,
    session_of,
    start_copy,
    without_blocks,
)
from shadow.dialects.untrusted import (
    as_count,
    as_name,
    as_object,
    as_objects,
    as_part,
    as_text,
    decode_object,
    error_sentence,
    with_whole_characters,
)
from shadow.dialects.wire import NamedEvents
from shadow.records import RequestFacts, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.dialects.sse import Event

LAST_EVENT = "message_stop"

# Run by the app itself; every other type is run by the provider, or drives a machine (browser, computer).
_CLIENT_TOOLS = ("custom", "bash_", "text_editor_", "memory_")
_FOREIGN_BLOCKS = frozenset({"thinking", "redacted_thinking"})
_QUICK = NamedEvents(
    text_events=("content_block_delta",),
    idle_events=("content_block_stop", "ping"),
)
_ALIKE = AlikeEvents(name="content_block_delta", grows=("text", "partial_json", "thinking"), text="text")


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = None
    max_tokens: Any = None
    system: Any = None
    messages: list[Turn] = []
    tools: list[Tool] | None = None
    metadata: Any = None
    thread: Any = None
    container: Any = None
    mcp_servers: Any = None
    fallback_credit_token: Any = None
    billing_policy: Any = None


_HEAD = msgspec.json.Decoder(_Head)


def read_request(body: bytes, *, skip: bool) -> RequestFacts:
    """Say what a request asks for, with `skip` also whether it may be repeated; raises UnreadableError."""
    head, well_formed = read_head(_HEAD, body)
    system = content_text(head.system)
    return RequestFacts(
        model=as_name(head.model),
        stream=head.stream is True,
        max_output_tokens=as_count(head.max_tokens),
        conversation=session_of(head.metadata) or prompt_identity(system, _first_user_text(head.messages)),
        # A last turn of the assistant is a prefill: the app's own beginning of the answer that is asked for.
        first_turn=not any(turn.role == "assistant" for turn in head.messages[:-1]),
        has_tools=bool(head.tools),
        skip=None if not skip else _skip_reason(head, body) if well_formed else "unreadable",
        system=system,
    )


def request_for(body: bytes, *, model: str, drop_params: Sequence[str]) -> bytes:
    """Build the candidate's copy. Thinking belongs to the model that thought it, so another one does not get it."""
    copy, foreign = start_copy(body, model=model, drop_params=drop_params)
    if foreign and may_mention(body, b"thinking"):
        map_entries(copy, "messages", lambda turn: without_blocks(turn, _FOREIGN_BLOCKS))
    return bytes(encoded(copy))


def _first_user_text(messages: list[Turn]) -> str:
    first = next((turn for turn in messages if turn.role == "user"), None)
    return identity_text(decoded_content(first)) if first else ""


def _skip_reason(head: _Head, body: bytes) -> str | None:
    if head.thread is not None or head.fallback_credit_token is not None or head.billing_policy == "user_profile":
        return "stateful"
    types = [as_text(tool.type) for tool in head.tools or ()]
    if head.mcp_servers or any(kind.startswith("mcp") for kind in types):
        return "mcp"
    if head.container is not None or any(kind and not kind.startswith(_CLIENT_TOOLS) for kind in types):
        return "server_tools"
    if _may_mention_file(body) and mentions_file(decoded_content(turn) for turn in head.messages):
        return "files"
    return None


def _may_mention_file(body: bytes) -> bool:
    return may_mention(body, b"file_id") or b"container_upload" in body


def read_whole(payload: dict[str, Any], answer: Answer, *, assemble: bool = True) -> None:
    """Read an answer that came as one `message` object."""
    error = error_sentence(payload)
    if error is not None or not isinstance(payload.get("content"), list):
        answer.fail(error or "the answer is not a message: it has no content list")
        return
    answer.started = answer.ended = True
    answer.model = as_name(payload.get("model"))
    answer.stop_reason = as_name(payload.get("stop_reason"))
    answer.usage = usage_of(as_object(payload.get("usage")) or {})
    if not assemble:
        return
    blocks = as_objects(payload["content"])
    answer.text = "".join(as_text(block.get("text")) for block in blocks if block.get("type") == "text")
    answer.tool_calls = tuple(
        _tool_call(block, _json_text(block.get("input"))) for block in blocks if block.get("type") == "tool_use"
    )


def stream_reader() -> MessageStream:
    """Return a reader for one streamed answer."""
    return MessageStream()


class MessageStream:
    """Reads the events of one streamed message."""

    def __init__(self) -> None:
        self.answer = Answer(streamed=True)
        self._usage: dict[str, Any] = {}
        self._blocks: dict[Any, tuple[dict[str, Any], list[str]]] = {}

    def take(self, event: Event) -> None:
        """Read one event; an event after the end, an unknown or an unreadable one changes nothing."""
        if self.answer.ended:
            return
        payload = decode_object(event.data)
        kind = as_text(payload.get("type")) if payload else ""
        if payload is None or (event.name is not None and event.name != kind):
            return
        if kind == "content_block_delta":
            self._take_delta(payload, event.end)
        elif kind == "content_block_start":
            self._start_block(payload, event.end)
        elif kind == "message_start":
            self._start(as_object(payload.get("message")) or {})
        elif kind == "message_delta":
            self._take_end(payload)
        elif kind == "message_stop":
            self.answer.ended = True
        elif kind == "error":
            self.answer.fail(error_sentence(payload) or "error")

    def read_quickly(self, body: bytes) -> None:
        """Read a complete body without text and tool calls."""
        _QUICK.read(self, body)

    def read_wholly(self, body: bytes) -> None:
        """Read a complete body, text and tool calls included."""
        _ALIKE.read(self, body)

    def assemble(self) -> None:
        """Put text and tool calls into the answer, blocks in the order in which they began."""
        blocks = self._blocks.values()
        self.answer.text = "".join("".join(parts) for block, parts in blocks if block.get("type") == "text")
        self.answer.tool_calls = tuple(
            _tool_call(block, "".join(parts) or _json_text(block.get("input")))
            for block, parts in blocks
            if block.get("type") == "tool_use"
        )

    def _start(self, message: dict[str, Any]) -> None:
        self.answer.started = True
        self.answer.model = self.answer.model or as_name(message.get("model"))
        self._learn_usage(message)

    def _start_block(self, payload: dict[str, Any], end: int) -> None:
        block = as_object(payload.get("content_block")) or {}
        text = as_text(block.get("text"))
        self._blocks[as_count(payload.get("index"))] = (block, [text] if text else [])
        if text:
            self.answer.saw_text(end)
        elif block.get("thinking") or block.get("input"):
            self.answer.saw_output(end)
        if block.get("type") == "fallback":
            # From here on another model answers; it is the one to be priced.
            self.answer.model = as_name((as_object(block.get("to")) or {}).get("model")) or self.answer.model

    def _take_delta(self, payload: dict[str, Any], end: int) -> None:
        delta = as_object(payload.get("delta")) or {}
        kind = delta.get("type")
        if kind == "text_delta" and as_text(delta.get("text")):
            self._append(payload, "text", delta["text"])
            self.answer.saw_text(end)
        elif kind == "input_json_delta" and as_text(delta.get("partial_json")):
            self._append(payload, "tool_use", delta["partial_json"])
            self.answer.saw_output(end)
        elif kind == "thinking_delta" and as_text(delta.get("thinking")):
            self.answer.saw_output(end)

    def _append(self, payload: dict[str, Any], kind: str, part: str) -> None:
        # A delta whose block never began is kept as a block of its own kind: better than losing what was said.
        block = self._blocks.setdefault(as_count(payload.get("index")), ({"type": kind}, []))
        block[1].append(part)

    def _take_end(self, payload: dict[str, Any]) -> None:
        delta = as_object(payload.get("delta")) or {}
        self.answer.stop_reason = as_name(delta.get("stop_reason")) or self.answer.stop_reason
        self._learn_usage(payload)

    def _learn_usage(self, holder: Mapping[str, Any]) -> None:
        # Counts are cumulative: a later one replaces an earlier one, an absent or null one keeps it.
        news = as_object(holder.get("usage")) or {}
        self._usage |= {key: value for key, value in news.items() if value is not None}
        self.answer.usage = usage_of(self._usage)


def usage_of(usage: Mapping[str, Any]) -> Usage | None:
    """Return the token counts; None unless both input and output are told and no count is nonsense.

    A compaction is billed beside the answer and is not part of the top-level counts, so it is added.
    """
    fresh, output = as_count(usage.get("input_tokens")), as_count(usage.get("output_tokens"))
    if fresh is None or output is None:
        return None
    read, written = as_part(usage.get("cache_read_input_tokens")), _cache_writes(usage)
    if read is None or written is None:
        return None
    total = Usage(input=fresh, cache_read=read, cache_write_5m=written[0], cache_write_1h=written[1], output=output)
    for iteration in as_objects(usage.get("iterations")):
        if iteration.get("type") == "compaction":
            total = _sum(total, usage_of({**iteration, "iterations": None}))
    return total


def _cache_writes(usage: Mapping[str, Any]) -> tuple[int, int] | None:
    detail = as_object(usage.get("cache_creation")) or {}
    write_5m = as_part(detail.get("ephemeral_5m_input_tokens"))
    write_1h = as_part(detail.get("ephemeral_1h_input_tokens"))
    total = as_part(usage.get("cache_creation_input_tokens"))
    if write_5m is None or write_1h is None or total is None:
        return None
    if usage.get("cache_creation_input_tokens") is None:
        return write_5m, write_1h
    write_1h = min(write_1h, total)
    return total - write_1h, write_1h


def _sum(left: Usage, right: Usage | None) -> Usage:
    if right is None:
        return left
    return Usage(
        input=left.input + right.input,
        cache_read=left.cache_read + right.cache_read,
        cache_write_5m=left.cache_write_5m + right.cache_write_5m,
        cache_write_1h=left.cache_write_1h + right.cache_write_1h,
        output=left.output + right.output,
    )


def _tool_call(block: Mapping[str, Any], arguments: str) -> ToolCall:
    return ToolCall(name=as_text(block.get("name")), arguments=arguments, id=as_name(block.get("id")))


def _json_text(value: Any) -> str:
    value = {} if value is None else value
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half of a surrogate pair in it
        return with_whole_characters(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
