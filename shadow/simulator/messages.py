"""Answers in the shape of the Anthropic Messages API (2023-06-01 and 2026-10-21)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from shadow.simulator.answer import count_tokens
from shadow.simulator.events import Event, event, pieces_of, tokens_of

if TYPE_CHECKING:
    from shadow.records import Usage
    from shadow.simulator.events import Exchange

STOP_REASONS = {
    "end": "end_turn",
    "tool": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "paused": "pause_turn",
}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def message(exchange: Exchange) -> dict[str, Any]:
    """Give the whole answer as one message."""
    return {
        **_envelope(exchange),
        "content": _content(exchange),
        **_ending(exchange),
        "usage": _usage(exchange.usage, exchange),
    }


def events(exchange: Exchange) -> list[Event]:
    """Give the answer as a stream, in the order the real API keeps."""
    started = (
        {**_usage(exchange.usage, exchange), "output_tokens": 1}
        if exchange.start_usage
        else {"input_tokens": 0, "output_tokens": 0}
    )
    opening = {**_envelope(exchange), "content": [], "stop_reason": None, "stop_sequence": None, "usage": started}
    found = [_event("open", {"type": "message_start", "message": opening})]
    for index, block in enumerate(_content(exchange)):
        found += _block_events(index, block, exchange)
    final = _usage(exchange.usage, exchange) if exchange.final_usage else {"output_tokens": 0}
    found.append(_event("usage", {"type": "message_delta", "delta": _ending(exchange), "usage": final}))
    found.append(_event("last", {"type": "message_stop"}))
    return found


def error(status: int, text: str, *, request_id: str) -> dict[str, Any]:
    """Give an error body."""
    kind = ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}


def error_event(text: str, *, request_id: str) -> Event:
    """Give the error that ends a stream whose status was 200."""
    return _event("close", error(529, text, request_id=request_id))


def ping() -> Event:
    """Give a ping."""
    return _event("open", {"type": "ping"})


def model_info(name: str) -> dict[str, Any]:
    """Give one entry of the model list."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def _event(kind: Any, payload: dict[str, Any]) -> Event:
    return event(kind, payload, name=payload["type"])


def _envelope(exchange: Exchange) -> dict[str, Any]:
    return {"id": f"msg_{exchange.id}", "type": "message", "role": "assistant", "model": exchange.question.model}


def _ending(exchange: Exchange) -> dict[str, Any]:
    said = exchange.said
    ending: dict[str, Any] = {"stop_reason": STOP_REASONS[said.stop], "stop_sequence": said.stop_sequence}
    if said.stop == "refusal":
        ending["stop_details"] = {"type": "refusal", "category": "cyber", "explanation": said.text}
    return ending


def _content(exchange: Exchange) -> list[dict[str, Any]]:
    said = exchange.said
    content: list[dict[str, Any]] = []
    if said.thinking:
        signature = base64.b64encode(f"{exchange.question.model}/{exchange.id}".encode()).decode()
        content.append({"type": "thinking", "thinking": said.thinking, "signature": signature})
    if said.text and said.stop != "refusal":
        content.append({"type": "text", "text": said.text})
    content += [
        {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": _input(call.arguments)}
        for call in said.calls
    ]
    return content


def _input(arguments: str) -> dict[str, Any]:
    """Give arguments as an object; an object that fits no schema stands for broken ones."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return {"unparsed": arguments}
    return value if isinstance(value, dict) else {"value": value}


def _block_events(index: int, block: dict[str, Any], exchange: Exchange) -> list[Event]:
    starts = {
        "thinking": {"type": "thinking", "thinking": "", "signature": ""},
        "text": {"type": "text", "text": ""},
        "tool_use": {**block, "input": {}},
    }
    found = [_event("open", {"type": "content_block_start", "index": index, "content_block": starts[block["type"]]})]
    if index == 0:
        found.append(ping())
    found += [
        _event(kind, {"type": "content_block_delta", "index": index, "delta": delta})
        for kind, delta in _deltas(block, exchange)
    ]
    found.append(_event("close", {"type": "content_block_stop", "index": index}))
    return found


def _deltas(block: dict[str, Any], exchange: Exchange) -> list[tuple[str, dict[str, Any]]]:
    if block["type"] == "text":
        return [("token", {"type": "text_delta", "text": piece}) for piece in tokens_of(block["text"])]
    if block["type"] == "thinking":
        deltas: list[tuple[str, dict[str, Any]]] = [
            ("token", {"type": "thinking_delta", "thinking": piece}) for piece in tokens_of(block["thinking"])
        ]
        return [*deltas, ("close", {"type": "signature_delta", "signature": block["signature"]})]
    arguments = next(call.arguments for call in exchange.said.calls if block["id"] == f"toolu_{call.id}")
    empty: tuple[str, dict[str, Any]] = ("open", {"type": "input_json_delta", "partial_json": ""})
    return [empty] + [("token", {"type": "input_json_delta", "partial_json": piece}) for piece in pieces_of(arguments)]


def _usage(usage: Usage, exchange: Exchange) -> dict[str, Any]:
    told: dict[str, Any] = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "service_tier": "standard",
    }
    if exchange.said.thinking:
        told["output_tokens_details"] = {"thinking_tokens": count_tokens(exchange.said.thinking)}
    return told
