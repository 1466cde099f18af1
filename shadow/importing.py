"""Test cases of other tools as ours: plain JSON Lines, promptfoo's configuration, exports of OpenAI Evals. No I/O.

Every fault is told by its line, and a file with a fault gives no case at all. What a case of ours cannot hold (an
assertion written in JavaScript, a second accepted answer) is told as a note.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Source = Literal["plain", "promptfoo", "openai-evals"]

MAX_CASES = 100_000
MAX_FAULTS = 20
MAX_LINE_CHARS = 8 << 20
MAX_YAML_CHARS = 16 << 20

_LINE = "__line__"
_TABS = re.compile(r"^\t+", re.MULTILINE)
"""Tabs that lines begin with, which YAML forbids and people write all the same."""
_EXPECTED_TYPES = frozenset({"equals", "contains", "icontains", "starts-with", "levenshtein", "contains-json", "regex"})
"""promptfoo assertions whose value is what the answer should be (or hold); the evaluator is chosen when it is run."""
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}")
_TEMPLATE = re.compile(r"\{\{|\{%")
_PROMPTS = ("input", "messages", "prompt", "question", "query")
_ANSWERS = ("ideal", "expected", "expected_output", "ground_truth", "correct_label", "reference", "answer", "label")


class ImportFaults(Exception):  # noqa: N818  (several faults, one exception)
    """The file cannot be imported; `lines` has one sentence each, with file and line number."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What a file gave: cases as JSON objects, and what could not be taken along."""

    cases: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]


class _FaultError(Exception):
    """One fault, without the file's name."""

    def __init__(self, line: int, sentence: str) -> None:
        super().__init__(sentence)
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One case, the line it begins at, and what was left out of it."""

    line: int
    values: dict[str, Any]
    notes: tuple[str, ...] = ()


_Read = Iterator[_Case | _FaultError]
"""A reader goes on behind a fault, so that all are told at once."""


def import_cases(text: str, *, source: Source, name: str, read: Callable[[str], str] | None = None) -> Imported:
    """Read a whole file of another tool. Raises ImportFaults, and then nothing is imported.

    `name` stands in faults. `read` gives the text of a file that a promptfoo configuration names (`file://prompt.txt`)
    and raises OSError; None: such names are faults.
    """
    cases: list[dict[str, Any]] = []
    faults: list[str] = []
    notes: Counter[str] = Counter()
    seen: dict[str, int] = {}
    readers: Mapping[Source, Callable[[str], _Read]] = {
        "plain": _plain,
        "openai-evals": _openai_evals,
        "promptfoo": lambda given: _promptfoo(given, read),
    }
    for each in itertools.islice(readers[source](text), MAX_CASES + 1):
        if isinstance(each, _FaultError):
            faults.append(f"{name}:{each.line}: {each}")
        elif each.values["id"] in seen:
            faults.append(f"{name}:{each.line}: id {each.values['id']!r} is the one of line {seen[each.values['id']]}")
        else:
            seen[each.values["id"]] = each.line
            cases.append({key: value for key, value in each.values.items() if value not in (None, "")})
            notes.update(each.notes)
    if len(cases) > MAX_CASES:
        faults.append(f"{name}: more than {MAX_CASES} cases; split the file")
    if not cases and not faults:
        faults.append(f"{name}: holds no case")
    if faults:
        more = len(faults) - MAX_FAULTS
        raise ImportFaults([*faults[:MAX_FAULTS], *([f"{name}: and {more} more like these"] if more > 0 else [])])
    told = [note if count == 1 else f"{note} ({count} times)" for note, count in notes.items()]
    return Imported(cases=tuple(cases), notes=tuple(told))


def source_of(text: str, *, name: str) -> Source:
    """Guess of which tool a file is: YAML, and JSON with prompts and tests, are promptfoo's."""
    if name.endswith((".yaml", ".yml")):
        return "promptfoo"
    first = text.lstrip("\ufeff \t\r\n").partition("\n")[0]
    try:
        whole = json.loads(text) if len(text) < MAX_YAML_CHARS else json.loads(first)
    except ValueError:
        try:
            whole = json.loads(first)
        except ValueError:
            return "plain"
    if isinstance(whole, dict) and ({"prompts", "tests"} & whole.keys()):
        return "promptfoo"
    if isinstance(whole, dict) and isinstance(whole.get("data"), list):
        return "openai-evals"
    evals = {"item", "sample", "datasource_item", "ideal"}
    return "openai-evals" if isinstance(whole, dict) and evals & whole.keys() else "plain"


