"""`shadow-gateway demo`, as somebody who has just installed it would run it: from an empty folder, without any key."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest

from gateway.demo.cast import CANDIDATES, PRIMARY, SCRIPT
from gateway.demo.traffic import App, ByHand, conversation_count, drive
from shadow.records import EvalCase, ToolCall
from shadow.simulator import Simulator
from shadow.simulator.truth import RightAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND = str(Path(sys.executable).with_name("shadow-gateway"))
SHORT = """
from gateway.cli import main
from gateway.demo import traffic
traffic.ROUNDS, traffic.LESSONS = 3, 2
main()
"""
"""The same command with an app that has less to say; what a whole day of it tells is shown with --once."""


TASKS = ("default ", "calculator ", "tutor ")


class Folders:
    """An empty folder to run from, and one that temporary files go to."""

    def __init__(self, base: Path) -> None:
        self.work, self.temporary = base / "work", base / "temporary"
        self.work.mkdir()
        self.temporary.mkdir()

    def start(self, *arguments: str, short: bool = False, **variables: str) -> subprocess.Popen[str]:
        """Start the demo; stdout is unbuffered, so that a test may read along."""
        environ = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1", **variables}
        return subprocess.Popen(
            [*((sys.executable, "-P", "-c", SHORT) if short else (COMMAND,)), "demo", *arguments],
            cwd=self.work,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def left_behind(self) -> list[Path]:
        """What a run left."""
        return [*self.work.rglob("*"), *self.temporary.rglob("*")]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def address_of(output: str, name: str) -> str:
    found = re.search(rf"^{name} +(http://127\.0\.0\.1:\d+)", output, re.MULTILINE)
    assert found, output
    return found[1]


def rows_of(output: str, model: str) -> list[list[str]]:
    """The cells of each row of the models' tables."""
    lines = [line.split() for line in output.splitlines() if line.split()[:1] == [model]]
    return [[cell for cell in line if cell != "*"] for line in lines]


def test_once_prints_the_tables_and_where_they_came_from_and_leaves_nothing(folders: Folders) -> None:
    # settings of the user that must not reach the demo: it has its own keys, addresses and no proxy
    process = folders.start(
        "--once",
        EZAI_API_KEY="sk-of-the-user",
        SHADOW_CANDIDATES="gpt-4o",
        ANTHROPIC_BASE_URL="http://127.0.0.1:9",
        OPENAI_BASE_URL="http://127.0.0.1:9",
        HTTP_PROXY="http://127.0.0.1:9",
        HTTPS_PROXY="http://127.0.0.1:9",
        ALL_PROXY="http://127.0.0.1:9",
    )
    output, progress = process.communicate(timeout=110)
    assert process.returncode == 0, progress
    assert "DEMO" in output
    assert "Traceback" not in progress
    assert "sk-of-the-user" not in output + progress
    for model in (PRIMARY, *CANDIDATES):
        rows = rows_of(output, model.name)
        assert len(rows) == 3, output
        for row in rows:
            assert int(row[1]) > 10
        assert all("n/a" not in row for row in rows[:2])  # a judge of two answers gives none an absolute quality
    assert re.search(
        r"^Judge demo-judge, task tutor: \d+ calls for \$0\.\d+, \$0\.\d+ of it for controls$", output, re.MULTILINE
    )
    for model in CANDIDATES:
        told = rf"^  {model.name}: \d+ pairs judged, .* 0 unruled; .*the judge demo-judge can be trusted: it passed"
        assert re.search(told, output, re.MULTILINE), output + progress
    verdicts, coverage = output.partition("Verdicts")[2].split("Coverage")
    rows = {tuple(line.split()[:2]): line.split()[2] for line in verdicts.splitlines() if line.startswith(TASKS)}
    assert rows["default", "demo-oak"] == "promote", output + progress
    assert rows["calculator", "demo-swift"] == "reject", output + progress
    assert "undecided" in rows.values()
    assert (
        "default, demo-oak: demo-oak can take over from demo-atlas; proved: at most 0.15 worse in quality" in verdicts
    )
    for line in coverage.splitlines():
        if line.startswith(TASKS):
            _, _, eligible, sampled, sent, pending, *left_out = line.split()
            assert pending == "0"
            assert eligible == sampled
            assert int(sampled) == int(sent) + sum(int(cell) for cell in left_out if cell.isdigit())
    stats = address_of(output, "stats")
    assert f"{address_of(output, 'pairs')}/pairs" in output
    assert 'base_url="http://127.0.0.1:8080"' in output
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{stats}/stats", trust_env=False)
    assert folders.left_behind() == []


