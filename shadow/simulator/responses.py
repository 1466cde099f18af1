"""Answers in the shape of the OpenAI Responses API; every event of a stream carries a sequence_number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.simulator.answer import count_tokens
from shadow.simulator.events import Event, event, pieces_of, tokens_of

if TYPE_CHECKING:
    from shadow.simulator.events import EventKind, Exchange


def response(exchange: Exchange) -> dict[str, Any]:
    """Give the whole answer as one response object."""
    truncated = exchange.said.stop == "max_tokens"
    return {
        **_envelope(exchange),
        "status": "incomplete" if truncated else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if truncated else None,
        "output": _output(exchange),
        "usage": _usage(exchange) if exchange.final_usage else None,
    }


def events(exchange: Exchange) -> list[Event]:
    """Give the answer as a stream: created, in progress, items with their parts, then the whole response again."""
    stream = _Stream()
    opening = {**_envelope(exchange), "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    stream.add("open", "response.created", response=opening)
    stream.add("open", "response.in_progress", response=opening)
    for index, item in enumerate(_output(exchange)):
        _ITEM_EVENTS[item["type"]](stream, index, item)
    whole = response(exchange)
    stream.add("last", f"response.{whole['status']}", response=whole)
    return stream.events


def error_event(text: str) -> Event:
    """Give the error that ends a stream whose status was 200."""
    told = {"type": "error", "code": "server_error", "message": text, "param": None, "sequence_number": 0}
    return event("close", told, name="error")


class _Stream:
    """Collects events and numbers them."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, kind: EventKind, name: str, /, **fields: Any) -> None:
        told = {"type": name, "sequence_number": len(self.events), **fields}
        self.events.append(event(kind, told, name=name))


def _message_events(stream: _Stream, index: int, item: dict[str, Any]) -> None:
    part = item["content"][0]
    field, prefix = (
        ("text", "response.output_text") if part["type"] == "output_text" else ("refusal", "response.refusal")
    )
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    extra: dict[str, Any] = {"logprobs": []} if field == "text" else {}
    stream.add(
        "open", "response.output_item.added", output_index=index, item={**item, "status": "in_progress", "content": []}
    )
    stream.add("open", "response.content_part.added", **place, part={**part, field: ""})
    for piece in tokens_of(part[field]):
        stream.add("token", f"{prefix}.delta", **place, **extra, delta=piece)
    stream.add("close", f"{prefix}.done", **place, **extra, **{field: part[field]})
    stream.add("close", "response.content_part.done", **place, part=part)
    stream.add("close", "response.output_item.done", output_index=index, item=item)


def _call_events(stream: _Stream, index: int, item: dict[str, Any]) -> None:
    place = {"item_id": item["id"], "output_index": index}
    stream.add(
        "open",
        "response.output_item.added",
        output_index=index,
        item={**item, "status": "in_progress", "arguments": ""},
    )
    for piece in pieces_of(item["arguments"]):
        stream.add("token", "response.function_call_arguments.delta", **place, delta=piece)
    done = {"name": item["name"], "arguments": item["arguments"]}
    stream.add("close", "response.function_call_arguments.done", **place, **done)
    stream.add("close", "response.output_item.done", output_index=index, item=item)


def _reasoning_events(stream: _Stream, index: int, item: dict[str, Any]) -> None:
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    part = item["summary"][0]
    stream.add("open", "response.output_item.added", output_index=index, item={**item, "summary": []})
    stream.add("open", "response.reasoning_summary_part.added", **place, part={**part, "text": ""})
    for piece in tokens_of(part["text"]):
        stream.add("token", "response.reasoning_summary_text.delta", **place, delta=piece)
    stream.add("close", "response.reasoning_summary_text.done", **place, text=part["text"])
    stream.add("close", "response.reasoning_summary_part.done", **place, part=part)
    stream.add("close", "response.output_item.done", output_index=index, item=item)


_ITEM_EVENTS = {"message": _message_events, "function_call": _call_events, "reasoning": _reasoning_events}


def _envelope(exchange: Exchange) -> dict[str, Any]:
    question = exchange.question
    return {
        "id": f"resp_{exchange.id}",
        "object": "response",
        "created_at": exchange.created,
        "error": None,
        "instructions": question.system or None,
        "max_output_tokens": question.max_tokens,
        "metadata": {},
        "model": question.model,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
    }


def _output(exchange: Exchange) -> list[dict[str, Any]]:
    said = exchange.said
    output: list[dict[str, Any]] = []
    if said.thinking:
        summary = {"type": "summary_text", "text": said.thinking}
        output.append({"id": f"rs_{exchange.id}", "type": "reasoning", "summary": [summary]})
    if said.text or not said.calls:
        part: dict[str, Any] = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
        if said.stop == "refusal":
            part = {"type": "refusal", "refusal": said.text}
        status = "incomplete" if said.stop == "max_tokens" else "completed"
        envelope = {"id": f"msg_{exchange.id}", "type": "message", "role": "assistant", "status": status}
        output.append({**envelope, "content": [part]})
    for call in said.calls:
        told = {"call_id": call.id, "name": call.name, "arguments": call.arguments, "status": "completed"}
        output.append({"id": f"fc_{exchange.id}", "type": "function_call", **told})
    return output


def _usage(exchange: Exchange) -> dict[str, Any]:
    usage = exchange.usage
    return {
        "input_tokens": usage.total_input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": count_tokens(exchange.said.thinking)},
        "total_tokens": usage.total_input + usage.output,
    }
