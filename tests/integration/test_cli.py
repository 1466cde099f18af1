"""The commands, by their exit codes, results and messages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
import yaml
from rich.console import Console
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import load
from gateway.pairsview import pairs_view
from shadow.records import Batch, Dialect, ExchangeRecord, Outcome, Usage
from shadow.simulator import Simulator
from shadow.store import open_store
from tests.support.serving import SCRIPT, Serve, ask, plain_environment, question
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.testing import Result


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, **environ: str) -> Result:
    """Run a command in this process, with none of this machine's variables that configure the gateway."""
    cleared = {name: None for name in os.environ if name not in plain_environment()}
    return CliRunner().invoke(app, list(arguments), env={**cleared, **environ})


def write(text: str) -> None:
    Path("config.yaml").write_text(text, encoding="utf-8")


CONFIG = """
listen: 127.0.0.1:0
admin: {listen: '127.0.0.1:0', token: the-token}
upstream: {base_url: 'http://127.0.0.1:9', api_key: the-key}
shadow: {sample_rate: 0.5, candidates: [{model: cheap}, {model: unheard-of}]}
prices: {cheap: {input: 1, output: 2}}
"""


DEFAULT_JUDGE = (
    f"  claude-haiku-4-5: $1.00 in, $5.00 out per 1M tokens (genai-prices {metadata.version('genai-prices')})"
)
"""Who judges under `auto`."""


# --- init ---


def test_init_writes_a_file_that_checks_and_never_replaces_one_unasked() -> None:
    made = run("init", "--candidates", "gpt-4o, other/model")
    assert made.exit_code == 0
    assert made.stdout == "wrote config.yaml and config.schema.json\n"
    assert [candidate.model for candidate in load("config.yaml", {}).measuring.candidates] == ["gpt-4o", "other/model"]
    assert json.loads(Path("config.schema.json").read_text("utf-8"))["title"] == "Shadow Gateway configuration"
    assert run("check", "-c", "config.yaml").exit_code == 0

    write("workers: 2\n")
    refused = run("init")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == "config.yaml exists already; nothing was written. Pass --force to replace it.\n"
    assert Path("config.yaml").read_text("utf-8") == "workers: 2\n"

    assert run("init", "--force").exit_code == 0
    assert load("config.yaml", {}).workers == 1


# --- check ---


def test_check_shows_what_is_in_force_with_prices_and_without_secrets() -> None:
    write(CONFIG)
    checked = run("check")
    assert checked.exit_code == 0
    effective, _, rest = checked.stdout.partition("\n\n")
    assert yaml.safe_load(effective)["upstream"]["api_key"] == "***"
    assert yaml.safe_load(effective)["evaluators"] == "auto"
    assert "the-key" not in checked.stdout
    assert "the-token" not in checked.stdout
    told = rest.splitlines()
    weekly = told.pop(next(number for number, line in enumerate(told) if line.startswith("weekly run: ")))
    assert weekly.endswith("100 prompts, at most $5.00")
    assert told == [
        "shadowing 50 % of conversations to 1 of 2 candidates, at most $5.00 a day",
        "  cheap: $1.00 in, $2.00 out per 1M tokens (config)",
        (
            '  unheard-of: not shadowed: price unknown, add prices: {"unheard-of": '
            "{input: <USD per 1M tokens>, output: <USD per 1M tokens>}}"
        ),
        "  noise floor: the primary is asked again about 20 % of these conversations, the first 30 always",
        f"{DEFAULT_JUDGE} (judge of task default, two calls a pair)",
        "cost of shadowing unknown: no traffic is recorded yet; never more than $5.00 a day",
        "alerts go nowhere: add alerts: [{slack: …}] to be told",
        "config.yaml: ok",
    ]


def test_check_shows_prices_also_when_shadowing_is_off_and_of_a_fixed_primary() -> None:
    write(CONFIG.replace("api_key: the-key", "api_key: ''") + "primary: {model: never-heard-of}\n")
    _, _, rest = run("check").stdout.partition("\n\n")
    lines = rest.splitlines()
    assert lines[0].startswith("shadowing is off: no API key for any candidate")
    assert lines[1].startswith("  never-heard-of: price unknown: its cost stays empty, add prices: ")
    assert lines[2] == "  cheap: $1.00 in, $2.00 out per 1M tokens (config)"


