"""The table of fuzz targets: a name, the check it runs, and real bytes to start from."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import brotli
import zstandard

from gateway.handover import end_frame, lost_frame, pack_exchange, settings_frame
from tests.fuzz.checks import bodies, connection, dialects, framing, heads, live, texts
from tests.support.recordings import ANSWER, QUESTION, STREAM, recording, settings


def _exchange_frame() -> bytes:
    packed = bytearray()
    pack_exchange(recording(), packed)
    return bytes(packed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One check, fed with bytes. `seeds` are inputs that reach deep; `words` are what random bytes seldom spell."""

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[str] = ()


_QUESTION = json.dumps(QUESTION).encode()
_TOOLS = json.dumps(
    {
        "model": "a",
        "stream": True,
        "store": True,
        "max_tokens": 5,
        "n": 2,
        "metadata": {"user_id": "user_1_session_12345678-1", "x": 1},
        "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "mcp"}, {"type": "web_search_20250305"}],
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image", "file_id": "f_1"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}]},
            {"role": "assistant", "reasoning_content": "so", "content": "mail a@b.com 4111 1111 1111 1111"},
        ],
        "input": [{"type": "reasoning", "id": "r"}, {"type": "message", "id": "m", "role": "user", "content": "hi"}],
        "temperature": 1e0,
    }
).encode()


def _events(*payloads: object, named: bool = True) -> bytes:
    parts = []
    for payload in payloads:
        name = f"event: {payload['type']}\n" if named and isinstance(payload, dict) else ""
        data = payload if isinstance(payload, str) else json.dumps(payload)
        parts.append(f"{name}data: {data}\n\n")
    return "".join(parts).encode()


_CHAT = _events(
    {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
    {"model": "m", "choices": [{"index": 0, "delta": {"reasoning": "so"}}]},
    {"model": "m", "choices": [{"index": 0, "delta": {"content": "Fo"}}]},
    {"model": "m", "choices": [{"index": 0, "delta": {"content": "ur"}}]},
    {
        "model": "m",
        "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}}],
    },
    {"model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {
        "choices": [],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    },
    "[DONE]",
    named=False,
)
_CHAT_WHOLE = json.dumps(
    {
        "model": "m",
        "choices": [{"index": 0, "message": {"content": "4", "tool_calls": []}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "total_tokens": 14,
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }
).encode()
_RESPONSE = {
    "model": "m",
    "status": "completed",
    "output": [
        {"type": "message", "content": [{"type": "output_text", "text": "4"}]},
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
    ],
    "usage": {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}},
}
_RESPONSES = _events(
    {"type": "response.created", "response": {"model": "m"}},
    {"type": "response.reasoning_text.delta", "delta": "so"},
    {"type": "response.output_text.delta", "delta": "Fo"},
    {"type": "response.output_text.delta", "delta": "ur"},
    {"type": "response.output_item.done", "item": {"type": "function_call", "name": "f", "arguments": "{}"}},
    {"type": "response.completed", "response": _RESPONSE},
)
_ERROR = b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}'
_STREAM = b"".join(STREAM)
_REQUEST_HEAD = (
    b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nX-Api-Key: k\r\n"
    b"Connection: keep-alive, x-foo\r\nx-foo: 1\r\nX-Shadow-Hop: d0\r\n"
)
_CHUNKED_HEAD = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nTE: trailers\r\n"
    b"Cookie: a=b; c\r\nX-Odd:\t \xe9 \r\nAuthorization: Bearer k\r\n"
)
_WITH_LENGTH = b'POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 22\r\n\r\n{"x": 1, "model": "a"}'
_WITH_CHUNKS = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-a\r\n\r\n"
    b'd;e=f\r\n{"model":"b"}\r\n0\r\nX-A: 1\r\nHost: b\r\n\r\n'
)
_WITHOUT_BODY = b"\r\nGET /v1/models?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-b\r\nX-B: 1\r\n\r\n"
_ANSWER_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nset-cookie: a\r\nset-cookie: b\r\nconnection: close, x-a\r\nx-a: 1\r\n"
)
_CONFIG = b"""# a file
listen: 127.0.0.1:8080
upstream: {base_url: "https://ezaiapi.com/v1", auth: gateway, api_key: "${SOME:-x}", routes: {/b: {base_url: http://b}}}
clients: [ab, 'cd']
shadow:
  sample_rate: 0.5
  candidates: [gpt-4o, {model: x, sample_rate: .1}]
  redact: [email, {name: o, pattern: 'ORD-\\d+'}]
tasks:
  - name: support
    match: {header: {x-app: support}}
    evaluators: [is-json, {type: regex, pattern: a}]
prices: {m: {input: 1, output: 2e0}}
store: sqlite:///shadow.db
anchors: &a [1, *a]
"""
_WIRE_WORDS = (
    '"type"',
    '"model"',
    '"usage"',
    '"index"',
    '"delta"',
    '"text"',
    '"content"',
    '"choices"',
    '"finish_reason"',
    '"stop_reason"',
    '"input_tokens"',
    '"output_tokens"',
    '"prompt_tokens"',
    '"completion_tokens"',
    '"error"',
    '"message"',
    '"tool_calls"',
    '"function"',
    '"arguments"',
    '"iterations"',
    '"compaction"',
    '"response"',
    '"output"',
    '"status"',
    '"refusal"',
    '"message_start"',
    '"message_delta"',
    '"message_stop"',
    '"content_block_start"',
    '"content_block_delta"',
    '"text_delta"',
    '"tool_use"',
    '"fallback"',
    "data: ",
    "event: ",
    "\\u0074",
    "\\ud800",
    "18446744073709551615",
    "-1",
    "1e999",
    "null",
    "true",
    "[DONE]",
    "\r\n",
)
_HEAD_WORDS = (
    "Transfer-Encoding: chunked",
    "Content-Length: 0",
    "Content-Length: +3",
    "Content-Length: 3, 3",
    "Connection: ",
    "transfer-encoding",
    "content-length",
    "host",
    "Host: a, b",
    "HTTP/1.0",
    "HTTP/1.1",
    "Upgrade: websocket",
    "chunked",
    "Trailer: a",
    "x-shadow-hop: ",
    "\r\n",
    "\x0b",
    "\0",
    "\x80",
    "Expect: 100-continue",
    "identity",
)
_PATH_WORDS = (
    "..",
    "%2e",
    "%2f",
    "%5c",
    "\\",
    "//",
    ";",
    "/b",
    "/files",
    "/v1/messages",
    "/models",
    "http://",
    "#",
    "?",
    "%25",
)
_YAML_WORDS = (
    "listen: ",
    "tls: ",
    "workers: ",
    "clients: ",
    "admin: ",
    "token: ",
    "upstream: ",
    "base_url: ",
    "routes: ",
    "ca_file: ",
    "proxy: ",
    "primary: ",
    "model: ",
    "shadow: ",
    "candidates: ",
    "budget_usd_per_day: ",
    "tasks: ",
    "evaluators: ",
    "match: ",
    "header: ",
    "prices: ",
    "store: ",
    "sqlite:///",
    "unix:/",
    "${",
    "$${",
    "&a",
    "*a",
    "!!",
    "<<: ",
    "- ",
    "? ",
    "| ",
    "> ",
    "%YAML 1.1",
    "---",
    "...",
    ".inf",
    ".nan",
    "1e999",
    '"\\U00110000"',
    '"\\0"',
    '"\\ud800"',
    "\u2028",
    "cert: ",
    "key: ",
    "redact: ",
    "pattern: ",
)


