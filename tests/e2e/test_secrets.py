"""Keys through the whole product: nothing that is stored, logged or shown holds one, and nobody else is sent one."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from shadow.simulator import Simulator
from tests.support.canaries import forms, held
from tests.support.serving import Serve, ask, plain_environment, question
from tests.support.stored import rows_of
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.http1 import Message

# No key of these looks like one (no `sk-`), so that knowing it, not its shape, is what keeps it out.
APP = "canary-Of.The~App-12+34/56=="
BEARER = "canary-Of.A~Bearer-12+34/56=="
QUERY = "canary-Of.The~Query-12+34/56=="
BASIC = "canary-of-a-password-123456"
UPSTREAM = "canary-Of.The~Gateway-12+34/56=="
FAR = "canary-Of.The~Candidate-12+34/56=="
ADMIN = "canary-Of.The~Admin-12+34/56=="
TYPED = "sk-ant-api03-canary-typed-by-a-person-0123456789"
"""A foreign key in a prompt: it can be known by its shape only."""
CANARIES = (APP, BEARER, QUERY, BASIC, UPSTREAM, FAR, ADMIN, TYPED)

PROMPT, SAID = "prompt-Of-The-Canary-Test", "answer-Of-The-Canary-Test"


def echoing(request: Message) -> Answer:
    """A provider of the worst kind: says back every credential it was sent, in every form, where the prompt asks."""
    names = (b"x-api-key", b"authorization")
    sent = [value.decode() for name in names for value in request.values(name)]
    sent += [part.partition("=")[2] for part in request.target.decode().partition("?")[2].split("&")]
    keys = [key for value in sent for key in (value, value.rpartition(" ")[2]) if key]
    echo = " ".join([SAID, *(form.decode() for key in keys for form in sorted(forms(key)))])
    asked = bytes(request.body)
    if b"echo-401" in asked:
        refused = {"type": "error", "error": {"type": "authentication_error", "message": f"invalid key {echo}"}}
        return http(401, "application/json", json.dumps(refused))
    if b"echo-page" in asked:
        return http(502, "text/html", f"<html>{echo}</html>")
    if b"echo-stream-error" in asked:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": echo}}
        return http(200, "text/event-stream", event(message("")) + event(error))
    if b'"stream":true' in asked.replace(b" ", b""):
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": echo}}
        stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
        events = ({"type": "message_start", "message": message("")}, delta, stop, {"type": "message_stop"})
        return http(200, "text/event-stream", "".join(map(event, events)))
    return http(200, "application/json", json.dumps(message(echo)))


def message(text: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "echo",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 9},
    }


def event(payload: Mapping[str, Any]) -> str:
    return f"event: {payload['type']}\ndata: {json.dumps(payload)}\n\n"


def http(status: int, kind: str, body: str) -> Answer:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body.encode())}\r\n\r\n"
    return Answer(parts=[head.encode() + body.encode()])


@pytest.fixture
def near() -> Iterator[Simulator]:
    """Where the app's traffic goes, and one candidate."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def echo() -> Iterator[Upstream]:
    """A second upstream, by route."""
    with Upstream() as upstream:
        upstream.answer(echoing, by_body=True)
        yield upstream


@pytest.fixture
def far() -> Iterator[Upstream]:
    """Another origin, where the other candidate is."""
    with Upstream() as upstream:
        upstream.answer(echoing, by_body=True)
        yield upstream


def config(near: Simulator, echo: Upstream, far: Upstream, *, content: str) -> str:
    upstream = {
        "base_url": near.base_url,
        "api_key": UPSTREAM,
        "routes": {"/echo": {"base_url": echo.base_url}, "/nobody": {"base_url": "http://127.0.0.1:1"}},
    }
    candidates = [
        {"model": "near"},
        {"model": "far", "base_url": far.base_url, "api_key": FAR, "api_key_header": "bearer"},
    ]
    price = {"input": 1, "output": 2}
    shadow = {"sample_rate": 1, "candidates": candidates, "content": content, "budget_usd_per_day": 1000}
    whole = {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0", "token": ADMIN},
        "upstream": upstream,
        "shadow": shadow,
        "prices": {"near": price, "far": price},
    }
    return json.dumps(whole)


