"""What a request asks, in the same words for all three dialects. Pure: JSON values in, a `Question` out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Api = Literal["messages", "chat", "responses"]


class BadRequestError(Exception):
    """The request is not one the real API would take; the message says why, for a 400 in the API's shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A client-side function the model may call."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of the prompt in the order the model reads it, for counting tokens and for the prompt cache."""

    text: str
    cache_ttl: Literal["5m", "1h"] | None = None
    """Set where the client marked the end of a cached prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, understood as far as the simulator answers it."""

    api: Api
    model: str
    stream: bool = False
    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    """(role, text) in order; the role `tool` carries a result of a tool."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    """None: the model decides; `none`; `required`; or the name of the tool that must be called."""
    schema: Mapping[str, Any] | None = None
    """JSON schema the answer must follow."""
    json_mode: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    thinking: bool = False
    include_usage: bool = True
    """False for a chat stream without `stream_options.include_usage`."""
    blocks: tuple[Block, ...] = field(default=(), repr=False)

    @property
    def last(self) -> str:
        """Text of the last turn that is not a tool's."""
        return next((text for role, text in reversed(self.turns) if role != "tool"), "")

    @property
    def tool_result(self) -> str | None:
        """The result of a tool that waits to be reported, when the last turn is one."""
        return self.turns[-1][1] if self.turns and self.turns[-1][0] == "tool" else None

    @property
    def fingerprint(self) -> str:
        """A hash of what is asked, the same for every model and whether streamed or not."""
        parts = [self.system, list(self.turns), [[tool.name, tool.schema] for tool in self.tools], self.schema]
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()


