"""Keys where nobody thinks of them: cut in pieces, in cookies and proxies, in logs at debug, in what processes show.

`tests/e2e/test_secrets.py` follows keys through the usual ways; here are the odd ones.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from gateway import sockets
from gateway.addresses import ListenAddress
from gateway.cli import app
from shadow.simulator import Simulator
from shadow.store.sqlite.file import prepare
from tests.e2e.test_secrets import ADMIN, event, http, message, rows, shown, wait_until_nothing_is_pending
from tests.support.canaries import forms, held
from tests.support.client import Client, NoAnswerError
from tests.support.serving import Serve, ask, plain_environment, question
from tests.support.upstream import Answer, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http1 import Message

# Of the app's, none of a shape that a pattern knows.
APP = "canary~Of.The-App-98+76/54=="
PASSWORD = "canary~Of.A-Password-98+76"
COOKIE = "canary~Of.A-Cookie-98+76/54=="
GOOGLE = "canary~Of.Google-98+76/54=="
AZURE = "canary~Of.Azure-98+76/54=="
APPS = (APP, PASSWORD, COOKIE, GOOGLE, AZURE)
# Of ours.
UPSTREAM = "canary~Of.The-Upstream-98+76/54=="
ROUTE = "canary~Of.A-Route-98+76/54=="
FAR = "canary~Of.The-Far-One-98+76/54=="
PROXY = "canary~Of/The@Proxy-98:76"
MATCHED = "canary~Of.A-Matched-Header-98+76"
TYPED = (*APPS, UPSTREAM, ROUTE, PROXY)
"""Those a live process knows, typed into prompts in every spelling."""
OURS = (UPSTREAM, ROUTE, FAR, PROXY, ADMIN, MATCHED)

SAID = "what-the-upstream-said"
SENT = {
    "x-api-key": APP,
    "authorization": "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode(),
    "cookie": f"theme=dark; session={COOKIE}",
    "x-goog-api-key": GOOGLE,
    "api-key": AZURE,
}


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def spoken(*said: str, kind: str = "text_delta", member: str = "text", block: dict[str, Any] | None = None) -> str:
    """A streamed answer that says these pieces."""
    started = {"type": "content_block_start", "index": 0, "content_block": block or {"type": "text", "text": ""}}
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": kind, member: piece}} for piece in said]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
    events = [{"type": "message_start", "message": message("")}, started, *deltas, end, {"type": "message_stop"}]
    return "".join(map(event, events))


def answering(request: Message) -> Answer:  # noqa: PLR0911  (a table of answers)
    """Says back every key it was sent, in the way that the prompt names."""
    asked = bytes(request.body)
    presented = [value.decode() for _, value in request.headers if b"canary" in value]
    keys = [value.rpartition("session=")[2].rpartition(" ")[2] for value in presented] or ["no-key-was-sent"]
    keys += [PASSWORD] if request.values(b"authorization") == [SENT["authorization"].encode()] else []
    aloud = f"{SAID} {' and '.join(keys)}"
    if b"in-pieces" in asked:
        return http(200, "text/event-stream", spoken(*pieces(aloud, 3)))
    if b"in-arguments" in asked:
        tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
        arguments = pieces(json.dumps({"said": aloud}), 5)
        return http(
            200, "text/event-stream", spoken(*arguments, kind="input_json_delta", member="partial_json", block=tool)
        )
    if b"in-blocks" in asked:
        blocks = [{"type": "text", "text": piece} for piece in pieces(aloud, 4)]
        return http(200, "application/json", json.dumps(message("") | {"content": blocks}))
    if b"in-hex" in asked:
        return http(200, "application/json", json.dumps(message(" ".join(key.encode().hex() for key in keys))))
    if b"in-escapes" in asked:
        escaped = "".join(f"\\u{ord(letter):04x}" for letter in aloud)
        return http(200, "application/json", json.dumps(message("MARK")).replace("MARK", escaped))
    if b"in-an-error" in asked:
        # Where an error is shortened, the key is at the edge.
        error = {"type": "error", "error": {"type": "x", "message": "y" * 285 + " ".join(keys)}}
        return http(401, "application/json", json.dumps(error))
    if b"in-a-late-error" in asked:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "y" * 270 + " ".join(keys)}}
        return http(200, "text/event-stream", event({"type": "message_start", "message": message("")}) + event(error))
    if b"in-names" in asked:
        named = message(SAID) | {"model": "m" * 190 + keys[0], "stop_reason": "s" * 190 + keys[-1]}
        return http(200, "application/json", json.dumps(named))
    return http(200, "application/json", json.dumps(message(aloud)))


WAYS = (
    *("in-pieces", "in-arguments", "in-blocks", "in-hex", "in-escapes", "in-an-error", "in-a-late-error", "in-names"),
    "plainly",
)

DEBUGGING = """
import logging
_configure = logging.basicConfig
def at_debug(**given):
    _configure(**{**given, "level": logging.DEBUG})
    logging.getLogger("canaries").debug("debug is on")
