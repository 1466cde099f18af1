"""The newest anthropic and openai SDKs get the same through the gateway as directly, and so does upstream of them.

Each scenario runs twice: against a simulator, and against `shadow-gateway serve` in front of a second simulator with
the same script. Results (parsed objects, events, errors) and the two simulators' logs are compared.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest
import trustme

from shadow.simulator import Script, SimModel, Simulator, Timing
from tests.sdk_matrix.calls import ANTHROPIC, KEY, OPENAI, Clients, a_completion, a_message, failing, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shadow.simulator import LogEntry

SCRIPT = Script(
    models=(
        SimModel(name="pebble", timing=Timing(ttft_ms=5, gap_ms=1)),
        SimModel(name="boulder", thinks=True),
    ),
    keys=frozenset({KEY}),
)
HOP_BY_HOP = frozenset({"host", "connection", "x-shadow-hop"})
SCENARIOS = [*ANTHROPIC, *OPENAI]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with one authority."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture(autouse=True)
def _few_authorities(authority: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here speaks TLS, but each client reads all authorities it would trust: 25 ms for those of a machine."""
    monkeypatch.setenv("SSL_CERT_FILE", authority)


@pytest.fixture(scope="module")
def direct() -> Iterator[Simulator]:
    with Simulator(SCRIPT) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def behind() -> Iterator[Simulator]:
    """The simulator behind the gateway."""
    with Simulator(SCRIPT) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def gateway(behind: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base_url of a whole gateway, started by its command."""
    with serving(tmp_path_factory.mktemp("gateway"), upstream=behind.base_url) as base_url:
        yield base_url


@contextmanager
def serving(folder: Path, *, upstream: str) -> Iterator[str]:
    (folder / "config.yaml").write_text(
        f"listen: 127.0.0.1:0\nadmin: {{listen: 127.0.0.1:0}}\nupstream: {{base_url: '{upstream}'}}\n"
        "store: sqlite:///shadow.db\n"
    )
    process = subprocess.Popen(
        [Path(sys.executable).with_name("shadow-gateway"), "serve", "-c", "config.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        listening = next(line for line in process.stdout if line.startswith("listening on "))
        address = re.search(r"127\.0\.0\.1:\d+", listening)
        assert address
        yield f"http://{address[0]}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        process.stdout.close()
        assert process.wait(30) == 0


@contextmanager
def blocking(base_url: str, *, key: str = KEY, **options: Any) -> Iterator[Clients]:
    with (
        anthropic.Anthropic(api_key=key, base_url=base_url, **options) as one,
        openai.OpenAI(api_key=key, base_url=f"{base_url}/v1", **options) as other,
    ):
        yield Clients(anthropic=one, openai=other)


def as_received(entries: list[LogEntry]) -> list[Any]:
    """What upstream saw of each request that must be the same with and without a gateway in between."""
    return [
        (
            entry.method,
            entry.path,
            entry.query,
            [(name, value) for name, value in entry.headers if name not in HOP_BY_HOP],
            entry.body,
            entry.credential,
            entry.status,
        )
        for entry in entries
    ]


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both ways to the same answers."""

    direct: Simulator
    behind: Simulator
    gateway: str

    async def compare(self, scenario: Any, *, asynchronous: bool = False, **options: Any) -> Any:
        """Run a scenario both ways; results and what upstream saw must be equal. Returns the result."""
        self.direct.log.clear()
        self.behind.log.clear()
        expected = await self._run(scenario, self.direct.base_url, asynchronous=asynchronous, **options)
        through = await self._run(scenario, self.gateway, asynchronous=asynchronous, **options)
        assert through == expected
        assert as_received(self.behind.log.entries()) == as_received(self.direct.log.entries())
        assert len(self.direct.log) > 0
        return expected

    async def _run(self, scenario: Any, base_url: str, *, asynchronous: bool, **options: Any) -> Any:
        if not asynchronous:
            with blocking(base_url, **options) as clients:
                return await outcome_of(scenario, clients)
        key = options.pop("key", KEY)
        async with (
            anthropic.AsyncAnthropic(api_key=key, base_url=base_url, **options) as one,
            openai.AsyncOpenAI(api_key=key, base_url=f"{base_url}/v1", **options) as other,
        ):
            return await outcome_of(scenario, Clients(anthropic=one, openai=other))


@pytest.fixture(name="sides")
def both_sides(direct: Simulator, behind: Simulator, gateway: str) -> Sides:
    return Sides(direct=direct, behind=behind, gateway=gateway)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_an_app_sees_the_same_through_the_gateway(sides: Sides, scenario: Any, *, asynchronous: bool) -> None:
    await sides.compare(scenario, asynchronous=asynchronous, max_retries=0)
    assert {entry.status for entry in sides.direct.log} == {200}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", ["messages", "chat", "responses"])
@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "429; retry-after=3", "500", "502", "529", "524"])
async def test_an_error_is_the_same_error(sides: Sides, fault: str, api: str, *, asynchronous: bool) -> None:
    error = await sides.compare(failing(fault, api), asynchronous=asynchronous, max_retries=0)
    assert error[2] == int(fault[:3])
    assert error[4]["retry-after"] == ("3" if fault.startswith("429") else None)