def _coded() -> list[bytes]:
    plain = b"data: the same again\n\n" * 40 + bytes(range(256))
    raw = zlib.compressobj(wbits=-15)
    bare = raw.compress(plain) + raw.flush()
    return [
        b"\0\2\1" + gzip.compress(plain),
        b"\0\3\1" + gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0",
        b"\1\2\1" + zlib.compress(plain),
        b"\1\3\1" + bare,
        b"\2\3\1" + brotli.compress(plain),
        b"\3\3\1" + zstandard.compress(plain),
        b"\5\3\1" + brotli.compress(gzip.compress(plain)),
        b"\6\3\1" + gzip.compress(zstandard.compress(plain)),
    ]


def _replies() -> list[bytes]:
    streams = [_STREAM, _CHAT, _RESPONSES]
    wholes = [json.dumps(ANSWER).encode(), _CHAT_WHOLE, json.dumps(_RESPONSE).encode()]
    return [
        *(bytes([number, 1, 0]) + body for number, body in enumerate(streams)),
        *(bytes([number, 1, 0]) + body.replace(b"\n", b"\r\n") for number, body in enumerate(streams)),
        *(bytes([number, 0, 0]) + body for number, body in enumerate(wholes)),
        b"\0\0\4" + _ERROR,
        b"\0\1\0event: error\ndata: " + _ERROR + b"\n\n",
    ]


