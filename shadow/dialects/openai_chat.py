"""OpenAI's Chat Completions API, `POST …/chat/completions`, as spoken by many providers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from shadow.dialects.alike import AlikeEvents
from shadow.dialects.answer import Answer
from shadow.dialects.requests import (
    FALSE,
    TRUE,
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
    without_blocks,
)
from shadow.dialects.sse import event_of_lines, plain_lines
from shadow.dialects.untrusted import (
    UnreadableError,
    as_count,
    as_name,
    as_object,
    as_objects,
    as_part,
    as_text,
    decode_object,
    error_sentence,
)
from shadow.dialects.wire import read_all
from shadow.records import RequestFacts, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgspec import Raw

    from shadow.dialects.sse import Event

LAST_EVENT = "[DONE]"

_DONE = b"[DONE]"
_NEVER = b"\n"  # no line holds a line end
_CLIENT_TOOLS = frozenset({"", "function", "custom"})
_SYSTEM_ROLES = frozenset({"system", "developer"})
_FOREIGN_BLOCKS = frozenset({"thinking", "redacted_thinking"})
# What compatible providers call the model's reasoning in an assistant's message; none is in OpenAI's reference.
_REASONING_MEMBERS = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
# A string of a chunk that changes from chunk to chunk: text, tool arguments or reasoning, with something in it.
_GROWING = ("content", "arguments", "reasoning_content", "reasoning")
_ALIKE = AlikeEvents(name=None, grows=_GROWING, text="content")
_GROWING_STRING = re.compile(rb'"(content|arguments|reasoning_content|reasoning)": ?"[^"\\]+(?=")')


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None
    messages: list[Turn] = []
    tools: list[Tool] | None = None
    functions: Any = None
    metadata: Any = None
    web_search_options: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    background: Any = None
    thread: Any = None
    container: Any = None
    mcp_servers: Any = None


_HEAD = msgspec.json.Decoder(_Head)


def read_request(body: bytes, *, skip: bool) -> RequestFacts:
    """Say what a request asks for, with `skip` also whether it may be repeated; raises UnreadableError."""
    head, well_formed = read_head(_HEAD, body)
    system = "\n".join(
        content_text(decoded_content(turn)) for turn in _leading(head.messages) if turn.role in _SYSTEM_ROLES
    )
    return RequestFacts(
        model=as_name(head.model),
        stream=head.stream is True,
        max_output_tokens=_max_output_tokens(head),
        conversation=session_of(head.metadata) or prompt_identity(system, _first_user_text(head.messages)),
        first_turn=not any(turn.role == "assistant" for turn in head.messages[:-1]),
        has_tools=bool(head.tools or head.functions),
        skip=None if not skip else _skip_reason(head, body) if well_formed else "unreadable",
        system=system,
    )


def request_for(body: bytes, *, model: str, drop_params: Sequence[str]) -> bytes:
    """Build the candidate's copy. A streamed one asks for usage, or its cost would stay unknown; nothing is stored."""
    copy, foreign = start_copy(body, model=model, drop_params=drop_params)
    if copy.get("stream") == TRUE and "stream_options" not in drop_params:
        copy["stream_options"] = _with_usage(copy.get("stream_options"))
    if "store" in copy:
        copy["store"] = FALSE
    if foreign and (may_mention(body, b"reasoning") or may_mention(body, b"thinking")):
        map_entries(copy, "messages", _without_reasoning)
    return bytes(encoded(copy))


def _leading(messages: list[Turn]) -> list[Turn]:
    """Return the turns before the first one of the user; later system messages come and go within a conversation."""
    first_user = next((at for at, turn in enumerate(messages) if turn.role == "user"), len(messages))
    return messages[:first_user]


def _first_user_text(messages: list[Turn]) -> str:
    first = next((turn for turn in messages if turn.role == "user"), None)
    return identity_text(decoded_content(first)) if first else ""


def _max_output_tokens(head: _Head) -> int | None:
    limit = as_count(head.max_completion_tokens)
    if limit is None:
        limit = as_count(head.max_tokens)
    # Each of `n` answers may be that long, and all of them are paid.
    return None if limit is None else limit * max(as_count(head.n) or 1, 1)


