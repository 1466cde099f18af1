"""Golden cases: what finds which request again, and what is wrong with a file, by line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.config import ConfigErrors, load
from shadow.golden import MAX_FAULTS, MAX_FILE_BYTES, NOTHING, GoldenError, load_golden, prompt_keys

if TYPE_CHECKING:
    from pathlib import Path


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def written(folder: Path, *lines: Any) -> str:
    file = folder / "golden.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return str(file)


ASKED: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"prompt": "Capital of France?"}, {"messages": [user("Capital of France?")]}, True),
    ({"prompt": "Capital of France?"}, {"messages": [user(" Capital of France?\r\n")], "model": "x", "top_p": 1}, True),
    ({"prompt": "two\nlines"}, {"messages": [user([{"type": "text", "text": "two\r\nlines"}])]}, True),
    ({"prompt": "a\nb"}, {"messages": [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]}, True),
    ({"prompt": "hi"}, {"messages": [user("hi")], "system": "You are terse."}, True),
    ({"prompt": "hi"}, {"input": "hi"}, True),
    ({"prompt": "hi"}, {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}, True),  # noqa: E501
    ({"prompt": "hi"}, {"instructions": "You are terse.", "input": "hi"}, True),
    ({"prompt": "hi"}, {"messages": [{"role": "system", "content": "You are terse."}, user("hi")]}, True),
    ({"prompt": "hi"}, {"messages": [user("Hi")]}, False),
    ({"prompt": "hi"}, {"messages": [user("hi"), {"role": "assistant", "content": "yes?"}, user("hi")]}, False),
    ({"prompt": "hi", "system": "A"}, {"messages": [user("hi")], "system": "A"}, True),
    ({"prompt": "hi", "system": "A"}, {"messages": [user("hi")], "system": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}]}, True),  # noqa: E501
    ({"prompt": "hi", "system": "A"}, {"messages": [{"role": "developer", "content": "A"}, user("hi")]}, True),
    ({"prompt": "hi", "system": "A"}, {"messages": [user("hi")], "system": "B"}, False),
    ({"prompt": "hi", "system": "A"}, {"messages": [user("hi")]}, False),
    ({"messages": [user("a"), {"role": "assistant", "content": "b"}, user("c")]}, {"messages": [user("a"), {"role": "assistant", "content": "b"}, user("c")]}, True),  # noqa: E501
    ({"request": {"model": "m", "system": "A", "messages": [user("hi")]}}, {"model": "n", "system": "A", "messages": [user("hi")]}, True),  # noqa: E501
    ({"messages": [user([{"type": "image", "source": {"data": "x"}}])]}, {"messages": [user([{"source": {"data": "x"}, "type": "image", "cache_control": {}}])]}, True),  # noqa: E501
    ({"messages": [user([{"type": "image", "source": {"data": "x"}}])]}, {"messages": [user([{"type": "image", "source": {"data": "y"}}])]}, False),  # noqa: E501
    ({"messages": [{"role": "tool", "tool_call_id": "1", "content": "3"}]}, {"messages": [{"role": "tool", "tool_call_id": "2", "content": "3"}]}, False),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(("line", "request_body", "found"), ASKED)
def test_a_case_is_found_by_what_is_asked(
    tmp_path: Path,
    line: dict[str, Any],
    request_body: dict[str, Any],
    found: bool,  # noqa: FBT001
) -> None:
    golden = load_golden(written(tmp_path, line | {"expected": "Paris"}))
    assert golden.expected(request_body, task="default") == ("Paris" if found else None)


def test_cases_of_a_task_come_before_those_of_all_and_whole_ones_before_those_without_a_system_prompt(
    tmp_path: Path,
) -> None:
    golden = load_golden(
        written(
            tmp_path,
            {"prompt": "hi", "expected": "of all"},
            "",
            {"prompt": "hi", "expected": "of support", "task": "support"},
            {"prompt": "hi", "system": "A", "expected": "with system"},
        )
    )
    assert len(golden) == 3
    asked = {"messages": [user("hi")]}
    assert golden.expected(asked, task="support") == "of support"
    assert golden.expected(asked, task="other") == "of all"
    assert golden.expected(asked | {"system": "A"}, task="other") == "with system"
    assert golden.expected(asked | {"system": "A"}, task="support") == "of support"


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "request_body",
    [
        {},
        {"messages": None},
        {"messages": []},
        {"messages": [3]},
        {"messages": [user(nested(100_000))]},
        {"messages": [{"role": "user", "content": 10**5000}]},
        {"messages": [{"role": "system", "content": "only a system prompt"}]},
    ],
)
def test_a_request_that_asks_nothing_usable_has_no_key_and_finds_nothing(
    request_body: dict[str, Any], tmp_path: Path
) -> None:
    assert prompt_keys(request_body) is None
    golden = load_golden(written(tmp_path, {"prompt": "hi", "expected": "x"}))
    assert golden.expected(request_body, task="default") is None


def test_without_cases_nothing_is_found() -> None:
    assert NOTHING.expected({"messages": [user("hi")]}, task="default") is None


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "not JSON"),
        ('{"prompt": "\\ud800", "expected": "x"}', "not JSON"),
        ("[1]", "must be an object such as"),
        ({"prompt": "a", "expected": "b", "promt": 1}, "unknown key 'promt'; there are: prompt, messages, request"),
        ({"prompt": "a"}, "needs `expected`, a text"),
        ({"prompt": "a", "expected": {"b": 1}}, "needs `expected`, a text"),
        ({"expected": "b"}, "needs exactly one of `prompt`, `messages` and `request`"),
        ({"prompt": "a", "messages": [], "expected": "b"}, "needs exactly one of"),
        ({"prompt": 3, "expected": "b"}, "`prompt` must be a text"),
        ({"messages": "a", "expected": "b"}, "`messages` must be a list of messages"),
        ({"request": [], "expected": "b"}, "`request` must be a request body, an object"),
        ({"request": {"messages": [user("a")]}, "system": "A", "expected": "b"}, "`system` belongs into the request"),
        ({"messages": [], "expected": "b"}, "asks nothing"),
        ({"prompt": "a", "expected": "b", "task": ""}, "`task` must be the name of a task"),
        ({"prompt": " first ", "expected": "again"}, "asks the same as line 1"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, line: Any, sentence: str) -> None:
    path = written(tmp_path, {"prompt": "first", "expected": "x"}, line)
    with pytest.raises(GoldenError) as raised:
        load_golden(path)
    (fault,) = raised.value.faults
    assert fault.startswith(f"{path}:2: ")
    assert sentence in fault


def test_many_faults_are_counted_and_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(GoldenError) as raised:
        load_golden(written(tmp_path, *(["{"] * (MAX_FAULTS + 5))))
    assert len(raised.value.faults) == MAX_FAULTS + 1
    assert raised.value.faults[-1] == "and 5 more"
    huge = tmp_path / "huge.jsonl"
    with huge.open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(GoldenError, match="larger than 64 MiB"):
        load_golden(str(huge))


def test_the_configuration_tells_each_fault_of_the_file(tmp_path: Path) -> None:
    written(tmp_path, {"prompt": "a", "expected": "b"}, "{", {"expected": "b"})
    (tmp_path / "c.yaml").write_text("listen: 127.0.0.1:0\ngolden: golden.jsonl\n")
    with pytest.raises(ConfigErrors) as raised:
        load(tmp_path / "c.yaml", {})
    assert len(raised.value.lines) == 2
    assert "c.yaml:2:9: golden: " in raised.value.lines[0]
    assert "golden.jsonl:2: not JSON" in raised.value.lines[0]
    assert "golden.jsonl:3: needs exactly one of" in raised.value.lines[1]


def test_the_configuration_gives_the_measuring_side_the_files_address(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "a", "expected": "b"})
    (tmp_path / "c.yaml").write_text("golden: golden.jsonl\n")
    assert load(tmp_path / "c.yaml", {}).measuring.golden == path
