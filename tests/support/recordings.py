"""Ended exchanges as the relay submits them: real bytes of the three wire formats, with made-up clocks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from gateway.recording import Recording, TeeBudget
from gateway.settings import RecordingSettings
from shadow.records import Candidate, Dialect

STARTED = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
KEY = "sk-client-0123456789abcdef"
PATHS = {
    Dialect.ANTHROPIC_MESSAGES: "/v1/messages",
    Dialect.OPENAI_CHAT: "/v1/chat/completions",
    Dialect.OPENAI_RESPONSES: "/v1/responses",
}

QUESTION = {"model": "primary", "max_tokens": 64, "messages": [{"role": "user", "content": "What is 2 + 2?"}]}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "primary-20261101",
    "content": [{"type": "text", "text": "4"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 6},
}


def event(name: str, **data: Any) -> bytes:
    """One event of a Messages stream."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


STREAM = [
    event("message_start", message=ANSWER | {"content": [], "stop_reason": None, "usage": {"input_tokens": 12}}),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Fo"}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "ur"}),
    event("content_block_stop", index=0)
    + event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 6})
    + event("message_stop"),
]
"""A streamed answer in four slices; the first output lies in the second."""


def recording(
    *,
    request: bytes | dict[str, Any] | None = None,
    slices: list[bytes] | None = None,
    status: int | None = 200,
    headers: dict[str, str] | None = None,
    response_headers: dict[str, str] | None = None,
    budget: TeeBudget | None = None,
    **changes: Any,
) -> Recording:
    """One exchange: asked at 100.0 s, sent at 100.01, slice n came at 100.1 + n * 0.05, the end 0.02 after the last."""
    parts = [json.dumps(ANSWER).encode()] if slices is None else slices
    kind = "text/event-stream" if slices is not None and parts[:1] == STREAM[:1] else "application/json"
    values: dict[str, Any] = {
        "id": "exchange-1",
        "started_at": STARTED,
        "method": "POST",
        "path": "/v1/messages",
        "query": "beta=true",
        "dialect": Dialect.ANTHROPIC_MESSAGES,
        "origin": "https://api.example:443",
        "budget": budget or TeeBudget(limit=1 << 30),
        "max_body_bytes": 4 << 20,
        "t_start": 100.0,
        "t_sent": 100.010,
        "t_first_byte": 100.1,
        "t_end": 100.1 + 0.05 * max(0, len(parts) - 1) + 0.02,
        "status": status,
        "ending": "complete",
        "request_headers": _fields({"x-api-key": KEY, "content-type": "application/json"} | (headers or {})),
        "response_headers": _fields({"content-type": kind} | (response_headers or {})),
    }
    made = Recording(**(values | changes))
    asked = QUESTION if request is None else request
    made.request_slice(asked if isinstance(asked, bytes) else json.dumps(asked).encode())
    for number, part in enumerate(parts):
        made.response_slice(part, 100.1 + 0.05 * number)
    return made


def _fields(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def settings(**changes: Any) -> RecordingSettings:
    """Everything is shadowed to one candidate."""
    values: dict[str, Any] = {
        "shadow_enabled": True,
        "sample_rate": 1.0,
        # These exchanges happened at `STARTED`, which may be long ago.
        "max_job_age_s": 1e9,
        "candidates": (Candidate(model="rival", base_url="https://api.example"),),
    }
    return RecordingSettings(**(values | changes))
