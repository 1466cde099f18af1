"""What recording an exchange costs, part by part: microseconds of CPU, the least of many runs.

    python bench/recording.py [--rounds 150]

The first column is the live process's own part; the others are the scribe's. Everything happens in one process, without
sockets and without the store, on the bodies that `make bench` sends. The least of many short runs is what the code
takes when nobody is in its way; beside a busy neighbour it takes up to twice as long.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.handover import Frames, pack_exchange, read_exchange
from gateway.reading import ExchangeReader
from gateway.recording import Recording, TeeBudget
from gateway.relay import new_id
from gateway.settings import RecordingSettings
from shadow.records import Candidate, Dialect

if TYPE_CHECKING:
    from collections.abc import Callable

_BUDGET = TeeBudget(limit=1 << 40)
_LINE = (
    'The function reads "config.yaml" and returns a dict of values;\n    if a key is missing it uses the default one. '
)
_WORDS = "the quick brown fox jumps over the lazy dog and then writes some more plain words of text "
_HEADERS = [
    (b"Host", b"127.0.0.1:8080"),
    (b"User-Agent", b"load/1"),
    (b"Accept", b"application/json"),
    (b"Content-Type", b"application/json"),
    (b"x-api-key", b"sk-bench-0000"),
    (b"anthropic-version", b"2023-06-01"),
    (b"Content-Length", b"1024"),
]
_USAGE = {"input_tokens": 120, "output_tokens": 512}
_MESSAGE: dict[str, Any] = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "bench"}


def main() -> None:
    """Print one line for each kind of exchange."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=150)
    rounds = parser.parse_args().rounds
    print("| exchange | pack | unpack | read, unsampled | read, two jobs |")
    print("| --- | --- | --- | --- | --- |")
    for name, make, count in (
        ("1 KB request, 2 KB answer", _whole, 25),
        ("200 KB request, 2 KB answer", _large, 5),
        ("a Messages stream of 106 events", _messages_stream, 10),
        ("a chat stream of 103 chunks", _chat_stream, 10),
    ):
        costs = _costs([make() for _ in range(count)], rounds=rounds)
        print(f"| {name} | {' | '.join(f'{cost:.1f}' for cost in costs)} |", flush=True)


def _costs(recordings: list[Recording], *, rounds: int) -> list[float]:
    packed = bytearray()
    for recording in recordings:
        pack_exchange(recording, packed)
    wire = bytes(packed)
    unsampled, sampled = (ExchangeReader(_settings(sample_rate=rate)) for rate in (0.0, 1.0))

    def pack() -> None:
        into = bytearray()
        for recording in recordings:
            pack_exchange(recording, into)

    def unpack() -> None:
        for _, body in Frames().feed(wire):
            read_exchange(body, budget=_BUDGET)

    def read(reader: ExchangeReader) -> None:
        for recording in recordings:
            reader.read(recording)

    parts: list[Callable[[], None]] = [pack, unpack, lambda: read(unsampled), lambda: read(sampled)]
    return [_least(part, rounds=rounds) / len(recordings) for part in parts]


def _least(part: Callable[[], None], *, rounds: int) -> float:
    took = []
    for _ in range(rounds):
        begin = time.process_time_ns()
        part()
        took.append(time.process_time_ns() - begin)
    return min(took) / 1e3


def _settings(*, sample_rate: float) -> RecordingSettings:
    candidates = tuple(
        Candidate(model=model, base_url="https://api.example", api_key="sk-bench-candidate")
        for model in ("bench-a", "bench-b")
    )
    return RecordingSettings(
        shadow_enabled=True,
        sample_rate=sample_rate,
        conversation_key="request",
        candidates=candidates,
        secrets=("sk-bench-candidate",),
    )


def _recording(dialect: Dialect, request: dict[str, Any], slices: list[bytes]) -> Recording:
    kind = b"text/event-stream; charset=utf-8" if request["stream"] else b"application/json"
    made = Recording(
        id=new_id(),
        started_at=datetime.now(UTC),
        method="POST",
        path="/v1/messages" if dialect is Dialect.ANTHROPIC_MESSAGES else "/v1/chat/completions",
        query="",
        dialect=dialect,
        origin="http://127.0.0.1:9000",
        budget=_BUDGET,
        max_body_bytes=4 << 20,
        t_start=1.0,
        t_sent=1.001,
        t_first_byte=1.1,
        t_end=4.0,
        request_headers=_HEADERS,
        status=200,
        response_headers=[(b"content-type", kind), (b"request-id", b"req_bench")],
        ending="complete",
    )
    made.request_slice(_json(request))
    for number, part in enumerate(slices):
        made.response_slice(part, 1.1 + number * 0.02)
    return made


def _request(size: int, *, stream: bool) -> dict[str, Any]:
    content = _LINE * (size // len(_LINE))
    return {
        "model": "bench",
        "max_tokens": 1024,
        "stream": stream,
        "messages": [{"role": "user", "content": content}],
    }


def _whole(size: int = 1024) -> Recording:
    text = (_WORDS * 30)[:2048]
    answer = {
        **_MESSAGE,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _USAGE,
    }
    return _recording(Dialect.ANTHROPIC_MESSAGES, _request(size, stream=False), [_json(answer)])


def _large() -> Recording:
    return _whole(200_000)


def _messages_stream(deltas: int = 100) -> Recording:
    begin = {**_MESSAGE, "content": [], "stop_reason": None, "stop_sequence": None, "usage": _USAGE}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    first = [
        _event("message_start", message=begin),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _event("ping"),
    ]
    middle = [
        _event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"t={number:016x}. ab"})
        for number in range(deltas)
    ]
    last = [
        _event("content_block_stop", index=0),
        _event("message_delta", delta=end, usage={"output_tokens": deltas}),
        _event("message_stop"),
    ]
    slices = [b"".join(first), *middle, b"".join(last)]
    return _recording(Dialect.ANTHROPIC_MESSAGES, _request(2000, stream=True), slices)


def _chat_stream(deltas: int = 100) -> Recording:
    about = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return b"data: %s\n\n" % _json({**about, "choices": choices})

    usage = {"prompt_tokens": 120, "completion_tokens": deltas, "total_tokens": 120 + deltas}
    end = [chunk({}, "stop"), b"data: %s\n\n" % _json({**about, "choices": [], "usage": usage}), b"data: [DONE]\n\n"]
    words = [chunk({"content": f"word{number} "}) for number in range(deltas)]
    slices = [chunk({"role": "assistant", "content": ""}), *words, b"".join(end)]
    return _recording(Dialect.OPENAI_CHAT, _request(2000, stream=True), slices)


def _event(name: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _json({"type": name, **data}))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
