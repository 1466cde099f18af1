"""Texts of people and models: the configuration file, and what evaluators read."""

from __future__ import annotations

import json
import os
import re
import tempfile
from typing import Any

from gateway.config import Config, load
from gateway.configsource import ConfigErrors
from gateway.yamltree import Tree, read_tree
from shadow.evaluators import json_text
from shadow.evaluators.contains_json import ContainsJson
from shadow.evaluators.is_json import IsJson
from shadow.evaluators.is_valid_tool_call import IsValidToolCall
from shadow.evaluators.json_schema import JsonSchema
from shadow.evaluators.schemas import validate
from shadow.records import EvalCase, Score, ToolCall
from tests.fuzz.support import Options

_ENVIRON = {"EZAI_API_KEY": "key-of-ezai-1234", "SOME": "5"}
_PLACE = re.compile(r":(\d+):(\d+): ")


def config(data: bytes) -> None:
    """Bytes of a file give a configuration, or ConfigErrors whose every line names a place in the file."""
    folder = tempfile.gettempdir()
    path = os.path.join(folder, f"fuzz-config-{os.getpid()}.yaml")  # noqa: PTH118  (thousands a second)
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(data)
    try:
        loaded = load(path, _ENVIRON, deployment_id="d")
    except ConfigErrors as errors:
        _check_lines(errors, path, data)
        return
    finally:
        os.unlink(path)  # noqa: PTH108
    assert isinstance(loaded, Config)
    assert 0 <= loaded.measuring.sample_rate <= 1
    json.dumps(loaded.effective, allow_nan=False)


def _check_lines(errors: ConfigErrors, path: str, data: bytes) -> None:
    assert errors.lines
    text = data.decode("utf-8-sig", "replace")
    # YAML's own line breaks: LF, CR, CRLF, NEL, LS and PS.
    rows = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
    for line in errors.lines:
        assert line.isprintable()
        assert line.startswith((path, "environment: ")), line
        found = _PLACE.match(line, len(path)) if line.startswith(path) else None
        if found is not None:
            row, column = int(found[1]), int(found[2])
            assert 1 <= row <= len(rows), line
            assert 1 <= column <= len(rows[row - 1]) + 1, line


def yaml_tree(data: bytes) -> None:
    tree = read_tree(data.decode("utf-8", "replace"), _ENVIRON)
    assert isinstance(tree, Tree)
    assert all(problem.sentence for problem in tree.problems)


def json_values(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    strict = json_text.strict(text)
    assert (strict.error is None) == _is_strict(text), strict
    embedded = json_text.embedded(text)
    if strict.error is None and isinstance(strict.value, dict | list):
        assert embedded == strict


def _is_strict(text: str) -> bool:
    try:
        value = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return False
    return not _is_doubtful(text, value)


def _is_doubtful(text: str, value: Any) -> bool:
    """A constant that is none in JSON, a long number, or a key that stands twice: the reader must refuse it."""
    try:
        json.loads(text, parse_constant=_refuse, parse_int=_short, object_pairs_hook=_once)
    except ValueError:
        return True
    return value is _refuse


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _short(digits: str) -> int:
    if len(digits) > json_text.MAX_DIGITS:
        raise ValueError(digits)
    return 0


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError


def schema(data: bytes) -> None:
    """Any value against any schema is a score."""
    options = Options(data)
    left, right = options.lines(2)
    value, rules = (json_text.strict(part.decode("utf-8", "replace")) for part in (left, right))
    if value.error is None and rules.error is None:
        _check_score(validate(value.value, rules.value))
    output = left.decode("utf-8", "replace")
    request = {"tools": [{"name": "f", "input_schema": rules.value}], "response_format": rules.value}
    case = EvalCase(
        request=request,
        output=output,
        tool_calls=[ToolCall(name="f", arguments=output, id=None)] if options.flag() else [],
    )
    for check in (IsJson(), ContainsJson(), JsonSchema(), JsonSchema(lenient=True), IsValidToolCall()):
        _check_score(check.check(case))


def _check_score(score: Score) -> None:
    assert score.status in ("scored", "failed", "not_applicable")
    assert (score.value is not None) == (score.status == "scored")
    assert score.value is None or 0 <= score.value <= 1
    assert score.reason == "" or score.reason.strip()
