"""What a request itself asks of its answer: its JSON schema, its JSON mode, its tools. All three dialects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A client-side function the request offers; `schema` None when it gives none (then any arguments are fine)."""

    name: str
    schema: Any = None


def schema_of(request: Mapping[str, Any]) -> Any:
    """Return the JSON schema the answer must follow, or None.

    OpenAI chat: `response_format.json_schema.schema`; Responses: `text.format.schema`; Anthropic:
    `output_config.format.schema` or `output_format.schema`.
    """
    chat = _mapping(_mapping(request.get("response_format")).get("json_schema")).get("schema")
    responses = _mapping(_mapping(request.get("text")).get("format")).get("schema")
    anthropic = _mapping(_mapping(request.get("output_config")).get("format")).get("schema")
    beta = _mapping(request.get("output_format")).get("schema")
    return next((schema for schema in (chat, responses, anthropic, beta) if schema is not None), None)


def wants_json(request: Mapping[str, Any]) -> bool:
    """Tell whether the request asks for JSON without a schema (`json_object`)."""
    formats = (_mapping(request.get("response_format")), _mapping(_mapping(request.get("text")).get("format")))
    return any(form.get("type") == "json_object" for form in formats)


def tools_of(request: Mapping[str, Any]) -> tuple[Tool, ...]:
    """Return the client-side functions offered, in any of the three shapes."""
    offered = request.get("tools")
    if not isinstance(offered, list):
        return ()
    return tuple(tool for entry in offered if (tool := _tool(_mapping(entry))) is not None)


def must_call(request: Mapping[str, Any]) -> bool:
    """Tell whether `tool_choice` forces a call (`required`, `any`, or a named tool)."""
    choice = request.get("tool_choice")
    if isinstance(choice, str):
        return choice == "required"
    return _mapping(choice).get("type") in {"any", "tool", "function", "custom"}


def _tool(entry: Mapping[str, Any]) -> Tool | None:
    inner = _mapping(entry.get("function")) or entry
    name = inner.get("name")
    if not isinstance(name, str):
        return None
    return Tool(name=name, schema=inner.get("input_schema", inner.get("parameters")))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
