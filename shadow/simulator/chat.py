"""Answers in the shape of OpenAI chat completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.simulator.answer import count_tokens
from shadow.simulator.events import Event, event, pieces_of, tokens_of

if TYPE_CHECKING:
    from shadow.simulator.events import EventKind, Exchange

FINISH_REASONS = {
    "end": "stop",
    "tool": "tool_calls",
    "max_tokens": "length",
    "stop_sequence": "stop",
    "refusal": "stop",
    "paused": "stop",
}
ERROR_TYPES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "permission_denied"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def completion(exchange: Exchange) -> dict[str, Any]:
    """Give the whole answer as one completion."""
    said = exchange.said
    refused = said.stop == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or (said.calls and not said.text) else said.text,
        "refusal": said.text if refused else None,
        "annotations": [],
    }
    if said.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in said.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH_REASONS[said.stop]}
    return {**_envelope(exchange, "chat.completion"), "choices": [choice], "usage": _usage(exchange)}


def events(exchange: Exchange) -> list[Event]:
    """Give the answer as a stream of chunks that ends with [DONE]."""
    said = exchange.said
    with_usage = exchange.question.include_usage and exchange.final_usage
    field = "refusal" if said.stop == "refusal" else "content"
    found = [_chunk(exchange, "open", {"role": "assistant", "content": "", "refusal": None})]
    found += [_chunk(exchange, "token", {field: piece}) for piece in tokens_of(said.text)]
    for index, call in enumerate(said.calls):
        start = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        found.append(_chunk(exchange, "open", {"tool_calls": [start]}))
        found += [
            _chunk(exchange, "token", {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            for piece in pieces_of(call.arguments)
        ]
    found.append(_chunk(exchange, "close", {}, finish=FINISH_REASONS[said.stop]))
    if with_usage:
        told = {**_envelope(exchange, "chat.completion.chunk"), "choices": [], "usage": _usage(exchange)}
        found.append(event("usage", told))
    found.append(Event(kind="last", data=b"data: [DONE]\n\n"))
    return found


def error(status: int, text: str) -> dict[str, Any]:
    """Give an error body; responses and models use it too."""
    kind, code = ERROR_TYPES.get(status, ("server_error", None))
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}


def error_event(text: str) -> Event:
    """Give the error that ends a stream whose status was 200."""
    return event("close", error(500, text))


def ping() -> Event:
    """Give a comment line, which keeps the connection warm and means nothing."""
    return Event(kind="open", data=b": keep-alive\n\n")


def model_info(name: str) -> dict[str, Any]:
    """Give one entry of the model list."""
    return {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "simulator"}


def _envelope(exchange: Exchange, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{exchange.id}",
        "object": kind,
        "created": exchange.created,
        "model": exchange.question.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulator",
    }


def _chunk(exchange: Exchange, kind: EventKind, delta: dict[str, Any], *, finish: str | None = None) -> Event:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {**_envelope(exchange, "chat.completion.chunk"), "choices": [choice]}
    if exchange.question.include_usage:
        chunk["usage"] = None
    return event(kind, chunk)


def _usage(exchange: Exchange) -> dict[str, Any]:
    usage = exchange.usage
    return {
        "prompt_tokens": usage.total_input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total_input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": count_tokens(exchange.said.thinking),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
