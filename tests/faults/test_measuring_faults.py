"""Candidates, evaluators and a queue in trouble: apps notice nothing, nothing is invented, all of it is counted."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.support.measured import (
    MIB,
    App,
    books,
    configured,
    json_answer,
    model_of,
    primary,
    rows,
    spoken,
    states,
    stats,
    wait_until_done,
    wait_until_stored,
)
from tests.support.serving import SCRIPT, Serve, ask, plain_environment
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http1 import Message


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with primary() as running:
        yield running


def said(text: str) -> bytes:
    return json_answer(json.dumps(spoken(text)).encode())


CHUNK = b"%x\r\n%s\r\n" % (65_536, bytes(65_536))
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WELL = json.dumps(spoken('{"answer": 4}')).encode()

FAULTS: dict[str, tuple[Answer, str]] = {
    "well": (Answer(parts=(json_answer(WELL),)), "ok"),
    "hangs": (Answer(end="stall", parts=()), "timeout"),
    "resets": (Answer(end="reset", parts=()), "error_connect"),
    "resets half way": (Answer(parts=(json_answer(WELL)[:-20],), end="reset"), "error_stream"),
    "ends half way": (Answer(parts=(json_answer(WELL)[:-20],), end="fin"), "error_stream"),
    "stalls half way": (Answer(parts=(json_answer(WELL)[:-20],), end="stall"), "timeout"),
    "promises more": (Answer(parts=(json_answer(WELL, length=len(WELL) + 9),), end="fin"), "error_stream"),
    "sends more": (Answer(parts=(json_answer(WELL, length=len(WELL) - 9),), end="fin"), "error_stream"),
    "500": (Answer(parts=(json_answer(b"{}", status=b"500 Oh"),)), "error_http"),
    "400": (Answer(parts=(json_answer(b"{}", status=b"400 No"),)), "incompatible"),
    "redirects": (Answer(parts=(json_answer(b"", b"location: /elsewhere", status=b"302 There"),)), "error_http"),
    "no http": (Answer(parts=(b"\x16\x03\x01 this is not HTTP\r\n\r\n",), end="fin"), "error_connect"),
    "html": (Answer(parts=(json_answer(b"<html>busy</html>"),)), "error_stream"),
    "deep": (Answer(parts=(json_answer(b"[" * 1_000_000),)), "error_stream"),
    "huge": (Answer(parts=(json_answer(b"", length=1 << 33), *[bytes(65_536)] * 200), end="stall"), "aborted"),
    "endless": (Answer(parts=(CHUNKED, *[CHUNK] * 200), end="stall"), "aborted"),
}


def test_whatever_a_candidate_does_is_counted_under_its_name_and_never_felt(tmp_path: Path, upstream: Upstream) -> None:
    authority = trustme.CA()
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(secure)
    with contextlib.ExitStack() as stack:
        candidate, busy, unknown = (stack.enter_context(Upstream(tls=tls)) for tls in (None, None, secure))
        candidate.answer(lambda request: FAULTS[model_of(request)][0], by_body=True)
        busy.answer(Answer(parts=(json_answer(b"{}", b"retry-after: 250", status=b"429 Busy"),)))
        bases = dict.fromkeys(FAULTS, candidate.base_url) | {
            "429": busy.base_url,
            "down": f"http://127.0.0.1:{closed_port()}",
            "no tls": candidate.base_url.replace("http", "https"),
            "unknown authority": unknown.base_url,
        }
        wanted = {name: outcome for name, (_, outcome) in FAULTS.items()}
        wanted |= {"429": "error_http", "down": "error_connect", "no tls": "error_connect"}
        wanted |= {"unknown authority": "error_connect"}
        named = [{"model": name, "base_url": base, "api_key": "k"} for name, base in bases.items()]
        config = configured(upstream, *named, shadow={"max_body_bytes": MIB, "max_concurrency": 2 * len(named)})
        config["upstream"] |= {"first_byte_timeout_s": 2, "idle_timeout_s": 2}
        with Serve(tmp_path, json.dumps(config)) as serving:
            app = App(serving, upstream)
            app.ask(6)
            wait_until_stored(tmp_path, app.count)
            with app.asking():
                eventually(lambda: answered(tmp_path).keys() == wanted.keys(), within_s=40, what="an answer of each")
                eventually(lambda: sum(answered(tmp_path)["down"].values()) >= 5, within_s=40, what="an open breaker")
            peak_bytes = peak_memory_bytes(serving.child("gateway.measuring"))
            wait_until_stored(tmp_path, app.count)
            seen = answered(tmp_path)
            coverage = books(serving)
            assert serving.stop() == 0
    assert {name: set(outcomes) for name, outcomes in seen.items()} == {name: {one} for name, one in wanted.items()}
    assert {name for name, each in coverage.items() if each["pending"]} >= {"429", "down", "resets", "no tls"}
    assert sum(seen["down"].values()) <= 5 + 2  # two at once may be under way when the breaker opens
    assert sum(seen["429"].values()) <= 2
    assert coverage["well"]["sent"] > coverage["429"]["sent"]
    assert peak_bytes < 400 * MIB


def answered(folder: Path) -> dict[str, Counter[str]]:
    """How often each candidate's answers had which outcome."""
    found: dict[str, Counter[str]] = {}
    for model, outcome, count in rows(folder, "SELECT candidate, outcome, count(*) FROM shadow_answer GROUP BY 1, 2"):
        found.setdefault(model, Counter())[outcome] = count
    return found


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def peak_memory_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