# --- lines of JSON ---


def _objects(text: str) -> Iterator[tuple[int, dict[str, Any]] | _FaultError]:
    """Give every line's object; a file that is one list (or a page with `data`) gives its members, all at line 1."""
    whole = text.lstrip("\ufeff \t\r\n")
    if whole.startswith("["):
        yield from _members(whole)
        return
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_CHARS:
            yield _FaultError(number, f"is longer than {MAX_LINE_CHARS} characters")
            continue
        try:
            written = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_no_twice)
        except (ValueError, RecursionError) as error:
            if number == 1 and whole.startswith("{") and (page := _page(whole)) is not None:
                yield from page
                return
            yield _FaultError(number, f"is no JSON: {_said(error)}")
            continue
        if not isinstance(written, dict):
            yield _FaultError(number, f"is {_kind(written)}, not a JSON object")
        elif isinstance(written.get("data"), list):
            yield from ((number, each) for each in written["data"] if isinstance(each, dict))
        else:
            yield number, written


def _members(whole: str) -> Iterator[tuple[int, dict[str, Any]] | _FaultError]:
    try:
        members = json.loads(whole, parse_constant=_no_constant, object_pairs_hook=_no_twice)
    except (ValueError, RecursionError) as error:
        yield _FaultError(getattr(error, "lineno", 1), f"is no JSON: {_said(error)}")
        return
    for at, member in enumerate(members, start=1):
        yield (at, member) if isinstance(member, dict) else _FaultError(at, f"entry {at} is {_kind(member)}, no object")


def _page(whole: str) -> list[tuple[int, dict[str, Any]]] | None:
    """Read an indented page of an API's list; None when it is none."""
    try:
        page = json.loads(whole, parse_constant=_no_constant, object_pairs_hook=_no_twice)
    except (ValueError, RecursionError):
        return None
    members = page.get("data") if isinstance(page, dict) else None
    if not isinstance(members, list):
        return None
    return [(at, member) for at, member in enumerate(members, start=1) if isinstance(member, dict)]


def _plain(text: str) -> _Read:
    for each in _objects(text):
        if isinstance(each, _FaultError):
            yield each
            continue
        line, written = each
        try:
            question = _question(written, line, names=("prompt", "messages"))
            rest = {key: value for key, value in written.items() if key not in {"prompt", "messages", "expected"}}
            identity = _identity(written.get("id"), line)
            values = {**rest, "id": identity, **question, "expected": _text_of(written.get("expected"))}
        except _FaultError as fault:
            yield fault
            continue
        yield _Case(line=line, values=values)


def _openai_evals(text: str) -> _Read:
    """`{"input": …, "ideal": …}` of the open library; `{"item": …}` of hosted data; output items of hosted runs."""
    for each in _objects(text):
        if isinstance(each, _FaultError):
            yield each
            continue
        line, written = each
        try:
            yield _of_openai(written, line)
        except _FaultError as fault:
            yield fault


def _of_openai(written: Mapping[str, Any], line: int) -> _Case:
    item = next((written[key] for key in ("item", "datasource_item") if isinstance(written.get(key), dict)), written)
    sample = written.get("sample")
    asked = sample.get("input") if isinstance(sample, dict) else None
    # A run's output item holds what was really asked; the data item alone holds the columns of the data set.
    question = _question({"input": asked} if asked else item, line, names=_PROMPTS)
    expected, notes = _first_answer(item)
    identity = written.get("id") or item.get("id") or written.get("datasource_item_id")
    return _Case(
        line=line, values={"id": _identity(identity, line), **question, "expected": expected}, notes=tuple(notes)
    )


