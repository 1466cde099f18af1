"""Golden cases: prompts with what is right, found again in live traffic by what was asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_FILE_BYTES = 64 << 20
MAX_FAULTS = 20
"""How many faults of a file are told; the rest are counted."""

_FORMS = ("prompt", "messages", "request")
_KEYS = (*_FORMS, "system", "expected", "task")
_TEXT_BLOCKS = frozenset({"text", "input_text", "output_text"})
_SYSTEM_ROLES = frozenset({"system", "developer"})
_NOT_SAID = frozenset({"role", "content", "cache_control", "id", "status"})
"""Keys of a message that do not tell what was said in it."""
_JSON = json.JSONEncoder(sort_keys=True)


class GoldenError(ValueError):
    """The file cannot be used; `faults` has a sentence for each fault, the line in front."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptKeys:
    """What a request asks, as hashes: with its system prompt, and without."""

    whole: str
    messages: str


class Golden:
    """The cases of one file, by what is asked. Those of a task come before those of all tasks."""

    def __init__(self, cases: Mapping[tuple[str | None, str], str]) -> None:
        self._cases = cases

    def __len__(self) -> int:
        return len(self._cases)

    def expected(self, request: Mapping[str, Any], *, task: str) -> str | None:
        """Give what is right for this request; None when no case asks the same. Takes time: not for the event loop."""
        keys = prompt_keys(request) if self._cases else None
        if keys is None:
            return None
        found = (self._cases.get((of, key)) for of in (task, None) for key in (keys.whole, keys.messages))
        return next((expected for expected in found if expected is not None), None)


NOTHING = Golden({})
"""No cases."""


def load_golden(path: str) -> Golden:
    """Read a file of one JSON object a line. Raises GoldenError with every fault by line.

    Each has `expected` (a text) and one of `prompt` (the only message, a text), `messages` (as in a request) or
    `request` (a whole one, of which only what is asked counts), and may have `system` (beside `prompt` or `messages`)
    and `task`. A case without a system prompt is found under any.
    """
    try:
        if Path(path).stat().st_size > MAX_FILE_BYTES:
            raise GoldenError([f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB"])
        text = Path(path).read_bytes()
    except OSError as error:
        raise GoldenError([f"{path} cannot be read: {error.strerror}"]) from error
    cases: dict[tuple[str | None, str], str] = {}
    lines: dict[tuple[str | None, str], int] = {}
    faults: list[str] = []
    for number, line in enumerate(text.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            key, expected = _case(line)
            if key in lines:
                raise _LineError(f"asks the same as line {lines[key]}")  # noqa: TRY301  (each line has one way out)
        except _LineError as error:
            faults.append(f"{path}:{number}: {error}")
        else:
            cases[key], lines[key] = expected, number
    if faults:
        more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
        raise GoldenError([*faults[:MAX_FAULTS], *more])
    return Golden(cases)


def prompt_keys(request: Mapping[str, Any]) -> PromptKeys | None:
    """Hash what a request of any dialect asks; None where that cannot be done (no messages, nested too deeply).

    Spaces at the ends, kinds of line breaks, how a text is cut into blocks and cache marks make no difference; model
    and parameters are not part of it.
    """
    try:
        system, messages = _asked(request)
        return PromptKeys(whole=_hash([system, messages]), messages=_hash(messages)) if messages else None
    except (ValueError, TypeError, RecursionError):
        return None


def prompt_key(request: Mapping[str, Any]) -> str | None:
    """Hash what a request of any dialect asks, its system prompt included: `whole` of `prompt_keys`, alone."""
    try:
        system, messages = _asked(request)
        return _hash([system, messages]) if messages else None
    except (ValueError, TypeError, RecursionError):
        return None


class _LineError(Exception):
    """What is wrong with one line."""


def _case(line: bytes) -> tuple[tuple[str | None, str], str]:
    try:
        read = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _LineError(f"not JSON: {error}") from error
    if not isinstance(read, dict):
        raise _LineError(f'must be an object such as {{"prompt": "…", "expected": "…"}}, not {type(read).__name__}')
    unknown = next((key for key in read if key not in _KEYS), None)
    if unknown is not None:
        raise _LineError(f"unknown key {unknown[:80]!r}; there are: {', '.join(_KEYS)}")
    expected, task = read.get("expected"), read.get("task")
    if not isinstance(expected, str):
        raise _LineError("needs `expected`, a text (JSON as a text, too)")
    if task is not None and not (isinstance(task, str) and task):
        raise _LineError("`task` must be the name of a task")
    request = _request(read)
    keys = prompt_keys(request)
    if keys is None:
        raise _LineError("asks nothing: there is no message in it")
    return (task, keys.whole if _asked(request)[0] else keys.messages), expected


def _request(read: Mapping[str, Any]) -> Mapping[str, Any]:
    given = [form for form in _FORMS if form in read]
    if len(given) != 1:
        raise _LineError("needs exactly one of `prompt`, `messages` and `request`")
    (form,) = given
    value: Any = read[form]
    wanted, name = _FORM_OF[form]
    if not isinstance(value, wanted):
        raise _LineError(f"`{form}` must be {name}")
    if form == "request":
        if "system" in read:
            raise _LineError("`system` belongs into the request itself")
        return dict(value)
    messages = [{"role": "user", "content": value}] if form == "prompt" else value
    return {"messages": messages} | ({"system": read["system"]} if "system" in read else {})


_FORM_OF: Mapping[str, tuple[type[Any], str]] = {
    "prompt": (str, "a text"),
    "messages": (list, "a list of messages"),
    "request": (dict, "a request body, an object"),
}


def _asked(request: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """System prompt and messages in one form for all dialects."""
    given = request.get("messages", request.get("input"))
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(messages, list):
        return [], []
    system = [_content(request[key]) for key in ("system", "instructions") if request.get(key)]
    said = list(_said(messages))
    system += [content for role, content, _ in said if role in _SYSTEM_ROLES]
    return system, [each for each in said if each[0] not in _SYSTEM_ROLES]


def _said(messages: Sequence[Any]) -> Iterator[tuple[str, Any, Any]]:
    for message in messages:
        if not isinstance(message, dict):
            raise TypeError("a message is an object")
        # Items of the Responses API need no role where they are no messages, such as the output of a function.
        rest = {key: _plain(value) for key, value in message.items() if key not in _NOT_SAID}
        if rest.get("type") == "message":
            del rest["type"]
        yield str(message.get("role", "")), _content(message.get("content")), rest


def _content(content: Any) -> Any:
    """A text where there is nothing but text, else the blocks."""
    if isinstance(content, str):
        return _text(content)
    if isinstance(content, list) and all(_is_text(block) for block in content):
        return _text("\n".join(block["text"] for block in content))
    return _plain(content)


def _is_text(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") in _TEXT_BLOCKS and isinstance(block.get("text"), str)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if key != "cache_control"}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _text(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _hash(value: Any) -> str:
    return hashlib.sha256(_JSON.encode(value).encode()).hexdigest()
