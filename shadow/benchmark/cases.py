"""Case files: one JSON object a line, each a question in either API's words; every fault is told by its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shadow.dialects.untrusted import UnreadableError, decode_any
from shadow.records import Dialect
from shadow.runs import DEFAULT_HEADERS, Case

if TYPE_CHECKING:
    from collections.abc import Callable

Api = Literal["anthropic", "openai"]
"""The wire a case is asked over: Anthropic Messages (all that EzAI serves), or OpenAI chat completions."""

DIALECTS: Mapping[Api, Dialect] = {"anthropic": Dialect.ANTHROPIC_MESSAGES, "openai": Dialect.OPENAI_CHAT}

DEFAULT_MAX_TOKENS = 2048
"""The output limit of a case that sets none."""

MAX_LINE_BYTES = 8 << 20
MAX_CASES = 100_000
MAX_FAULTS = 20
"""So many faults are told; a file of another kind has one on each line."""

_OWN = frozenset({"id", "prompt", "messages", "expected", "system", "task", "cluster", "max_tokens"})
"""What a case says to us; every other key is a parameter of the API and travels as it is."""

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})


class CaseErrors(Exception):  # noqa: N818  (several faults, one exception)
    """The file holds lines that are no cases; `lines` has one sentence each, with file and line number."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class _FaultError(Exception):
    """One line's fault, without its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A case as its author wrote it, before it is put into an API's words."""

    messages: Sequence[Mapping[str, Any]]
    system: Any = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    parameters: Mapping[str, Any]


def read_cases(text: str, *, api: Api = "anthropic", name: str = "cases") -> tuple[Case, ...]:
    """Read a whole case file. `name` stands in faults. Raises CaseErrors with every fault, and then reads nothing.

    A line is `{"prompt" | "messages", "expected"?, "system"?, "id"?, "task"?, "cluster"?, "max_tokens"?, …}`; empty
    lines are skipped. What is not listed is a parameter of the API (`temperature`, `tools`, …). Ids default to
    `line <n>` and must differ.
    """
    faults: list[str] = []
    cases: list[Case] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            case = _case(line, number=number, api=api, name=name)
            if case.id in seen:
                raise _FaultError(f"id {case.id!r} is the one of line {seen[case.id]} already")  # noqa: TRY301  (one place tells faults)
        except _FaultError as fault:
            faults.append(f"{name}:{number}: {fault}")
            continue
        seen[case.id] = number
        cases.append(case)
    if not cases and not faults:
        faults.append(f'{name}: holds no case; one line is {{"prompt": "What is 2 + 2?", "expected": "4"}}')
    if len(cases) > MAX_CASES:
        faults.append(f"{name}: holds {len(cases)} cases, more than {MAX_CASES}; split the file")
    if faults:
        more = len(faults) - MAX_FAULTS
        raise CaseErrors([*faults[:MAX_FAULTS], *([f"{name}: and {more} more lines like these"] if more > 0 else [])])
    return tuple(cases)


def request_of(question: Question, *, api: Api) -> bytes:
    """Put a question into the words of one API, streamed unless it says otherwise; `model` is left to who asks."""
    return msgspec.json.encode(_BODIES[api](question))


def _anthropic_body(question: Question) -> dict[str, Any]:
    body = {"max_tokens": question.max_tokens, "messages": question.messages, "stream": True, **question.parameters}
    return body if question.system in (None, "") else {**body, "system": question.system}


def _openai_body(question: Question) -> dict[str, Any]:
    told = [] if question.system in (None, "") else [{"role": "system", "content": question.system}]
    body = {"messages": [*told, *question.messages], "stream": True, **question.parameters}
    # OpenAI's models since o1 refuse the older name; a case for a server that knows only that one writes it itself.
    return body if _LIMITS & body.keys() else {**body, "max_completion_tokens": question.max_tokens}


_BODIES: Mapping[Api, Callable[[Question], dict[str, Any]]] = {"anthropic": _anthropic_body, "openai": _openai_body}


def _case(line: str, *, number: int, api: Api, name: str) -> Case:
    if len(line) > MAX_LINE_BYTES:
        raise _FaultError(f"is longer than {MAX_LINE_BYTES} characters")
    try:
        written = decode_any(line.encode("utf-8", "replace"))
    except UnreadableError as error:
        raise _FaultError(str(error)) from None
    if not isinstance(written, dict):
        raise _FaultError(f"is {_kind(written)}, not a JSON object")
    dialect = DIALECTS[api]
    return Case(
        id=_identity(written, number),
        dialect=dialect,
        request=request_of(_question(written), api=api),
        expected=_expected(written),
        task=_named(written, "task") or "default",
        headers=DEFAULT_HEADERS[dialect],
        cluster=_named(written, "cluster"),
        source=f"{name}:{number}",
    )


def _question(written: Mapping[str, Any]) -> Question:
    parameters = {key: value for key, value in written.items() if key not in _OWN}
    if "model" in parameters:
        raise _FaultError("names a model; the models are chosen by --models")
    system = written.get("system")
    if system is not None and not isinstance(system, str | list):
        raise _FaultError(f"system is {_kind(system)}, not a text")
    limit = written.get("max_tokens", DEFAULT_MAX_TOKENS)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise _FaultError(f"max_tokens is {limit!r}, not a whole number above 0")
    return Question(messages=_messages(written), system=system, max_tokens=limit, parameters=parameters)


def _messages(written: Mapping[str, Any]) -> list[dict[str, Any]]:
    prompt, messages = written.get("prompt"), written.get("messages")
    if (prompt is None) == (messages is None):
        raise _FaultError('needs exactly one of "prompt" (a text) and "messages" (a conversation)')
    if messages is None:
        if not isinstance(prompt, str) or not prompt.strip():
            raise _FaultError(f"prompt is {_kind(prompt)}, not a text with something in it")
        return [{"role": "user", "content": prompt}]
    if not isinstance(messages, list) or not messages:
        found = "empty" if messages == [] else _kind(messages)
        raise _FaultError(f"messages is {found}, not a list of turns")
    for at, turn in enumerate(messages):
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str) or "content" not in turn:
            raise _FaultError(f'messages[{at}] must be {{"role": …, "content": …}}')
    return messages


def _expected(written: Mapping[str, Any]) -> str | None:
    """Give the expected text; a number or object is written as JSON, an empty text is none."""
    expected = written.get("expected")
    if isinstance(expected, str):
        return expected or None
    return None if expected is None else msgspec.json.encode(expected).decode()


def _identity(written: Mapping[str, Any], number: int) -> str:
    identity = written.get("id")
    if identity is None:
        return f"line {number}"
    if isinstance(identity, bool) or not isinstance(identity, str | int) or not str(identity).strip():
        raise _FaultError(f"id is {_kind(identity)}, not a text or whole number")
    return str(identity)


def _named(written: Mapping[str, Any], key: str) -> str | None:
    value = written.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise _FaultError(f"{key} is {_kind(value)}, not a text")
    return value


def _kind(value: object) -> str:
    kinds = {type(None): "null", bool: "true or false", str: "a text", list: "a list", dict: "an object"}
    return "an empty text" if value == "" else kinds.get(type(value), "a number")
