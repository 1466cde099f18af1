"""Candidates, evaluators and a queue in trouble: apps notice nothing, nothing is invented, all of it is counted."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import time
from asyncio import gather, sleep
from collections import Counter
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from shadow.evaluators.base import MAX_THREADS, off_loop, passed
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
from tests.support.shadowing import ANSWER, batch, candidate, eventually_async, question, workshop
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shadow.records import Score


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
            # Until the first of them breaks, a connection that looks whole is used again: that counts for nobody.
            for name in ("resets", "sends more", "no http"):
                seen[name].pop("aborted", None)
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


# Row 29: more comes than candidates can take.


def test_a_queue_that_overflows_drops_the_oldest_and_counts_them(tmp_path: Path, upstream: Upstream) -> None:
    with Upstream() as rival:
        gate = rival.gate()
        rival.answer(Answer(parts=(gate, json_answer(WELL))))
        shadow = {"queue_size": 10, "max_concurrency": 2}
        config = configured(upstream, {"model": "rival", "base_url": rival.base_url, "api_key": "k"}, shadow=shadow)
        with Serve(tmp_path, json.dumps(config)) as serving:
            app = App(serving, upstream)
            with app.asking():
                eventually(lambda: states(tmp_path).get("dropped:queue_full", 0) >= 30, within_s=40, what="drops")
            wait_until_stored(tmp_path, app.count)
            full = {"sent": 2, "pending": 10, "dropped:queue_full": app.count - 12}
            eventually(lambda: states(tmp_path) == full, within_s=20, what="a queue of ten")
            (bodies,) = rows(tmp_path, "SELECT count(*) FROM job_body")
            youngest = (
                "SELECT state, min(started_at), max(started_at) FROM exchange JOIN shadow_job ON id = exchange_id"
            )
            times = {state: (low, high) for state, low, high in rows(tmp_path, f"{youngest} GROUP BY state")}
            gate.open()
            wait_until_done(tmp_path)
            coverage = books(serving)["rival"]
            (task,) = stats(serving)["tasks"]
            assert serving.stop() == 0
    assert bodies == (12,)
    assert times["sent"] < times["dropped"] < times["pending"]
    assert (coverage["sent"], coverage["dropped"]) == (12, {"queue_full": app.count - 12})
    # Row 28: of a judge, which is not asked, nothing is invented.
    (comparison,) = task["comparisons"]
    assert comparison["judge"]["trusted"] is None
    assert comparison["judge"]["reason"] == "no judge has decided anything here"
    assert comparison["verdict"] in {None, "insufficient_data"}
    assert comparison["quality_diff"]["ci"] is None


async def test_a_queue_whose_copies_are_too_large_together_drops_the_oldest(tmp_path: Path, upstream: Upstream) -> None:
    async with workshop(tmp_path, candidate("rival", upstream.base_url)) as shop:
        asked = question(prompt="x" * 10_000)
        await shop.add(*(batch(number, "rival", "other", request=asked) for number in range(10)))
        size = len(asked) + len(ANSWER)
        assert await shop.store.jobs.enforce_queue_size(limit=100, limit_bytes=10 * size) == 0
        assert await shop.store.jobs.enforce_queue_size(limit=100, limit_bytes=4 * size + 1) == 12
        left = rows(tmp_path, "SELECT exchange_id FROM job_body ORDER BY 1")
        tally = await shop.tally()
    assert left == [(f"exchange-{number:04}",) for number in range(6, 10)]
    assert {key[1:]: count for key, count in tally.items() if key[0] == "other"} == {
        ("dropped", "queue_full"): 6,
        ("pending", None): 4,
    }


# Row 34: a scorer that never ends.

EVALUATORS = """\
import time

def sleeps(case):
    time.sleep(3600)

async def blocks(case):
    time.sleep(3600)

async def waits(case):
    import asyncio
    await asyncio.sleep(3600)

def spins(case):
    while True:
        pass

def leaves(case):
    raise SystemExit(1)

def invents(case):
    return float("nan")
