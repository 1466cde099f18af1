"""The measuring process as the supervisor runs it: a child over its pipes, its inherited socket and a real store."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway import control
from gateway.settings import MeasuringSettings
from shadow.records import EvaluatorSpec, Task
from shadow.simulator import Simulator
from shadow.store import open_store
from tests.support.shadowing import KEY, PRICE, PRIMARY, batch, candidate, eventually_async, question
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shadow.records import Batch


class Child:
    """One measuring process; what it reports and logs is collected."""

    def __init__(self, settings: MeasuringSettings, folder: Path) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        read_fd, write_fd = os.pipe()
        self._status = os.fdopen(read_fd, "rb")
        os.set_blocking(read_fd, False)
        self._seen = b""
        self.log_path = folder / "log.jsonl"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gateway.measuring"],
                stdin=subprocess.PIPE,
                stderr=log,
                pass_fds=(self._listening.fileno(), write_fd),
            )
        os.close(write_fd)
        start = control.Start(
            settings=control.plain(settings), socket_fds=(self._listening.fileno(),), status_fd=write_fd
        )
        self.send(control.encode(start))

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def replace(self, settings: MeasuringSettings) -> None:
        self.send(control.encode(control.Replace(settings=control.plain(settings))))

    def hang_up(self) -> None:
        """What the child sees when the supervisor dies."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    @property
    def events(self) -> list[control.Event]:
        with contextlib.suppress(BlockingIOError):
            self._seen += self._status.read() or b""
        return [msgspec.json.decode(line, type=control.Event) for line in self._seen.splitlines()]

    def wait_for(self, event: str) -> control.Event:
        return eventually(
            lambda: next((each for each in self.events if each.event == event), None),
            within_s=20,
            what=f"the event {event}",
        )  # type: ignore[return-value]  # eventually returns what is not None

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self._status.close()
        self._listening.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    children: list[Child] = []

    def started(settings: MeasuringSettings) -> Child:
        children.append(Child(settings, tmp_path))
        return children[-1]

    yield started
    for child in children:
        child.close()


def settings(folder: Path, **given: Any) -> MeasuringSettings:
    defaults: dict[str, Any] = {
        "store": f"sqlite:///{folder / 'shadow.db'}",
        "deployment_id": "deployment-1",
        "prices": {PRIMARY: PRICE, "rival": PRICE, "second": PRICE},
        "evaluators": (EvaluatorSpec(type="is-json", quality=True),),
        "budget_usd_per_day": 1000.0,
        "secrets": (KEY,),
    }
    return MeasuringSettings(**(defaults | given))


async def write(folder: Path, *batches: Batch) -> None:
    async with await open_store(f"sqlite:///{folder / 'shadow.db'}") as store:
        for each in batches:
            await store.intake.write(each)


async def models_of(stats: Any) -> dict[str, Any]:
    return {model["model"]: model for task in stats["tasks"] for model in task["models"]}


async def test_it_asks_scores_and_shows_what_the_live_process_wrote(tmp_path: Path, start: Any) -> None:
    with Simulator() as simulator:
        rival = candidate("rival", simulator.base_url)
        child = start(settings(tmp_path, shadow_enabled=True, candidates=(rival,)))
        child.wait_for("ready")
        await write(tmp_path, *(batch(n, "rival") for n in range(3)))

        async def asked() -> dict[str, Any] | None:
            status, stats = await asyncio.to_thread(child.get, "/stats")
            models = await models_of(stats) if status == 200 else {}
            return models if models.get("rival", {}).get("requests") == 3 else None

        models = await eventually_async(asked, within_s=20, what="three answers in /stats")
        assert models[PRIMARY]["total_cost"] > 0
        assert {call.key for call in simulator.log.calls()} == {KEY}

        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(20) == 0
    assert [event.event for event in child.events] == ["ready", "draining", "flushed"]
    assert KEY not in child.log_path.read_text()


def test_a_head_without_end_is_refused_before_any_token_is_asked_for(tmp_path: Path, start: Any) -> None:
    child = start(settings(tmp_path))
    child.wait_for("ready")

    with socket.create_connection(("127.0.0.1", child.port), timeout=10) as client:
        client.sendall(b"GET /stats HTTP/1.1\r\nhost: localhost\r\n")
        with pytest.raises(ConnectionError):
            client.sendall(b"".join(b"x-%d: %s\r\n" % (number, bytes(8000).hex().encode()) for number in range(4000)))


def test_it_ends_well_when_its_parent_is_gone(tmp_path: Path, start: Any) -> None:
    child = start(settings(tmp_path))
    child.wait_for("ready")

    child.hang_up()

    assert child.process.wait(20) == 0


def test_ctrl_c_is_its_parents_business(tmp_path: Path, start: Any) -> None:
    child = start(settings(tmp_path))
    child.wait_for("ready")

    child.process.send_signal(signal.SIGINT)

    assert child.get("/healthz") == (200, {"status": "ok"})
    assert child.process.poll() is None


def test_it_gives_way_to_the_live_process(tmp_path: Path, start: Any) -> None:
    child = start(settings(tmp_path))
    child.wait_for("ready")

    assert os.getpriority(os.PRIO_PROCESS, child.process.pid) >= os.getpriority(os.PRIO_PROCESS, 0) + 10 or (
        os.getpriority(os.PRIO_PROCESS, child.process.pid) == 19
    )


