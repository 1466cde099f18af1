"""What differs between two answers: by words, by places in JSON, by tool calls. Pure; bounded in time and size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_WORDS = 2000
"""Words and spaces per side that are compared one by one, in a thread; longer answers stand side by side."""

MAX_ROWS = 200
MAX_DEPTH = 40
_MAX_JSON_BYTES = 256 << 10

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_FENCED = re.compile(r"\s*```[a-zA-Z]*\s*\n(.*?)\n?```\s*", re.DOTALL)

Kind = Literal["same", "changed", "gone", "new"]
"""Of a place in JSON or a tool call, seen from the primary's answer: `gone` is not in the candidate's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A stretch of words of one side: in both answers, or in this one alone."""

    text: str
    own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WordDiff:
    """Both sides in full, as stretches; `equal` when there is no difference at all."""

    primary: Sequence[Run]
    candidate: Sequence[Run]
    equal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place in JSON, with what stands there on either side as JSON text; None where there is nothing."""

    path: str
    kind: Kind
    primary: str | None
    candidate: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonDiff:
    """Every place of two JSON documents, those that differ first; of the `total`, `left_out` are not listed."""

    places: Sequence[Place]
    left_out: int
    differing: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDiff:
    """One tool call beside its counterpart: same name, and their arguments place by place."""

    name: str
    kind: Kind
    arguments: JsonDiff


def word_diff(primary: str, candidate: str) -> WordDiff | None:
    """Compare two texts word by word; None when either holds more than MAX_WORDS words and spaces."""
    ours, theirs = _WORDS.findall(primary), _WORDS.findall(candidate)
    if max(len(ours), len(theirs)) > MAX_WORDS:
        return None
    left: list[Run] = []
    right: list[Run] = []
    for kind, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        own = kind != "equal"
        _append(left, "".join(ours[a:b]), own=own)
        _append(right, "".join(theirs[c:d]), own=own)
    return WordDiff(primary=left, candidate=right, equal=primary == candidate)


def json_diff(primary: str, candidate: str) -> JsonDiff | None:
    """Compare two texts place by place when both are JSON objects or arrays, in a code fence or not; else None."""
    ours, theirs = _json_of(primary), _json_of(candidate)
    if not isinstance(ours, dict | list) or not isinstance(theirs, dict | list):
        return None
    return value_diff(ours, theirs)


def value_diff(primary: Any, candidate: Any) -> JsonDiff:
    """Compare two JSON values place by place."""
    ours, theirs = dict(_places(primary)), dict(_places(candidate))
    found = [_place(path, ours.get(path), theirs.get(path)) for path in {**ours, **theirs}]
    ordered = [place for place in found if place.kind != "same"] + [place for place in found if place.kind == "same"]
    differing = sum(place.kind != "same" for place in found)
    return JsonDiff(
        places=ordered[:MAX_ROWS], left_out=max(0, len(found) - MAX_ROWS), differing=differing, total=len(found)
    )


def call_diffs(primary: str | None, candidate: str | None) -> list[CallDiff]:
    """Compare tool calls: each call beside the next one of the same name, the rest alone."""
    ours, theirs = _calls(primary), _calls(candidate)
    found: list[CallDiff] = []
    for name, arguments in ours:
        other = next((call for call in theirs if call[0] == name), None)
        if other is None:
            found.append(CallDiff(name=name, kind="gone", arguments=value_diff(arguments, None)))
            continue
        theirs.remove(other)
        compared = value_diff(arguments, other[1])
        found.append(CallDiff(name=name, kind="changed" if compared.differing else "same", arguments=compared))
    found += [CallDiff(name=name, kind="new", arguments=value_diff(None, arguments)) for name, arguments in theirs]
    return found


def _append(runs: list[Run], text: str, *, own: bool) -> None:
    if text:
        runs.append(Run(text=text, own=own))


def read_json(text: str) -> Any:
    """Read JSON from outside; None for what is none, too long or too deep."""
    if len(text) > _MAX_JSON_BYTES:
        return None
    try:
        return msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return None


def _json_of(text: str) -> Any:
    fenced = _FENCED.fullmatch(text[: _MAX_JSON_BYTES + 100])
    return read_json(fenced[1] if fenced else text)


def _calls(text: str | None) -> list[tuple[str, Any]]:
    calls = read_json(text) if text else None
    if not isinstance(calls, list):
        return []
    return [(str(call.get("name")), _arguments(call.get("arguments"))) for call in calls if isinstance(call, dict)]


def _arguments(arguments: Any) -> Any:
    """OpenAI's calls hold their arguments as JSON text, and a model may get that wrong: then they are a text."""
    if not isinstance(arguments, str):
        return arguments
    read = read_json(arguments)
    return arguments if read is None else read


def _places(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """List the leaves of a JSON value by path; what lies too deep is one leaf."""
    if isinstance(value, dict) and value and depth < MAX_DEPTH:
        for name, inner in value.items():
            yield from _places(inner, f"{path}.{name}" if path else str(name), depth + 1)
    elif isinstance(value, list) and value and depth < MAX_DEPTH:
        for index, inner in enumerate(value):
            yield from _places(inner, f"{path}[{index}]", depth + 1)
    elif value is not None or path:
        yield path or "(all)", msgspec.json.encode(value).decode("utf-8", "replace")


def _place(path: str, primary: str | None, candidate: str | None) -> Place:
    kind: Kind = "changed"
    if primary == candidate:
        kind = "same"
    elif candidate is None:
        kind = "gone"
    elif primary is None:
        kind = "new"
    return Place(path=path, kind=kind, primary=primary, candidate=candidate)