def send_everything(serving: Serve) -> None:
    """Every way for a key to come in, and every way for it to come back."""
    listen = serving.listen
    by_header = {"x-api-key": APP}
    by_bearer = {"authorization": f"Bearer {BEARER}"}
    by_query = f"?key={quote(QUERY, safe='')}&beta=true"
    by_basic = {"authorization": f"Basic {base64.b64encode(f'me:{BASIC}'.encode()).decode()}"}
    chat = {"model": "primary", "messages": [{"role": "user", "content": f"{PROMPT} {TYPED}"}]}
    said = [
        ask(listen, "POST", "/v1/messages", question(f"{PROMPT} my key is {TYPED}"), by_header),
        ask(listen, "POST", "/v1/chat/completions", chat, by_bearer),
        ask(listen, "POST", f"/v1/messages{by_query}", question(PROMPT)),
        ask(listen, "GET", f"/v1/models{by_query}", None, by_basic),
        ask(listen, "POST", f"/nobody/v1/messages{by_query}", question(PROMPT), by_header),
    ]
    for number, wanted in enumerate(("", "echo-401", "echo-page", "echo-stream-error")):
        for stream in (False, True):
            asked = question(f"{PROMPT} {wanted} {number}", stream=stream)
            said.append(ask(listen, "POST", "/v1/messages", asked, by_header))  # the far candidate echoes
            if wanted:  # the upstream echoes
                ways = (by_header, by_bearer, by_basic)
                said += [ask(listen, "POST", f"/echo/v1/messages{by_query}", asked, headers) for headers in ways]
    # A key of the configuration, typed or leaked into a prompt.
    said.append(ask(listen, "POST", "/v1/messages", question(f"{PROMPT} {UPSTREAM} and {ADMIN}"), by_header))
    assert {status for status, _ in said} == {200, 401, 502}
    assert held(b"".join(body for _, body in said), APP, BEARER, QUERY) == [APP, BEARER, QUERY]  # they did come back


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    return rows_of(folder / "shadow.db", sql)


def wait_until_nothing_is_pending(folder: Path) -> None:
    """A pending job's copy of the exchange is raw, by design; it goes with the last job."""

    def left() -> list[tuple[Any, ...]]:
        return rows(
            folder, "SELECT 1 FROM shadow_job WHERE state IN ('pending', 'leased', 'sent') UNION SELECT 2 FROM job_body"
        )

    eventually(lambda: rows(folder, "SELECT 1 FROM shadow_job") and not left(), within_s=60, what="the end of all jobs")


def shown(serving: Serve) -> bytes:
    """All the admin port tells, and what it tells who has no token."""
    token = {"authorization": f"Bearer {ADMIN}"}
    told = [ask(serving.admin, "GET", "/stats", None, {"authorization": f"Bearer {APP}"})[1]]
    pairs, cursor = [], ""
    while cursor is not None:
        page = json.loads(ask(serving.admin, "GET", f"/pairs?limit=100{cursor}", None, token)[1])
        told.append(json.dumps(page).encode())
        pairs += page["pairs"]
        cursor = f"&cursor={quote(page['next_cursor'], safe='')}" if page["next_cursor"] else None
    assert pairs
    paths = ["/stats", "/verdicts", "/healthz", "/readyz", "/", "/openapi.json"]
    paths += [f"/pairs/{quote(pair['id'], safe='')}" for pair in pairs]
    paths += [f"/exchanges/{identity}" for (identity,) in rows(serving.folder, "SELECT id FROM exchange")]
    for path in paths:
        status, body = ask(serving.admin, "GET", path, None, token)
        assert status == 200, (path, body)
        told.append(body)
    return b"\n".join(told)


def files(folder: Path, *, but: str = "config.yaml") -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != but}


def held_by_files(folder: Path) -> dict[str, list[str]]:
    """Which of the product's files hold which canaries."""
    return {name: found for name, data in files(folder).items() if (found := held(data, *CANARIES))}


def whole(request: Message) -> bytes:
    return request.start + b"".join(name + b": " + value for name, value in request.headers) + bytes(request.body)


