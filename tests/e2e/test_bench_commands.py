"""`bench`, `replay` and `compare` as people run them: the simulator, real files, and the installed command itself where
what is shown takes a process of its own: exit codes, a terminal, signals, a kill, standard input."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
import pty
import signal
import sqlite3
import subprocess
import xml.etree.ElementTree as ET
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from shadow.simulator import FaultRate, Quality, Script, SimModel, Simulator, Timing
from tests.support.serving import SCRIPT, Serve, ask, plain_environment, question
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.serving import Serve as Serving

CASES = Path(__file__).parents[2] / "examples" / "cases.jsonl"
PRICES = "prices: {good: {input: 1, output: 5}, bad: {input: 0.1, output: 0.5}, slow: {input: 1, output: 5}}\n"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    script = Script(
        models=(
            SimModel(name="good"),
            SimModel(name="bad", quality=Quality(wrong=0.6)),
            SimModel(name="slow", timing=Timing(ttft_ms=150)),
            SimModel(name="down", faults=(FaultRate(fault="500", rate=1.0),)),
        )
    )
    with Simulator(script) as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One command that has ended."""

    code: int
    out: str
    err: str

    @property
    def run_id(self) -> str:
        return self.err.partition("run ")[2].partition(":")[0]


def shadow(folder: Path, *arguments: str) -> Ended:
    """Run a command in this process and that folder, with nothing of this machine's settings."""
    cleared = {name: None for name in os.environ if name not in plain_environment()}
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, list(arguments), env={**cleared, "COLUMNS": "200"})
    return Ended(code=done.exit_code, out=done.stdout, err=done.stderr)