def _skip_reason(head: _Head, body: bytes) -> str | None:
    stateful = (head.previous_response_id, head.conversation, head.thread)
    if any(part is not None for part in stateful) or switched_on(head.background):
        return "stateful"
    types = [as_text(tool.type) for tool in head.tools or ()]
    if head.mcp_servers or any(kind.startswith("mcp") for kind in types):
        return "mcp"
    if head.container is not None or head.web_search_options is not None or not _CLIENT_TOOLS.issuperset(types):
        return "server_tools"
    if may_mention(body, b"file_id") and mentions_file(decoded_content(turn) for turn in head.messages):
        return "files"
    return None


def _with_usage(stream_options: Raw | None) -> Raw:
    try:
        options = raw_fields(stream_options) if stream_options is not None else {}
    except UnreadableError:
        options = {}
    return encoded({**options, "include_usage": True})


def _without_reasoning(turn: Raw) -> Raw | None:
    kept = without_blocks(turn, _FOREIGN_BLOCKS)
    if kept is None:
        return None
    try:
        members = raw_fields(kept)
    except UnreadableError:
        return kept
    left = {name: value for name, value in members.items() if name not in _REASONING_MEMBERS}
    return kept if len(left) == len(members) else encoded(left)


def read_whole(payload: dict[str, Any], answer: Answer, *, assemble: bool = True) -> None:
    """Read an answer that came as one `chat.completion` object; of several choices the first one counts."""
    error = error_sentence(payload)
    choice = _first_choice(payload)
    if error is not None or choice is None:
        answer.fail(error or "the answer is not a chat completion: it has no choices")
        return
    answer.started = answer.ended = True
    answer.model = as_name(payload.get("model"))
    answer.stop_reason = as_name(choice.get("finish_reason"))
    answer.usage = usage_of(payload.get("usage"))
    message = as_object(choice.get("message")) or {}
    answer.refused = bool(as_text(message.get("refusal")))
    if not assemble:
        return
    answer.text = content_text(message.get("content"))
    calls = as_objects(message.get("tool_calls"))
    legacy = as_object(message.get("function_call"))
    calls += [{"function": legacy}] if legacy else []
    answer.tool_calls = tuple(_ToolCallDraft(call).build() for call in calls)


def stream_reader() -> ChatStream:
    """Return a reader for one streamed answer."""
    return ChatStream()


class ChatStream:
    """Reads the chunks of one streamed chat completion."""

    def __init__(self) -> None:
        self.answer = Answer(streamed=True)
        self._text: list[str] = []
        self._calls: dict[Any, _ToolCallDraft] = {}

    def take(self, event: Event) -> None:
        """Read one chunk; one after the end, an unknown or an unreadable one changes nothing."""
        if self.answer.ended:
            return
        if event.data == _DONE:
            self.answer.ended = True
            return
        payload = decode_object(event.data)
        if payload is None:
            return
        error = error_sentence(payload)
        if error is not None:
            self.answer.fail(error)
            return
        self.answer.model = self.answer.model or as_name(payload.get("model"))
        self.answer.usage = usage_of(payload.get("usage")) or self.answer.usage
        choice = _first_choice(payload)
        if choice is not None:
            self._take_choice(choice, event.end)

    def read_quickly(self, body: bytes) -> None:
        """Read a complete body without text and tool calls.

        Chunks of one stream are alike but for one growing string. A chunk that equals the last decoded one in all bytes
        around that string says the same again, so it is skipped unread once the offsets are known.
        """
        layout = plain_lines(body, 1)
        if layout is None:
            read_all(self, body)
            return
        lines, line_end_size = layout
        position = 0
        before, after = _NEVER, _NEVER
        start, stop = 0, 0
        for line in lines[0::2]:
            position += len(line) + 2 * line_end_size
            if line.startswith(before) and line.endswith(after):
                grown = line[start:stop]
                if grown and b'"' not in grown and not grown.endswith(b"\\"):
                    continue
            event = event_of_lines((line,), position)
            if event is not None:
                self.take(event)
                before, after = self._frame(line)
                start, stop = len(before), -len(after)

    def read_wholly(self, body: bytes) -> None:
        """Read a complete body, text and tool calls included."""
        _ALIKE.read(self, body)

    def assemble(self) -> None:
        """Put text and tool calls into the answer, calls in the order in which they began."""
        self.answer.text = "".join(self._text)
        self.answer.tool_calls = tuple(call.build() for call in self._calls.values())

    def _frame(self, line: bytes) -> tuple[bytes, bytes]:
        """Return what stands before and after the growing string of a decoded chunk, or what no line can match."""
        if self.answer.first_output_offset is None:
            return _NEVER, _NEVER
        found = _GROWING_STRING.search(line)
        if found is None or (found[1] == b"content" and self.answer.first_text_offset is None):
            return _NEVER, _NEVER
        opening = line.index(b'"', found.end(1) + 1) + 1
        return line[:opening], line[found.end() :]

    def _take_choice(self, choice: dict[str, Any], end: int) -> None:
        self.answer.started = True
        self.answer.stop_reason = as_name(choice.get("finish_reason")) or self.answer.stop_reason
        delta = as_object(choice.get("delta")) or {}
        text = content_text(delta.get("content"))
        if text:
            self._text.append(text)
            self.answer.saw_text(end)
        if as_text(delta.get("refusal")):
            self.answer.refused = True
            self.answer.saw_output(end)
        if as_text(delta.get("reasoning_content")) or as_text(delta.get("reasoning")):
            self.answer.saw_output(end)
        for call in as_objects(delta.get("tool_calls")):
            self._take_call(as_count(call.get("index")), call, end)
        legacy = as_object(delta.get("function_call"))
        if legacy:
            self._take_call("function_call", {"function": legacy}, end)

    def _take_call(self, index: int | str | None, call: dict[str, Any], end: int) -> None:
        draft = self._calls.setdefault(index, _ToolCallDraft({}))
        if draft.add(call):
            self.answer.saw_output(end)