TARGETS = {
    "heads-request": Target(
        check=heads.request, seeds=[b"\0" + _REQUEST_HEAD, b"\1" + _CHUNKED_HEAD], words=_HEAD_WORDS
    ),
    "heads-answer": Target(
        check=heads.answer,
        seeds=[
            b"\0\0\0" + _ANSWER_HEAD,
            b"\1\1\1HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n",
            b"\2\1\0HTTP/1.0 304 Not Modified\r\n",
        ],
        words=_HEAD_WORDS,
    ),
    "framing-chunked": Target(
        check=framing.chunked,
        seeds=[b"\0005\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\nHost: \r\n\r\nGET / HTTP/1.1\r\n\r\n"],
        words=("\r\n", "0\r\n\r\n", "ffff", '; a="b"', "\n", "Host: a", "content-length: 1"),
    ),
    "framing-length": Target(check=framing.length, seeds=[b"\5\0hello world"]),
    "handover-frames": Target(
        check=framing.frames,
        seeds=[b"\0" + settings_frame(settings()) + _exchange_frame() + lost_frame({"x": 1}) + end_frame()],
    ),
    "sse": Target(
        check=dialects.sse, seeds=[b"\0" + _STREAM, b"\1" + _CHAT.replace(b"\n", b"\r\n"), b"\2: a\rdata\r\r"]
    ),
    "dialect-request": Target(
        check=dialects.request,
        seeds=[bytes([number, 0]) + body for number in range(3) for body in (_QUESTION, _TOOLS)],
        words=_WIRE_WORDS,
    ),
    "dialect-reply": Target(check=dialects.reply, seeds=_replies(), words=_WIRE_WORDS),
    "splice": Target(
        check=bodies.splice,
        seeds=[_QUESTION, _TOOLS, b'{"x": ["model", {"model": 1}], "mod\\u0065l": "a\\"b"}'],
        words=('"model"', '"mod\\u0065l"', "\\", "\\u", "\\ud800", '\\"', "{", "}", "[", "]", ":", ",", "1e5", "\xff"),
    ),
    "redaction-json": Target(
        check=bodies.redact,
        seeds=[_TOOLS, b'{"arguments": "{\\"mail\\": \\"a@b.com\\", \\"n\\": 4111111111111111}", "x": 1.50}'],
        words=(
            '"arguments"',
            '"input"',
            "a@b.com",
            "4111111111111111",
            "+49 30 123456",
            "secret-key-1234",
            "\\ud800",
            "token=",
        ),
    ),
    "redaction-text": Target(
        check=bodies.redact_text,
        seeds=[
            b"mail a@b.com, +49 (30) 1234-5678, 4111 1111 1111 1111, api_key = abcdef123456 sk-aaaaaaaaaaaaaaaaaaaa"
        ],
        words=(
            "a@b.com",
            "4111111111111111",
            "555-123-4567",
            "+1234567890",
            "token=",
            "Bearer ",
            "secret-key-1234",
            "&key=1",
            "%3b",
        ),
    ),
    "decoding": Target(check=bodies.decode, seeds=_coded()),
    "connection": Target(
        check=connection.connection,
        seeds=[
            bytes([answer, model, 1]) + first + second + first
            for answer in range(len(connection.ANSWERS))
            for model in (0, 1)
            for first, second in ((_WITH_LENGTH, _WITH_CHUNKS), (_WITH_CHUNKS, _WITHOUT_BODY))
        ],
        words=_HEAD_WORDS,
    ),
    "policy": Target(
        check=live.policy,
        seeds=[
            bytes([number, 1, 1]) + path
            for number in (0, 1)
            for path in (b"/v1/messages?x=1", b"/b/v1/models/a", b"http://x/files/a", b"/files/%2e%2e/x")
        ],
        words=_PATH_WORDS,
    ),
    "retry-after": Target(
        check=live.retry_after,
        seeds=[
            b"\0" + b"30",
            b"\0Mon, 23 Nov 2026 12:00:10 GMT",
            b"\1" + b"1500.5",
            b"\0Mon, 23 Nov 2026 12:00:10 -0100",
        ],
        words=("GMT", "Nov", "Mon, ", "inf", "nan", "1e5", "+0100", "99999999999999999999"),
    ),
    "record": Target(
        check=live.record,
        seeds=[
            bytes([number, 0, number % 2, number]) + b"1\0beta=1&key=x\0" + _TOOLS + b"\0" + body
            for number, body in enumerate([_STREAM, _CHAT_WHOLE, _RESPONSES])
        ],
        words=_WIRE_WORDS,
    ),
    "config": Target(check=texts.config, seeds=[_CONFIG, b"listen: 1\n", b"a: [b\n"], words=_YAML_WORDS),
    "yaml": Target(check=texts.yaml_tree, seeds=[_CONFIG], words=_YAML_WORDS),
    "json-text": Target(
        check=texts.json_values,
        seeds=[b'{"a": [1, 2.5, "x"]}', b'words ```json\n{"a": 1}\n``` more', b"[[[", b'{"a":1,"a":2} NaN [1]'],
        words=("```", "NaN", "Infinity", '"a":', "{", "}", "1e999", "\\ud800"),
    ),
    "schema": Target(
        check=texts.schema,
        seeds=[
            b'{"a": 1}\0{"type": "object", "required": ["b"], "properties": {"a": {"pattern": "^a+$", "$ref": "#/x"}}}'
        ],
        words=(
            '"$ref"',
            '"#"',
            '"type"',
            '"object"',
            '"allOf"',
            '"pattern"',
            '"minimum"',
            '"multipleOf"',
            '"$id"',
            '"format"',
            '"$dynamicRef"',
            '"enum"',
        ),
    ),
}
