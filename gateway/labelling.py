"""Labelling pairs by hand, blind: pairs from the running server or the store, a key for each answer, and undo."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import termios
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from gateway import ask
from gateway.pairsview import PairsError
from shadow.judge.blind import side_a, winner_of
from shadow.judge.prompt import request_of
from shadow.records import EvalCase
from shadow.store import open_store, recorded
from shadow.store.base import Label

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from gateway.config import Config
    from shadow.store import Store

KEYS = "[a] A is better   [t] tie   [b] B is better   [s] skip   [u] undo   [q] quit"
CHOICES = {"a": "A", "t": "tie", "b": "B"}
MAX_SHOWN_CHARS = 8_000
MAX_EXPORTED = 200
_DRAWN = 20
_TIMEOUT_S = 30

Pair = dict[str, Any]


class Desk(Protocol):
    """Where pairs come from and labels go."""

    async def draw(self, limit: int) -> Sequence[Pair]:
        """Give random pairs that this person has not labelled."""
        ...

    async def keep(self, pair: str, choice: str | None, *, seed: str) -> None:
        """Keep a label; None takes it back. Raises PairsError."""
        ...

    async def labels(self) -> Sequence[Pair]:
        """Give the labels there are, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which pairs, and who labels them."""

    labeller: str
    task: str | None = None
    candidate: str | None = None


class ServerDesk:
    """The admin port of what runs here."""

    def __init__(self, config: Config, wanted: Wanted) -> None:
        self._address = config.admin_listen
        self._token = config.measuring.admin_token
        self._wanted = wanted

    async def draw(self, limit: int) -> Sequence[Pair]:
        """Ask `/labels/next`."""
        wanted = {**self._filter(), "labeller": self._wanted.labeller, "limit": str(limit)}
        pairs: Sequence[Pair] = self._get(f"/labels/next?{urlencode(wanted)}")["pairs"]
        return pairs

    async def keep(self, pair: str, choice: str | None, *, seed: str) -> None:
        """Post to `/feedback`."""
        body = {"pair": pair, "choice": choice, "labeller": self._wanted.labeller, "seed": seed}
        answer = ask.post(self._address, "/feedback", body, token=self._token, timeout_s=_TIMEOUT_S)
        if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise PairsError(self._said(answer))

    async def labels(self) -> Sequence[Pair]:
        """Ask `/labels`."""
        labels: Sequence[Pair] = self._get(f"/labels?{urlencode({**self._filter(), 'limit': MAX_EXPORTED})}")["labels"]
        return labels

    def _filter(self) -> dict[str, str]:
        found = {"task": self._wanted.task, "candidate": self._wanted.candidate}
        return {name: value for name, value in found.items() if value is not None}

    def _get(self, target: str) -> dict[str, Any]:
        answer = ask.get(self._address, target, token=self._token, timeout_s=_TIMEOUT_S)
        page = answer.json()
        if answer.status != HTTPStatus.OK or not isinstance(page, dict):
            raise PairsError(self._said(answer))
        return page

    def _said(self, answer: ask.Answer) -> str:
        page = answer.json()
        message = page.get("error", {}).get("message") if isinstance(page, dict) else None
        return f"{self._address} answered {answer.status}: {message or 'not our admin port'}"


class StoreDesk:
    """The store itself, where nothing runs."""

    def __init__(self, store: Store, wanted: Wanted) -> None:
        self._store = store
        self._wanted = wanted

    async def draw(self, limit: int) -> Sequence[Pair]:
        """Read the store."""
        wanted = self._wanted
        return await self._store.reader.pairs_to_label(
            labeller=wanted.labeller, task=wanted.task, candidate=wanted.candidate, limit=limit
        )

    async def keep(self, pair: str, choice: str | None, *, seed: str) -> None:
        """Write the label, or delete it."""
        exchange_id, _, candidate = pair.partition(":")
        labeller = self._wanted.labeller
        if choice is None:
            await self._store.reader.remove_label(exchange_id=exchange_id, candidate=candidate, labeller=labeller)
            return
        shown_as_a = side_a(pair, seed)
        label = Label(
            exchange_id=exchange_id,
            candidate=candidate,
            labeller=labeller,
            winner=winner_of(choice, shown_as_a),
            choice=choice,
            side_a=shown_as_a,
            seed=seed,
            source="label",
            labelled_at=datetime.now(UTC),
        )
        if not await self._store.reader.keep_label(label):
            raise PairsError("the pair is gone: its exchange is older than retention_days")

    async def labels(self) -> Sequence[Pair]:
        """Read the store."""
        wanted = self._wanted
        return await self._store.reader.labels(task=wanted.task, candidate=wanted.candidate, limit=MAX_EXPORTED)


@contextlib.asynccontextmanager
async def open_desk(config: Config, wanted: Wanted) -> AsyncIterator[Desk]:
    """Take the running server, else the store. Raises PairsError or StoreError."""
    try:
        ask.get(config.admin_listen, "/healthz", timeout_s=_TIMEOUT_S)
    except (ConnectionRefusedError, FileNotFoundError):
        async with await open_store(recorded(config.measuring.store)) as store:
            yield StoreDesk(store, wanted)
        return
    except (OSError, http.client.HTTPException) as error:
        raise PairsError(f"{config.admin_listen} does not answer: {error or type(error).__name__}") from None
    yield ServerDesk(config, wanted)


@dataclass(slots=True, kw_only=True)
class Session:
    """One sitting: shows pair after pair and keeps what is said."""

    desk: Desk
    seed: str
    limit: int
    read_key: Callable[[], str]
    """Gives the next key in lower case, "q" at the end of input."""
    say: Callable[[str], None]
    kept: int = 0
    _undoable: list[Pair] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    async def run(self) -> int:
        """Label until `limit`, the end of the pairs, or `q`; returns how many labels were kept."""
        waiting: list[Pair] = []
        while self.kept < self.limit:
            if not waiting:
                drawn = await self.desk.draw(_DRAWN)
                waiting = [pair for pair in drawn if pair["pair"] not in self._seen]
            if not waiting:
                break
            pair = waiting.pop(0)
            key = self._ask(pair)
            if key == "q":
                break
            if key == "u":
                waiting[:0] = [*await self._undo(), pair]
                continue
            self._seen.add(pair["pair"])
            if key in CHOICES:
                await self.desk.keep(pair["pair"], CHOICES[key], seed=self.seed)
                self._undoable.append(pair)
                self.kept += 1
        return self.kept

    async def _undo(self) -> list[Pair]:
        """Take the last label back; its pair is shown again."""
        if not self._undoable:
            self.say("nothing to undo")
            return []
        pair = self._undoable.pop()
        await self.desk.keep(pair["pair"], None, seed=self.seed)
        self._seen.discard(pair["pair"])
        self.kept -= 1
        return [pair]

    def _ask(self, pair: Pair) -> str:
        self.say(sheet(pair, seed=self.seed, heading=f"pair {self.kept + 1} of at most {self.limit}"))
        while True:
            self.say(KEYS)
            key = self.read_key()
            while key.isspace():  # Enter after a key, by habit
                key = self.read_key()
            if key in {*CHOICES, "s", "u", "q"}:
                return key
            self.say(f"{printable(key)!r} is none of the keys")


def sheet(pair: Mapping[str, Any], *, seed: str, heading: str) -> str:
    """Write one pair for a person: prompt and answers, without a word of whose they are."""
    answers = [
        answer_text(pair["primary_output"], pair["primary_tool_calls"]),
        answer_text(pair["candidate_output"], pair["candidate_tool_calls"]),
    ]
    if side_a(pair["pair"], seed) == "candidate":
        answers.reverse()
    system, turn = asked(pair["prompt"])
    parts = [("system prompt", system)] if system else []
    parts += [("request", turn), ("A", answers[0]), ("B", answers[1])]
    blocks = [f"--- {name} ---\n{_quoted(printable(text) or '(nothing)')}" for name, text in parts]
    return "\n".join([f"\n=== {heading}, task {printable(pair['task'])} ===", *blocks, ""])


def asked(prompt: str | None) -> tuple[str, str]:
    """Read the system prompt and the last turn out of a stored request; what cannot be read is shown as it is."""
    try:
        request = json.loads(prompt or "")
    except ValueError:
        return "", prompt or ""
    if not isinstance(request, dict):
        return "", prompt or ""
    found = request_of(EvalCase(request=request, output=""), redact=str)
    return found.system, found.turn


def answer_text(output: str | None, tool_calls: str | None) -> str:
    """Join an answer's text and its tool calls."""
    try:
        calls = json.loads(tool_calls or "[]")
    except ValueError:
        calls = []
    lines = [output] if output else []
    lines += [f"[tool call] {call.get('name')} {call.get('arguments')}" for call in calls if isinstance(call, dict)]
    return "\n".join(lines)


def printable(text: str) -> str:
    """Show a text a model wrote: what would steer the terminal (escapes, controls, direction marks) is spelled out."""
    cut = text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}… ({len(text)} characters in all)"
    return "".join(char if char.isprintable() or char == "\n" else _spelled(char) for char in cut)


def _quoted(text: str) -> str:
    """Set a text apart by a mark at each line, so that no answer can write a heading and speak for the other one."""
    return "\n".join(f"| {line}" for line in text.split("\n"))


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode()


def key_reader() -> Callable[[], str]:
    """Read single keys from a terminal, lines from anything else."""
    return _read_key if sys.stdin.isatty() else _read_line


def _read_line() -> str:
    line = sys.stdin.readline()
    return line.strip().lower()[:1] if line else "q"


def _read_key() -> str:
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)  # what was typed already is not thrown away
        key = sys.stdin.read(1)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
    return key.lower() if key and key != "\x04" else "q"