logging.basicConfig = at_debug
"""
"""Every process of Python's that finds this as sitecustomize logs at debug, whatever it was told."""


@pytest.fixture
def near() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def echo() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(answering, by_body=True)
        yield upstream


@pytest.fixture
def far() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(answering, by_body=True)
        yield upstream


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text("utf-8").split()]
    return [one for child in children for one in (child, *descendants(child))]


def of_process(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def modes(folder: Path) -> dict[str, int]:
    """What others may do with each of the product's files."""
    own = {"config.yaml", "stdout.log", "stderr.log", "sitecustomize.py", "__pycache__"}
    return {file.name: stat.S_IMODE(file.stat().st_mode) & 0o077 for file in folder.iterdir() if file.name not in own}


def configuration(near: Simulator, echo: Upstream, far: Upstream) -> str:
    price = {"input": 1, "output": 2}
    upstream = {
        "base_url": near.base_url,
        "api_key": UPSTREAM,
        "proxy": f"http://proxy-user:{quote(PROXY, safe='')}@127.0.0.1:1",
        "routes": {
            "/echo": {"base_url": echo.base_url, "api_key": ROUTE},
            "/proxied": {"base_url": "http://no-such-host.invalid"},
        },
    }
    shadow = {
        "sample_rate": 1,
        "content": "full",
        "budget_usd_per_day": 1000,
        "candidates": [{"model": "far", "base_url": far.base_url, "api_key": "${KEY_OF_THE_FAR_ONE}"}],
    }
    whole = {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "upstream": upstream,
        "shadow": shadow,
        "tasks": [{"name": "matched", "match": {"header": {"authorization": f"Bearer {MATCHED}"}}}],
        "prices": {"far": price},
    }
    return json.dumps(whole)


def test_no_key_is_found_anywhere_however_it_came_and_however_it_is_spelled(
    tmp_path: Path, near: Simulator, echo: Upstream, far: Upstream
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEBUGGING)
    environ = plain_environment(
        KEY_OF_THE_FAR_ONE=FAR, SHADOW_ADMIN_TOKEN=ADMIN, NO_PROXY="127.0.0.1", PYTHONPATH=str(tmp_path)
    )
    with umask(0):
        serving = Serve(tmp_path, configuration(near, echo, far), environ=environ)
    with serving:
        send_in_every_way(serving)
        send_what_is_refused(serving)
        wait_until_nothing_is_pending(tmp_path)
        told = shown(serving)
        assert SAID.encode() in told
        assert held(told, *APPS, *OURS) == []
        assert held(commands(tmp_path, environ), *APPS, *OURS) == []
        look_at_processes(serving)
        assert {name: mode for name, mode in modes(tmp_path).items() if mode} == {}
        assert {"shadow.db", "shadow.db-wal", "shadow.db-shm"} <= modes(tmp_path).keys()
        assert held_by(tmp_path) == {}  # the write-ahead log and the index beside it
        assert serving.stop() == 0
        logged = serving.logged
    assert held_by(tmp_path) == {}
    assert {line["process"] for line in logged if line["message"] == "debug is on"} == {
        *("serve", "live", "live-0", "scribe", "measuring"),
    }
    assert [line for line in logged if line["level"] == "critical" or "error" in line] == []  # nobody crashed
    assert far.requests
    for request in far.requests:
        assert held(request.start + repr(request.headers).encode() + bytes(request.body), *APPS, *OURS) == [FAR]
    check_what_is_kept(tmp_path)


def held_by(folder: Path) -> dict[str, list[str]]:
    """Which files hold which keys; the configuration may."""
    files = [file for file in folder.iterdir() if file.is_file() and file.name != "config.yaml"]
    return {file.name: found for file in files if (found := held(file.read_bytes(), *APPS, *OURS))}


def send_in_every_way(serving: Serve) -> None:
    for way in WAYS:
        for path in ("/echo/v1/messages", "/v1/messages"):  # said back by the upstream, and by the candidate
            asked = question(f"say it {way}", stream=way in {"in-pieces", "in-arguments", "in-a-late-error"})
            status, answer = ask(serving.listen, "POST", path, asked, SENT)
            assert status == (401 if way == "in-an-error" and path.startswith("/echo") else 200), (way, answer)
    for key in TYPED:
        for form in sorted(forms(key)):
            asked = {**question(""), "messages": [{"role": "user", "content": f"my key is {form.decode()}"}]}
            assert ask(serving.listen, "POST", "/v1/messages", asked, SENT)[0] == 200
    status, answer = ask(serving.listen, "POST", "/proxied/v1/messages", question(), SENT)
    assert status == 502
    assert held(answer, *APPS, *OURS) == []


def send_what_is_refused(serving: Serve) -> None:
    """Errors of ours quote nothing of what they refuse."""
    address = (serving.listen.host, serving.listen.port)
    key = APP.encode()
    for request in (
        b"GET /" + key + b" HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET http:/" + key + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://me:" + key + b"@a/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /../" + key + b" HTTP/1.1\r\nHost: a\r\nx-api-key: " + key + b"\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a, " + key + b"\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nbad header " + key + b": x\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: " + key + b"\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + key + b"\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + key + b"\r\n",
    ):
        with Client(address) as client, contextlib.suppress(NoAnswerError):
            received = client.ask(request)
            assert received.status >= 400
            assert held(received.body + repr(received.headers).encode(), APP) == []
    for path in (f"/stats?since={quote(ADMIN)}x", f"/pairs/{quote(APP, safe='')}", f"/pairs?cursor={quote(APP)}"):
        for token in (ADMIN, APP):
            ask(serving.admin, "GET", path, None, {"authorization": f"Bearer {token}"})


def commands(folder: Path, environ: dict[str, str]) -> bytes:
    """All that the commands print."""
    told = b""
    file = str(folder / "config.yaml")
    for command in (["check"], ["check", "--json"], ["doctor"], ["doctor", "--json"], ["pairs"], ["pairs", "--json"]):
        result = CliRunner().invoke(app, [*command, "-c", file], env={**environ, "PYTHONPATH": None})
        told += result.output.encode() + repr(result.exception).encode()
    broken = folder / "broken.yaml"
    for text in (
        f"upstream: {{api_key: [{FAR}]}}\nclients: {{a: {FAR}}}\nadmin: {{token: '{FAR} x'}}\n",
        f"upstream: {{api_key: '{FAR}\n",
        f"upstream: {{proxy: 'ftp://me:{FAR}@h', base_url: 'https://me:{FAR}@h'}}\n",
        f"upstream: {{base_url: 'https://h/?key={FAR}', api_keyy: {FAR}}}\n",
        f"upstream: {{api_key: {FAR}, api_key: {FAR}}}\nalerts: [{{slack: 'https://hooks.example/{FAR}'}}]\n",
        "listen: ${KEY_OF_THE_FAR_ONE}\nworkers: ${KEY_OF_THE_FAR_ONE}\nstore: '${KEY_OF_THE_FAR_ONE}'\n",
    ):
        broken.write_text(text, encoding="utf-8")
        result = CliRunner().invoke(app, ["check", "-c", str(broken)], env={**environ, "PYTHONPATH": None})
        assert result.exit_code == 2, (text, result.output)
        assert held(result.output.encode(), FAR) == [], (text, result.output)
        told += result.output.encode() + repr(result.exception).encode()
    broken.unlink()
    return told


def look_at_processes(serving: Serve) -> None:
    """No key is in a command line; the processes that read foreign bytes have none in their environment either."""
    found = descendants(serving.process.pid)
    assert len(found) >= 3
    environments = []
    for pid in (serving.process.pid, *found):
        command = of_process(pid, "cmdline")
        assert held(command, *APPS, *OURS) == []
        if b"gateway.live" in command or b"gateway.scribe" in command:
            environments.append(of_process(pid, "environ"))
        assert Path(f"/proc/{pid}/limits").read_text("utf-8").partition("Max core file size")[2].split()[0] == "0"
    assert len(environments) == 2
    assert held(b"".join(environments), *APPS, *OURS) == []


def check_what_is_kept(folder: Path) -> None:
    """What was said in pieces is nowhere whole, and what held a key was not sent on."""
    skipped = dict(rows(folder, "SELECT reason, count(*) FROM shadow_job WHERE state = 'skipped' GROUP BY reason"))
    said_back = len(WAYS) - 3  # not the two errors, and a name is no answer
    assert skipped["holds_key"] >= sum(len(forms(key)) for key in TYPED) + said_back
    assert skipped["primary_error"] >= 2
    kept = rows(folder, "SELECT * FROM content")
    assert kept
    errors = rows(folder, "SELECT error FROM exchange WHERE error IS NOT NULL UNION SELECT error FROM shadow_answer")
    assert len(errors) >= 3
    for text in (repr(kept), repr(errors), repr(rows(folder, "SELECT * FROM score"))):
        for key in (*APPS, *OURS):
            assert key[:16] not in text  # not even the part that shortening would leave


def test_keys_of_clients_stay_where_they_are_checked(tmp_path: Path, near: Simulator) -> None:
    client, stranger = "canary~Of.A-Client-98+76/54==", "canary~Of.A-Stranger-98+76/54=="
    config = {
        "listen": f"unix:{tmp_path}/live.sock",
        "admin": {"listen": f"unix:{tmp_path}/admin.sock"},
        "clients": [client],
        "upstream": {"base_url": near.base_url, "auth": "gateway", "api_key": UPSTREAM},
        "shadow": {"sample_rate": 1, "content": "full", "candidates": [{"model": "near"}]},
        "prices": {"near": {"input": 1, "output": 1}},
    }
    body = json.dumps(question(f"is {client} my key?")).encode()
    with umask(0o022):
        serving = Serve(tmp_path, json.dumps(config), environ=plain_environment())
    with serving:
        for key, status in ((client, 200), (stranger, 401)):
            head = f"POST /v1/messages HTTP/1.1\r\nHost: a\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n"
            head += f"content-type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            with Client(f"{tmp_path}/live.sock") as caller:
                assert caller.ask(head.encode() + body).status == status
        assert modes(tmp_path).pop("live.sock") == 0o060  # the app's group; what it may do needs a key
        assert {name for name, mode in modes(tmp_path).items() if mode} == {"live.sock"}
        assert serving.stop() == 0
    assert [entry.key for entry in near.log.calls()] == [UPSTREAM]
    for file in tmp_path.iterdir():
        if file.name != "config.yaml":
            assert held(file.read_bytes(), client, stranger, UPSTREAM) == [], file
    assert rows(tmp_path, "SELECT count(*) FROM exchange WHERE status = 200") == [(1,)]


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_whatever_is_made_is_for_its_owner_whatever_the_umask_says(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        prepare(tmp_path / "made" / "by us" / "shadow.db")
        result = CliRunner().invoke(app, ["init", str(tmp_path / "config.yaml")])
        assert result.exit_code == 0
        for name, mode in (("live", sockets.LIVE_SOCKET_MODE), ("admin", sockets.ADMIN_SOCKET_MODE)):
            address = ListenAddress(path=str(tmp_path / name))
            bound, _ = sockets.bind(address, count=1, key="listen", mode=mode)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
            sockets.close(bound)
        assert os.umask(mask) == mask  # as it was, for whatever the user's own code writes
    for path, mode in (
        (tmp_path / "made", 0o700),
        (tmp_path / "made" / "by us", 0o700),
        (tmp_path / "made" / "by us" / "shadow.db", 0o600),
        (tmp_path / "config.yaml", 0o600),
    ):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


def test_an_exchange_names_nobody(tmp_path: Path, near: Simulator) -> None:
    """No identity of a client is kept, hashed or not; what names a conversation is kept as a keyed hash only."""
    config = {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "upstream": {"base_url": near.base_url},
        "shadow": {"seed": "of this test", "content": "none"},
    }
    who = {"user-agent": "agent-of-jane", "x-forwarded-for": "203.0.113.77", "x-shadow-conversation": "talk-with-jane"}
    who |= {"x-claude-code-session-id": "session-of-jane", "referer": "http://jane.example", "x-api-key": APP}
    asked = {**question(), "metadata": {"user_id": "jane@example.com"}}
    with Serve(tmp_path, json.dumps(config), environ=plain_environment()) as serving:
        assert ask(serving.listen, "POST", "/v1/messages", asked, who)[0] == 200
        assert ask(serving.listen, "POST", "/v1/messages", asked, {**who, "x-shadow-conversation": ""})[0] == 200
        assert serving.stop() == 0
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("shadow.db*"))
    for mark in (b"jane", b"203.0.113", APP.encode()):
        assert mark not in stored
    assert len(rows(tmp_path, "SELECT DISTINCT conversation FROM exchange")) == 2
