"""Own answers have the shape of the API that was asked."""

from __future__ import annotations

import json

import pytest

from gateway.heads import read_request
from gateway.refusal import Refusal, error_body, health_answer, own_answer, speaks_anthropic

ANTHROPIC = read_request(b"POST /v1/messages HTTP/1.1\r\nHost: a\r\n")
OPENAI = read_request(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n")


@pytest.mark.parametrize(
    ("head", "anthropic"),
    [
        (None, False),
        (ANTHROPIC, True),
        (OPENAI, False),
        (read_request(b"POST /p/v1/messages/count_tokens?beta=true HTTP/1.1\r\nHost: a\r\n"), True),
        (read_request(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAnthropic-Version: 2026-10-21\r\n"), True),
        (read_request(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"), False),
    ],
)
def test_the_api_is_told_by_path_or_version(head: object, *, anthropic: bool) -> None:
    assert speaks_anthropic(head) is anthropic  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "anthropic", "openai"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (405, "invalid_request_error", "invalid_request_error"),
        (408, "timeout_error", "invalid_request_error"),
        (431, "invalid_request_error", "invalid_request_error"),
        (502, "api_error", "server_error"),
        (503, "overloaded_error", "server_error"),
        (504, "timeout_error", "server_error"),
        (508, "api_error", "server_error"),
    ],
)
def test_error_bodies_carry_the_apis_own_types(status: int, anthropic: str, openai: str) -> None:
    refusal = Refusal(status=status, error="why", message="what")
    assert json.loads(error_body(refusal, request_id="i", anthropic=True)) == {
        "type": "error",
        "error": {"type": anthropic, "message": "what"},
        "request_id": "i",
    }
    assert json.loads(error_body(refusal, request_id="i", anthropic=False)) == {
        "error": {"message": "what", "type": openai, "param": None, "code": "why"}
    }


def test_an_own_answer_is_marked_and_whole() -> None:
    refusal = Refusal(status=502, error="connect", message="no connection to the upstream")
    head, _, body = own_answer(refusal, head=ANTHROPIC, request_id="i", close=False).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 502 Bad Gateway",
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"x-shadow-gateway-error: connect",
        b"x-shadow-request-id: i",
    ]


@pytest.mark.parametrize(("status", "line"), [(401, b"www-authenticate: Bearer"), (405, b"allow: GET, HEAD")])
def test_some_statuses_owe_a_field(status: int, line: bytes) -> None:
    answer = own_answer(Refusal(status=status, error="e", message="m"), head=None, request_id="i", close=True)
    assert b"\r\n" + line in answer
    assert b"\r\nconnection: close\r\n" in answer


def test_a_head_request_gets_the_length_without_the_body() -> None:
    asked = read_request(b"HEAD / HTTP/1.1\r\nHost: a\r\n")
    answer = own_answer(Refusal(status=403, error="e", message="m"), head=asked, request_id="i", close=True)
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 0" not in answer
    assert health_answer(ready=True, head=asked, request_id="i", close=False).endswith(b"\r\n\r\n")


def test_health_says_whether_it_drains() -> None:
    assert health_answer(ready=True, head=OPENAI, request_id="i", close=False).startswith(b"HTTP/1.1 200 OK\r\n")
    answer = health_answer(ready=False, head=OPENAI, request_id="i", close=True)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert answer.endswith(b"connection: close\r\n\r\ndraining\n")