def test_no_key_is_stored_logged_shown_or_sent_to_anyone_it_was_not_meant_for(
    tmp_path: Path, near: Simulator, echo: Upstream, far: Upstream
) -> None:
    with Serve(tmp_path, config(near, echo, far, content="redacted"), environ=plain_environment()) as serving:
        send_everything(serving)
        wait_until_nothing_is_pending(tmp_path)
        assert held(shown(serving), *CANARIES) == []
        assert serving.stop() == 0

    assert held_by_files(tmp_path) == {}
    assert rows(tmp_path, "SELECT count(*) FROM exchange") == [(32,)]
    assert PROMPT.encode() in files(tmp_path)["shadow.db"]  # content was kept, so keys could have been

    copies = near.log.calls(model="near")
    assert copies
    for entry in copies:
        assert held(repr(entry.headers).encode(), APP, BEARER, QUERY, FAR, ADMIN) == []
        assert entry.key == UPSTREAM
    assert far.requests
    for request in far.requests:
        assert request.values(b"authorization") == [f"Bearer {FAR}".encode()]
        assert held(whole(request), *CANARIES) == [FAR]


def test_the_apps_own_key_in_a_prompt_or_an_answer_is_neither_kept_nor_sent_on(
    tmp_path: Path, near: Simulator, echo: Upstream, far: Upstream
) -> None:
    with Serve(tmp_path, config(near, echo, far, content="full"), environ=plain_environment()) as serving:
        for stream in (False, True):
            typed, echoed = question(f"{PROMPT} {APP}", stream=stream), question(PROMPT, stream=stream)
            for path, asked in (("/v1/messages", typed), ("/echo/v1/messages", echoed)):
                assert ask(serving.listen, "POST", path, asked, {"x-api-key": APP})[0] == 200
        assert ask(serving.listen, "POST", "/v1/messages", question("nothing secret"), {"x-api-key": APP})[0] == 200
        wait_until_nothing_is_pending(tmp_path)
        assert held(shown(serving), APP) == []
        assert serving.stop() == 0
    assert held_by_files(tmp_path) == {}
    assert [request for request in far.requests if APP in held(whole(request), APP)] == []


def test_with_content_none_nothing_of_prompts_and_answers_stays_in_the_store(
    tmp_path: Path, near: Simulator, echo: Upstream, far: Upstream
) -> None:
    marks = (PROMPT.encode(), SAID.encode(), TYPED.encode())
    with Serve(tmp_path, config(near, echo, far, content="none"), environ=plain_environment()) as serving:
        for wanted in ("", TYPED, "echo-401", "echo-page", "echo-stream-error"):
            for stream in (False, True):
                asked = question(f"{PROMPT} {wanted}", stream=stream)
                assert ask(serving.listen, "POST", "/v1/messages", asked, {"x-api-key": APP})[0] == 200
        assert ask(serving.listen, "POST", "/echo/v1/messages", question(PROMPT))[0] == 200
        wait_until_nothing_is_pending(tmp_path)
        told = shown(serving)
        assert [mark for mark in marks if mark in told] == []
        assert serving.stop() == 0
    assert [name for name, data in files(tmp_path).items() if any(mark in data for mark in marks)] == []
    assert held_by_files(tmp_path) == {}
    assert rows(tmp_path, "SELECT count(*) FROM shadow_answer") != [(0,)]
    assert rows(tmp_path, "SELECT count(*) FROM content") == [(0,)]


def test_with_content_none_an_upstreams_sentence_about_an_error_is_not_kept(
    tmp_path: Path, near: Simulator, echo: Upstream, far: Upstream
) -> None:
    with Serve(tmp_path, config(near, echo, far, content="none"), environ=plain_environment()) as serving:
        for wanted in ("echo-401", "echo-stream-error"):
            ask(serving.listen, "POST", "/echo/v1/messages", question(f"{PROMPT} {wanted}", stream=True))
        assert serving.stop() == 0
    assert rows(tmp_path, "SELECT count(*) FROM exchange WHERE outcome LIKE 'error%'") == [(2,)]
    assert SAID.encode() not in files(tmp_path)["shadow.db"]
