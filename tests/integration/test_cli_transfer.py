"""`export` and `import`: whole files or none, redacted, in constant memory."""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from shadow.records import Batch, StoredContent
from shadow.store import open_store
from tests.integration.test_cli import run
from tests.support.serving import plain_environment
from tests.support.stored import NOW, Day, exchange, pair_result, sampled

CONFIG = """
listen: 127.0.0.1:0
admin: {listen: '127.0.0.1:0', token: the-token}
upstream: {base_url: 'http://127.0.0.1:9', api_key: the-secret-key}
store: sqlite:///shadow.db
"""

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**plain_environment(), "PYTHONPATH": str(ROOT)}

CONTENT = StoredContent(
    prompt='{"model":"m","messages":[{"role":"user","content":"mail bob@example.com"}]}',
    primary_output="the-secret-key of bob@example.com",
    primary_tool_calls="[]",
    candidate_output="=1+1",
    candidate_tool_calls="[]",
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG, encoding="utf-8")


def fill(count: int = 3) -> None:
    async def write() -> None:
        async with await open_store("sqlite:///shadow.db") as store:
            await store.intake.write(sampled(*range(count), candidates=("a", "b")))
            for held in await store.jobs.lease(worker="w", limit=1000, lease_s=60, now=NOW):
                await store.jobs.reserve(held, worst_case_usd=0.0001, budget=Day(), now=NOW)
                result = pair_result(held, content=CONTENT)
                await store.jobs.finish(held, result=result, reserved_usd=0.0001, now=NOW)

    asyncio.run(write())


def test_pairs_are_exported_with_scores_and_redacted_content_one_a_line() -> None:
    fill()

    done = run("export", "pairs")
    rows = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.stderr.endswith("6 pairs\n")
    assert [row["id"] for row in rows] == [f"x000{n}:{name}" for n in range(3) for name in "ab"]
    assert [score["role"] for score in rows[0]["scores"]] == ["primary", "candidate"]
    assert json.loads(rows[0]["prompt"])["messages"][0]["content"] == "mail [email]"
    assert rows[0]["primary_output"] == "[secret] of [email]"
    assert "bob" not in done.stdout
    assert "the-secret-key" not in done.stdout


def test_what_is_not_redacted_is_said_and_one_candidate_and_a_window_can_be_chosen() -> None:
    fill()
    since, until = (exchange(1).started_at.isoformat(), exchange(2).started_at.isoformat())

    done = run("export", "pairs", "--unredacted", "--candidate", "b", "--since", since, "--until", until)
    wrong = run("export", "pairs", "--since", "soon")
    nothing = run("export", "pairs", "--until", "2026-01-01")

    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["x0001:b"]
    assert "bob@example.com" in done.stdout
    assert "NOT redacted" in done.stderr
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("--since must be a time like")
    assert (nothing.exit_code, nothing.stdout) == (0, "")