async def test_without_shadowing_live_exchanges_are_priced_and_shown_and_nothing_is_asked(
    tmp_path: Path, start: Any
) -> None:
    with Simulator() as simulator:
        off = settings(
            tmp_path, candidates=(candidate("rival", simulator.base_url),), shadow_off_reason="no key is configured"
        )
        child = start(off)
        child.wait_for("ready")
        await write(tmp_path, batch(1, "rival"))

        async def priced() -> bool:
            async with await open_store(off.store) as store:
                exchange = await store.reader.exchange("exchange-0001")
            return exchange is not None and exchange["cost_billed_usd"] is not None

        await eventually_async(priced, what="a price")
        assert simulator.log.calls() == []


def test_a_store_that_cannot_be_opened_is_told_and_tried_again(tmp_path: Path, start: Any) -> None:
    folder = tmp_path / "later"
    folder.write_text("a file where the folder should be")
    child = start(settings(folder))
    child.wait_for("ready")

    status, told = child.get("/stats")
    assert status == 503
    assert child.get("/healthz")[0] == 200
    assert child.get("/readyz")[0] == 503
    assert "store" in json.dumps(told)

    folder.unlink()
    folder.mkdir()
    eventually(lambda: child.get("/stats")[0] == 200, within_s=20, what="an answer of /stats")
    assert child.get("/readyz")[0] == 200
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(20) == 0


def test_it_can_be_stopped_while_there_is_no_store(tmp_path: Path, start: Any) -> None:
    (tmp_path / "file").write_text("")
    child = start(settings(tmp_path / "file"))
    child.wait_for("ready")

    child.process.send_signal(signal.SIGTERM)

    assert child.process.wait(20) == 0


async def test_new_settings_are_followed_without_a_restart(tmp_path: Path, start: Any) -> None:
    with Simulator() as simulator:
        first = settings(tmp_path, shadow_enabled=True, candidates=(candidate("rival", simulator.base_url),))
        child = start(first)
        child.wait_for("ready")
        second = settings(
            tmp_path,
            shadow_enabled=True,
            candidates=(candidate("second", simulator.base_url),),
            admin_token="a-token-of-the-admin",
        )
        child.replace(second)
        child.wait_for("reloaded")
        await write(tmp_path, batch(1, "second"))
        eventually(lambda: simulator.log.calls(model="second"), within_s=20, what="a call of the new candidate")

        assert child.get("/stats")[0] == 401
        assert child.get("/stats", {"authorization": "Bearer a-token-of-the-admin"})[0] == 200
        assert child.process.poll() is None


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"evaluators": (EvaluatorSpec(type="no-such-thing", quality=True),)}, "no-such-thing"),
        ({"store": "sqlite:////elsewhere/shadow.db"}, "restart"),
        ({"retention_days": "long"}, "retention_days"),
    ],
)
def test_settings_that_cannot_be_applied_change_nothing(
    tmp_path: Path, start: Any, broken: dict[str, Any], says: str
) -> None:
    child = start(settings(tmp_path))
    child.wait_for("ready")

    child.replace(settings(tmp_path, **broken))

    assert says in child.wait_for("reload_failed").detail
    eventually(lambda: child.get("/stats")[0] == 200, within_s=20, what="an answer of /stats")


def test_a_reload_asked_for_on_the_admin_port_reaches_the_supervisor(tmp_path: Path, start: Any) -> None:
    asked: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _frame: asked.append(number))
    try:
        child = start(settings(tmp_path))
        child.wait_for("ready")
        connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/reload", body=b"{}", headers={"content-type": "application/json"})
            assert connection.getresponse().status == 202
        eventually(lambda: asked, what="SIGHUP")
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_asked_to_stop_twice_it_breaks_off_what_hangs(tmp_path: Path, start: Any) -> None:
    with Simulator() as simulator:
        rival = candidate("rival~hang", simulator.base_url)
        child = start(
            settings(tmp_path, shadow_enabled=True, candidates=(rival,), prices={PRIMARY: PRICE, "rival~hang": PRICE})
        )
        child.wait_for("ready")
        await write(tmp_path, batch(1, "rival~hang"))
        eventually(simulator.log.calls, within_s=20, what="a call")
        child.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            child.process.wait(1)
        child.process.send_signal(signal.SIGTERM)

        assert child.process.wait(8) == 0


def test_an_evaluator_that_does_not_load_switches_shadowing_off_and_says_so(tmp_path: Path, start: Any) -> None:
    broken = Task(name="support", evaluators=(EvaluatorSpec(type="no-such-thing", quality=True),))
    child = start(settings(tmp_path, shadow_enabled=True, tasks=(broken,)))
    child.wait_for("ready")

    eventually(lambda: child.get("/stats")[0] == 200, within_s=20, what="an answer of /stats")

    assert any("no-such-thing" in line["message"] for line in child.log)


async def test_its_log_holds_neither_prompts_nor_addresses_with_queries(tmp_path: Path, start: Any) -> None:
    with Simulator() as simulator:
        rival = candidate("rival", simulator.base_url)
        child = start(settings(tmp_path, shadow_enabled=True, candidates=(rival,)))
        child.wait_for("ready")
        await write(tmp_path, batch(1, "rival", request=question(prompt="tell nobody"), query="beta=true"))
        eventually(simulator.log.calls, within_s=20, what="a call")
        child.process.send_signal(signal.SIGTERM)
        child.process.wait(20)

    logged = child.log_path.read_text()
    assert all(word not in logged for word in ("tell nobody", "beta=true", KEY))
