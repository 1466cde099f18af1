"""What people say about pairs: over HTTP, and with the blind command, on a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.labelling import Session, StoreDesk, Wanted, answer_text, asked, printable, sheet
from shadow.judge.blind import side_a
from shadow.records import StoredContent
from shadow.simulator import Quality, Script, SimModel, Simulator
from shadow.store import open_store
from tests.support.admin import CANDIDATE, NOW, add_pair, admin_port, exchange, url_of
from tests.support.serving import SCRIPT, Serve, ask, plain_environment, question
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from click.testing import Result

    from shadow.store import Store


def content(number: int, *, primary: str | None = None, candidate: str | None = None) -> StoredContent:
    prompt = {"system": "Be brief.", "messages": [{"role": "user", "content": f"question {number}"}]}
    return StoredContent(
        prompt=json.dumps(prompt),
        primary_output=primary or f"of the primary {number}",
        primary_tool_calls="[]",
        candidate_output=candidate or f"of the candidate {number}",
        candidate_tool_calls="[]",
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(url_of(tmp_path)) as opened:
        for number in range(1, 5):
            await add_pair(opened, exchange(number), q_prim=1.0, q_cand=0.5, content=content(number))
        await add_pair(
            opened, exchange(5), q_prim=1.0, q_cand=1.0, content=content(5, primary="same", candidate="same")
        )
        await add_pair(opened, exchange(6), q_prim=1.0, q_cand=1.0)
        yield opened


# --- over HTTP ---


async def test_a_label_is_kept_with_who_when_which_side_was_a_and_the_choice(store: Store) -> None:
    pair = f"x1:{CANDIDATE}"
    async with admin_port(store.reader) as client:
        kept = await client.post("/feedback", json={"pair": pair, "choice": "A", "labeller": "anna", "seed": "s"})
        again = await client.post("/feedback", json={"pair": pair, "choice": "tie", "labeller": "anna", "seed": "s"})
        other = await client.post("/feedback", json={"pair": pair, "choice": "candidate", "labeller": "bert"})
        labels = (await client.get("/labels")).json()["labels"]

    assert (kept.status_code, again.status_code, other.status_code) == (201, 201, 201)
    assert kept.json()["winner"] == side_a(pair, "s")
    assert [(each["labeller"], each["choice"], each["winner"]) for each in labels] == [
        ("anna", "tie", "tie"),
        ("bert", "candidate", "candidate"),
    ]
    anna, bert = labels
    assert (anna["side_a"], anna["seed"], anna["source"]) == (side_a(pair, "s"), "s", "api")
    assert (bert["side_a"], bert["seed"]) == (None, None)
    assert anna["labelled_at"] == NOW.isoformat().replace("+00:00", "Z")
    assert anna["pair"] == pair


async def test_a_label_can_be_taken_back(store: Store) -> None:
    async with admin_port(store.reader) as client:
        await client.post("/feedback", json={"pair": f"x1:{CANDIDATE}", "choice": "A"})
        back = await client.post("/feedback", json={"pair": f"x1:{CANDIDATE}", "choice": None})
        none = await client.post("/feedback", json={"pair": f"x1:{CANDIDATE}", "choice": None})
        labels = (await client.get("/labels")).json()["labels"]

    assert (back.json()["removed"], none.json()["removed"]) == (True, False)
    assert labels == []


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"pair": "x1"}, 400, "pair must be `<exchange id>:<candidate>`"),
        ({"pair": 3, "choice": "A"}, 400, "pair must be"),
        ({"pair": "x1:c"}, 400, "choice is needed: one of A, tie, B, primary, candidate"),
        ({"pair": "x1:c", "choice": "C"}, 400, "choice must be one of"),
        ({"pair": "x1:c", "choice": ["A"]}, 400, "choice must be one of"),
        ({"pair": "x1:c", "choice": "A", "labeller": "\x1b[31m"}, 400, "labeller must be a printable text"),
        ({"pair": "x1:c", "choice": "A", "seed": ""}, 400, "seed must be a printable text"),
        ({"pair": "x1:c", "choice": "A", "who": "me"}, 400, "'who' is no field of a label"),
        ({"pair": "x99:c", "choice": "A"}, 404, "no pair has this id"),
        ([], 400, "the body must be a JSON object"),
        ({"pair": "x" * 300_000, "choice": "A"}, 413, "the body may hold at most 262144 bytes"),
    ],
)
async def test_what_is_no_label_is_refused_with_what_would_be_right(
    store: Store, body: Any, status: int, message: str
) -> None:
    async with admin_port(store.reader) as client:
        answer = await client.post("/feedback", json=body)
        labels = (await client.get("/labels")).json()["labels"]

    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert labels == []


async def test_a_label_from_a_page_of_another_origin_or_without_json_type_is_refused(store: Store) -> None:
    label = json.dumps({"pair": f"x1:{CANDIDATE}", "choice": "A"})
    async with admin_port(store.reader) as client:
        json_type = {"content-type": "application/json"}
        foreign = await client.post("/feedback", content=label, headers={**json_type, "origin": "https://evil.example"})
        plain = await client.post("/feedback", content=label, headers={"content-type": "text/plain"})
        broken = await client.post("/feedback", content=b"{", headers=json_type)
        labels = (await client.get("/labels")).json()["labels"]

    assert (foreign.status_code, plain.status_code, broken.status_code) == (403, 415, 400)
    assert labels == []


async def test_pairs_to_label_are_those_with_content_that_differ_and_that_this_person_has_not_labelled(
    store: Store,
) -> None:
    async with admin_port(store.reader) as client:
        await client.post("/feedback", json={"pair": f"x2:{CANDIDATE}", "choice": "A", "labeller": "anna"})
        of_anna = (await client.get("/labels/next?labeller=anna")).json()["pairs"]
        of_bert = (await client.get("/labels/next?labeller=bert&limit=200")).json()["pairs"]
        elsewhere = (await client.get("/labels/next?task=other")).json()["pairs"]

    assert {pair["exchange_id"] for pair in of_anna} == {"x1", "x3", "x4"}
    assert {pair["exchange_id"] for pair in of_bert} == {"x1", "x2", "x3", "x4"}
    assert elsewhere == []


async def test_labels_go_with_their_exchange(store: Store) -> None:
    async with admin_port(store.reader) as client:
        await client.post("/feedback", json={"pair": f"x1:{CANDIDATE}", "choice": "A"})
        await store.reader.prune(before=NOW)
        labels = (await client.get("/labels")).json()["labels"]
    assert labels == []


# --- the command's session ---


def session(store: Store, keys: str, *, limit: int = 20) -> tuple[Session, list[str]]:
    said: list[str] = []
    pressed = iter(keys)
    desk = StoreDesk(store, Wanted(labeller="anna"))
    read = lambda: next(pressed, "q")  # noqa: E731
    return Session(desk=desk, seed="s", limit=limit, read_key=read, say=said.append), said


async def labels_of(store: Store) -> list[dict[str, Any]]:
    return await store.reader.labels(task=None, candidate=None, limit=100)


async def test_keys_label_skip_undo_and_quit(store: Store) -> None:
    sitting, said = session(store, "xasbubtq")
    kept = await sitting.run()
    labels = await labels_of(store)

    # a; skip; b, taken back; b again; t; then nothing is left that was not seen
    assert kept == 3
    assert sorted(each["choice"] for each in labels) == ["A", "B", "tie"]
    assert any("'x' is none of the keys" in line for line in said)
    sheets = [line for line in said if line.startswith("\n===")]
    assert len(sheets) == 6


async def test_enter_after_a_key_is_passed_over(store: Store) -> None:
    sitting, said = session(store, "a\nb\n\nq\n")
    assert await sitting.run() == 2
    assert not any("none of the keys" in line for line in said)


async def test_undo_shows_the_last_pair_again_and_never_more_than_there_is(store: Store) -> None:
    sitting, said = session(store, "uauaq")
    assert await sitting.run() == 1
    assert "nothing to undo" in said
    (label,) = await labels_of(store)
    assert label["choice"] == "A"
    assert label["source"] == "label"


async def test_the_limit_ends_a_sitting_and_the_end_of_the_pairs_too(store: Store) -> None:
    limited, _ = session(store, "aaaaaaaa", limit=2)
    assert await limited.run() == 2
    rest, _ = session(store, "aaaaaaaa")
    assert await rest.run() == 2
    none, said = session(store, "a")
    assert await none.run() == 0
    assert said == []


def test_a_sheet_shows_prompt_and_answers_on_the_sides_of_the_seed_without_a_name() -> None:
    for seed in ("s", "t", "u", "v", "w", "x"):
        pair = {**vars_of(content(1)), "pair": f"x1:{CANDIDATE}", "task": "default"}
        text = sheet(pair, seed=seed, heading="pair 1 of 1")
        first = "candidate" if side_a(pair["pair"], seed) == "candidate" else "primary"
        assert re.search(rf"--- A ---\n\| of the {first} 1\n--- B ---", text)
        assert "Be brief." in text
        assert "question 1" in text
        assert CANDIDATE not in text


def test_an_answer_can_not_write_a_heading_and_speak_for_the_other_one() -> None:
    forged = "bad\n--- B ---\ngood\r\n--- B ---\u2028--- B ---"
    pair = {
        **vars_of(content(1)),
        "pair": "x1:c",
        "task": "default",
        "primary_output": forged,
        "candidate_output": forged,
    }
    headings = [line for line in sheet(pair, seed="s", heading="pair 1 of 1").splitlines() if line.startswith("---")]
    assert headings == ["--- system prompt ---", "--- request ---", "--- A ---", "--- B ---"]


def vars_of(stored: StoredContent) -> dict[str, Any]:
    return {name: getattr(stored, name) for name in stored.__slots__}


def test_what_would_steer_a_terminal_is_spelled_out() -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\r\b\u202eright to left\u2066\x9b31m\x00\tok\nnext line é \U0001f600"
    shown = printable(hostile)
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "\\x1b[2J" in shown
    assert "\\u202eright to left" in shown
    assert shown.endswith("ok\nnext line é \U0001f600")
    assert printable("x" * 9_000).endswith("… (9000 characters in all)")


def test_stored_texts_that_make_no_sense_are_shown_as_they_are() -> None:
    assert asked("no json") == ("", "no json")
    assert asked("[1]") == ("", "[1]")
    assert asked(None) == ("", "")
    calls = '[{"name": "f", "arguments": "{}"}, 3]'
    assert answer_text("text", calls) == "text\n[tool call] f {}"
    assert answer_text(None, "broken") == ""


# --- the command ---

CONFIG = """
listen: 127.0.0.1:0
admin: {listen: 'unix:ADMIN', token: the-token}
upstream: {base_url: 'UPSTREAM', api_key: the-key-of-the-upstream}
shadow: {sample_rate: 1, content: full, candidates: [{model: cheap}]}
evaluators: [{type: llm-pairwise, model: truthful, control_rate: 1}]
prices: {cheap: {input: 1, output: 2}, truthful: {input: 1, output: 2}}
"""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.chdir(tmp_path)
    models = (
        SimModel(name="primary"),
        SimModel(name="cheap", quality=Quality(wrong=1.0)),
        SimModel(name="truthful", judge="truthful"),
    )
    with Simulator(Script(models=models)) as upstream:
        config = CONFIG.replace("UPSTREAM", upstream.base_url).replace("ADMIN", f"{tmp_path}/admin.sock")
        with Serve(tmp_path, config) as serving:
            yield serving


def run(*arguments: str, keys: str = "") -> Result:
    cleared = {name: None for name in os.environ if name not in plain_environment()}
    return CliRunner().invoke(app, list(arguments), input=keys, env=cleared)


def shown_pairs() -> list[dict[str, Any]]:
    """The pairs there are; none while the store is still being opened."""
    shown = run("pairs", "--json")
    found: list[dict[str, Any]] = json.loads(shown.stdout or "[]")
    return found


def test_people_label_over_the_running_server_on_the_store_and_what_the_judge_agrees_with_is_told(
    served: Serve, tmp_path: Path
) -> None:
    for number in range(3):
        assert ask(served.listen, "POST", "/v1/messages", question(f"What is {number} + 2?"))[0] == 200

    eventually(lambda: len(shown_pairs()) == 3, within_s=60, what="three pairs")
    pairs = shown_pairs()
    first = run("label", "--labeller", "anna", "-n", "1", keys="a\n")
    assert first.exit_code == 0, first.output
    assert "1 label kept as anna" in first.stderr
    assert "cheap" not in first.stdout
    assert served.stop() == 0

    # without a server: from the store; every primary's answer is right, every candidate's wrong
    right = {pair["id"]: "a" if side_a(pair["id"], "blind-1") == "primary" else "b" for pair in pairs}
    done = {label["pair"] for label in json.loads(run("label", "--json").stdout)}
    assert len(done) == 1
    keys = "".join(f"{key}\n" for key in set(right.values()))
    second = run("label", "--labeller", "anna", keys=keys + "q\n")
    assert second.exit_code == 0, second.output
    labels = json.loads(run("label", "--json").stdout)
    assert {label["labeller"] for label in labels} == {"anna"}
    assert 2 <= len(labels) <= 3
    nothing = run("label", "--labeller", "anna", "--candidate", "other")
    assert "no label was kept; pairs to label need answers that differ" in nothing.stderr


def test_on_a_terminal_one_key_is_enough(served: Serve, tmp_path: Path) -> None:
    assert ask(served.listen, "POST", "/v1/messages", question("What is 5 + 2?"))[0] == 200
    eventually(lambda: len(shown_pairs()) == 1, within_s=60, what="a pair")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [SCRIPT, "label"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=plain_environment()
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"[a] A is better"):
                break
        os.write(ours, b"t")
        out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, (out, err)
    assert b"1 label kept as anonymous" in err


def test_a_name_that_is_none_is_refused_and_without_a_store_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = CONFIG.replace("UPSTREAM", "http://127.0.0.1:9").replace("ADMIN", f"{tmp_path}/admin.sock")
    Path("config.yaml").write_text(config, encoding="utf-8")
    refused = run("label", "--labeller", "\x1b[31m")
    assert refused.exit_code == 2
    assert "--labeller must be a printable text of 1 to 100 characters" in refused.stderr
    for words in (("label",), ("label", "--json")):
        empty = run(*words)
        assert (empty.exit_code, empty.stdout) == (1, "")
        assert "shadow.db is not there yet: nothing has been recorded" in empty.stderr
    assert not Path("shadow.db").exists()