def read_question(api: Api, body: bytes) -> Question:
    """Read a request body. Raises BadRequestError with the sentence a 400 should carry."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise BadRequestError("the body must be a JSON object")
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequestError("model: Field required")
    return _READERS[api](request, model)


def _read_messages(request: dict[str, Any], model: str) -> Question:
    _require_list(request, "messages")
    max_tokens = request.get("max_tokens")
    choice = _mapping(request.get("tool_choice"))
    output_format = _mapping(_mapping(request.get("output_config")).get("format") or request.get("output_format"))
    blocks = [Block(text=_canonical(tool), cache_ttl=_ttl(tool)) for tool in _mappings(request.get("tools"))]
    blocks += _blocks(request.get("system"))
    for message in _mappings(request["messages"]):
        blocks += _blocks(message.get("content"), role=str(message.get("role")))
    if blocks and isinstance(request.get("cache_control"), dict):
        blocks[-1] = Block(text=blocks[-1].text, cache_ttl=_ttl(request))
    return Question(
        api="messages",
        model=model,
        stream=request.get("stream") is True,
        system=_text(request.get("system")),
        turns=tuple(turn for message in _mappings(request["messages"]) for turn in _turns(message)),
        tools=tuple(
            Tool(name=str(tool.get("name")), schema=_mapping(tool.get("input_schema")))
            for tool in _mappings(request.get("tools"))
        ),
        tool_choice={"any": "required", "none": "none", "tool": choice.get("name")}.get(str(choice.get("type"))),
        schema=_mapping(output_format.get("schema")) or None,
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        stop=_strings(request.get("stop_sequences")),
        thinking=_mapping(request.get("thinking")).get("type") in {"enabled", "adaptive"},
        blocks=tuple(blocks),
    )


def _read_chat(request: dict[str, Any], model: str) -> Question:
    _require_list(request, "messages")
    messages = list(_mappings(request["messages"]))
    output_format = _mapping(request.get("response_format"))
    stream = request.get("stream") is True
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    tools = [
        _mapping(tool.get("function")) for tool in _mappings(request.get("tools")) if tool.get("type") == "function"
    ]
    return Question(
        api="chat",
        model=model,
        stream=stream,
        system="\n".join(_text(each.get("content")) for each in messages if each.get("role") in _SYSTEM_ROLES),
        turns=tuple(
            (str(each.get("role")), _text(each.get("content")))
            for each in messages
            if each.get("role") not in _SYSTEM_ROLES
        ),
        tools=tuple(Tool(name=str(tool.get("name")), schema=_mapping(tool.get("parameters"))) for tool in tools),
        tool_choice=_openai_choice(request.get("tool_choice")),
        schema=_mapping(_mapping(output_format.get("json_schema")).get("schema")) or None,
        json_mode=output_format.get("type") == "json_object",
        max_tokens=limit if isinstance(limit, int) else None,
        stop=_strings(request.get("stop")),
        include_usage=not stream or _mapping(request.get("stream_options")).get("include_usage") is True,
        blocks=tuple([Block(text=_canonical(tool)) for tool in tools] + [Block(text=_canonical(m)) for m in messages]),
    )


def _read_responses(request: dict[str, Any], model: str) -> Question:
    given = request.get("input")
    if not isinstance(given, str | list):
        raise BadRequestError("input: Field required")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else list(_mappings(given))
    output_format = _mapping(_mapping(request.get("text")).get("format"))
    limit = request.get("max_output_tokens")
    tools = [tool for tool in _mappings(request.get("tools")) if tool.get("type") == "function"]
    instructions = _text(request.get("instructions"))
    return Question(
        api="responses",
        model=model,
        stream=request.get("stream") is True,
        system="\n".join(
            [instructions] + [_text(each.get("content")) for each in items if each.get("role") in _SYSTEM_ROLES]
        ).strip(),
        turns=tuple(turn for each in items if each.get("role") not in _SYSTEM_ROLES for turn in _response_turns(each)),
        tools=tuple(Tool(name=str(tool.get("name")), schema=_mapping(tool.get("parameters"))) for tool in tools),
        tool_choice=_openai_choice(request.get("tool_choice")),
        schema=_mapping(output_format.get("schema")) or None,
        json_mode=output_format.get("type") == "json_object",
        max_tokens=limit if isinstance(limit, int) else None,
        blocks=tuple(
            [Block(text=_canonical(tool)) for tool in tools]
            + [Block(text=instructions)]
            + [Block(text=_canonical(each)) for each in items]
        ),
    )


_SYSTEM_ROLES = frozenset({"system", "developer"})
_READERS = {"messages": _read_messages, "chat": _read_chat, "responses": _read_responses}


def _turns(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Split a message of the Messages API: results of tools are turns of their own."""
    content, role = message.get("content"), str(message.get("role"))
    results = [("tool", _text(part.get("content"))) for part in _mappings(content) if part.get("type") == "tool_result"]
    text = _text(content)
    return ([(role, text)] if text or not results else []) + results


def _response_turns(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    if item.get("type") == "function_call_output":
        return [("tool", _text(item.get("output")))]
    if item.get("type", "message") == "message":
        return [(str(item.get("role")), _text(item.get("content")))]
    return []


def _openai_choice(choice: object) -> str | None:
    if isinstance(choice, str):
        return None if choice == "auto" else choice
    named = _mapping(choice)
    return _mapping(named.get("function")).get("name") or named.get("name")


def _blocks(content: object, *, role: str = "system") -> list[Block]:
    if isinstance(content, str):
        return [Block(text=f"{role}: {content}")]
    return [Block(text=f"{role}: {_canonical(part)}", cache_ttl=_ttl(part)) for part in _mappings(content)]


def _ttl(part: Mapping[str, Any]) -> Literal["5m", "1h"] | None:
    mark = part.get("cache_control")
    if not isinstance(mark, dict):
        return None
    return "1h" if mark.get("ttl") == "1h" else "5m"


def _text(content: object) -> str:
    """Join the text parts of a message's content, whatever the dialect calls them."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in _mappings(content) if isinstance(part.get("text"), str))


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps({key: each for key, each in value.items() if key != "cache_control"}, sort_keys=True)


def _require_list(request: Mapping[str, Any], name: str) -> None:
    if not isinstance(request.get(name), list) or not request[name]:
        raise BadRequestError(f"{name}: Field required, a list with at least one element")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> Iterable[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _strings(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