def test_csv_is_chosen_by_the_suffix_for_us_alone_and_holds_no_formula() -> None:
    fill()

    assert run("export", "pairs", "-o", "pairs.csv").exit_code == 0
    assert run("export", "exchanges", "-o", "x.csv", "--no-content").exit_code == 0

    with Path("pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["candidate_output"] for row in rows} == {"'=1+1"}
    assert stat.S_IMODE(Path("pairs.csv").stat().st_mode) == 0o600
    assert len(Path("x.csv").read_text("utf-8").splitlines()) == 4


def test_a_store_without_runs_has_none_to_export_and_one_with_runs_gives_their_answers() -> None:
    fill(1)
    assert run("export", "runs").stderr.endswith("0 runs\n")
    with closing(sqlite3.connect("shadow.db")) as connection:
        connection.executescript(
            """
            DROP TABLE IF EXISTS run;
            DROP TABLE IF EXISTS run_case;
            DROP TABLE IF EXISTS run_answer;
            DROP TABLE IF EXISTS run_score;
            CREATE TABLE run (id, kind, name, state, started_at, "primary");
            CREATE TABLE run_case (run_id, case_id, position, prompt_hash, task, dialect, expected);
            CREATE TABLE run_answer (run_id, case_id, model, repeat, state, outcome, latency_ms, output, error);
            CREATE TABLE run_score (
                run_id, case_id, model, repeat, evaluator, version, quality, role, status, value, reason, cost_usd
            );
            INSERT INTO run VALUES ('r', 'bench', 'n', 'done', 1700000000000000, 'p');
            INSERT INTO run_case VALUES ('r', 'c1', 0, 'h', 'default', 'openai-chat', '4');
            INSERT INTO run_answer VALUES ('r', 'c1', 'm', 0, 'done', 'ok', 5.0, 'mail bob@example.com', NULL);
            INSERT INTO run_answer VALUES ('r', 'c1', 'm', 1, 'done', 'ok', 6.0, 'four', NULL);
            INSERT INTO run_score VALUES ('r', 'c1', 'm', 0, 'equals', '1', 1, 'candidate', 'scored', 1.0, 'x', 0);
            """
        )

    rows = [json.loads(line) for line in run("export", "runs").stdout.splitlines()]

    assert [(row["case_id"], row["repeat"], row["output"]) for row in rows] == [
        ("c1", 0, "mail [email]"), ("c1", 1, "four")
    ]  # fmt: skip
    assert [score["evaluator"] for score in rows[0]["scores"]] == ["equals"]
    assert rows[0]["run_started_at"].startswith("2023-11-14T")


def test_the_memory_of_an_export_does_not_grow_with_the_store() -> None:
    async def write(first: int, count: int) -> None:
        async with await open_store("sqlite:///shadow.db") as store:
            for start in range(first, first + count, 500):
                many = [exchange(n, error="e" * 1000) for n in range(start, start + 500)]
                await store.intake.write(Batch(exchanges=many))

    peaks = []
    for first, count in ((0, 500), (500, 20_000)):
        asyncio.run(write(first, count))
        command = [sys.executable, "-m", "tests.support.peak", "export", "exchanges", "-o", "x.jsonl"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
        peaks.append(int(told.stdout))

    assert Path("x.jsonl").read_text("utf-8").count("\n") == 20_500
    assert peaks[1] < peaks[0] + 8_000, peaks  # KiB; the file grew by more than 20 MiB


# --- import ---


def test_another_tools_file_becomes_a_case_file_for_us_alone() -> None:
    Path("prompt.txt").write_text("Say {{x}}", encoding="utf-8")
    Path("p.yaml").write_text("prompts: [file://prompt.txt]\ntests:\n  - vars: {x: hi}\n", encoding="utf-8")

    done = run("import", "p.yaml")
    again = run("import", "p.yaml")
    forced = run("import", "p.yaml", "--force", "--json")

    assert done.stdout == "wrote 1 cases (promptfoo) to cases.jsonl\n"
    assert json.loads(Path("cases.jsonl").read_text("utf-8")) == {"id": "test 1", "prompt": "Say hi"}
    assert stat.S_IMODE(Path("cases.jsonl").stat().st_mode) == 0o600
    assert (again.exit_code, again.stderr) == (
        2, "cases.jsonl exists already; nothing was written. Pass --force to replace it.\n"
    )  # fmt: skip
    assert json.loads(forced.stdout) == {"cases": 1, "file": "cases.jsonl", "from": "promptfoo", "notes": []}


def test_a_file_with_one_fault_gives_no_case_at_all() -> None:
    Path("e.jsonl").write_text('{"input": "a", "ideal": ["b", "c"]}\n{"input": 5, "ideal": "b"}\n', encoding="utf-8")

    refused = run("import", "e.jsonl", "-o", "out.jsonl")

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == "e.jsonl:2: its question is a number, neither a text nor a list of turns\n"
    assert not Path("out.jsonl").exists()


def test_a_prompt_file_outside_of_the_folder_or_not_of_text_is_refused() -> None:
    Path("in").mkdir()
    Path("secret.txt").write_text("secret", encoding="utf-8")
    Path("in/b.txt").write_bytes(b"\xff\xfe")
    for name, sentence in (("../secret.txt", "lies outside of the folder"), ("b.txt", "is not UTF-8 text")):
        Path("in/p.yaml").write_text(f"prompts: ['file://{name}']\ntests: [{{}}]\n", encoding="utf-8")
        refused = run("import", "in/p.yaml", "-o", "o.jsonl")
        assert (refused.exit_code, Path("o.jsonl").exists()) == (2, False)
        assert sentence in refused.stderr
    Path("b.jsonl").write_bytes(b"\xff\xfe")
    assert run("import", "b.jsonl").stderr == "b.jsonl: is not UTF-8 text\n"
    assert run("import", "none.jsonl").stderr == "none.jsonl: No such file or directory\n"