"""

HOSTILE = {
    "20 MB of JSON": "[" + "1," * (10 << 20) + "1]",
    "numbers": "[" * 64 + "1," * 500_000,
    "nested": "[" * 900_000,
    "for a backtracking pattern": "a" * 900_000 + "!",
    "backticks": "`" * 900_000,
    "a fence": "```" + "a" * 900_000,
}


def test_a_scorer_that_sleeps_blocks_spins_or_meets_hostile_text_holds_up_neither_stats_nor_the_end(
    tmp_path: Path, upstream: Upstream
) -> None:
    (tmp_path / "mine.py").write_text(EVALUATORS)
    mine = ["sleeps", "blocks", "waits", "spins", "leaves", "invents"]
    evaluators: list[dict[str, Any]] = [
        {"type": "is-json", "quality": True},
        {"type": "contains-json"},
        {"type": "json-schema", "schema": {"type": "object"}, "lenient": True},
        {"type": "regex", "pattern": "(a+)+$"},
        *({"type": "python", "name": name, "target": f"mine:{name}"} for name in mine),
    ]
    with Upstream() as rival:
        rival.answer(lambda request: Answer(parts=(said(HOSTILE[model_of(request)]),)), by_body=True)
        named = [{"model": name, "base_url": rival.base_url, "api_key": "k"} for name in HOSTILE]
        shadow = {"max_body_bytes": 32 * MIB}
        config = configured(upstream, *named, shadow=shadow, evaluators=evaluators)
        with Serve(tmp_path, json.dumps(config)) as serving:
            app = App(serving, upstream)
            app.ask(1)
            wait_until_stored(tmp_path, app.count)
            with app.asking(fields=b"x-shadow: off\r\n"):
                while states(tmp_path).get("done") != len(HOSTILE):
                    assert ask(serving.admin, "GET", "/healthz") == (200, b'{"status":"ok"}')
                    assert ask(serving.admin, "GET", "/stats")[0] == 200
                    time.sleep(0.05)
            wait_until_stored(tmp_path, app.count)
            coverage = books(serving)
            scores = rows(tmp_path, "SELECT evaluator, role, candidate, status, value, reason FROM score")
            assert serving.stop() == 0
    assert all(each == coverage["nested"] for each in coverage.values())
    assert (coverage["nested"]["sent"], coverage["nested"]["dropped"]) == (1, {})
    assert all((status == "scored") == (value is not None) for _, _, _, status, value, _ in scores)
    heard = {(name, status, reason) for name, role, _, status, _, reason in scores if role == "primary"}
    took = "took longer than 5 s"
    assert {(name, "failed", took) for name in ("sleeps", "blocks", "waits", "spins")} <= heard
    assert {one for one in heard if one[0] == "leaves"} <= {
        ("leaves", "failed", "raised SystemExit"),
        ("leaves", "failed", took),
    }
    assert {status for name, status, _ in heard if name == "invents"} == {"failed"}
    by_text = {
        candidate: reason for name, role, candidate, _, _, reason in scores if (name, role) == ("is-json", "candidate")
    }
    assert by_text["nested"] in {"nested too deeply", took}
    assert by_text["20 MB of JSON"] == "the answer has more than 2000000 characters"


async def test_work_that_only_computes_is_ended_at_its_limit() -> None:
    def spins() -> Score:
        while True:
            pass

    score = await off_loop(spins, limit_s=0.1, whose="spinner")
    assert (score.status, score.value, score.reason) == ("failed", None, "took longer than 0.1 s")
    await eventually_async(lambda: sleep(0, not threads_of("spinner")), what="the end of the thread")


async def test_an_evaluator_that_never_comes_back_uses_up_its_own_seats_and_no_one_elses() -> None:
    comes_back = Event()
    try:
        stuck = [
            off_loop(lambda: passed(ok=comes_back.wait(), reason=""), limit_s=0.1, whose="sleeper") for _ in range(20)
        ]
        scores = await gather(*stuck)
        other = await off_loop(lambda: passed(ok=True, reason=""), whose="another")
        assert len(threads_of("sleeper")) == MAX_THREADS
    finally:
        comes_back.set()
    assert {score.value for score in scores} == {None}
    assert other.value == 1.0
    await eventually_async(lambda: sleep(0, not threads_of("sleeper")), what="the end of the threads")


def threads_of(whose: str) -> list[str]:
    return [thread.name for thread in enumerate_threads() if thread.name == f"evaluator {whose}"]


# Rows 28, 30 and 33: what is not built is refused, and what is refused binds nothing.

NOBODYS = {"evaluators": [{"type": "no-such"}]}
SLACK = {"alerts": [{"slack": "ftp://hooks.slack.com/services/T/B/X"}]}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an evaluator": (NOBODYS, "evaluators[0].type: 'no-such' is no evaluator"),
    "slack": (SLACK, "alerts[0].slack: needs an address that starts with https:// or http://"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_configuration_that_is_refused_ends_with_2_one_line_with_its_place_and_nothing_bound(
    tmp_path: Path, upstream: Upstream, name: str
) -> None:
    changes, sentence = REFUSED[name]
    port, admin_port = closed_port(), closed_port()
    bound = {"listen": f"127.0.0.1:{port}", "admin": {"listen": f"127.0.0.1:{admin_port}"}}
    config = configured(upstream, **bound)
    config |= {key: config[key] | value if isinstance(value, dict) else value for key, value in changes.items()}
    (tmp_path / "config.yaml").write_text(json.dumps(config, indent=1))
    with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", admin_port)):
        # Ports in use: whoever tried to bind would say so, and it would be another exit code.
        ended = subprocess.run(
            [SCRIPT, "serve", "-c", "config.yaml"],
            cwd=tmp_path,
            env=plain_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert re.fullmatch(rf"config\.yaml:\d+:\d+: {re.escape(sentence)}.*", line)
    assert not (tmp_path / "shadow.db").exists()
