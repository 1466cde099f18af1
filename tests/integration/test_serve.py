"""`shadow-gateway serve` as it is run: processes, sockets, signals, restarts."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shadow.simulator import Script, SimModel, Simulator, Timing
from tests.support.serving import HEADERS, SCRIPT, Serve, ask, command_line, is_alive, plain_environment, question
from tests.support.stored import rows_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW = Script(models=(SimModel(name="slow", words=60, timing=Timing(ttft_ms=50, gap_ms=25)),))
"""A stream of about 1.5 seconds."""


@pytest.fixture
def upstream() -> Iterator[Simulator]:
    with Simulator(SLOW) as simulator:
        yield simulator


def text(at: Simulator, /, **more: str) -> str:
    """A configuration on free ports."""
    lines = {
        "listen": "127.0.0.1:0",
        "admin": "{listen: '127.0.0.1:0'}",
        "upstream": f"{{base_url: '{at.base_url}', api_key: key-of-the-gateway}}",
        "shadow": "{sample_rate: 1, candidates: [{model: candidate}]}",
        "prices": "{candidate: {input: 1, output: 2}}",
        **more,
    }
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


class Stream:
    """A streamed answer that is read in a thread; `whole` waits for its end."""

    def __init__(self, serving: Serve) -> None:
        self._connection = http.client.HTTPConnection(serving.listen.host, serving.listen.port, timeout=30)
        body = json.dumps(question("Write about the sea.", model="slow", stream=True))
        self._connection.request("POST", "/v1/messages", body, HEADERS)
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        self.first = self._response.readline()

    def whole(self) -> bytes:
        """The answer to its end; http.client.IncompleteRead when it was broken off."""
        with closing(self._connection):
            return self.first + self._response.read()


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    return rows_of(folder / "shadow.db", sql)


def test_serve_tells_where_it_is_and_relays_records_and_ends_with_0(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, text(upstream)) as serving:
        status, body = ask(serving.listen, "POST", "/v1/messages", question())
        assert (status, json.loads(body)["type"]) == (200, "message")
        assert ask(serving.admin, "GET", "/healthz")[0] == 200
        assert serving.stop() == 0

    told = serving.stdout.splitlines()
    weekly = told.pop(next(number for number, line in enumerate(told) if line.startswith("weekly run")))
    assert re.fullmatch(
        r"weekly run: At 03:00 on Sunday \(UTC\), next \d{4}-\d\d-\d\d 03:00 UTC, 100 prompts, at most \$5\.00", weekly
    )
    assert told == [
        f"listening on http://{serving.listen}, upstream {upstream.base_url}",
        f'in your app: base_url="http://{serving.listen}" (OpenAI SDK: "http://{serving.listen}/v1")',
        f"stats on http://{serving.admin}/stats",
        "shadowing 100 % of conversations to 1 candidate, at most $5.00 a day",
        "  candidate: $1.00 in, $2.00 out per 1M tokens (config)",
        "  noise floor: the primary is asked again about 20 % of these conversations, the first 30 always",
        (
            f"  claude-haiku-4-5: $1.00 in, $5.00 out per 1M tokens (genai-prices {metadata.version('genai-prices')})"
            " (judge of task default, two calls a pair)"
        ),
        "alerts go nowhere: add alerts: [{slack: …}] to be told",
        f"recording to sqlite:///{tmp_path}/shadow.db",
        "stopping: answers under way have 30 s; a second signal does not wait",
    ]
    assert rows(tmp_path, "SELECT model, outcome FROM exchange") == [("primary", "ok")]


def test_why_nothing_is_shadowed_is_told(tmp_path: Path, upstream: Simulator) -> None:
    shadow = "{candidates: [{model: a}, {model: b, base_url: 'https://b.example'}]}"
    with Serve(tmp_path, text(upstream, shadow=shadow, prices="{}")) as serving:
        assert '  a: not shadowed: price unknown, add prices: {"a": {input:' in serving.stdout
        assert "  b: not shadowed: no API key for https://b.example, add api_key to this candidate" in serving.stdout
        assert "nothing is shadowed: no candidate can be asked\n" in serving.stdout
        assert serving.stop() == 0
    with Serve(tmp_path, text(upstream, shadow="{}")) as serving:
        assert "shadowing is off: no candidates; list them under shadow.candidates\n" in serving.stdout
        assert serving.stop() == 0


def test_a_killed_live_process_is_replaced_and_no_connection_is_refused(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, text(upstream)) as serving:
        for _ in range(3):
            victim = serving.child("gateway.live")
            os.kill(victim, signal.SIGKILL)
            eventually(lambda pid=victim: not is_alive(pid))  # type: ignore[misc]  # a loop variable bound at once
            # The socket stays open in the parent: this connection waits for the next process.
            assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
            assert serving.child("gateway.live") != victim
        restarts = [line for line in serving.logged if line["message"].startswith("a process ended by itself")]
        assert [(line["child"], line["exit_code"]) for line in restarts] == [("live-0", -9)] * 3
        assert all(": live-0, SIGKILL, after " in line["message"] for line in restarts)
        assert serving.stop() == 0


def test_a_killed_measuring_process_is_replaced_and_live_traffic_does_not_notice(
    tmp_path: Path, upstream: Simulator
) -> None:
    with Serve(tmp_path, text(upstream)) as serving:
        victim = serving.child("gateway.measuring")
        os.kill(victim, signal.SIGKILL)
        assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
        assert ask(serving.admin, "GET", "/healthz")[0] == 200
        assert serving.child("gateway.measuring") != victim
        assert serving.stop() == 0


def test_children_end_when_the_parent_is_killed(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, text(upstream)) as serving:
        assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
        children = serving.children()
        assert len(children) == 2
        serving.process.kill()
        serving.wait()
        for pid in children:
            eventually(lambda pid=pid: not is_alive(pid), within_s=20)  # type: ignore[misc]
    assert rows(tmp_path, "SELECT count(*) FROM exchange") == [(1,)]


def test_ctrl_c_reaches_the_parent_only_and_streams_under_way_end_whole(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, text(upstream)) as serving:
        stream = Stream(serving)
        group = os.getpgid(serving.process.pid)
        assert group == serving.process.pid
        assert all(os.getpgid(pid) != group for pid in serving.children())
        os.killpg(group, signal.SIGINT)
        assert b"message_stop" in stream.whole()
        assert serving.wait() == 0
    assert rows(tmp_path, "SELECT model, outcome FROM exchange") == [("slow", "ok")]


def test_a_service_manager_that_signals_every_process_does_not_cut_the_drain(
    tmp_path: Path, upstream: Simulator
) -> None:
    with Serve(tmp_path, text(upstream)) as serving:
        stream = Stream(serving)
        for pid in (serving.process.pid, *serving.children()):
            os.kill(pid, signal.SIGTERM)
        assert b"message_stop" in stream.whole()
        assert serving.wait() == 0


def test_a_second_sigterm_skips_the_drain_but_not_the_flush(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, text(upstream, drain_timeout_s="60")) as serving:
        stream = Stream(serving)
        serving.signal(signal.SIGTERM)
        eventually(lambda: _is_refused(serving), what="the end of accepting")
        serving.signal(signal.SIGTERM)
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            stream.whole()
        assert serving.wait() == 0
    assert len(rows(tmp_path, "SELECT id FROM exchange")) == 1


def _is_refused(serving: Serve) -> bool:
    try:
        socket.create_connection((serving.listen.host, serving.listen.port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_decoy_packages_where_it_is_started_do_not_matter(tmp_path: Path, upstream: Simulator) -> None:
    for name in ("gateway", "shadow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the decoy was imported')\n", encoding="utf-8")
    with Serve(tmp_path, text(upstream)) as serving:
        assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
        assert ask(serving.admin, "GET", "/healthz")[0] == 200
        assert serving.stop() == 0
    assert "decoy" not in serving.stderr


def test_several_live_processes_share_one_port(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, text(upstream, workers="2")) as serving:
        assert f"listening on http://{serving.listen}, upstream {upstream.base_url}, 2 processes" in serving.stdout
        assert len(serving.children("gateway.live")) == 2
        for _ in range(20):
            assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
        assert serving.stop() == 0
    assert rows(tmp_path, "SELECT count(*) FROM exchange") == [(20,)]


def test_one_side_can_run_alone(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, text(upstream), arguments=["--role", "gateway"]) as serving:
        assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
        assert [command_line(pid).split()[-1] for pid in serving.children()] == ["gateway.live"]
        assert serving.stop() == 0
    with Serve(tmp_path, text(upstream), arguments=["--role", "shadow"]) as serving:
        eventually(lambda: ask(serving.admin, "GET", "/readyz")[0] == 200)
        stats = json.loads(ask(serving.admin, "GET", "/stats")[1])
        assert stats["tasks"][0]["models"][0]["requests"] == 1
        assert [command_line(pid).split()[-1] for pid in serving.children()] == ["gateway.measuring"]
        assert serving.stop() == 0


def test_unix_sockets_are_narrow_and_gone_afterwards_and_stale_ones_are_replaced(
    tmp_path: Path, upstream: Simulator
) -> None:
    live, admin = tmp_path / "live.sock", tmp_path / "admin.sock"
    for stale in (live, admin):
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(str(stale))
    config = text(upstream, listen=f"unix:{live}", admin=f"{{listen: 'unix:{admin}'}}")
    with Serve(tmp_path, config) as serving:
        assert (stat.S_IMODE(live.stat().st_mode), stat.S_IMODE(admin.stat().st_mode)) == (0o660, 0o600)
        for path in (live, admin):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        assert serving.stop() == 0
    assert not live.exists()
    assert not admin.exists()


STOPPED_AT_ONCE = """
import os, signal, sys, threading
from gateway.cli import main