def installed(folder: Path, *arguments: str, stdin: str | None = None) -> Ended:
    """Run the installed command, in a process of its own."""
    done = subprocess.run(
        [SCRIPT, *arguments],
        cwd=folder,
        env=plain_environment(COLUMNS="200"),
        input=stdin,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture
def folder(tmp_path: Path, simulator: Simulator) -> Path:
    """A folder with a configuration that knows the simulator and its prices."""
    text = f"upstream: {{base_url: {simulator.base_url}, api_key: key-of-the-bench}}\n{PRICES}"
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def cases(folder: Path, count: int) -> str:
    (folder / "cases.jsonl").write_text("".join(CASES.read_text("utf-8").splitlines(keepends=True)[:count]), "utf-8")
    return "cases.jsonl"


# ---- gates and their exit codes


def test_the_example_prints_a_table_with_intervals_and_ends_by_its_gate(folder: Path, simulator: Simulator) -> None:
    run = ["bench", str(CASES), "--models", "good,bad"]
    good = installed(folder, *run, "--gate", "good:quality>=0.85", "--gate", "good: cost_per_quality_point<=0.01")
    bad = installed(folder, *run, "--gate", "quality>=0.85")
    unsure = installed(folder, *run, "--gate", "good:quality>=0.95")

    assert good.code == 0, good.err
    assert "pass: good: quality>=0.85, it is 1 (" in good.out
    assert "pass: good: cost_per_quality_point<=0.01" in good.out
    table = next(line for line in good.out.splitlines() if line.strip().startswith("good "))
    assert "1.000 [0." in table
    assert bad.code == 100
    assert "fail: bad: quality>=0.85" in bad.out
    assert unsure.code == 101
    assert "inconclusive: good: quality>=0.95" in unsure.out
    assert {entry.key for entry in simulator.log} == {"key-of-the-bench"}
    assert "bad, pair by pair" not in good.out
    assert "beside good, pair by pair" in good.out


def test_a_later_run_is_held_against_a_baseline(folder: Path) -> None:
    first = shadow(folder, "bench", str(CASES), "--models", "good")
    same = [
        "--baseline", first.run_id, "--gate", "quality_diff>=-0.15", "--gate", "cost_ratio<=1.05",
        "--gate", "cost_per_quality_point_ratio<=1.1",
    ]  # fmt: skip
    again = shadow(folder, "bench", str(CASES), "--models", "good", *same)
    worse = shadow(folder, "bench", str(CASES), "--models", "bad", *same)

    assert again.code == 0, again.out + again.err
    assert worse.code == 100, worse.out
    assert "fail: bad: quality_diff>=-0.15" in worse.out


# ---- what is refused, before anything is spent


@pytest.mark.parametrize(
    ("lines", "arguments", "words"),
    [
        ('{"prompt": "a"}\nno json\n{"propmt": "b"}', (), ["jsonl:2: not readable", "jsonl:3: needs exactly"]),
        ("", (), ["holds no case"]),
        ('{"prompt": "a"}', ("--gate", "quality=1"), ["gate 'quality=1' is not understood"]),
        ('{"prompt": "a"}', ("--gate", "luck>=1"), ["there is no figure 'luck'"]),
        ('{"prompt": "a"}', ("--gate", "cost_ratio<=1"), ["name another run with --baseline RUN"]),
        ('{"prompt": "a"}', ("--gate", "other:quality>=1"), ["other is none of the models (good)"]),
        ('{"prompt": "a"}', ("--baseline", "nope"), ["there is no run 'nope'"]),
        ('{"prompt": "a"}', ("-o", "out.pdf"), ["the ending chooses the format: .json"]),
        ('{"prompt": "a"}', ("-o", "no/such/out.csv"), ["no folder no/such that can be written to"]),
        ('{"prompt": "a"}', ("--gate", "score.equals>=1"), ["no evaluator 'equals' scores this run; these do: "]),
        ('{"prompt": "a"}', ("--primary", "other"), ["--primary other: is none of the models (good)"]),
        ('{"prompt": "a"}', ("--base-url", "localhost:9090"), ["such as http://127.0.0.1:9090"]),
        ('{"prompt": "a"}', ("--evaluator", "is-jsn"), ["unknown type 'is-jsn'; did you mean 'is-json'?"]),
        ('{"prompt": "a"}', ("--evaluator", "regex:{"), ["after the colon stand options as JSON"]),
        ('{"prompt": "a"}', ("--max-cost", "0.0000001"), ["one answer may cost up to $0."]),
        ('{"prompt": "a"}', ("--api-key-env", "NO_SUCH"), ["NO_SUCH: this variable is not set"]),
        ('{"prompt": "a"}', ("--base-url", "https://192.0.2.1"), ["no API key for good at https://192.0.2.1"]),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_a_sentence_and_nothing_is_asked(
    folder: Path, simulator: Simulator, lines: str, arguments: tuple[str, ...], words: list[str]
) -> None:
    (folder / "cases.jsonl").write_text(lines, encoding="utf-8")
    ended = shadow(folder, "bench", "cases.jsonl", "--models", "good", *arguments)

    assert ended.code == 2, ended.err
    for word in words:
        assert word in ended.err
    assert ended.out == ""
    assert len(simulator.log) == 0


def test_a_gate_that_would_compare_a_model_with_itself_is_refused(folder: Path, simulator: Simulator) -> None:
    gate = ("--gate", "good: quality_diff>=0")
    ended = installed(folder, "bench", cases(folder, 2), "--models", "good,bad", *gate)

    assert ended.code == 2
    assert "would compare good with itself" in ended.err
    assert len(simulator.log) == 0


def test_a_bound_needs_every_price_and_says_which_line_to_add(folder: Path, simulator: Simulator) -> None:
    ended = shadow(folder, "bench", cases(folder, 2), "--models", "good,down", "--max-cost", "1")

    assert ended.code == 2
    assert 'add prices: {"down": {input: <USD per 1M tokens>' in ended.err
    assert len(simulator.log) == 0


# ---- money, stops, and going on


def test_a_run_stops_before_its_bound_and_goes_on_where_it_stopped(folder: Path, simulator: Simulator) -> None:
    first = shadow(folder, "bench", str(CASES), "--models", "good,bad", "--max-cost", "0.0035", "--json")
    run = json.loads(first.out)["run"]
    asked = len(simulator.log)
    second = shadow(folder, "bench", str(CASES), "--models", "good,bad", "--max-cost", "5", "--resume", "--json")
    whole = json.loads(second.out)["run"]

    assert first.code == 1
    assert "go on with the same command and --resume" in first.err
    assert (run["state"], run["answered"]) == ("stopped", asked)
    assert 0 < asked < 120
    assert run["spent_usd"] <= 0.0035
    assert second.code == 0, second.err
    assert (whole["id"], whole["state"], whole["answered"]) == (run["id"], "done", 120)
    assert len(simulator.log) == 120


def test_an_unfinished_run_passes_no_gate(folder: Path) -> None:
    ended = shadow(folder, "bench", str(CASES), "--models", "good", "--max-cost", "0.0035", "--gate", "total_cost<=1")
    assert ended.code == 101
    assert "answers are missing" in ended.out


def test_ctrl_c_keeps_what_is_there_and_resume_asks_the_rest(folder: Path, simulator: Simulator) -> None:
    command = [SCRIPT, "bench", str(CASES), "--models", "slow", "--concurrency", "2"]
    process = subprocess.Popen(
        command, cwd=folder, env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: len(simulator.log) > 4, what="some questions")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    asked = len(simulator.log)
    again = shadow(folder, "bench", str(CASES), "--models", "slow", "--concurrency", "30", "--resume", "--json")

    assert process.returncode == 1
    assert "interrupted; go on with the same command and --resume" in err
    assert asked < 60
    assert again.code == 0
    assert json.loads(again.out)["run"]["answered"] == 60
    assert len({entry.body for entry in simulator.log}) == len(simulator.log) == 60


def test_a_killed_run_loses_what_was_under_way_and_nothing_else(folder: Path, simulator: Simulator) -> None:
    run = ["bench", str(CASES), "--models", "slow", "--concurrency", "2", "--json"]
    process = subprocess.Popen(
        [SCRIPT, *run], cwd=folder, env=plain_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    eventually(lambda: len(simulator.log) > 6, what="some questions")
    process.kill()
    process.wait()
    held = shadow(folder, *run, "--resume")
    with closing(sqlite3.connect(folder / "shadow.db")) as store:
        sent = store.execute("SELECT count(*) FROM run_answer WHERE state = 'sent'").fetchone()[0]
        store.execute("UPDATE run SET lease_until = 0")  # as a minute later
        store.commit()
    asked = len(simulator.log)
    again = shadow(folder, *run, "--resume", "--concurrency", "30")
    told = json.loads(again.out)["run"]

    assert held.code == 2
    assert "was killed less than a minute ago" in held.err
    assert (told["state"], told["answered"]) == ("done", 60)
    assert 1 <= sent <= 2
    assert len(simulator.log) - asked == 60 - (asked - sent)


def test_errors_are_kept_and_asked_again_only_when_that_is_wanted(folder: Path, simulator: Simulator) -> None:
    run = ["bench", cases(folder, 3), "--models", "down", "--retries", "0", "--json"]
    first, kept, again = shadow(folder, *run), shadow(folder, *run, "--resume"), shadow(folder, *run, "--retry-errors")
    rows = [json.loads(ended.out)["tasks"][0]["models"][0] for ended in (first, kept, again)]

    assert [row["error_rate"] for row in rows] == [1.0, 1.0, 1.0]
    assert [ended.code for ended in (first, kept, again)] == [1, 1, 1]
    assert "no answer of down ended well\n" in first.err
    assert rows[0]["quality"]["reason"] == "no answer ended well"
    assert len(simulator.log) == 6


# ---- what is written


def test_a_run_is_written_in_every_format(folder: Path) -> None:
    files = ["o.json", "o.jsonl", "o.csv", "o.md", "o.junit.xml"]
    outputs = [argument for file in files for argument in ("-o", file)]
    ended = shadow(folder, "bench", cases(folder, 5), "--models", "good,bad", "--gate", "quality>=0.99", *outputs)
    assert ended.code in {100, 101}, ended.err

    whole = json.loads((folder / "o.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (folder / "o.jsonl").read_text("utf-8").splitlines()]
    with (folder / "o.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    suites = ET.fromstring((folder / "o.junit.xml").read_text("utf-8"))
    markdown = (folder / "o.md").read_text("utf-8")

    assert len(whole["answers"]) == len(lines) == len(table) == 10
    assert whole["gates"][0]["gate"] == "quality>=0.99"
    assert {row["model"] for row in table} == {"good", "bad"}
    assert [float(row["score icontains"]) for row in table if row["model"] == "good"] == [1.0] * 5
    assert [suite.get("name") for suite in suites] == ["gates", "good", "bad"]
    assert "| good | 1.000 [" in markdown
    assert {(folder / file).stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_page_is_written_where_the_dashboard_is_there(folder: Path, simulator: Simulator) -> None:
    ended = shadow(folder, "bench", cases(folder, 2), "--models", "good", "-o", "o.html")
    if importlib.util.find_spec("shadow.web.dashboard") is None:
        assert (ended.code, len(simulator.log)) == (2, 0)
        assert ".html comes with the dashboard" in ended.err
    else:
        assert ended.code == 0, ended.err
        assert "<html" in (folder / "o.html").read_text("utf-8")


def test_standard_input_and_the_other_api(folder: Path, simulator: Simulator) -> None:
    lines = "\n".join(CASES.read_text("utf-8").splitlines()[:3])
    ended = installed(folder, "bench", "-", "--models", "good", "--api", "openai", "--json", stdin=lines)

    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["tasks"][0]["models"][0]["avg_quality"] == 1.0
    assert {entry.path for entry in simulator.log} == {"/v1/chat/completions"}
    assert {entry.credential for entry in simulator.log} == {"both"}


def test_a_bar_with_the_cost_is_shown_on_a_terminal_and_lines_elsewhere(folder: Path) -> None:
    plain = installed(folder, "bench", cases(folder, 3), "--models", "good")
    assert "3 of 3 answers, $0.0" in plain.err
    assert "\x1b" not in plain.err + plain.out

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, "bench", "cases.jsonl", "--models", "good"],
        cwd=folder,
        env=plain_environment(TERM="xterm", COLUMNS="120"),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(60) == 0
    assert "3/3" in shown.decode("utf-8", "replace")
    assert "$0.0" in shown.decode("utf-8", "replace")


def test_a_judge_is_asked_where_the_models_are_and_its_cost_is_shown(folder: Path, simulator: Simulator) -> None:
    judged = ["--evaluator", "llm-pairwise", "--evaluator", "icontains", "--max-cost", "2"]
    ended = shadow(folder, "bench", cases(folder, 4), "--models", "good,bad", *judged)

    assert ended.code == 0, ended.err
    assert "of it for judging" in ended.out
    assert "llm-pairwise *" in ended.out
    assert "a pairwise evaluator gives no answer an absolute quality" in ended.out
    assert simulator.log.calls(model="claude-haiku-4-5")


# ---- two runs


def test_two_runs_are_compared_pair_by_pair(folder: Path) -> None:
    first = shadow(folder, "bench", str(CASES), "--models", "good")
    second = shadow(folder, "bench", str(CASES), "--models", "bad")
    shown = shadow(folder, "compare", first.run_id, second.run_id)
    told = json.loads(shadow(folder, "compare", first.run_id[:-2], second.run_id, "--json").out)
    alone = shadow(folder, "compare", first.run_id, "nothing")

    assert shown.code == 0, shown.err
    assert "good -> bad" in shown.out
    assert "60 questions in both" in shown.out
    [row] = told["models"]
    assert row["quality_diff"]["ci"][1] < 0
    assert row["by_evaluator"]["icontains"]["mean"] == row["quality_diff"]["mean"]
    assert row["cost_ratio"]["value"] == pytest.approx(0.1, rel=0.1)
    assert alone.code == 2
    assert first.run_id in alone.err
    itself = shadow(folder, "compare", "cases.jsonl", "cases.jsonl")
    assert itself.code == 2
    assert f"are the same run, {second.run_id}" in itself.err


# ---- production prompts


def config_with_shadowing(simulator: Simulator, *, content: str, more: str = "") -> str:
    return more + (
        f"listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\n"
        f"upstream: {{base_url: {simulator.base_url}, api_key: key-of-the-bench}}\n"
        f"shadow: {{sample_rate: 1.0, candidates: [{{model: bad}}], content: {content}}}\n{PRICES}"
    )


def shadowed(serving: Serving, count: int) -> None:
    """Send traffic and wait until all of it has been shadowed."""
    for at in range(count):
        body = question(f"What is {at} + 1?", model="good")
        assert ask(serving.listen, "POST", "/v1/messages", body)[0] == 200

    def pairs() -> int:
        return len(json.loads(ask(serving.admin, "GET", "/pairs")[1]).get("pairs", []))

    eventually(lambda: pairs() >= count, within_s=60, what="the pairs")


def test_golden_cases_say_what_is_right_for_production_prompts(tmp_path: Path, simulator: Simulator) -> None:
    golden = [json.dumps({"prompt": f"What is {at} + 1?", "expected": str(at + 1)}) for at in range(3)]
    (tmp_path / "golden.jsonl").write_text("\n".join(golden), encoding="utf-8")
    with Serve(tmp_path, config_with_shadowing(simulator, content="full", more="golden: golden.jsonl\n")) as serving:
        shadowed(serving, 4)
        ended = shadow(tmp_path, "replay", "--models", "good", "--evaluator", "icontains", "--json")
        assert serving.stop() == 0

    assert ended.code == 0, ended.err
    assert "golden cases say what is right for 3 of them" in ended.err
    quality = json.loads(ended.out)["tasks"][0]["models"][0]["quality"]
    assert (quality["avg"], quality["n"], quality["not_applicable"]) == (1.0, 3, 1)


def test_production_prompts_are_replayed_and_the_run_is_on_the_admin_port(tmp_path: Path, simulator: Simulator) -> None:
    with Serve(tmp_path, config_with_shadowing(simulator, content="redacted")) as serving:
        shadowed(serving, 6)
        scored = ["--evaluator", 'python:{"target": "shadow.simulator.truth:RightAnswer"}']
        ended = shadow(tmp_path, "replay", "--models", "good,bad", "--since", "1d", "-n", "4", *scored, "--json")
        assert ended.code == 0, ended.err
        run = json.loads(ended.out)["run"]
        again = shadow(tmp_path, "replay", "--models", "bad,good", "--resume", *scored, "--json")
        status, body = ask(serving.admin, "GET", f"/runs/{run['id']}")
        listed = json.loads(ask(serving.admin, "GET", "/runs?kind=replay")[1])
        assert serving.stop() == 0

    assert "going on, 8 of 8 answers are there" in again.err
    assert json.loads(again.out)["run"]["id"] == run["id"]
    assert "4 of 6 stored prompts (6 conversations)" in ended.err
    assert (run["kind"], run["cases"], run["answered"]) == ("replay", 4, 8)
    assert status == 200
    assert json.loads(body)["tasks"][0]["models"][0]["avg_quality"] == 1.0
    assert [each["id"] for each in listed["runs"]] == [run["id"]]


def test_without_kept_content_replay_says_so(tmp_path: Path, simulator: Simulator) -> None:
    with Serve(tmp_path, config_with_shadowing(simulator, content="none")) as serving:
        shadowed(serving, 2)
        ended = shadow(tmp_path, "replay", "--models", "good")
        assert serving.stop() == 0

    assert ended.code == 2
    assert "none with `shadow.content: none`" in ended.err