def _first_answer(item: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    name = next((name for name in _ANSWERS if item.get(name) is not None), None)
    if name is None:
        return None, ["a case without an expected answer"]
    answer = item[name]
    if isinstance(answer, list):
        if not answer:
            return None, ["a case without an expected answer"]
        notes = [f"of several accepted answers in {name!r} only the first is taken"] if len(answer) > 1 else []
        return _text_of(answer[0]), notes
    return _text_of(answer), []


def _question(written: Mapping[str, Any], line: int, *, names: Sequence[str]) -> dict[str, Any]:
    """Give `prompt`, or `messages` (with `system` apart), from the first of `names` that is there."""
    given = [name for name in names if written.get(name) not in (None, "", [])]
    if not given:
        held = ", ".join(sorted(map(str, written))[:8]) or "nothing"
        raise _FaultError(line, f"has no question: needs one of {', '.join(names)}; it holds {held}")
    value = written[given[0]]
    if isinstance(value, str):
        return {"prompt": value}
    return _conversation(value, line)


def _conversation(turns: Any, line: int) -> dict[str, Any]:
    if not isinstance(turns, list):
        raise _FaultError(line, f"its question is {_kind(turns)}, neither a text nor a list of turns")
    messages, system = [], []
    for at, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str) or "content" not in turn:
            raise _FaultError(line, f'turn {at + 1} of its question must be {{"role": …, "content": …}}')
        if turn["role"] in {"system", "developer"} and isinstance(turn["content"], str):
            system.append(turn["content"])
        else:
            messages.append({"role": turn["role"], "content": turn["content"]})
    if not messages:
        raise _FaultError(line, "its question has a system prompt and no turn of a user")
    return {"system": "\n\n".join(system), "messages": messages}


def _identity(identity: Any, line: int) -> str:
    if identity in (None, ""):
        return f"line {line}"
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        raise _FaultError(line, f"id is {_kind(identity)}, not a text or whole number")
    return str(identity)