def stop():
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        pass
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=stop, daemon=True).start()
sys.argv = ["shadow-gateway", "serve", "-c", "config.yaml"]
main()
"""


def test_a_stop_before_it_is_up_is_no_fault_and_does_not_say_that_it_listens(
    tmp_path: Path, upstream: Simulator
) -> None:
    (tmp_path / "config.yaml").write_text(text(upstream), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_ONCE],
        cwd=tmp_path,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "stopping: answers under way have 30 s; a second signal does not wait\n"


def test_whoever_read_its_lines_may_go_and_it_goes_on_to_a_clean_end(tmp_path: Path, upstream: Simulator) -> None:
    (tmp_path / "config.yaml").write_text(text(upstream), encoding="utf-8")
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_ONCE],
        cwd=tmp_path,
        env=plain_environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def run_and_fail(folder: Path, config: str) -> subprocess.CompletedProcess[str]:
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    return subprocess.run(
        [SCRIPT, "serve", "-c", "config.yaml"],
        cwd=folder,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_port_in_use_is_named_and_nothing_else_stays_bound(tmp_path: Path, upstream: Simulator) -> None:
    live = tmp_path / "live.sock"
    taken = f"127.0.0.1:{upstream.port}"
    ended = run_and_fail(
        tmp_path,
        text(
            upstream, listen=f"unix:{live}", admin=f"{{listen: '{taken}'}}", upstream="{base_url: 'http://127.0.0.1:1'}"
        ),
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"admin.listen: {taken} is in use by another process; stop that one, or choose another address\n"
    )
    assert not live.exists()


def test_a_second_serve_on_the_same_port_is_refused_though_both_reuse_ports(
    tmp_path: Path, upstream: Simulator
) -> None:
    with Serve(tmp_path, text(upstream)) as serving:
        second = tmp_path / "second"
        second.mkdir()
        ended = run_and_fail(second, text(upstream, listen=str(serving.listen)))
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"listen: {serving.listen} is in use by another process; ")
        assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
        assert serving.stop() == 0


def test_a_file_where_a_unix_socket_should_be_is_left_alone(tmp_path: Path, upstream: Simulator) -> None:
    precious = tmp_path / "notes.txt"
    precious.write_text("mine", encoding="utf-8")
    ended = run_and_fail(tmp_path, text(upstream, listen=f"unix:{precious}"))
    assert ended.returncode == 1
    assert ended.stderr == f"listen: unix:{precious} is a file that is no socket; choose another path\n"
    assert precious.read_text("utf-8") == "mine"


def test_no_secret_is_in_the_arguments_environment_files_or_lines_of_any_process(
    tmp_path: Path, upstream: Simulator
) -> None:
    secret = "sk-canary-0123456789"
    environ = plain_environment(EZAI_API_KEY=secret, WRAPPED=f"Bearer {secret}")
    config = text(upstream, upstream=f"{{base_url: '{upstream.base_url}', api_key: '${{EZAI_API_KEY}}'}}")
    with Serve(tmp_path, config, environ=environ) as serving:
        live = serving.child("gateway.live")
        assert secret not in Path(f"/proc/{live}/environ").read_text("utf-8")
        assert not any(secret in command_line(pid) for pid in (serving.process.pid, *serving.children()))
        headers = {"x-api-key": secret}
        assert ask(serving.listen, "POST", "/v1/messages", question(f"my key is {secret}"), headers)[0] == 200
        assert serving.stop() == 0
    held = [file for file in tmp_path.iterdir() if file.is_file() and secret.encode() in file.read_bytes()]
    # A shadow job's copy is raw until it is done; nothing else may hold the key.
    assert [file.name for file in held if not file.name.startswith("shadow.db")] == []


# --- reload ---


def test_a_valid_reload_takes_over_and_an_invalid_one_changes_nothing_under_load(
    tmp_path: Path, upstream: Simulator
) -> None:
    with Simulator() as other, Serve(tmp_path, text(upstream)) as serving:
        statuses: list[int] = []
        done = threading.Event()

        def load() -> None:
            while not done.is_set():
                statuses.append(ask(serving.listen, "POST", "/v1/messages", question())[0])

        client = threading.Thread(target=load)
        client.start()
        stream = Stream(serving)

        serving.file.write_text(text(other), encoding="utf-8")
        serving.signal(signal.SIGHUP)
        eventually(lambda: len(other.log) > 3, what="traffic at the new upstream")

        serving.file.write_text("listen: 127.0.0.1:0\nshadow:\n  sample_rate: 7\n", encoding="utf-8")
        serving.signal(signal.SIGHUP)
        refusal = eventually(lambda: [line for line in serving.logged if "failed_reloads" in line])[0]
        assert refusal["level"] == "error"
        assert refusal["message"] == "configuration not reloaded, the one before holds (failed reloads: 1)"
        assert refusal["reason"] == "config.yaml:3:16: shadow.sample_rate: must lie between 0 and 1, not 7"
        assert refusal["failed_reloads"] == 1

        seen = len(other.log)
        eventually(lambda: len(other.log) > seen + 3, what="traffic after the refusal")
        assert b"message_stop" in stream.whole()
        done.set()
        client.join()
        assert set(statuses) == {200}
        assert serving.stop() == 0


def test_a_reload_that_would_need_a_restart_is_refused_as_a_whole(tmp_path: Path, upstream: Simulator) -> None:
    with Simulator() as other, Serve(tmp_path, text(upstream)) as serving:
        serving.file.write_text(text(other, workers="2"), encoding="utf-8")
        serving.signal(signal.SIGHUP)
        (refusal,) = eventually(lambda: [line for line in serving.logged if "failed_reloads" in line])
        assert refusal["reason"] == "workers: changes only with a restart of serve; nothing was taken over"
        assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
        assert len(other.log) == 0
        assert serving.stop() == 0


def test_post_reload_reloads_and_new_candidates_are_asked(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, text(upstream, shadow="{}")) as serving:
        serving.file.write_text(text(upstream), encoding="utf-8")
        assert ask(serving.admin, "POST", "/reload", {})[0] == 202
        eventually(lambda: any(line["message"] == "configuration reloaded" for line in serving.logged))

        def asked() -> bool:
            assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
            return any(json.loads(entry.body or b"{}").get("model") == "candidate" for entry in upstream.log)

        eventually(asked, within_s=20, what="a shadow call")
        assert serving.stop() == 0


# --- what a live process loads ---

ALLOWED = frozenset({"gateway", "shadow", "uvicorn", "click", "typing_extensions", "httptools", "msgspec", "uvloop"})
"""Announced: what a live process loads beside the standard library. uvicorn brings click and typing_extensions."""

SET_UP = frozenset({"cython_runtime", "_distutils_hack"})
"""Made by the interpreter's set-up and by compiled modules (`_cython_3_1`, …), no libraries of their own."""


def test_a_live_process_loads_only_the_libraries_that_were_announced() -> None:
    program = (
        "import gateway.live, sys; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    printed = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = {name for name in printed.split() if not name.startswith(("__", "_cython_"))}
    assert loaded - SET_UP - ALLOWED == set()