async def test_a_wrong_key_is_refused_by_upstream_not_by_us(sides: Sides) -> None:
    for scenario in (a_message, a_completion):
        error = await sides.compare(scenario, key="wrong", max_retries=0)
        assert error[1:3] == ["AuthenticationError", 401]


@pytest.mark.parametrize("api", ["messages", "chat", "responses"])
@pytest.mark.parametrize("status", ["408", "409", "429", "500", "529"])
async def test_the_sdks_retries_reach_upstream_one_for_one(sides: Sides, status: str, api: str) -> None:
    fault = f"{status}; times=2; retry-after-ms=5; id={api}"
    await sides.compare(failing(fault, api), max_retries=2)
    counts = [entry.header("x-stainless-retry-count") for entry in sides.behind.log]
    assert counts == ["0", "1", "2"]
    assert [entry.status for entry in sides.behind.log] == [int(status), int(status), 200]


async def test_should_retry_false_is_obeyed_through_the_gateway(sides: Sides) -> None:
    error = await sides.compare(failing("529; should-retry=false", "messages"), max_retries=2)
    assert error[4]["x-should-retry"] == "false"
    assert len(sides.behind.log) == 1


@pytest.mark.parametrize("api", ["messages", "chat", "responses"])
async def test_an_error_inside_a_stream_is_the_same_error(sides: Sides, api: str) -> None:
    error = await sides.compare(failing("sse_error; after=1", api, stream=True), max_retries=2)
    assert "overloaded" in str(error)
    assert len(sides.behind.log) == 1


@pytest.mark.parametrize("fault", ["cut; after=1", "cut_mid_event; after=1", "reset; after=1"])
@pytest.mark.parametrize("api", ["messages", "chat", "responses"])
async def test_a_stream_that_breaks_never_ends_well_on_either_way(sides: Sides, api: str, fault: str) -> None:
    for base_url in (sides.direct.base_url, sides.gateway):
        with blocking(base_url, max_retries=0) as clients:
            broken = (httpx2.TransportError, anthropic.APIConnectionError, openai.APIConnectionError)
            with pytest.raises(broken):
                await failing(fault, api, stream=True)(clients)


async def test_an_app_that_hangs_up_is_noticed_upstream(sides: Sides) -> None:
    sides.behind.log.clear()
    timing = {"x-sim-timing": "gap_ms=200"}
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=sides.gateway, max_retries=0) as client:
        stream = await client.messages.create(
            model="pebble",
            max_tokens=500,
            messages=[{"role": "user", "content": "Hi."}],
            stream=True,
            extra_headers=timing,
        )
        await anext(aiter(stream))
        await stream.close()
        await until(lambda: sides.behind.log.entries()[0].ending == "cancelled")


async def test_many_conversations_at_once_keep_their_own_keys_and_answers(tmp_path: Path) -> None:
    with (
        Simulator(Script(models=SCRIPT.models)) as simulator,
        serving(tmp_path, upstream=simulator.base_url) as base_url,
    ):
        # one pool under all clients, so that their requests meet on the same connections to the gateway
        async with anthropic.DefaultAsyncHttpxClient() as pool:

            async def conversation(number: int) -> None:
                client = anthropic.AsyncAnthropic(
                    api_key=f"key-{number}", base_url=base_url, max_retries=0, http_client=pool
                )
                for turn in range(3):
                    question = f"What is {number} + {turn}?"
                    reply = await client.messages.create(
                        model="pebble", max_tokens=100, messages=[{"role": "user", "content": question}]
                    )
                    assert reply.content[0].text == f"The answer is {number + turn}."

            await asyncio.gather(*(conversation(number) for number in range(40)))
        asked = [(entry.key, entry.body.split(b"What is ")[1].split(b" ")[0].decode()) for entry in simulator.log]
        assert len(asked) == 120
        assert all(key == f"key-{number}" for key, number in asked)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (the simulator runs in a thread of its own)
            await asyncio.sleep(0.01)