def test_without_once_it_stays_up_until_interrupted(folders: Folders) -> None:
    process = folders.start(short=True)
    assert process.stdout
    assert process.stderr
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith("and one line in your app"):
            break
    with httpx2.Client(trust_env=False) as client:
        stats = client.get(f"{address_of(output, 'stats')}/stats").json()
        pairs = client.get(f"{address_of(output, 'pairs')}/pairs?sort=worst&limit=3").json()
        assert [task["task"] for task in stats["tasks"]] == ["default", "calculator", "tutor"]
        assert len(pairs["pairs"]) == 3
        assert client.get(f"{address_of(output, 'gateway')}/readyz").status_code == 200
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert folders.left_behind() == []


def test_an_interrupt_before_the_tables_ends_everything(folders: Folders) -> None:
    process = folders.start("--once")
    assert process.stderr
    for line in process.stderr:
        if line.startswith("conversations"):
            break
    process.send_signal(signal.SIGINT)
    output, progress = process.communicate(timeout=60)
    assert process.returncode == 130, progress
    assert output == ""
    assert "Traceback" not in progress
    assert folders.left_behind() == []


async def test_the_apps_traffic_holds_every_conversation_to_its_end() -> None:
    with Simulator(SCRIPT) as simulator:
        held: list[None] = []
        assert await drive(simulator.base_url, advance=lambda: held.append(None)) == conversation_count() == len(held)
        entries = simulator.log.entries()
        assert {entry.status for entry in entries} <= {200, 500}
        assert {entry.path for entry in entries} == {"/v1/messages", "/v1/chat/completions", "/v1/responses"}


async def test_without_the_openai_sdk_the_same_requests_are_sent_by_hand() -> None:
    with Simulator(SCRIPT) as simulator:
        async with httpx2.AsyncClient(trust_env=False) as http:
            client = anthropic.AsyncAnthropic(base_url=simulator.base_url, api_key="key", http_client=http)
            app = App(anthropic=client, openai=ByHand(f"{simulator.base_url}/v1", http))
            question = [{"role": "user", "content": "What is 2 + 3?"}]
            assert await app.openai.chat(model="any", messages=question) == "The answer is 5."
            assert await app.openai.chat(model="any~500", messages=question) == ""
            assert "response.completed" in await app.openai.respond(model="any", input="What is 2 + 3?")
        assert [entry.status for entry in simulator.log] == [200, 500, 200]


@pytest.mark.parametrize(
    ("request_", "output", "calls", "value"),
    [
        ({"messages": [{"role": "user", "content": "What is 2 + 3?"}]}, "The answer is 5.", (), 1.0),
        ({"messages": [{"role": "user", "content": "What is 2 + 3?"}]}, "The answer is 6.", (), 0.0),
        ({"messages": [{"role": "user", "content": "What is 2 + 3?"}]}, "", (), 0.0),
        ({"input": "Extract as JSON. a: 1; b: x"}, '{"a": 1, "b": "x"}', (), 1.0),
        ({"input": "Extract as JSON. a: 1; b: x"}, '```json\n{"a": 1}\n```', (), 0.0),
        ({"messages": [{"role": "user", "content": "Tell me a story."}]}, "Once.", (), None),
        ({"messages": []}, "", (), None),
        (
            {
                "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
                "tools": [
                    {
                        "name": "get_weather",
                        "input_schema": {"properties": {"city": {"type": "string"}}, "required": ["city"]},
                    }
                ],
            },
            "",
            (ToolCall(name="get_weather", arguments='{"city": "Oslo"}'),),
            1.0,
        ),
    ],
)
async def test_the_truth_about_an_answer_is_known(
    request_: Mapping[str, Any], output: str, calls: tuple[ToolCall, ...], value: float | None
) -> None:
    case = EvalCase(request={"model": "any", **request_}, output=output, tool_calls=calls)
    score = await RightAnswer().evaluate(case)
    assert score.value == value
    assert score.status == ("not_applicable" if value is None else "scored")


def test_a_demo_that_is_ended_early_leaves_no_process(folders: Folders) -> None:
    process = folders.start("--once")
    assert process.stderr
    listening = next(line for line in process.stderr if line.startswith("gateway on"))
    process.kill()
    process.communicate(timeout=60)
    addresses = re.findall(r"http://127\.0\.0\.1:\d+", listening)
    assert len(addresses) == 3
    asyncio.run(all_closed(addresses))


async def all_closed(addresses: list[str]) -> None:
    """Wait until nobody listens there any more: the children notice that their parent is gone."""
    async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as http:
        for address in addresses:
            while True:
                try:
                    await http.get(f"{address}/readyz")
                except httpx2.TransportError:
                    break
                await asyncio.sleep(0.1)
