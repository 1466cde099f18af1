"""What relaying one exchange costs in Python: microseconds of CPU of a live process, without sockets.

    python bench/exchange.py [--rounds 150]

A client's request and an upstream's answer are handed to the relay as they would arrive, and what it writes goes
nowhere; system calls and the event loop are not in it, nor is the scribe, but packing the exchange for it is. The least
of many short runs is what the code takes when nobody is in its way; beside a busy neighbour it takes up to twice as
long. `fields` are what an answer has for header fields; every answer has others, as real ones do.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.server import ServerState

from gateway.downstream import Client
from gateway.handover import pack_exchange
from gateway.policy import Policy, origin_of
from gateway.recording import TeeBudget
from gateway.relay import Relay
from gateway.settings import LiveSettings, Upstream
from gateway.upstream import Connection
from shadow.dialects import dialect_of

if TYPE_CHECKING:
    from gateway.recording import Recording

_UPSTREAM = "http://upstream.example"
_BODY = b"y" * 2268
_REQUEST = (
    b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
    b"User-Agent: Anthropic/Python 2.12.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.12.0\r\n"
    b"X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
    b"X-Stainless-Runtime-Version: 3.11.7\r\nAuthorization: Bearer sk-bench\r\nX-Stainless-Async: false\r\n"
    b"anthropic-version: 2026-10-21\r\nx-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n"
    b"Content-Length: 1024\r\n\r\n"
) + b"x" * 1024
_FEW = "content-type: application/json\nrequest-id: req_0000000000"
_ANTHROPIC = """Date: Fri, 27 Nov 2026 12:00:00 GMT
Content-Type: application/json
Connection: keep-alive
anthropic-ratelimit-input-tokens-limit: 400000
anthropic-ratelimit-input-tokens-remaining: 000000
anthropic-ratelimit-input-tokens-reset: 2026-11-27T12:00:00Z
anthropic-ratelimit-output-tokens-limit: 80000
anthropic-ratelimit-output-tokens-remaining: 00000
anthropic-ratelimit-output-tokens-reset: 2026-11-27T12:00:00Z
anthropic-ratelimit-requests-limit: 4000
anthropic-ratelimit-requests-remaining: 0000
anthropic-ratelimit-requests-reset: 2026-11-27T12:00:00Z
anthropic-ratelimit-tokens-limit: 480000
anthropic-ratelimit-tokens-remaining: 000000
anthropic-ratelimit-tokens-reset: 2026-11-27T12:00:00Z
request-id: req_011CSHoEeq000000000000000
strict-transport-security: max-age=31536000; includeSubDomains; preload
anthropic-organization-id: 6d1b2f0c-6f0a-4c43-9a5d-0b3a7d8d0c11
x-envoy-upstream-service-time: 0000
via: 1.1 google
cf-cache-status: DYNAMIC
X-Robots-Tag: none
Server: cloudflare
CF-RAY: 9a5c000000000000-AMS"""
_OPENAI = """Date: Fri, 27 Nov 2026 12:00:00 GMT
Content-Type: application/json
Connection: keep-alive
access-control-expose-headers: X-Request-ID
openai-organization: user-abcdefghijklmnop
openai-processing-ms: 000
openai-project: proj_abcdefghijklmnop
openai-version: 2020-10-01
x-envoy-upstream-service-time: 000
x-ratelimit-limit-requests: 10000
x-ratelimit-limit-tokens: 2000000
x-ratelimit-remaining-requests: 0000
x-ratelimit-remaining-tokens: 0000000
x-ratelimit-reset-requests: 6ms
x-ratelimit-reset-tokens: 0s
x-request-id: req_00000000000000000000000000000000
cf-cache-status: DYNAMIC
Set-Cookie: __cf_bm=0000000000000000-0000000000; path=/; domain=.api.openai.com; HttpOnly; Secure; SameSite=None
X-Content-Type-Options: nosniff
Set-Cookie: _cfuvid=0000000000000000-0000000000; path=/; domain=.api.openai.com; HttpOnly; Secure; SameSite=None
Server: cloudflare
CF-RAY: 9a5c000000000000-AMS
alt-svc: h3=":443"; ma=86400"""


class Nowhere(asyncio.Transport):
    """Takes everything at once."""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Packing:
    """Packs what ended, as the live process does, and sends it to nobody."""

    def __init__(self) -> None:
        self._batch = bytearray()

    def submit(self, recording: Recording) -> None:
        pack_exchange(recording, self._batch)
        recording.free()
        if len(self._batch) > 1 << 16:
            self._batch = bytearray()


def main() -> None:
    """Print one line for each kind of answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=150)
    rounds = parser.parse_args().rounds
    print("| 1 KB request, 2 KB answer | fields | us an exchange |")
    print("| --- | --- | --- |")
    for name, fields, chunked in (
        ("as `make bench` has it", _FEW, False),
        ("as Anthropic's", _ANTHROPIC, False),
        ("as Anthropic's, chunked", _ANTHROPIC, True),
        ("as OpenAI's, chunked", _OPENAI, True),
    ):
        answers = [_answer(fields, chunked=chunked) for _ in range(100)]
        print(f"| {name} | {fields.count(chr(10)) + 2} | {_least(answers, rounds=rounds):.1f} |", flush=True)


def _answer(fields: str, *, chunked: bool) -> bytes:
    lines = "".join(random.choice("123456789") if letter == "0" else letter for letter in fields).split("\n")
    lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(_BODY)}")
    head = "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()
    return head + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY) if chunked else _BODY)


def _least(answers: list[bytes], *, rounds: int) -> float:
    client, connection = _joined()
    took = []
    for _ in range(rounds):
        begin = time.process_time_ns()
        for answer in answers:
            client.data_received(_REQUEST)
            connection.data_received(answer)
        took.append(time.process_time_ns() - begin)
    return min(took) / len(answers) / 1e3


def _joined() -> tuple[Client, Connection]:
    """A client's connection, and the one to the upstream that its requests will find in the pool."""
    settings = LiveSettings(deployment_id="bench", upstream=Upstream(base_url=_UPSTREAM))
    relay = Relay(
        Policy(settings, dialect_of=dialect_of),
        recorder=Packing(),
        budget=TeeBudget(limit=settings.recording.tee_memory_bytes),
    )
    config = uvicorn.Config(cast("Any", relay), http=Client, ws="none", lifespan="off", log_config=None)
    client = Client(config, ServerState(), {})
    client.connection_made(Nowhere())
    connection = Connection(relay.pool)
    connection.connection_made(Nowhere())
    relay.pool._origins[connection] = origin_of(_UPSTREAM)  # noqa: SLF001 (it knows connections that it made itself)
    relay.pool.release(connection, time.monotonic())
    return client, connection


if __name__ == "__main__":
    main()