def test_check_of_a_broken_file_exits_with_2_and_says_it_as_json_too() -> None:
    write("workers: none\n")
    line = "config.yaml:1:10: workers: must be a whole number, not 'none'"
    assert (run("check").exit_code, run("check").stderr, run("check").stdout) == (2, f"{line}\n", "")
    as_json = run("check", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (2, {"ok": False, "errors": [line]})


def test_check_loads_python_evaluators() -> None:
    write("evaluators: [{type: python, target: 'mine:score'}]\n")
    Path("mine.py").write_text("def score(output, expected):\n    return 1.0\n", encoding="utf-8")
    assert run("check").exit_code == 0
    Path("mine.py").write_text("nothing = 1\n", encoding="utf-8")
    refused = run("check")
    assert refused.exit_code == 2
    assert refused.stderr == "config.yaml:1:14: evaluators[0]: python: module 'mine' has no 'score'\n"


def exchange(number: int, *, age: timedelta, usage: Usage | None, model: str = "primary") -> ExchangeRecord:
    return ExchangeRecord(
        id=f"e{number}",
        started_at=datetime.now(UTC) - age,
        method="POST",
        path="/v1/messages",
        status=200,
        outcome=Outcome.OK,
        latency_ms=10,
        dialect=Dialect.ANTHROPIC_MESSAGES,
        model=model,
        usage=usage,
        eligible=True,
    )


def record(*exchanges: ExchangeRecord) -> None:
    async def write_all() -> None:
        async with await open_store(load("config.yaml", {}).measuring.store) as store:
            await store.intake.write(Batch(exchanges=exchanges))

    asyncio.run(write_all())


def test_check_estimates_the_cost_of_a_day_from_recorded_traffic() -> None:
    write(CONFIG)
    usage = Usage(input=100_000, cache_read=100_000, output=50_000)
    hour, week = timedelta(hours=1), timedelta(days=7)
    record(*(exchange(number, age=hour, usage=usage) for number in range(10)), exchange(10, age=week, usage=usage))
    # (0.2 M x $1 + 0.05 M x $2) x 10 exchanges x 50 %; the candidate without a price is not asked
    told = "shadowing would cost about $1.50 a day (by the 10 exchanges of the last 24 hours)\n"
    assert told in run("check").stdout
    estimated = json.loads(run("check", "--json").stdout)
    assert estimated["estimate"] == {"usd_per_day": pytest.approx(1.5), "exchanges": 10, "reason": None}
    assert [price["source"] for price in estimated["prices"] if price["role"] == "candidate"] == [
        "config",
        None,
    ]
    write(CONFIG.replace("sample_rate: 0.5", "sample_rate: 0.5, budget_usd_per_day: 1"))
    assert "about $1.50 a day, limited to $1.00 (by" in run("check").stdout


def test_of_much_traffic_some_of_every_hour_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.estimate.ROW_BY_ROW", 3)
    monkeypatch.setattr("gateway.estimate._AN_HOUR", 4)
    write(CONFIG)
    usage = Usage(input=200_000, output=50_000)
    record(*(exchange(number, age=timedelta(minutes=90), usage=usage) for number in range(10)))
    record(*(exchange(number, age=timedelta(minutes=270), usage=usage) for number in range(10, 12)))
    told = "shadowing would cost about $1.80 a day (by the 12 exchanges of the last 24 hours)\n"
    assert told in run("check").stdout


def test_an_estimate_that_cannot_be_made_says_why() -> None:
    write(CONFIG)
    record(exchange(1, age=timedelta(hours=1), usage=None))
    assert "unknown: no traffic with token counts in the last 24 hours; never" in run("check").stdout
    record(exchange(2, age=timedelta(hours=1), usage=Usage(input=1, output=1)))
    write(CONFIG.replace("[{model: cheap}, {model: unheard-of}]", "[{model: unheard-of}]"))
    assert "unknown: no candidate has a known price; never" in run("check").stdout


# --- doctor ---


def findings(result: Result) -> dict[str, str]:
    """What it was about -> its grade."""
    return {finding["about"]: finding["grade"] for finding in json.loads(result.stdout)}


def test_doctor_finds_what_stands_in_the_way_and_says_what_to_do() -> None:
    write(CONFIG.replace("listen: 127.0.0.1:0", "listen: unix:/nowhere/at/all.sock"))
    Path("shadow.db").touch()
    Path("shadow.db").chmod(0o644)
    examined = run("doctor")
    assert examined.exit_code == 1
    lines = examined.stdout.splitlines()
    assert lines[0] == "ok   configuration: config.yaml"
    assert lines[1].endswith(f"may be read by others (mode 644); run: chmod 600 {Path.cwd()}/shadow.db")
    assert lines[2] == "fail listen: unix:/nowhere/at/all.sock cannot be bound: No such file or directory"
    assert lines[3].startswith("ok   admin.listen: 127.0.0.1:0 is free")
    assert lines[4] == (
        "fail upstream: http://127.0.0.1:9 cannot be reached: Connection refused; check address and network"
    )
    assert lines[5] == "ok   cheap: $1.00 in, $2.00 out per 1M tokens (config)"
    assert lines[6].startswith("warn unheard-of: not shadowed: price unknown, add prices: ")
    assert lines[7] == f"ok   {DEFAULT_JUDGE.strip()}"
    assert lines[8].startswith(("ok   open files: ", "warn open files: "))


def test_doctor_of_a_sound_machine_exits_with_0_and_sends_nothing_upstream() -> None:
    with Simulator() as upstream:
        write(CONFIG.replace("http://127.0.0.1:9", upstream.base_url).replace(", {model: unheard-of}", ""))
        examined = run("doctor", "--json")
        assert len(upstream.log) == 0
    assert examined.exit_code == 0
    grades = findings(examined)
    assert grades.pop("open files") in {"ok", "warn"}
    assert set(grades.values()) == {"ok"}


def test_doctor_tells_how_many_requests_primary_model_did_not_change() -> None:
    def told() -> str:
        return next(line for line in run("doctor").stdout.splitlines() if "primary.model: " in line)

    write(CONFIG + "primary: {model: new}\n")
    usage = Usage(input=1, output=1)
    record(exchange(0, age=timedelta(hours=2), usage=usage, model="old"))
    assert told() == "ok   primary.model: apps get new: no request in the last hour"
    record(*(exchange(number, age=timedelta(minutes=9), usage=usage, model="new") for number in (1, 2)))
    assert told() == "ok   primary.model: apps get new: 2 of 2 requests of the last hour asked it"
    record(exchange(3, age=timedelta(minutes=9), usage=usage, model="old"))
    assert told().startswith(
        "warn primary.model: 1 of 3 requests of the last hour asked another model than new; if that was after the"
    )


def test_doctor_tells_a_port_of_our_own_from_a_port_of_somebody_else() -> None:
    with Simulator() as upstream:
        write(CONFIG.replace("listen: 127.0.0.1:0", f"listen: 127.0.0.1:{upstream.port}", 1))
        assert findings(run("doctor", "--json"))["listen"] == "fail"


def test_doctor_verifies_the_certificate_of_the_upstream() -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path("ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def grades() -> list[str]:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        found = []
        async with server:
            for ca_file in ("null", "ca.pem"):
                write(f"upstream: {{base_url: 'https://localhost:{port}', ca_file: {ca_file}}}\n")
                examined = await asyncio.to_thread(run, "doctor", "--json")
                found.append(findings(examined)["upstream"])
        return found

    assert asyncio.run(grades()) == ["fail", "ok"]


def test_doctor_ready_is_quiet_and_asks_what_runs_here(tmp_path: Path) -> None:
    write("listen: unix:/nowhere.sock\n")
    silent = run("doctor", "--ready")
    assert (silent.exit_code, silent.stdout, silent.stderr) == (1, "", "")
    ports = CONFIG.replace("127.0.0.1:0", f"unix:{tmp_path}/live.sock", 1).replace(
        "127.0.0.1:0", f"unix:{tmp_path}/admin.sock", 1
    )
    with Serve(tmp_path, ports, arguments=["--role", "shadow"]) as serving:
        assert run("doctor", "--ready", "--role", "shadow").exit_code == 0
        assert run("doctor", "--ready").exit_code == 1
        assert serving.stop() == 0


# --- pairs ---


def test_pairs_come_from_the_running_server_and_without_one_from_the_store(tmp_path: Path) -> None:
    with Simulator() as upstream:
        config = CONFIG.replace("http://127.0.0.1:9", upstream.base_url).replace("sample_rate: 0.5", "sample_rate: 1")
        config = config.replace("'127.0.0.1:0'", f"'unix:{tmp_path}/admin.sock'")
        with Serve(tmp_path, config) as serving:
            assert ask(serving.listen, "POST", "/v1/messages", question())[0] == 200
            # Until the measuring process has made its store, there is nothing to read and the command says so.
            shown = eventually(lambda: json.loads(run("pairs", "--json").stdout or "[]"), within_s=20, what="a pair")
            assert [pair["candidate"] for pair in shown] == ["cheap"]
            assert serving.stop() == 0
    kept = run("pairs", "--worst", "5", "--json")
    assert [pair["id"] for pair in json.loads(kept.stdout)] == [shown[0]["id"]]
    table = run("pairs")
    assert table.exit_code == 0
    assert re.search(rf"{re.escape(shown[0]['id'])}\s+default\s+primary\s+ok\s", table.stdout)
    assert json.loads(run("pairs", "--candidate", "other", "--json").stdout) == []


PAIR = {
    "id": "0123456789abcdef0123456789abcdef:cheap",
    "task": "default",
    "primary": "primary\x1b[31m",
    "outcome": "ok",
    "quality_primary": 0.5,
    "quality_candidate": 1.0,
    "quality_diff": 0.5,
    "latency_ms": 20.0,
    "primary_latency_ms": 32.0,
    "cost_billed_usd": None,
}


def shown_at(width: int, pair: Mapping[str, object]) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(pairs_view([pair], width=width))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_pairs_fit_a_narrow_terminal_whole_and_a_name_cannot_steer_it() -> None:
    assert shown_at(80, PAIR) == [
        "0123456789abcdef0123456789abcdef:cheap",
        "  default, primary?[31m: ok, quality 0.50 -> 1.00 (+0.50), -12 ms, - USD",
    ]
    unscored = {**PAIR, "quality_primary": None, "quality_candidate": None, "quality_diff": None}
    assert "ok, no quality score, -12 ms" in shown_at(80, unscored)[1]
    assert len(shown_at(200, PAIR)) == 2
    assert shown_at(200, PAIR)[0].startswith("pair  ")


def test_pairs_without_any_say_so() -> None:
    write(CONFIG)
    assert run("db", "migrate").exit_code == 0
    shown = run("pairs", "--worst", "5")
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert shown.stderr.startswith("no pairs yet: ")


def test_pairs_asked_of_somebody_elses_port_are_an_error() -> None:
    with Simulator() as upstream:
        write(CONFIG.replace("'127.0.0.1:0'", f"'127.0.0.1:{upstream.port}'"))
        shown = run("pairs")
        assert (shown.exit_code, shown.stdout) == (1, "")
        assert shown.stderr.startswith(f"127.0.0.1:{upstream.port} answered 404: ")


# --- the rest ---


@pytest.mark.parametrize("command", ["check", "version --json", "doctor"])
def test_a_reader_that_has_enough_ends_a_command_quietly(command: str) -> None:
    write(CONFIG)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody_reads:
        ended = subprocess.run(
            [SCRIPT, *command.split()], stdout=nobody_reads, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (1, "")


def test_version_tells_the_version_and_the_libraries() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("version").stdout)
    assert run("--version").stdout == run("version").stdout
    told = json.loads(run("version", "--json").stdout)
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"uvicorn", "pydantic", "msgspec"} <= set(told["libraries"])


def test_the_simulator_runs_alone() -> None:
    with subprocess.Popen([SCRIPT, "simulator", "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(r"simulator listening on http://127\.0\.0\.1:\d+\n", line)
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_a_port_that_the_simulator_cannot_have_is_told_in_a_sentence() -> None:
    with Simulator() as there:
        address = f"127.0.0.1:{there.port}"
        taken = run("simulator", "--port", str(there.port))
    elsewhere = run("simulator", "--host", "192.0.2.1")
    assert (taken.exit_code, taken.stdout, elsewhere.exit_code) == (1, "", 1)
    assert taken.stderr == f"{address} is in use by another process; stop that one, or choose another --port\n"
    assert re.fullmatch(r".*Cannot assign requested address.*192\.0\.2\.1.*\n", elsewhere.stderr)


def test_help_lists_the_commands_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['shadow-gateway', '--help']; from gateway.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    shown = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    for command in ("demo", "init", "serve", "check", "doctor", "pairs", "label", "simulator", "version"):
        assert re.search(rf"\b{command}\b", shown.stdout)
    heavy = {"pydantic", "yaml", "uvicorn", "starlette", "genai_prices", "httpx2", "anthropic", "aiosqlite", "re2"}
    assert heavy & set(shown.stderr.split()) == set()


def test_a_wrong_option_is_exit_2_and_a_missing_command_too() -> None:
    assert run("serve", "--colour").exit_code == 2
    assert run("no-such-command").exit_code == 2


@pytest.mark.parametrize("arguments", [(), ("--debug",)])
def test_an_unexpected_fault_is_one_sentence_and_with_debug_its_traceback(
    arguments: tuple[str, ...],
) -> None:
    program = "from gateway.cli import main; main(lambda: {}['strange'])"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments, "check"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    if arguments:
        assert "Traceback (most recent call last)" in ended.stderr
    else:
        assert ended.stderr == "unexpected fault: KeyError: 'strange' (shadow-gateway --debug … shows where)\n"