def _text_of(value: Any) -> str | None:
    """Give an expected answer as text; what is no text is written as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _said(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _kind(value: object) -> str:
    kinds = {type(None): "null", bool: "true or false", str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")


# --- promptfoo ---


class _Loader(yaml.SafeLoader):
    """Remembers at which line every mapping begins; an alias is refused, because it can grow a file without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]  # of a library without types
            raise _FaultError(line, "aliases (*name) are not read; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  (theirs)
        """Build a mapping with the number of its line."""
        return {**super().construct_mapping(node, deep=deep), _LINE: node.start_mark.line + 1}


def _promptfoo(text: str, read: Callable[[str], str] | None) -> _Read:
    if len(text) > MAX_YAML_CHARS:
        yield _FaultError(1, f"is longer than {MAX_YAML_CHARS} characters")
        return
    try:
        config = yaml.load(_TABS.sub(lambda found: "  " * len(found[0]), text), _Loader)  # noqa: S506  (a SafeLoader)
        prompts = list(_prompts(config, read))
        tests = _list_of(config, "tests")
        default = _default_test(config)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        yield _FaultError(mark.line + 1 if mark else 1, f"is no YAML: {error.problem}")
        return
    except (yaml.YAMLError, RecursionError) as error:
        yield _FaultError(1, f"is no YAML: {type(error).__name__}")
        return
    except _FaultError as fault:
        yield fault
        return
    for number, test in enumerate(tests, start=1):
        yield from _test(test, number, prompts=prompts, default=default)


def _prompts(config: Any, read: Callable[[str], str] | None) -> Iterator[str]:
    if not isinstance(config, dict):
        raise _FaultError(1, "is not a mapping with `prompts` and `tests`")
    for prompt in _list_of(config, "prompts"):
        text = prompt.get("raw") or prompt.get("id") if isinstance(prompt, dict) else prompt
        if not isinstance(text, str):
            raise _FaultError(config[_LINE], f"a prompt is {_kind(prompt)}, not a text")
        if text.startswith("file://"):
            text = _file(text, config[_LINE], read)
        yield text


def _file(name: str, line: int, read: Callable[[str], str] | None) -> str:
    path = name.removeprefix("file://")
    if read is None or not path.endswith((".txt", ".json", ".md")):
        raise _FaultError(line, f"{name} cannot be read here: prompts in .txt, .md and .json files can")
    try:
        return read(path)
    except OSError as error:
        raise _FaultError(line, f"{name}: {error.strerror or error}") from None


def _list_of(config: Mapping[str, Any], name: str) -> list[Any]:
    found = config.get(name)
    found = [found] if isinstance(found, str) and name == "prompts" else found
    if not isinstance(found, list) or not found:
        such = "; a list in a file of its own must be written out" if isinstance(found, str) else ""
        raise _FaultError(config[_LINE], f"{name} must be a list with something in it{such}")
    return found


def _test(test: Any, number: int, *, prompts: Sequence[str], default: Mapping[str, Any]) -> _Read:
    line = test.get(_LINE, 1) if isinstance(test, dict) else 1
    if not isinstance(test, dict):
        yield _FaultError(line, f"test {number} is {_kind(test)}, not a mapping")
        return
    given = {**_mapping(default.get("vars")), **_mapping(test.get("vars"))}
    expected, notes = _expected([*_asserts(default), *_asserts(test)])
    for at, prompt in enumerate(prompts, start=1):
        for turn, variables in enumerate(_combinations(given), start=1):
            parts = [f"test {number}", *([f"prompt {at}"] if len(prompts) > 1 else [])]
            name = test.get("description") if isinstance(test.get("description"), str) else None
            identity = " ".join([*parts, *([str(turn)] if turn > 1 else [])]) + (f": {name}" if name else "")
            try:
                question = _asked(_filled(prompt, variables, line), line)
                answer = None if expected is None else _filled(expected, variables, line)
                yield _Case(line=line, values={"id": identity, **question, "expected": answer}, notes=tuple(notes))
            except _FaultError as fault:
                yield fault


def _default_test(config: Mapping[str, Any]) -> dict[str, Any]:
    default = config.get("defaultTest") or {}
    if not isinstance(default, dict):
        raise _FaultError(config[_LINE], f"defaultTest is {_kind(default)}, not a mapping")
    return default


def _mapping(value: Any) -> dict[str, Any]:
    return _without_lines(value) if isinstance(value, dict) else {}


def _without_lines(value: Any) -> Any:
    """Give a value of the file as it was written."""
    if isinstance(value, dict):
        return {key: _without_lines(each) for key, each in value.items() if key != _LINE}
    return [_without_lines(each) for each in value] if isinstance(value, list) else value


def _asserts(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = test.get("assert")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _expected(asserts: Sequence[Mapping[str, Any]]) -> tuple[str | None, list[str]]:
    """Give the one text the answer is held against; every other assertion is told as left out."""
    expected: str | None = None
    notes: list[str] = []
    for each in asserts:
        kind, value = each.get("type"), each.get("value")
        if kind in _EXPECTED_TYPES and expected is None and isinstance(value, str | int | float | dict | list):
            value = _mapping(value) if isinstance(value, dict) else value
            expected = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            notes.append(f"assertion {kind!r} gives `expected`: run with an evaluator of that name")
        else:
            notes.append(f"assertion {kind!r} is left out: a case holds one expected text")
    return expected, notes


def _combinations(variables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A variable that is a list stands for one case each (promptfoo's rule)."""
    choices = [value if isinstance(value, list) and value else [value] for value in variables.values()]
    for chosen in itertools.product(*choices):
        yield dict(zip(variables, chosen, strict=True))


def _filled(template: str, variables: Mapping[str, Any], line: int) -> str:
    def value_of(found: re.Match[str]) -> str:
        value: Any = variables
        for part in found[1].split("."):
            if not isinstance(value, dict) or part not in value:
                raise _FaultError(line, f"has no variable {found[1]!r}, which the prompt needs")
            value = value[part]
        if isinstance(value, str) and value.startswith("file://"):
            raise _FaultError(line, f"variable {found[1]!r} names a file; write its text out")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    filled = _PLACEHOLDER.sub("", template)
    if _TEMPLATE.search(filled):
        raise _FaultError(line, "the prompt uses more of the template language than {{ variable }}")
    return _PLACEHOLDER.sub(value_of, template)


def _asked(text: str, line: int) -> dict[str, Any]:
    """A prompt that is a JSON list of turns is a conversation."""
    if text.lstrip().startswith("["):
        try:
            return _conversation(json.loads(text), line)
        except ValueError:
            pass
    if not text.strip():
        raise _FaultError(line, "the prompt is empty")
    return {"prompt": text}