class _ToolCallDraft:
    """A tool call that grows with the chunks."""

    def __init__(self, call: Mapping[str, Any]) -> None:
        self._id: str | None = None
        self._name = ""
        self._arguments: list[str] = []
        self.add(call)

    def add(self, call: Mapping[str, Any]) -> bool:
        """Take what one chunk says; True when it brought arguments."""
        function = as_object(call.get("function")) or {}
        custom = as_object(call.get("custom")) or {}
        self._id = self._id or as_name(call.get("id"))
        self._name = self._name or as_text(function.get("name")) or as_text(custom.get("name"))
        arguments = as_text(function.get("arguments")) or as_text(custom.get("input"))
        self._arguments.append(arguments)
        return bool(arguments)

    def build(self) -> ToolCall:
        """Return the call as far as it is known."""
        return ToolCall(name=self._name, arguments="".join(self._arguments), id=self._id)


def usage_of(value: Any) -> Usage | None:
    """Return the token counts; None unless prompt and completion are told. Cached tokens are part of the prompt."""
    usage = as_object(value) or {}
    return openai_usage(usage, prompt="prompt_tokens", completion="completion_tokens")


def openai_usage(usage: Mapping[str, Any], *, prompt: str, completion: str) -> Usage | None:
    """Return the token counts of either OpenAI API, whose names differ and whose meaning does not."""
    total_input, output = as_count(usage.get(prompt)), as_count(usage.get(completion))
    if total_input is None or output is None:
        return None
    input_details = as_object(usage.get(f"{prompt}_details")) or {}
    output_details = as_object(usage.get(f"{completion}_details")) or {}
    cached, written = as_part(input_details.get("cached_tokens")), as_part(input_details.get("cache_write_tokens"))
    reasoning = as_part(output_details.get("reasoning_tokens"))
    if cached is None or written is None or reasoning is None:
        return None
    read = min(cached, total_input)
    written = min(written, total_input - read)
    # Some providers count reasoning beside the completion; the total then gives them away.
    if reasoning and as_count(usage.get("total_tokens")) == total_input + output + reasoning:
        output += reasoning
    return Usage(input=total_input - read - written, cache_read=read, cache_write_5m=written, output=output)


def _first_choice(payload: Mapping[str, Any]) -> dict[str, Any] | None:
    return next((choice for choice in as_objects(payload.get("choices")) if not choice.get("index")), None)
